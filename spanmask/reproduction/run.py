"""`reproduce`: a plan and texts flow in, a folder of cells, and a page of what they came to, flow out.

::

    DIR/grid.lock              what the grid was begun with, and how far every arm is trained (`spanmask.reproduction.lock`)
    DIR/CELL/cell.json         what a cell came to: it is done (`spanmask.reproduction.cells`)
    DIR/CELL/run/, dataset/    what the cell's own command would have written
    DIR/report.html, .json     what is known so far (`spanmask.reproduction.collecting`)
    DIR/.spanmask/             locks of cells under way
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from spanmask.errors import MismatchError, SpanmaskError
from spanmask.folders import claimed, refuse_file, sole_writer
from spanmask.report.grid import GridTold
from spanmask.reproduction.cells import Cell, Work, cells_of, chosen
from spanmask.reproduction.collecting import collect
from spanmask.reproduction.grid import Grid, is_done
from spanmask.reproduction.lock import GridLock
from spanmask.reproduction.plan import Plan
from spanmask.reproduction.watching import Watch
from spanmask.reproduction.work import do
from spanmask.storage import make_folder, publish_bytes, refuse_url

_STATE = ".spanmask"
PAGE, JSON = "report.html", "report.json"
#: Seconds to wait for another process that begins the grid, and between two looks at cells that others do.
_PATIENCE, _LOOK = 60.0, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A call's end. report: of the whole grid. failed: by cell, why it could not be done. stopped: whether it was asked to end before."""

    report: GridTold
    failed: Mapping[str, SpanmaskError] = field(default_factory=dict)
    stopped: bool = False


def reproduce(  # noqa: PLR0913 - the one door
    plan: Plan,
    texts: Sequence[str],
    out: str | Path,
    *,
    budget: float | None = None,
    only: Sequence[str] = (),
    jobs: int | None = None,
    watch: Watch | None = None,
) -> Finished:
    """Do the cells of a grid that are not yet done, and tell what all of them come to.

    Parameters
    ----------
    plan
        Arms, seeds and probes.
    texts
        What arms are presharded from; where none are given, those that the grid was begun with, or the plan's own.
    out
        The grid's folder: new, or one to go on with, by as many processes and machines at once as there are.
    budget
        Minutes of all trainings together, instead of what the plan says; turned into tokens once.
    only
        Patterns of cells to do, and what they need; by default all.
    jobs
        Processes of presharding; by default one for every processor.
    watch
        Told what happens, and asked whether to go on.

    Raises
    ------
    ConfigError
        No cell has such a name, or the folder is none.
    MismatchError
        The grid was begun with another plan, or budget.
    StorageError
        The file system refused.
    """
    refuse_url(out, "out")
    folder, watch = Path(out), watch or Watch()
    refuse_file(folder)
    cells = chosen(cells_of(plan), only)
    lock = _begun(folder, plan, tuple(map(str, texts)), budget)
    given = tuple(map(str, texts)) or plan.config.texts or lock.texts
    grid = Grid(plan=plan, folder=folder, lock=lock, texts=given, jobs=jobs, watch=watch)
    for cell in cells:
        # Refused now: the last arm's would be missed when all others have theirs.
        if cell.work is Work.SHARDS and not is_done(folder, cell):
            grid.texts_of(grid.arm_of(cell))
    watch.begin(len(cells), sum(is_done(folder, cell) for cell in cells))
    failed = _Grid(grid, cells).go()
    report = write_report(replace(grid, lock=GridLock.read(folder) or lock))
    return Finished(report=report, failed=failed, stopped=watch.stopping())


def _begun(folder: Path, plan: Plan, texts: tuple[str, ...], budget: float | None) -> GridLock:
    """Return what the grid was begun with; it begins where it was not."""
    wanted = GridLock(name=plan.name, plan=plan.content, texts=texts or plan.config.texts, budget=budget)
    make_folder(folder)
    with sole_writer(folder, folder / _STATE, patience=_PATIENCE):
        lock = GridLock.read(folder)
        if lock is None:
            wanted.write(folder)
            lock = wanted
    lock.require_same(wanted, folder)
    return lock


def write_report(grid: Grid) -> GridTold:
    """Write DIR/report.html and DIR/report.json, and return what they tell.

    Raises
    ------
    SpanmaskError
        As `collect` does, or the file system refused.
    """
    from spanmask.report.grid_page import grid_page

    told = collect(grid)
    publish_bytes(grid.folder / JSON, json.dumps(told.to_json(), indent=2, sort_keys=True).encode() + b"\n")
    publish_bytes(grid.folder / PAGE, grid_page(told).encode())
    return told


class _Grid:
    """The cells that a process sees to."""

    def __init__(self, grid: Grid, cells: Sequence[Cell]) -> None:
        self._grid, self._cells = grid, cells
        self._failed: dict[str, SpanmaskError] = {}
        self._left = [cell for cell in cells if not is_done(grid.folder, cell)]
        self._told: list[str] = []

    def go(self) -> dict[str, SpanmaskError]:
        """Do all that can be done; return what could not."""
        watch = self._grid.watch
        while self._left and not watch.stopping():
            moved = [cell for cell in list(self._left) if not watch.stopping() and self._see_to(cell)]
            if not moved and self._left and not watch.stopping():
                self._wait()
        return self._failed

    def _see_to(self, cell: Cell) -> bool:
        """Do a cell if that can be done now; tell whether there is nothing left to do of it."""
        if any(name in self._failed for name in cell.needs):
            self._failed[cell.name] = next(self._failed[name] for name in cell.needs if name in self._failed)
        elif not is_done(self._grid.folder, cell):
            needs = [other for other in self._cells if other.name in cell.needs]
            if not all(is_done(self._grid.folder, other) for other in needs) or not self._do_alone(cell):
                return False
        self._left.remove(cell)
        return True

    def _do_alone(self, cell: Cell) -> bool:
        """Do a cell where no other process does it; tell whether it is done, or cannot be."""
        folder, watch = self._grid.folder, self._grid.watch
        with ExitStack() as stack:
            try:
                stack.enter_context(claimed(folder / cell.name, folder / _STATE / cell.name.replace("/", "~")))
            except MismatchError:
                return False
            if is_done(folder, cell):
                return True
            watch.cell(cell.name, self._cells.index(cell) + 1)
            try:
                # How far arms are trained, another process may have found out meanwhile.
                grid = replace(self._grid, lock=GridLock.read(folder) or self._grid.lock)
                told = do(grid, cell)
            except SpanmaskError as error:
                self._failed[cell.name] = error
                watch.failed(cell.name, error)
                return True
        if told is not None:
            watch.done(cell.name, f"{told['seconds']:,.1f} s")
            if "figures" in told:
                write_report(grid)
        return told is not None

    def _wait(self) -> None:
        """Wait for what other processes do."""
        names = [cell.name for cell in self._left]
        if names != self._told:
            self._told = names
            self._grid.watch.waiting(names)
        time.sleep(_LOOK)
