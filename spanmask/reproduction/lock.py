"""DIR/grid.lock: what a grid was begun with, and how far every arm is trained; all cells obey it, whoever does them.

JSON: ``plan`` as it was read, ``name``, ``texts``, ``versions``; once it is known, ``schedule``: see `Schedule`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from spanmask.config import fingerprint
from spanmask.errors import MismatchError
from spanmask.options import differing
from spanmask.storage import publish_bytes
from spanmask.train.record import read_record, versions

LOCK = "grid.lock"
_VERSION = 1
#: Options that machines which share a grid may have otherwise: they decide no figure that is compared.
_FREE = ("threads", "device", "compile", "mmap", "bins", "save_every", "save_minutes", "log_every")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How far arms are trained.

    tokens: of each training that has as many as others. budget: the minutes that were turned into them, None where tokens were given.
    updates: by arm. update_tokens: by arm, of an update, on average of the first ones. seconds: by arm, of a token, as measured once; empty
    where nothing asked for that. same_start: by arm, of how many of its tensors the initial weights are those of the arm it is held
    against, and how many both have.
    """

    tokens: int
    updates: Mapping[str, int]
    update_tokens: Mapping[str, float]
    budget: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    same_start: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build what the lock file has."""
        start = {name: (int(same), int(both)) for name, (same, both) in content["same_start"].items()}
        return cls(**{**content, "same_start": start})


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLock:
    """What the file says. plan: the plan's content. budget: minutes that were asked for beside the plan. texts: as they were given."""

    name: str
    plan: Mapping[str, Any]
    texts: tuple[str, ...]
    budget: float | None = None
    schedule: Schedule | None = None
    versions: Mapping[str, str] = field(default_factory=versions)

    @property
    def digest(self) -> str:
        """What names the grid: the plan's SHA-256, but for what may differ."""
        return fingerprint(self._deciding)

    @property
    def _deciding(self) -> dict[str, Any]:
        """What the plan says that decides figures, flat."""
        return {key: value for key, value in _flat(self.plan) if not _is_free(key)}

    def write(self, folder: Path) -> None:
        """Write DIR/grid.lock, whole or not at all.

        Raises
        ------
        StorageError
            The file system refused.
        """
        content = {"version": _VERSION, **asdict(self), "texts": list(self.texts)}
        publish_bytes(folder / LOCK, json.dumps(content, indent=2, sort_keys=True).encode() + b"\n")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return what the file says; None where there is none.

        Raises
        ------
        ConfigError
            It is damaged.
        """
        if not (folder / LOCK).exists():
            return None
        advice = "put it back as it was, or begin in another folder"
        return read_record(folder / LOCK, cls._of, by="spanmask reproduce", version=_VERSION, advice=advice)

    @classmethod
    def _of(cls, content: dict[str, Any]) -> Self:
        schedule = content["schedule"]
        return cls(
            name=content["name"],
            plan=dict(content["plan"]),
            texts=tuple(content["texts"]),
            budget=content["budget"],
            schedule=None if schedule is None else Schedule.from_json(schedule),
            versions=dict(content["versions"]),
        )

    def require_same(self, other: GridLock, folder: Path) -> None:
        """Refuse to go on with a grid as another.

        Raises
        ------
        MismatchError
            Their plans differ in what decides figures, or another budget is asked for.
        """
        differences = differing([self._deciding, other._deciding])
        unlike = [f"{name} was {was!r:.100}, is {held!r:.100}" for name, (was, held) in differences]
        begun = self.plan.get("budget") if self.budget is None else self.budget
        if other.budget is not None and other.budget != begun:
            unlike.append(f"budget was {begun}, is {other.budget:g}")
        if unlike:
            raise MismatchError(
                f"{folder}: its grid was begun with another plan: {'; '.join(unlike)}; give that one, or another --out"
            )


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of tables, a table's names parted by dots."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _is_free(key: str) -> bool:
    return key == "texts" or key.rpartition(".")[2] in _FREE
