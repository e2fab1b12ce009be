"""The one decorator that compiles kernels; it owns the flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function on first call, without the GIL."""
    return cast(Callable[P, R], numba.njit(nogil=True, error_model="numpy")(function))
