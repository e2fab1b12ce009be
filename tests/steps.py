"""Forked processes that break, or are written down, at each step they take in the file system below folders of a known name.

A step is a file opened for writing, a write, a flush of a file or folder, a rename, a link, or a file or folder made or removed.
"""

from __future__ import annotations

import builtins
import io
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from spanmask.errors import StorageError
from spanmask.storage import advice_for

#: Steps are those below a folder whose name has this in it.
WATCHED = "spanmask-faults"
FINISHED, KILLED, REFUSED = 0, -signal.SIGKILL, 4

_EVENTS = {"os.rename": "rename", "os.remove": "remove", "os.rmdir": "rmdir", "os.mkdir": "mkdir", "os.link": "link"}


@dataclass(frozen=True, slots=True)
class Step:
    """A step: what is done, the path it is done to, the new path of a rename or link, and the bytes of a write."""

    kind: str
    path: str
    to: str = ""
    data: bytes = b""


#: Called before each step, with its number from 1 on; it may kill, raise, or write down.
Meet = Callable[[int, Step], None]


def kill_at(place: int | str) -> Meet:
    """Be killed before a step: a number, or the end of the path that a file is about to be renamed to."""

    def meet(number: int, step: Step) -> None:
        if step.to.endswith(place) if isinstance(place, str) else number >= place:
            os.kill(os.getpid(), signal.SIGKILL)

    return meet


def refuse_at(place: int, error: int, *kinds: str, lasting: bool = False) -> Meet:
    """Have the system refuse the first step of these kinds from a number on, or with lasting all of them."""
    refused = 0

    def meet(number: int, step: Step) -> None:
        nonlocal refused
        if number >= place and step.kind in kinds and (lasting or not refused):
            refused += 1
            raise OSError(error, os.strerror(error), step.path)

    return meet


def in_child(body: Callable[[], object], meet: Meet, advice: int | None = None) -> int:
    """Run a body in a forked process that meets each of its steps; return how it ended.

    advice: the number of the error after which a `StorageError` has to say what to do, and name a path that is watched.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    code = 1
    try:
        _watch(meet)
        body()
        code = FINISHED
    except StorageError as error:
        clear = advice is None or (advice_for(OSError(advice, "")) in str(error) and WATCHED in str(error))
        code = REFUSED if clear else 1
        if not clear:
            print(error, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def steps_of(body: Callable[[], object], folder: Path) -> list[Step]:
    """Run a body in a forked process; return the steps it took. folder: for what it tells, not watched."""
    taken: list[Step] = []

    def work() -> None:
        body()
        (folder / "steps").write_bytes(pickle.dumps(taken))

    assert in_child(work, lambda _, step: taken.append(step)) == FINISHED
    found: list[Step] = pickle.loads((folder / "steps").read_bytes())
    return found


def _watch(meet: Meet) -> None:
    """Meet all steps of this process from here on; there is no way back."""
    number = 0

    def take(step: Step) -> None:
        nonlocal number
        if WATCHED in step.path or WATCHED in step.to:
            number += 1
            meet(number, step)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                take(Step("open", str(arguments[0])))
        elif event in _EVENTS:
            to = str(arguments[1]) if event in ("os.rename", "os.link") else ""
            take(Step(_EVENTS[event], _resolved(arguments[0], arguments[-1] if not to else -1), to))

    flush = os.fsync

    def fsync(descriptor: int) -> None:
        take(Step("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
        flush(descriptor)

    opened = io.open

    def watched_open(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        found = opened(file, mode, *arguments, **options)
        path = str(file)
        if WATCHED not in path or not isinstance(found, io.BufferedWriter):
            return found
        write = found.write

        def watched_write(data: Any) -> int:
            data = bytes(data)
            # Half of it first: a step that kills leaves a part of a file.
            half = write(data[: len(data) // 2])
            found.flush()
            take(Step("write", path, data=data))
            return half + write(data[half:])

        return _Written(found, watched_write)

    sys.addaudithook(hook)
    mock.patch.object(os, "fsync", fsync).start()
    mock.patch.object(io, "open", watched_open).start()
    mock.patch.object(builtins, "open", watched_open).start()


def _resolved(path: Any, folder: int) -> str:
    """Return a path that may be given as a name in an open folder, as who removes a tree does."""
    return str(path) if folder == -1 else f"{os.readlink(f'/proc/self/fd/{folder}')}/{path}"


class _Written:
    """A file whose writes are met."""

    def __init__(self, file: io.BufferedWriter, write: Callable[[Any], int]) -> None:
        self._file, self.write = file, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
