"""The decorators that compile kernels; they own the flags. And what all kernels share: names of arrays, and what copies them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import numpy.typing as npt

try:
    import numba
except ImportError:  # Where only stored rows are loaded, numba need not be there; kernels are interpreted then.
    numba = None

P = ParamSpec("P")
R = TypeVar("R")
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

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
    if numba is None or numba.config.DISABLE_JIT:
        return function
    from spanmask.kernels.cache import KernelCache

    # The wrapper left out is for calls from C.
    compiled = numba.njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, **flags)(function)
    compiled._cache = KernelCache(function)
    # numba would import every package that extends it, also before it loads what was compiled; kernels use none.
    compiled._compilation_chain_init_hook = _no_extensions
    # A literal's type is its own to numba: what takes one would be compiled for it, and for all other numbers.
    template = compiled.get_call_template
    compiled.get_call_template = lambda args, kws: template(tuple(map(numba.types.unliteral, args)), kws)
    return cast(Callable[P, R], compiled)


def _no_extensions() -> None:
    pass


@inlined
def copy(source: Any, target: Any) -> None:
    """Copy one array onto another of its length, as vector code, which an assignment of slices does not become."""
    for i in range(len(target)):
        target[i] = source[i]
