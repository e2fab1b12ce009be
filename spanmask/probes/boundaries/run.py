"""Models and a dataset in, how well boundary states tell what is between them out: `probe`.

::

    RUN/probe.json             what the run was started with
    RUN/seed-K/readers.json    what was found of a model: every reader, by place and length
    RUN/results.json           the whole, as of every probe (`spanmask.probes.results`); what `spanmask probe compare` reads

The split is one that the models were not trained on. Of each model, boundary states are computed once with the inside masked and once with
the text put back; so are those of random weights. A reader of each is trained on most documents, chosen on some, and measured on others.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from spanmask.probes.boundaries.config import BoundariesConfig
from spanmask.probes.boundaries.ground import Ground
from spanmask.probes.boundaries.record import Begun, Found, read_found, write_found
from spanmask.probes.boundaries.watching import Watch
from spanmask.probes.record import RECORD
from spanmask.probes.results import RESULTS, Named, Results, write_results
from spanmask.probes.starting import Source
from spanmask.shard.reader import ShardSet, open_shards
from spanmask.train.claiming import claimed_run
from spanmask.train.run import threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a run found. results: in the terms of every probe. found: by seed, every reader's figures, by place and length."""

    results: Results
    found: Mapping[int, Found]


def probe(
    models: Sequence[Source],
    dataset: str | Path,
    config: BoundariesConfig,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    watch: Watch | None = None,
) -> Findings:
    """Measure how well boundary states of frozen encoders tell the first, last and inner tokens of held-out spans.

    Parameters
    ----------
    models
        What they are; several are trainings of one kind, a seed each.
    dataset
        What ``spanmask preshard`` wrote with the models' vocabulary.
    config
        Options.
    out
        The run's folder, if it is to be kept: new, or one to go on with.
    resume
        Go on where the run in the folder was ended.
    watch
        Told what happens.

    Raises
    ------
    ConfigError
        Options do not fit, a model or the dataset is none, or rows are longer than a model takes; the folder holds a run and is not to be
        resumed, or the reverse.
    MismatchError
        The dataset has another vocabulary than a model; of a run that goes on, something that decides figures is not what it was.
    ShardError
        A shard is damaged.
    StorageError
        The file system refused.
    """
    folder, numbers, watch = None if out is None else Path(out), config.numbers(len(models)), watch or Watch()
    with threads(config.threads), _claimed(folder, resume=resume):
        shards = _opened(dataset, config.split)
        ground = Ground(shards, config, watch)
        begun = Begun(
            models=tuple(map(ground.look, models)),
            seeds=numbers,
            dataset=_named(shards, dataset),
            protocol={**config.deciding, "split": shards.split.name},
        )
        if folder is not None:
            begun.begin(folder, resume=resume)
        watch.begun(ground.spans, len(models))
        found = {seed: _kept(folder, ground, model, seed) for seed, model in zip(numbers, models, strict=True)}
        results = begun.results(found)
        if folder is not None:
            write_results(folder, results)
    return Findings(results=results, found=found)


def _kept(folder: Path | None, ground: Ground, model: Source, seed: int) -> Found:
    """Return what is found of a model, which a folder keeps, and may have."""
    found = None if folder is None else read_found(folder, seed)
    if found is None:
        found = ground.found(model, seed)
        if folder is not None:
            write_found(folder, seed, found)
    return found


@contextmanager
def _claimed(folder: Path | None, *, resume: bool) -> Iterator[None]:
    """Be the only process that writes a run's folder, if there is one."""
    mine = [] if folder is None else [folder / RESULTS, *folder.glob("seed-*")]
    behind = [] if folder is None else [*mine, *folder.glob("seed-*/*")]
    with nullcontext() if folder is None else claimed_run(folder / RECORD, mine, behind, resume=resume):
        yield


def _opened(dataset: str | Path, split: str | None) -> ShardSet:
    """Return a split: the one that is wanted, or else held-out text, or where there is none, with a warning, what there is."""
    if split is not None:
        return open_shards(dataset, split)
    shards = open_shards(dataset)
    if "validation" in shards.manifest.splits:
        return open_shards(dataset, "validation")
    warnings.warn(
        f"{shards.root} has no validation split: spans are those of train, which a model may have been trained on; preshard with "
        "--holdout, or give a dataset that no model has seen",
        UserWarning,
        stacklevel=3,
    )
    return shards


def _named(shards: ShardSet, dataset: str | Path) -> Named:
    name = str(dataset).rstrip("/").rpartition("/")[2]
    return Named(name=f"{name or 'dataset'}, {shards.split.name}", sha256=shards.manifest.fingerprint)
