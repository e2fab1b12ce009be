"""How far a run is, whoever is at it and wherever: from its plan and its receipts alone, without a lock and while it goes on."""

from __future__ import annotations

import json
import math
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError, IncompleteShards
from spanmask.folders import LOCK, is_locked
from spanmask.presharding.finding import STDIN
from spanmask.presharding.state import FOLDER, STDIN_FOLDER, RunState
from spanmask.shard.manifest import MANIFEST, Manifest, read_manifest

#: Seconds before the last receipt that the rate is taken over, and how many receipts of them at most.
_WINDOW, _MOST = 600.0, 256
#: Inputs that the command to go on with names one by one.
_NAMED = 8


class Stage(StrEnum):
    """Where a dataset stands."""

    FINISHED = "finished"
    #: All its units are done, and the manifest is still to be written.
    COMPLETE = "complete"
    #: A process of this host is at it.
    RUNNING = "running"
    #: None of this host is; one of another may be.
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a dataset is.

    tasks, done: of the plan, and how many of them are done. missing: numbers of the others. failed: units that were given up, with why.
    disk_bytes, disk_total: of the inputs, as they lie on disk. rate: of them a second, None where too few receipts tell. idle: seconds
    since the last receipt, None where there is none. go_on: the command that goes on. manifest: of a finished one, also where a run is
    replacing it.
    """

    stage: Stage
    manifest: Manifest | None = None
    tasks: int = 0
    missing: tuple[int, ...] = ()
    failed: Mapping[str, str]
    disk_bytes: int = 0
    disk_total: int = 0
    rate: float | None = None
    idle: float | None = None
    go_on: str = ""

    @property
    def done(self) -> int:
        """Tasks that are done."""
        return self.tasks - len(self.missing)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate."""
        return (self.disk_total - self.disk_bytes) / self.rate if self.rate else None


def status(folder: str | os.PathLike[str]) -> Status:
    """Return how far the dataset of a folder is; nothing is locked, and no shard is read.

    Raises
    ------
    ConfigError
        There is no dataset, and no run under way.
    ShardError
        The manifest is damaged.
    StorageError
        The file system refused.
    """
    state = RunState(Path(folder))
    plan = state.saved_plan()
    if plan is None:
        return _finished(state)
    try:
        return _under_way(state, plan)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"{folder}: the plan of its run is damaged, or another release's ({error}); the same preshard command tells more"
        ) from None


def _finished(state: RunState) -> Status:
    try:
        return Status(stage=Stage.FINISHED, manifest=read_manifest(state.out), failed={})
    except IncompleteShards:
        if not state.staged:
            raise ConfigError(
                f"{state.out}: no dataset, and no run under way; give the folder that `spanmask preshard --out` writes"
            ) from None
    return Status(stage=Stage.COMPLETE, failed={}, go_on=f"spanmask finalize {shlex.quote(str(state.out))}")


def _under_way(state: RunState, plan: Mapping[str, Any]) -> Status:
    done, failed = _Done(state, plan["tasks"]), state.failures()
    missing = tuple(number for number, known in enumerate(done.whole) if not known)
    stage = Stage.RUNNING if is_locked(state.folder / LOCK) else Stage.OPEN if missing else Stage.COMPLETE
    return Status(
        stage=stage,
        manifest=read_manifest(state.out) if (state.out / MANIFEST).exists() else None,
        tasks=len(done.whole),
        missing=missing,
        failed=failed,
        disk_bytes=sum(size for _, size in done.times),
        disk_total=sum(int(task[0]) for task in plan["tasks"]),
        rate=_rate(done.times),
        idle=max(time.time() - done.times[-1][0], 0) if done.times else None,
        go_on=_command(state.out, plan),
    )


class _Done:
    """What receipts say. whole: of each task whether it is done; times: when each receipt came, ascending, and its input bytes."""

    def __init__(self, state: RunState, tasks: Sequence[Any]) -> None:
        sizes, streamed = [int(task[0]) for task in tasks], [bool(task[1]) for task in tasks]
        self.times = list[tuple[float, int]]()
        units, all_ = [0] * len(tasks), [math.inf if many else 1 for many in streamed]
        for number, written, path in _receipts(state.receipts_folder):
            if number < len(tasks):
                # Of a task that is one unit the plan says all; a receipt is opened only where it is one of many.
                size, others = _told(path) if streamed[number] else (sizes[number], None)
                units[number] += 1
                all_[number] = all_[number] if others is None else others + 1
                self.times.append((written, size))
        self.whole = [there >= wanted for there, wanted in zip(units, all_, strict=True)]
        self.times.sort()


def _receipts(folder: Path) -> Iterator[tuple[int, float, Path]]:
    """Yield task, time and path of every receipt that is there; some may come or go meanwhile."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            task, _, rest = entry.name.partition("-")
            if task.isdecimal() and rest.endswith(".json"):
                with suppress(FileNotFoundError):
                    yield int(task), entry.stat().st_mtime, Path(entry.path)


def _told(path: Path) -> tuple[int, int | None]:
    """Return a receipt's input bytes and, of a streamed task's last unit, how many others there are."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        content = json.loads(path.read_bytes())
        return int(content["disk_bytes"]), content.get("blocks")
    return 0, None


def _rate(times: Sequence[tuple[float, int]]) -> float | None:
    """Return input bytes a second, from the last receipts: what the first of them stands for was done before it came."""
    recent = [one for one in times[-_MOST:] if one[0] >= times[-1][0] - _WINDOW]
    seconds = recent[-1][0] - recent[0][0] if len(recent) > 2 else 0.0
    return sum(size for _, size in recent[1:]) / seconds if seconds > 0 else None


def _command(out: Path, plan: Mapping[str, Any]) -> str:
    """Return the command line that goes on with a plan, as whoever planned it could have typed it."""
    spool = str(out.absolute() / FOLDER / STDIN_FOLDER)
    paths = [STDIN if file["path"].startswith(spool) else file["path"] for file in plan["files"]]
    words = (
        [
            *map(shlex.quote, paths),
        ]
        if len(paths) <= _NAMED
        else ["INPUT…"]
    )
    words += ["--out", shlex.quote(str(out))]
    for section in plan["config"].values():
        for name, value in section.items():
            values = _excluded(value, plan["exclusions"]) if name == "exclude" else value
            words += _flags(name, values)
    return " ".join(["spanmask preshard", *words])


def _excluded(stated: Sequence[str], paths: Sequence[str]) -> list[str]:
    return [f"{one.partition('=')[0]}={path}" for one, path in zip(stated, paths, strict=True)]


def _flags(name: str, value: Any) -> Iterator[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        yield flag if value else f"--un{name}"
        return
    for one in value if isinstance(value, list) else [value]:
        yield flag
        yield shlex.quote(str(one))
