"""What comes before any training: texts held against evaluation files, a vocabulary, and shards of each arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from spanmask.config import CorpusConfig
from spanmask.corpus.exclusion import read_exclusions
from spanmask.errors import ConfigError, IncompleteShards
from spanmask.escaping import counted
from spanmask.overlap.config import OverlapConfig
from spanmask.reproduction.arms import Arm
from spanmask.reproduction.cells import Cell
from spanmask.reproduction.grid import DATASET, TOKENIZER, Grid, Told

#: Fields of text files that a vocabulary is not made of.
_NO_TEXT = ("spans_field", "words_field", "keep", "exclude", "on_error", "max_document_bytes")


def look_for_overlap(grid: Grid, _cell: Cell) -> Told:
    """Refuse texts that share n-grams with evaluation files, but for documents that are left out."""
    evaluated = [path for probe in grid.plan.probes if probe.has_files for path in probe.evaluated]
    asked: dict[tuple[tuple[str, ...], tuple[str, ...]], Arm] = {}
    for arm in grid.plan.arms:
        asked.setdefault((grid.texts_of(arm), arm.preshard_config.corpus.exclude), arm)
    shared = [_shared(grid, arm, evaluated) for arm in asked.values()]
    return {"evaluated": evaluated, "shared": [found for found, _ in shared], "excluded": [out for _, out in shared]}


def _shared(grid: Grid, arm: Arm, evaluated: Sequence[str]) -> tuple[int, int]:
    """Return how many documents of an arm's texts share text with evaluation files, and how many of these are left out: all."""
    from spanmask.overlap.run import find_overlap

    corpus, texts = arm.preshard_config.corpus, grid.texts_of(arm)
    lists = read_exclusions(corpus)
    left: set[tuple[str, int]] | None = None
    found = set[tuple[str, int]]()
    for one in lists or (None,):
        looked = find_overlap(
            evaluated,
            texts,
            OverlapConfig(corpus=corpus),
            id_field=None if one is None else one.field,
            jobs=grid.jobs,
            on_progress=lambda size: grid.watch.progress("looking for shared text", size, None),
        )
        found = {(shared.file, shared.place) for shared in looked.found}
        kept = {
            (shared.file, shared.place)
            for shared in looked.found
            if one is None or (shared.id or "").encode() not in one.values
        }
        left = kept if left is None else left & kept
    if left:
        field = lists[0].field if lists else "FIELD"
        first, *more = evaluated
        command = " ".join(
            ["spanmask overlap", first, *texts, *(f"--eval {path}" for path in more), f"--ids {field}=overlap.txt"]
        )
        raise ConfigError(
            f"{counted(len(left), 'document')} of arm {arm.name}'s texts share text with what is evaluated on, and are not left out: "
            f'{command}, and then exclude = ["{field}=overlap.txt"] in [preshard] of the plan; FIELD is the one that names a document'
        )
    return len(found), len(found)


def train_entries(grid: Grid, cell: Cell) -> Told:
    """Train the vocabulary of all arms, on the first one's texts."""
    from spanmask.vocabularies.training import train_vocabulary

    config = grid.plan.vocabulary
    if config is None:
        raise ConfigError("the plan trains no vocabulary")
    first = grid.plan.arms[0]
    read = {
        name: first.preshard[name]
        for name in CorpusConfig.option_names()
        if name in first.preshard and name not in _NO_TEXT
    }
    corpus = config.corpus.changed(**read)
    trained = train_vocabulary(
        grid.texts_of(first),
        grid.place(cell) / TOKENIZER,
        replace(config, corpus=corpus),
        overwrite=True,
        on_progress=lambda progress: grid.watch.progress(progress.doing, progress.done, progress.total),
    )
    return {"entries": len(trained.vocabulary), "sha256": trained.vocabulary.sha256}


def write_shards(grid: Grid, cell: Cell) -> Told:
    """Preshard an arm; return what its splits hold, the share of tokens that is masked, and of which inputs they are."""
    from spanmask.presharding.run import preshard

    arm = grid.arm_of(cell)

    def on_progress(progress: Any) -> bool:
        grid.watch.progress("presharding", progress.disk_bytes, progress.disk_total)
        return grid.watch.stopping()

    try:
        manifest = preshard(
            grid.texts_of(arm),
            grid.place(cell) / DATASET,
            grid.preshard_config(arm),
            jobs=grid.jobs,
            on_progress=on_progress,
        )
    except IncompleteShards:
        if grid.watch.stopping():
            return None
        raise
    splits = {
        name: {
            "sequences": split.rows,
            "tokens": split.tokens,
            "masked": manifest.statistics[name]["masked_tokens"] / max(split.tokens, 1),
        }
        for name, split in manifest.splits.items()
    }
    if "validation" not in splits:
        raise ConfigError(f"arm {arm.name}: no document is held out; give a larger holdout, or more documents")
    inputs = [[one.name, one.sha256] for one in manifest.inputs]
    return {"fingerprint": manifest.fingerprint, "splits": splits, "inputs": inputs}
