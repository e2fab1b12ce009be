"""Where compiled kernels are kept: a folder of the user's own, named by everything that went into them.

numba keys its cache by the outer function's file alone, so an edit of an inner kernel would be served stale; here the folder's name is
the digest of all kernel sources, the versions and the processor. A cache that cannot be read or written is done without.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import secrets
import warnings
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import llvmlite
import numba
import numpy as np
from llvmlite import binding
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from spanmask.kernels.user_cache import is_own, user_cache_folder

#: What changes the code that is compiled from the same sources.
_SWITCHES = ("SPANMASK_PLAIN_LOADS", "NUMBA_BOUNDSCHECK", "NUMBA_DEBUGINFO", "NUMBA_OPT")


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
        [(name, os.environ.get(name)) for name in _SWITCHES],
    )
    content.update(repr(facts).encode())
    return user_cache_folder() / "kernels" / content.hexdigest()[:32]


def has_compiled_kernels() -> bool:
    """Return whether some kernels are kept already; those that are not will be compiled when first called."""
    folder = kernel_cache_folder()
    return folder.is_dir() and any(folder.iterdir())


class _Locator:
    """Tells numba where a function's cache lies. The folder's name already says what is in it, so no stamp is needed."""

    def __init__(self, py_func: Any) -> None:
        self._line = py_func.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(kernel_cache_folder())

    def ensure_cache_path(self) -> None:
        folder = kernel_cache_folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # What lies in it is run.
        if not is_own(folder):
            raise PermissionError("others can write there")

    def get_source_stamp(self) -> str:
        return "named by content"

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Any, _: str) -> _Locator:
        return cls(py_func)


class _Files:
    """A file for every signature of a function: the SHA-256 of its content, and its content.

    It appears under its name whole, and the name says all that is in it, so processes may write at once; numba's own index can name
    another signature's code when they do.
    """

    def __init__(self, folder: str, base: str) -> None:
        self._folder = Path(folder)
        self._base = base

    def _path(self, key: object) -> Path:
        return self._folder / f"{self._base}.{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.nbc"

    def load(self, key: object) -> Any:
        """Return what was saved, or None."""
        path = self._path(key)
        if not path.exists() or not is_own(self._folder):
            return None
        data = path.read_bytes()
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            return None
        return pickle.loads(data[32:])  # noqa: S301 - the folder is the user's own

    def save(self, key: object, content: object) -> None:
        """Save content under its key."""
        path, data = self._path(key), dumps(content)
        temporary = path.with_name(f"{path.name}.tmp-{secrets.token_hex(8)}")
        try:
            temporary.write_bytes(hashlib.sha256(data).digest() + data)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


class _Impl(CompileResultCacheImpl):
    _locator_classes: ClassVar[list[Any]] = [_Locator]

    def reduce(self, cres: Any) -> Any:
        """Return what is kept of compiled code: all but what functions that were inlined would raise and print with, which none does.

        To load it would import numba's own modules that the functions came from, and SciPy with them.
        """
        *kept, _environments = super().reduce(cres)
        return (*kept, ())


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


class KernelCache(FunctionCache):
    """numba's function cache, which heals or is done without instead of failing."""

    _impl_class = _Impl

    def __init__(self, py_func: Any) -> None:
        super().__init__(py_func)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load compiled code; where anything is wrong with it, it is compiled again and replaced.

        The whole compiler, which numba's own method has ready first, would take longer to import than all kernels of a run to load.
        """
        try:
            rtsys.initialize(target_context)
            return self._load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save compiled code, or warn once that it cannot be."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            reason = getattr(error, "strerror", None) or error
            _warn_once(
                f"compiled kernels cannot be kept in {self._cache_path} ({reason}), and every run compiles them again; "
                "set SPANMASK_CACHE_DIR to a folder of your own"
            )
