"""Who fills batches: NumPy, or compiled kernels. Both give the same arrays, bit for bit."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from importlib.util import find_spec

from spanmask.errors import ConfigError


class Backend(StrEnum):
    """``numpy`` loads no compiler; ``auto`` is ``compiled`` where numba is installed."""

    AUTO = "auto"
    NUMPY = "numpy"
    COMPILED = "compiled"

    @property
    def resolved(self) -> Backend:
        """``numpy`` or ``compiled``.

        Raises
        ------
        ConfigError
            ``compiled`` is asked for, and numba is not installed.
        """
        if self is Backend.COMPILED and not _has_numba():
            raise ConfigError(
                "backend compiled needs numba, which is not installed: install numba, or take backend numpy"
            )
        if self is Backend.AUTO:
            return Backend.COMPILED if _has_numba() else Backend.NUMPY
        return self


@cache
def _has_numba() -> bool:
    return find_spec("numba") is not None
