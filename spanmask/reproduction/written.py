"""A plan as it is written: which of its lines says what, so that a refusal names it."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from spanmask.errors import ConfigError
from spanmask.options import hint_for


class Written:
    """A plan's text. plan: its name or path, as it was given."""

    def __init__(self, plan: str, text: str) -> None:
        self.plan, self._lines = plan, text.splitlines()

    def line_of(self, *keys: str) -> int | None:
        """Return the line, from 1, that gives a key of the tables before it; None where none does, as of what was changed."""
        whole = 0
        for number in range(1, len(self._lines) + 1):
            try:
                found: Any = tomllib.loads("\n".join(self._lines[:number]))
            except tomllib.TOMLDecodeError:
                continue  # Within a value of several lines.
            for key in keys:
                found = found.get(key) if isinstance(found, Mapping) else None
            if found is not None:
                return whole + 1
            whole = number
        return None

    def error(self, keys: tuple[str, ...], told: str) -> ConfigError:
        """Return a refusal that names the line of a key, or the nearest of the tables that it is in."""
        places = (self.line_of(*keys[: len(keys) - less]) for less in range(len(keys)))
        line = next((place for place in places if place is not None), None)
        return ConfigError(f"{self.plan}{'' if line is None else f':{line}'}: {told}")

    def require_table(self, keys: tuple[str, ...], value: object) -> None:
        """Refuse what is no table.

        Raises
        ------
        ConfigError
            It is none.
        """
        if not isinstance(value, dict):
            raise self.error(keys, f"{'.'.join(keys)} is {value!r:.100}: give a table")

    def require_names(self, keys: tuple[str, ...], names: Collection[str], known: Collection[str]) -> None:
        """Refuse a name in a table that is none of those known.

        Raises
        ------
        ConfigError
            There is one.
        """
        for name in names:
            if name not in known:
                where = f" of [{'.'.join(keys)}]" if keys else ""
                raise self.error((*keys, name), f"unknown option {name!r}{where}; {hint_for(name, known)}")

    @contextmanager
    def placing(self, *keys: str) -> Iterator[None]:
        """Have what a configuration refuses name the line that gives the option, in these tables, tables within, or those of all arms.

        Raises
        ------
        ConfigError
            The body raised one.
        """
        try:
            yield
        except ConfigError as error:
            inner = ((), ("preshard",), ("train",))
            tables = [(*keys, *own) for own in inner] + [own for own in inner[1:] if keys[:1] == ("arm",)]
            places = ((*table, name) for name in error.options for table in tables)
            chosen = next((place for place in places if self.line_of(*place)), keys)
            whose = f"[{'.'.join(keys)}]: " if keys else ""
            raise self.error(chosen, f"{whose}{error}") from None
