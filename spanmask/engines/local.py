"""Run units on this machine: in this process, or in processes of its own that may die without taking the run along."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any

from spanmask.engines.workers import Report, Work, Worker, may_fork, start
from spanmask.kernels.cache import has_compiled_kernels
from spanmask.processes import LOOK, PATIENCE, Stillness

#: Times that a unit is tried when its process dies.
TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A unit with what it came to, or None when its process died on every try."""

    unit: Any
    result: Any | None


def run_local(
    work: Work,
    units: Iterator[Any],
    jobs: int,
    report: Report,
    preparing: Callable[[], AbstractContextManager[None]] = nullcontext,
    *,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Run units in this process for one job, or else in as many as there are jobs; raises as `run_processes`.

    preparing: held while kernels are loaded or compiled here. stopping: whether no unit is begun any more; those under way are ended.
    """
    # Else every worker would load, or even compile, them all, at the same time.
    if jobs == 1 or may_fork() or not has_compiled_kernels():
        with preparing():
            work.warm_up()
    if jobs == 1:
        return run_inline(work, itertools.takewhile(lambda _: not stopping(), units), report)
    return run_processes(work, units, jobs, report, stopping)


def run_inline(work: Work, units: Iterator[Any], report: Report) -> Iterator[Outcome]:
    """Run units one after another in this process."""
    run = None
    for unit in units:
        run = run or work.prepare()
        yield Outcome(unit=unit, result=run(unit, report))


@dataclass(slots=True)
class _Queue:
    """Units still to run: those whose process died first, then new ones, of which one is made ready while workers are busy."""

    units: Iterator[Any]
    stopping: Callable[[], bool]
    ready: list[tuple[Any, int]] = field(default_factory=list)

    def next(self) -> tuple[Any, int]:
        """Return a unit and which try it is, from 1; None at the end."""
        self.look_ahead()
        return self.ready.pop(0) if self.ready and not self.stopping() else (None, 1)

    def look_ahead(self) -> None:
        """Have a unit ready, if there is one left: making it may take reading and decompressing."""
        if not self.ready and not self.stopping():
            self.ready += [(unit, 1) for unit in itertools.islice(self.units, 1)]

    def died(self, unit: Any, tries: int) -> bool:
        """Take back a unit whose process died; return whether it is tried again."""
        # First in line again: a unit that kills its worker every time is known soon.
        if tries < TRIES:
            self.ready.insert(0, (unit, tries + 1))
        return tries < TRIES


def run_processes(
    work: Work, units: Iterator[Any], jobs: int, report: Report, stopping: Callable[[], bool] = lambda: False
) -> Iterator[Outcome]:
    """Run units in ``jobs`` processes; see `run_local`.

    A process that dies is replaced, and its unit tried up to three times; then its outcome has no result. One that was stopped and not
    continued for a minute is ended, with a warning, and has died.

    Raises
    ------
    SpanmaskError
        The first error that a unit met; the other processes are ended.
    """
    queue = _Queue(units, stopping)
    workers: list[Worker] = []
    stillness = Stillness()
    try:
        _feed(workers, queue, work, jobs)
        while True:
            busy = [worker for worker in workers if worker.unit is not None]
            if not busy:
                return
            # While workers are busy: reading and decompressing the next unit then costs no time of theirs.
            queue.look_ahead()
            for connection in wait([worker.channel.connection for worker in busy], LOOK):
                worker = next(worker for worker in busy if worker.channel.connection is connection)
                outcome = _hear(worker, workers, queue, report)
                # A worker goes on before its outcome is told of: what is done with that, as writing it down, takes a while.
                _feed(workers, queue, work, jobs)
                if outcome is not None:
                    yield outcome
            _end_still(workers, stillness)
    finally:
        for worker in workers:
            worker.end()


def _end_still(workers: list[Worker], stillness: Stillness) -> None:
    """End a worker that stands still: its connection then tells of its death, as of any other."""
    still = stillness.look(worker.process.pid for worker in workers if worker.unit is not None)
    for worker in workers:
        if worker.process.pid == still:
            warnings.warn(
                f"worker process {still} was stopped and not continued for {PATIENCE:.0f} s: it is ended, and another one does its work",
                stacklevel=2,
            )
            worker.process.kill()


def _feed(workers: list[Worker], queue: _Queue, work: Work, jobs: int) -> None:
    """Give every idle worker a unit, starting workers while there are units and room."""
    while True:
        idle = next((worker for worker in workers if worker.unit is None), None)
        if idle is None and len(workers) == jobs:
            return
        unit, tries = queue.next()
        if unit is None:
            return
        if idle is None:
            idle = start(work)
            workers.append(idle)
        idle.unit, idle.tries = unit, tries
        with suppress(BrokenPipeError, ConnectionResetError):
            idle.channel.lend(unit)


def _hear(worker: Worker, workers: list[Worker], queue: _Queue, report: Report) -> Outcome | None:
    """Take one message of a worker, or its death; return an outcome where a unit is done, or given up.

    Raises
    ------
    SpanmaskError
        The error that its unit met.
    """
    try:
        kind, content = worker.channel.receive()
    except (EOFError, ConnectionResetError):
        workers.remove(worker)
        worker.end()
        return None if queue.died(worker.unit, worker.tries) else Outcome(unit=worker.unit, result=None)
    if kind == "report":
        report(*content)
        return None
    # What is wrong with the input or the disk would be so again: no other try.
    if kind == "error":
        raise content
    unit, worker.unit = worker.unit, None
    return Outcome(unit=unit, result=content)
