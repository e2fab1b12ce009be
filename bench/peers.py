"""The packages of the ``bench`` extra, imported when a question needs them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from spanmask._lazy import installing
from spanmask.errors import ConfigError


def load(name: str) -> Any:
    """Return a module of the extra.

    Raises
    ------
    ConfigError
        It is not installed.
    """
    require([name])
    return importlib.import_module(name)


def require(names: Sequence[str]) -> None:
    """See that packages of the extra are installed, without importing them.

    Raises
    ------
    ConfigError
        One is not.
    """
    if lacking := missing(names):
        raise ConfigError(f"{' and '.join(lacking)} not installed, and measured beside: {installing('bench')}")


def missing(names: Sequence[str]) -> list[str]:
    """Return those of some modules that are not installed."""
    return [name for name in names if importlib.util.find_spec(name) is None]
