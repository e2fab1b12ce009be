"""Where compiled kernels are kept: a folder of the user's own, named by everything that went into them.

numba keys its cache by the outer function's file alone, so an edit of an inner kernel would be served stale; here the folder's name is
the digest of all kernel sources, the versions and the processor. A cache that cannot be read or written is done without.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import llvmlite
import numba
import numpy as np
from llvmlite import binding
from numba.core.caching import CompileResultCacheImpl, FunctionCache


def user_cache_folder() -> Path:
    """Return the user's cache folder for spanmask: $SPANMASK_CACHE_DIR, or the platform's place for it."""
    chosen = os.environ.get("SPANMASK_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "spanmask"


@cache
def kernel_cache_folder() -> Path:
    """Return the folder of these sources, versions and processor."""
    content = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    facts = (
        platform.python_version(),
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
    )
    content.update(repr(facts).encode())
    return user_cache_folder() / "kernels" / content.hexdigest()[:32]


class _Locator:
    """Tells numba where a function's cache lies. The folder's name already says what is in it, so no stamp is needed."""

    def __init__(self, py_func: Any) -> None:
        self._line = py_func.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(kernel_cache_folder())

    def ensure_cache_path(self) -> None:
        folder = kernel_cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        state = folder.stat()
        if state.st_uid != os.getuid() or state.st_mode & 0o022:
            raise PermissionError(f"{folder} can be written by others; compiled code is not kept there")
        tempfile.TemporaryFile(dir=folder).close()

    def get_source_stamp(self) -> str:
        return "named by content"

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Any, _: str) -> _Locator:
        return cls(py_func)


class _Impl(CompileResultCacheImpl):
    _locator_classes: ClassVar[list[Any]] = [_Locator]


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


class KernelCache(FunctionCache):
    """numba's function cache, which heals or is done without instead of failing."""

    _impl_class = _Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load compiled code; whatever is wrong with it, it is removed and compiled again."""
        try:
            folder = Path(self.cache_path)
            if folder.exists() and (folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o022):
                return None
            return super().load_overload(sig, target_context)
        except Exception:
            self._discard()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save compiled code, or warn once that it cannot be."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            self._discard()
            try:
                super().save_overload(sig, data)
            except Exception:
                _warn_once(f"compiled kernels cannot be kept ({error}); set SPANMASK_CACHE_DIR to a folder of your own")

    def _discard(self) -> None:
        pattern = f"{self._impl.filename_base}.*"
        for path in Path(self.cache_path).glob(pattern):
            try:
                path.unlink()
            except OSError:
                return
