"""Worker processes: how one is started, what it does, how it ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Protocol

from spanmask.engines.messages import Channel, Memory, lay_down, pick_up
from spanmask.errors import SpanmaskError

Report = Callable[..., None]

#: What reaches all processes of a run at once, from the keyboard or from a scheduler, and is the parent's to answer.
_OF_ALL = frozenset((signal.SIGINT, signal.SIGTERM))
#: What Arrow's allocator calls its thread, which looks after itself when a process forks.
_ALLOCATOR = "jemalloc_bg_thd"


class Work(Protocol):
    """What a worker is given first: it makes the function that runs units. It must pickle."""

    def prepare(self) -> Callable[[Any, Report], Any]:
        """Return the function from a unit and a reporter to its result."""
        ...

    def warm_up(self) -> None:
        """Load or compile every kernel that units run: forks have them then, and other workers find them in the cache."""
        ...


class _Process(Protocol):
    """What is done to a worker's process, by the names of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    def kill(self) -> None: ...
    def wait(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class _Fork:
    pid: int

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        os.waitpid(self.pid, 0)


@dataclass(slots=True, eq=False)
class Worker:
    """A worker as its parent knows it. life: of a pipe, held open as long as the worker shall live; unit: what it runs, on which try."""

    process: _Process
    channel: Channel
    life: int
    unit: Any = None
    tries: int = 0

    def end(self) -> None:
        """End the process, whatever it does, and forget it."""
        self.channel.close()
        os.close(self.life)
        self.process.kill()
        self.process.wait()


def may_fork() -> bool:
    """Return whether this process has one thread: a fork would take the locks of others along, in whatever state they are."""
    if sys.platform != "linux":
        return False
    own = str(threading.get_native_id())
    with suppress(OSError):
        tasks = [task for task in Path("/proc/self/task").iterdir() if task.name != own]
        return all((task / "comm").read_text().strip() == _ALLOCATOR for task in tasks)
    return False


def start(work: Work) -> Worker:
    """Start a process that serves units, and give it the work: a fork of this one where that is safe, else a fresh interpreter.

    A fork has at once what was imported and prepared here.
    """
    ours, theirs = Pipe()
    memory = Memory.new()
    ending, life = os.pipe()
    begin = _fork if may_fork() else _interpreter
    try:
        return Worker(begin(work, theirs, memory, ending), Channel(ours, memory), life)
    finally:
        theirs.close()
        os.close(ending)


def _fork(work: Work, connection: Connection[Any, Any], memory: Memory, ending: int) -> _Fork:
    # No signal finds a fork that would answer it as its parent does.
    with _blocking(signal.valid_signals()) as before, warnings.catch_warnings():
        # Python counts the allocator's thread.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
        if pid == 0:
            try:
                _become_worker(connection.fileno(), memory.descriptor, ending)
                signal.pthread_sigmask(signal.SIG_SETMASK, before | _OF_ALL)
                _serve(Channel(connection, memory), ending, lambda: work)
            finally:
                os._exit(0)
    return _Fork(pid)


def _become_worker(*kept: int) -> None:
    """Be as an interpreter is that was started with some descriptors: without its parent's others, and its answers to signals."""
    # What the parent holds is never let go here: nor are its pages written to, to look whether it could be.
    gc.freeze()
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in kept:
            with suppress(OSError):
                os.close(descriptor)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)


def _interpreter(work: Work, connection: Connection[Any, Any], memory: Memory, ending: int) -> subprocess.Popen[bytes]:
    order = lay_down(work)
    given = [connection.fileno(), memory.descriptor, ending, order]
    command = [sys.executable, "-c", f"from spanmask.engines.workers import serve; serve(*{given})"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        with _blocking(_OF_ALL):
            return subprocess.Popen(command, pass_fds=given, env=environment, stdin=subprocess.DEVNULL)
    finally:
        os.close(order)


@contextmanager
def _blocking(signals: AbstractSet[int]) -> Iterator[AbstractSet[int]]:
    """Hold signals back, from children too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
    _serve(Channel(Connection(descriptor), Memory(memory)), ending, lambda: pick_up(order))


def _serve(channel: Channel, ending: int, take_work: Callable[[], Work]) -> None:
    threading.Thread(target=_end_with_parent, args=(ending,), daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            run = take_work().prepare()
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
