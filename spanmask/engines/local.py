"""Run units on this machine: in this process, or in processes of its own that may die without taking the run along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Protocol

from spanmask.errors import SpanmaskError

#: Times that a unit is tried when its process dies.
TRIES = 3

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
    life: int
    unit: Any = None
    tries: int = 0


@dataclass(slots=True)
class _Queue:
    """Units still to run: those whose process died first, then new ones."""

    units: Iterator[Any]
    again: list[tuple[Any, int]] = field(default_factory=list)

    def next(self) -> tuple[Any, int]:
        """Return a unit and which try it is, from 1; None at the end."""
        return self.again.pop(0) if self.again else (next(self.units, None), 1)

    def died(self, unit: Any, tries: int) -> bool:
        """Take back a unit whose process died; return whether it is tried again."""
        if tries < TRIES:
            self.again.append((unit, tries + 1))
        return tries < TRIES


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
        unit, tries = queue.next()
        if unit is None:
            return
        if idle is None:
            idle = _start(work)
            workers.append(idle)
        idle.unit, idle.tries = unit, tries
        with suppress(BrokenPipeError, ConnectionResetError):
            idle.connection.send(unit)


def _hear(worker: _Worker, workers: list[_Worker], queue: _Queue, report: Report) -> Outcome | None:
    try:
        kind, content = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        workers.remove(worker)
        _end(worker)
        return None if queue.died(worker.unit, worker.tries) else Outcome(unit=worker.unit, receipt=None)
    if kind == "report":
        report(*content)
        return None
    if kind == "error":
        raise content
    unit, worker.unit = worker.unit, None
    return Outcome(unit=unit, receipt=content)


def _start(work: Work) -> _Worker:
    ours, theirs = Pipe()
    ending, life = os.pipe()
    command = [sys.executable, "-c", f"from spanmask.engines.local import serve; serve({theirs.fileno()}, {ending})"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # An interrupt from the keyboard reaches the whole process group: it is the parent's to answer.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process = subprocess.Popen(
            command, pass_fds=[theirs.fileno(), ending], env=environment, stdin=subprocess.DEVNULL
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    theirs.close()
    os.close(ending)
    with suppress(BrokenPipeError, ConnectionResetError):
        ours.send(work)
    return _Worker(process, ours, life)


def _end(worker: _Worker) -> None:
    worker.connection.close()
    os.close(worker.life)
    worker.process.kill()
    worker.process.wait()


def serve(descriptor: int, ending: int) -> None:
    """Be a worker: take the work, then units, until the connection closes or the parent is gone.

    Parameters
    ----------
    descriptor
        The connection.
    ending
        End of a pipe whose other end the parent holds open while it lives.
    """
    threading.Thread(target=_end_with_parent, args=(ending,), daemon=True).start()
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


def _end_with_parent(ending: int) -> None:
    """End at once when the parent dies, so that it never publishes into the run that comes after."""
    os.read(ending, 1)
    os._exit(1)
