"""How far a run is, whoever is at it and wherever: from its plan and its receipts alone, without a lock and while it goes on."""

from __future__ import annotations

import json
import math
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spanmask.errors import ConfigError, IncompleteShards, MismatchError
from spanmask.folders import LOCK, is_locked
from spanmask.places import LocalPlace, Place, place_of
from spanmask.presharding.finding import STDIN
from spanmask.presharding.receipt import UNIT, unit_order
from spanmask.presharding.state import FAILED, FOLDER, PLAN, RECEIPTS, STDIN_FOLDER, unsealed
from spanmask.presharding.units import END
from spanmask.shard.manifest import MANIFEST, Manifest, read_manifest

_PLAN, _RECEIPTS, _FAILED = (f"{FOLDER}/{name}" for name in (PLAN, RECEIPTS, FAILED))
#: Seconds before the last receipt that the rate is taken over, and how many receipts of them at most; as many are opened.
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
    MismatchError
        The plan is damaged, or another release's.
    ShardError
        The manifest is damaged.
    StorageError
        The file system refused.
    """
    place, plan = place_of(folder), None
    with suppress(ConfigError):
        plan = unsealed(place.read(_PLAN)) or {}
    return _finished(place, os.fspath(folder)) if plan is None else _under_way(place, os.fspath(folder), plan)


def _finished(place: Place, folder: str) -> Status:
    try:
        return Status(stage=Stage.FINISHED, manifest=read_manifest(folder), failed={})
    except IncompleteShards:
        if place.size(f"{FOLDER}/{MANIFEST}") is None:
            raise ConfigError(
                f"{folder}: no dataset, and no run under way; give the folder that `spanmask preshard --out` writes"
            ) from None
    # Killed between its last shard and its manifest's place.
    return Status(stage=Stage.COMPLETE, failed={}, go_on=_finalize(folder))


def _under_way(place: Place, folder: str, plan: Mapping[str, Any]) -> Status:
    try:
        done, go_on = _Done(place, plan["tasks"]), _command(place, folder, plan)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise MismatchError(
            f"{folder}: the plan of its run is damaged, or another release's ({error!r}); the same preshard command tells more"
        ) from None
    missing = tuple(number for number, known in enumerate(done.whole) if not known)
    locked = isinstance(place, LocalPlace) and is_locked(place.folder / FOLDER / LOCK)
    return Status(
        stage=Stage.RUNNING if locked else Stage.OPEN if missing else Stage.COMPLETE,
        manifest=None if place.size(MANIFEST) is None else read_manifest(folder),
        tasks=len(done.whole),
        missing=missing,
        failed=_failures(place, set(missing)),
        disk_bytes=done.disk_bytes,
        disk_total=sum(int(task[0]) for task in plan["tasks"]),
        rate=_rate(done.times),
        idle=max(time.time() - done.times[-1][0], 0) if done.times else None,
        go_on=go_on if missing else _finalize(folder),
    )


def _finalize(folder: str) -> str:
    return f"spanmask finalize {shlex.quote(folder)}"


class _Done:
    """What receipts say: of a task that is one unit by their names alone, of others by that of its end, which tells how many there are.

    whole: of each task whether it is done. disk_bytes: of the inputs. times: when each receipt came, ascending, and about its input bytes.
    """

    def __init__(self, place: Place, tasks: Sequence[Any]) -> None:
        sizes, wanted = [int(task[0]) for task in tasks], [math.inf if task[1] else 1 for task in tasks]
        units, found = [0] * len(tasks), list[tuple[float, int, str]]()
        for name, written in place.times(_RECEIPTS).items():
            task, _, rest = name.rpartition("/")[2].partition("-")
            if task.isdecimal() and rest.endswith(".json") and int(task) < len(tasks):
                number = int(task)
                units[number] += 1
                found.append((written, number, name))
                if rest == f"{END}.json":
                    wanted[number] = _json(place, name).get("blocks", math.inf) + 1
        found.sort()
        self.whole = [there >= all_ for there, all_ in zip(units, wanted, strict=True)]
        begun = _block_bytes(place, [name for _, number, name in found if not self.whole[number]])
        self.disk_bytes = sum(size for size, whole in zip(sizes, self.whole, strict=True) if whole) + int(sum(begun))
        next_begun = iter(begun)
        self.times = [
            (written, sizes[number] / units[number] if self.whole[number] else next(next_begun))
            for written, number, _ in found
        ]


def _block_bytes(place: Place, names: Sequence[str]) -> list[float]:
    """Return the input bytes of units of tasks that are not whole: of the last ones as receipts say, of earlier ones what is usual."""
    told = [float(_json(place, name).get("disk_bytes", 0)) for name in names[-_MOST:]]
    usual = sum(told) / max(1, len(told))
    return [usual] * (len(names) - len(told)) + told


def _json(place: Place, name: str) -> dict[str, Any]:
    """Return a file's content, nothing where it went meanwhile or is damaged."""
    with suppress(ConfigError, ValueError):
        content = json.loads(place.read(name))
        return content if isinstance(content, dict) else {}
    return {}


def _failures(place: Place, missing: Set[int]) -> dict[str, str]:
    """Return the units of tasks that are missing that were given up, with the reasons: a task may have been done since."""
    found = {name.rpartition("/")[2].removesuffix(".json"): name for name in place.times(_FAILED)}
    return {
        unit: str(_json(place, name).get("reason", "not known"))
        for unit, name in sorted(found.items())
        if UNIT.fullmatch(unit) and unit_order(unit)[0] in missing
    }


def _rate(times: Sequence[tuple[float, float]]) -> float | None:
    """Return input bytes a second, from the last receipts: what the first of them stands for was done before it came."""
    recent = [one for one in times[-_MOST:] if one[0] >= times[-1][0] - _WINDOW]
    seconds = recent[-1][0] - recent[0][0] if len(recent) > 2 else 0.0
    return sum(size for _, size in recent[1:]) / seconds if seconds > 0 else None


def _command(place: Place, folder: str, plan: Mapping[str, Any]) -> str:
    """Return the command line that goes on with a plan, as whoever planned it could have typed it."""
    spool = str(place.folder.absolute() / FOLDER / STDIN_FOLDER) if isinstance(place, LocalPlace) else folder
    paths = [STDIN if file["path"].startswith(spool) else shlex.quote(file["path"]) for file in plan["files"]]
    words = paths if len(paths) <= _NAMED else ["INPUT…"]
    words += ["--out", shlex.quote(folder)]
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
