"""RUN/probe.json: what a boundary probe was started with; RUN/seed-K/readers.json: what it found of a model. Without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spanmask.config import fingerprint
from spanmask.probes.boundaries.config import BoundariesConfig
from spanmask.probes.boundaries.findings import Inside, scores_of
from spanmask.probes.record import RECORD, require_unchanged
from spanmask.probes.results import Named, Results, SeedResult
from spanmask.probes.writing import as_json
from spanmask.storage import make_folder, publish_bytes
from spanmask.train.record import read_record, versions

READERS = "readers.json"
TASK, METRIC = "boundaries", "saved"
_VERSION = 1

#: By what stands inside the spans, and by place, what `spanmask.probes.boundaries.findings.found_of` returns.
Found = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What a run was started with. models: in order. seeds: of each. dataset: its folder's name and fingerprint. protocol: the rest."""

    models: tuple[Named, ...]
    seeds: tuple[int, ...]
    dataset: Named
    protocol: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the figures, as plain JSON values; names of folders do not."""
        models = dict(zip(map(str, self.seeds), (one.sha256 for one in self.models), strict=True))
        return {"task": TASK, "models": models, "dataset": self.dataset.sha256, **self.protocol}

    @property
    def model(self) -> Named:
        """The models as one."""
        names = [one.name for one in self.models]
        digests = [one.sha256 for one in self.models]
        return self.models[0] if len(names) == 1 else Named(name=", ".join(names), sha256=fingerprint(digests))

    def results(self, found: Mapping[int, Found]) -> Results:
        """Return what was found by seed in the terms of every probe."""
        asked = {str(inside): fingerprint([self.dataset.sha256, inside, self.protocol]) for inside in Inside}
        return Results(
            task=TASK,
            model=self.model,
            train=(self.dataset,),
            eval=tuple(Named(name=name, sha256=digest) for name, digest in asked.items()),
            metric=METRIC,
            protocol=self.protocol,
            seeds=tuple(
                SeedResult(
                    seed=seed,
                    chosen={"model": model.name, "sha256": model.sha256},
                    scores={inside: scores_of(found[seed][inside]) for inside in asked},
                )
                for seed, model in zip(self.seeds, self.models, strict=True)
            ),
        )

    def begin(self, folder: Path, *, resume: bool) -> None:
        """Write RUN/probe.json, or go on with the run that it is of.

        Raises
        ------
        ConfigError
            Its file is damaged.
        MismatchError
            The run differs in what decides figures.
        StorageError
            The file system refused.
        """
        if resume:
            self._require_same(folder)
        told = {"version": _VERSION, "identity": self.identity, "models": [asdict(one) for one in self.models]}
        make_folder(folder)
        publish_bytes(folder / RECORD, as_json({**told, "dataset": asdict(self.dataset), "versions": versions()}))

    def _require_same(self, folder: Path) -> None:
        begun = read_record(folder / RECORD, lambda content: dict(content["identity"]), by="spanmask probe boundaries")
        require_unchanged(begun, json.loads(json.dumps(self.identity)), folder)


def begun_config(folder: str | Path) -> BoundariesConfig:
    """Return the options that decide figures as a run was started with them; the others have their defaults.

    Raises
    ------
    ConfigError
        There is no run, or its file is damaged.
    """

    def build(content: dict[str, Any]) -> BoundariesConfig:
        identity = content["identity"]
        known = {name: identity[name] for name in BoundariesConfig.option_names() if name in identity}
        return BoundariesConfig.of(**known, seeds=",".join(identity["models"]))

    return read_record(Path(folder) / RECORD, build, by="spanmask probe boundaries", version=_VERSION)


def write_found(folder: Path, seed: int, found: Found) -> None:
    """Write RUN/seed-K/readers.json.

    Raises
    ------
    StorageError
        The file system refused.
    """
    path = folder / f"seed-{seed}" / READERS
    make_folder(path.parent)
    publish_bytes(path, as_json({"version": _VERSION, "found": found}))


def read_found(folder: str | Path, seed: int) -> Found | None:
    """Return what was found of a seed's model; None where that is not done.

    Raises
    ------
    ConfigError
        The file is damaged.
    """
    path = Path(folder) / f"seed-{seed}" / READERS
    if not path.exists():
        return None
    advice = "remove it, and resume the run"
    return read_record(path, _checked, by="spanmask probe boundaries", version=_VERSION, advice=advice)


def _checked(content: dict[str, Any]) -> Found:
    found: Found = content["found"]
    for inside in Inside:
        scores_of(found[inside])
    return found
