"""What `spanmask reproduce` shows while it goes on: a line a cell, and on a terminal how far the one under way is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from spanmask.escaping import counted
from spanmask.reproduction.watching import Watch

from .ending import Request, leave_with
from .train_display import Screen


class GridDisplay(Watch):
    """Shows a grid, and ends it in order when a signal asks for it."""

    def __init__(self, shown: Screen, request: Request, stack: ExitStack) -> None:
        self._shown, self._request, self._stack = shown, request, stack
        self._cells, self._name = 0, ""

    def begin(self, cells: int, done: int) -> None:
        """Say how many cells there are."""
        self._cells = cells
        self._shown.say(f"{counted(cells, 'cell')}, {done} of them done")
        self._stack.enter_context(self._request.noting())
        leave_with()

    def cell(self, name: str, number: int) -> None:
        """Say which cell begins."""
        self._name = name
        self._shown.say(f"{number} of {self._cells}: {name}")

    def progress(self, told: str, done: int, total: int | None) -> None:
        """Show how far it is."""
        of = f" of {total:,}" if total else ""
        self._shown.show([self._name, f"{told} {done:,}{of}"], done, total)

    def done(self, name: str, told: str) -> None:
        """Say that a cell is done."""
        self._shown.say(f"{name}: done in {told}")

    def failed(self, name: str, error: Exception) -> None:
        """Say that a cell could not be done."""
        self._shown.say(f"{name}: {error}")

    def waiting(self, names: Sequence[str]) -> None:
        """Say what other processes do."""
        self._shown.say(f"waiting for what others do: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}")

    def stopping(self) -> bool:
        """Return whether a signal asked for the end."""
        return self._request.code is not None
