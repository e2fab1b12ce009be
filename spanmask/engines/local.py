"""Run units on this machine: in this process, or in processes of its own that may die without taking the run along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Protocol

from spanmask.errors import SpanmaskError

#: Times that a unit is tried when its process dies.
TRIES = 3
_PARENT_CHECK_SECONDS = 0.5

Report = Callable[..., None]


class Work(Protocol):
    """What a worker is given first: it makes the function that runs units. It must pickle."""

    def prepare(self) -> Callable[[Any, Report], Any]:
        """Return the function from a unit and a reporter to its receipt."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A unit with its receipt, or None when its process died on every try."""

    unit: Any
    receipt: Any | None


def run_inline(work: Work, units: Iterator[Any], report: Report) -> Iterator[Outcome]:
    """Run units one after another in this process."""
    run = None
    for unit in units:
        run = run or work.prepare()
        yield Outcome(unit=unit, receipt=run(unit, report))


@dataclass(slots=True, eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    unit: Any = None


@dataclass(slots=True)
class _Queue:
    """Units still to run: those whose process died first, then new ones."""

    units: Iterator[Any]
    again: list[Any] = field(default_factory=list)
    deaths: dict[int, int] = field(default_factory=dict)

    def next(self) -> Any:
        return self.again.pop(0) if self.again else next(self.units, None)

    def died(self, unit: Any) -> bool:
        """Count a death; return whether the unit is tried again."""
        self.deaths[id(unit)] = self.deaths.get(id(unit), 0) + 1
        if self.deaths[id(unit)] < TRIES:
            self.again.append(unit)
            return True
        return False


def run_processes(work: Work, units: Iterator[Any], jobs: int, report: Report) -> Iterator[Outcome]:
    """Run units in ``jobs`` processes.

    A process that dies is replaced, and its unit tried up to three times; then its outcome has no receipt.

    Raises
    ------
    SpanmaskError
        The first error that a unit met; the other processes are ended.
    """
    queue = _Queue(units)
    workers: list[_Worker] = []
    try:
        while True:
            _feed(workers, queue, work, jobs)
            busy = [worker for worker in workers if worker.unit is not None]
            if not busy:
                return
            for connection in wait([worker.connection for worker in busy]):
                worker = next(worker for worker in busy if worker.connection is connection)
                outcome = _hear(worker, workers, queue, report)
                if outcome is not None:
                    yield outcome
    finally:
        for worker in workers:
            _end(worker)


def _feed(workers: list[_Worker], queue: _Queue, work: Work, jobs: int) -> None:
    """Give every idle worker a unit, starting workers while there are units and room."""
    while True:
        idle = next((worker for worker in workers if worker.unit is None), None)
        if idle is None and len(workers) == jobs:
            return
        unit = queue.next()
        if unit is None:
            return
        if idle is None:
            idle = _start(work)
            workers.append(idle)
        idle.unit = unit
        with suppress(BrokenPipeError, ConnectionResetError):
            idle.connection.send(unit)


def _hear(worker: _Worker, workers: list[_Worker], queue: _Queue, report: Report) -> Outcome | None:
    try:
        kind, content = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        workers.remove(worker)
        _end(worker)
        return None if queue.died(worker.unit) else Outcome(unit=worker.unit, receipt=None)
    if kind == "report":
        report(*content)
        return None
    if kind == "error":
        raise content
    unit, worker.unit = worker.unit, None
    return Outcome(unit=unit, receipt=content)


def _start(work: Work) -> _Worker:
    ours, theirs = Pipe()
    command = [sys.executable, "-c", f"from spanmask.engines.local import serve; serve({theirs.fileno()})"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL)
    theirs.close()
    ours.send(work)
    return _Worker(process, ours)


def _end(worker: _Worker) -> None:
    worker.connection.close()
    worker.process.kill()
    worker.process.wait()


def serve(descriptor: int) -> None:
    """Be a worker: take the work, then units, until the connection closes or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, args=(os.getppid(),), daemon=True).start()
    connection: Connection[Any, Any] = Connection(descriptor)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            run = connection.recv().prepare()
            while True:
                unit = connection.recv()
                connection.send(("done", run(unit, lambda *counts: connection.send(("report", counts)))))
        except SpanmaskError as error:
            connection.send(("error", error))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception:
            connection.send(
                ("error", SpanmaskError(f"a worker met an error that was not foreseen\n{traceback.format_exc()}"))
            )


def _follow_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)
