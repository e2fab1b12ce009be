"""The decorators that compile kernels; they own the flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np

from spanmask.kernels.cache import KernelCache

P = ParamSpec("P")
R = TypeVar("R")

#: An element of an array as a signed number: numba makes a float of what mixes signed and unsigned ones.
signed = cast(Callable[[Any], int], np.int64)


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function on first call, without the GIL, and keep the result in the user's cache."""
    return _compiled(function)


def inlined(function: Callable[P, R]) -> Callable[P, R]:
    """Compile, as `kernel` does, a function that allocates nothing and is put into the kernels that call it.

    numba passes every array as seven words on the stack, and counts references to it atomically at each call, slice and field: a third of
    the masking kernels' time without this. A function without reference counting cannot make arrays.
    """
    return _compiled(function, forceinline=True, _nrt=False)


def _compiled(function: Callable[P, R], **flags: bool) -> Callable[P, R]:
    if numba.config.DISABLE_JIT:
        return function
    # The wrapper left out is for calls from C.
    compiled = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, **flags)(function)
    compiled._cache = KernelCache(function)
    return cast(Callable[P, R], compiled)
