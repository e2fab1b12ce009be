"""What a grid tells whoever watches it, and what it asks them; and what its cells tell it."""

from __future__ import annotations

from collections.abc import Sequence

from spanmask.probes.boundaries.watching import Watch as BoundariesWatch
from spanmask.probes.watching import Watch as ProbeWatch
from spanmask.train.watching import Progress


class Watch:
    """Told what happens, and asked whether to go on."""

    def begin(self, cells: int, done: int) -> None:
        """Know how many cells there are to do, and how many of them are done."""

    def cell(self, name: str, number: int) -> None:
        """Know that a cell begins or goes on, and which one it is, from 1."""

    def progress(self, told: str, done: int, total: int | None) -> None:
        """Know how far the cell under way is."""

    def done(self, name: str, told: str) -> None:
        """Know that a cell is done, and what it came to."""

    def failed(self, name: str, error: Exception) -> None:
        """Know that a cell could not be done; others go on."""

    def waiting(self, names: Sequence[str]) -> None:
        """Know that nothing is left but what other processes do."""

    def stopping(self) -> bool:
        """Return whether to end where the grid can go on later."""
        return False


class TunedCell(ProbeWatch):
    """Hands on how far a training is."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def step(self, progress: Progress) -> None:
        """Hand on which step was made."""
        self._watch.progress("update", progress.step, progress.steps)

    def evaluating(self, done: int, total: int) -> None:
        """Hand on how far an evaluation is."""
        self._watch.progress("evaluating", done, total)

    def stopping(self) -> bool:
        """Return whether to stop after the update under way."""
        return self._watch.stopping()


class AskedCell(BoundariesWatch):
    """Hands on how far a boundary probe is."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def states(self, told: str, done: int, total: int) -> None:
        """Hand on how many sequences are done."""
        self._watch.progress(told, done, total)
