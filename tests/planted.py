"""Wrongs planted in the source of a module: each must be found there, so that a line that was written anew breaks a test at once."""

from __future__ import annotations

import inspect
import sys
import types
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

import pytest
from numba.core.caching import NullCache

from spanmask.kernels import cache as kernel_cache


def planted(source: str, old: str, new: str) -> str:
    """Return a source with its one line `old` changed."""
    assert source.count(old) == 1, (
        f"{old!r} stands {source.count(old)} times in the source; plant the wrong in what is there now"
    )
    return source.replace(old, new)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A kernel of a module, and the line of that module which is wrong."""

    module: types.ModuleType
    kernel: str
    old: str
    new: str


@cache
def build(wrong: Wrong) -> Any:
    """Return the wrong kernel: made of the module's own names, imports and decorators, and kept out of the kernels' cache."""
    source = planted(inspect.getsource(wrong.module), wrong.old, wrong.new)
    names = dict(vars(wrong.module))
    with mock.patch.object(kernel_cache, "KernelCache", return_value=NullCache()):
        exec(compile(source, f"{wrong.module.__name__}, planted", "exec"), names)
    return names[wrong.kernel]


def plant(monkeypatch: pytest.MonkeyPatch, module: types.ModuleType, old: str, new: str) -> None:
    """Put a module's line wrong, for all modules beside it that took names from it."""
    names = dict(vars(module))
    exec(compile(planted(inspect.getsource(module), old, new), f"{module.__name__}, planted", "exec"), names)
    package = module.__name__.rpartition(".")[0]
    for name, user in list(sys.modules.items()):
        if name.startswith(f"{package}."):
            for taken, value in list(vars(user).items()):
                if getattr(value, "__module__", None) == module.__name__ and taken in names:
                    monkeypatch.setattr(user, taken, names[taken])
