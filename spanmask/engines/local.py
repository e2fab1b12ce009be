"""Run units on this machine: in this process, or in processes of its own that may die without taking the run along."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Protocol

from spanmask.engines.messages import Channel, Memory, lay_down, pick_up
from spanmask.errors import SpanmaskError
from spanmask.processes import LOOK, PATIENCE, Stillness

#: Times that a unit is tried when its process dies.
TRIES = 3

Report = Callable[..., None]


class Work(Protocol):
    """What a worker is given first: it makes the function that runs units. It must pickle."""

    def prepare(self) -> Callable[[Any, Report], Any]:
        """Return the function from a unit and a reporter to its result."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A unit with what it came to, or None when its process died on every try."""

    unit: Any
    result: Any | None


def run_inline(work: Work, units: Iterator[Any], report: Report) -> Iterator[Outcome]:
    """Run units one after another in this process."""
    run = None
    for unit in units:
        run = run or work.prepare()
        yield Outcome(unit=unit, result=run(unit, report))


@dataclass(slots=True, eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    channel: Channel
    life: int
    unit: Any = None
    tries: int = 0


@dataclass(slots=True)
class _Queue:
    """Units still to run: those whose process died first, then new ones, of which one is made ready while workers are busy."""

    units: Iterator[Any]
    ready: list[tuple[Any, int]] = field(default_factory=list)

    def next(self) -> tuple[Any, int]:
        """Return a unit and which try it is, from 1; None at the end."""
        self.look_ahead()
        return self.ready.pop(0) if self.ready else (None, 1)

    def look_ahead(self) -> None:
        """Have a unit ready, if there is one left: making it may take reading and decompressing."""
        if not self.ready:
            self.ready += [(unit, 1) for unit in itertools.islice(self.units, 1)]

    def died(self, unit: Any, tries: int) -> bool:
        """Take back a unit whose process died; return whether it is tried again."""
        # First in line again: a unit that kills its worker every time is known soon.
        if tries < TRIES:
            self.ready.insert(0, (unit, tries + 1))
        return tries < TRIES


def run_processes(work: Work, units: Iterator[Any], jobs: int, report: Report) -> Iterator[Outcome]:
    """Run units in ``jobs`` processes.

    A process that dies is replaced, and its unit tried up to three times; then its outcome has no result. One that was stopped and not
    continued for a minute is ended, with a warning, and has died.

    Raises
    ------
    SpanmaskError
        The first error that a unit met; the other processes are ended.
    """
    queue = _Queue(units)
    workers: list[_Worker] = []
    stillness = Stillness()
    try:
        while True:
            _feed(workers, queue, work, jobs)
            busy = [worker for worker in workers if worker.unit is not None]
            if not busy:
                return
            # While workers are busy: reading and decompressing the next unit then costs no time of theirs.
            queue.look_ahead()
            for connection in wait([worker.channel.connection for worker in busy], LOOK):
                worker = next(worker for worker in busy if worker.channel.connection is connection)
                outcome = _hear(worker, workers, queue, report)
                if outcome is not None:
                    yield outcome
            _end_still(workers, stillness)
    finally:
        for worker in workers:
            _end(worker)


def _end_still(workers: list[_Worker], stillness: Stillness) -> None:
    """End a worker that stands still: its connection then tells of its death, as of any other."""
    still = stillness.look(worker.process.pid for worker in workers if worker.unit is not None)
    for worker in workers:
        if worker.process.pid == still:
            warnings.warn(
                f"worker process {still} was stopped and not continued for {PATIENCE:.0f} s: it is ended, and another one does its work",
                stacklevel=2,
            )
            worker.process.kill()


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
            idle.channel.lend(unit)


def _hear(worker: _Worker, workers: list[_Worker], queue: _Queue, report: Report) -> Outcome | None:
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
        _end(worker)
        return None if queue.died(worker.unit, worker.tries) else Outcome(unit=worker.unit, result=None)
    if kind == "report":
        report(*content)
        return None
    # What is wrong with the input or the disk would be so again: no other try.
    if kind == "error":
        raise content
    unit, worker.unit = worker.unit, None
    return Outcome(unit=unit, result=content)


def _start(work: Work) -> _Worker:
    """Start a process that serves units, and give it the work.

    It is a fresh interpreter rather than a fork: a fork would take locks and threads of this one along, in whatever state they are.
    """
    ours, theirs = Pipe()
    memory, order = Memory.new(), lay_down(work)
    ending, life = os.pipe()
    given = [theirs.fileno(), memory.descriptor, ending, order]
    command = [sys.executable, "-c", f"from spanmask.engines.local import serve; serve(*{given})"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # An interrupt from the keyboard reaches the whole process group: it is the parent's to answer.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process = subprocess.Popen(command, pass_fds=given, env=environment, stdin=subprocess.DEVNULL)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    theirs.close()
    os.close(ending)
    os.close(order)
    return _Worker(process, Channel(ours, memory), life)


def _end(worker: _Worker) -> None:
    worker.channel.close()
    os.close(worker.life)
    worker.process.kill()
    worker.process.wait()


def serve(descriptor: int, memory: int, ending: int, order: int) -> None:
    """Be a worker: take the work, then units, until the connection closes or the parent is gone.

    Parameters
    ----------
    descriptor
        The connection.
    memory
        Descriptor of the memory that the parent's buffers lie in.
    ending
        End of a pipe whose other end the parent holds open while it lives.
    order
        Descriptor of what the work was laid down in.
    """
    threading.Thread(target=_end_with_parent, args=(ending,), daemon=True).start()
    channel = Channel(Connection(descriptor), Memory(memory))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            run = pick_up(order).prepare()
            while True:
                channel.send(("done", run(channel.receive(), lambda *counts: channel.send(("report", counts)))))
        except SpanmaskError as error:
            channel.send(("error", error))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception:
            channel.send(
                ("error", SpanmaskError(f"a worker met an error that was not foreseen\n{traceback.format_exc()}"))
            )


def _end_with_parent(ending: int) -> None:
    """End at once when the parent dies, so that it never publishes into the run that comes after."""
    os.read(ending, 1)
    os._exit(1)
