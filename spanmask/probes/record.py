"""RUN/probe.json: what a run was started with. Read without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from spanmask.config import fingerprint
from spanmask.errors import ConfigError, MismatchError
from spanmask.options import differing
from spanmask.probes.config import FinetuneConfig
from spanmask.probes.results import Named
from spanmask.train.record import read_record, versions

RECORD = "probe.json"
RECORD_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRun:
    """What a run was started with; fields are those of `spanmask.probes.results.Results`, config: how it fine-tunes."""

    task: str
    metric: str
    model: Named
    train: tuple[Named, ...]
    eval: tuple[Named, ...]
    protocol: Mapping[str, Any]
    config: FinetuneConfig

    def to_json(self) -> dict[str, Any]:
        """Return the parts as plain JSON values, with the versions of what computes."""
        told = {name: getattr(self, name) for name in ("task", "metric")}
        files = {name: [asdict(one) for one in getattr(self, name)] for name in ("train", "eval")}
        return {
            "version": RECORD_VERSION,
            **told,
            "model": asdict(self.model),
            **files,
            "protocol": dict(self.protocol),
            "config": self.config.to_json(),
            "versions": versions(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Build what `to_json` wrote."""
        return cls(
            task=content["task"],
            metric=content["metric"],
            model=Named(**content["model"]),
            train=tuple(Named(**one) for one in content["train"]),
            eval=tuple(Named(**one) for one in content["eval"]),
            protocol=dict(content["protocol"]),
            config=FinetuneConfig.from_json(content["config"]),
        )

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the run's figures but the seeds."""
        told = self.to_json()
        named = {name: told[name] for name in ("task", "metric", "model", "train", "eval", "protocol")}
        return {**named, **self.config.deciding}

    @property
    def digest(self) -> str:
        """The identity's SHA-256."""
        return fingerprint(self.identity)

    def require_same(self, other: ProbeRun, folder: Path) -> None:
        """Refuse to go on with a run as another.

        Raises
        ------
        MismatchError
            They differ in what decides figures.
        """
        require_unchanged(self.identity, other.identity, folder)


def require_unchanged(begun: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with a run where what decides its figures is not what it was.

    Raises
    ------
    MismatchError
        So it is.
    """
    unlike = [f"{name} was {was!r:.200}, is {held!r:.200}" for name, (was, held) in differing([begun, now])]
    if unlike:
        raise MismatchError(
            f"{folder}: the run differs: {'; '.join(unlike)}; resume it as it was begun, or give another folder"
        )


def read_probe_run(folder: str | Path) -> ProbeRun:
    """Return what a run was started with.

    Raises
    ------
    ConfigError
        There is none, or its file is damaged.
    """
    path = Path(folder) / RECORD
    if not path.exists():
        raise ConfigError(f"{folder}: no {RECORD} there, so it is no run; give the folder that spanmask probe wrote")
    return read_record(path, ProbeRun.from_json, by="spanmask probe", version=RECORD_VERSION)
