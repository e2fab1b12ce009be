"""Rows by number, from several open datasets into one block: as stored, or masked anew for an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from spanmask.blocks import join, part, select, unpaired
from spanmask.errors import ConfigError, MismatchError
from spanmask.loading.backend import Backend
from spanmask.loading.shelves import CompiledShelf, Shelf
from spanmask.records import MaskedBlock, Offsets
from spanmask.shard.manifest import require_current
from spanmask.shard.reader import ShardSet
from spanmask.vocab import CASINGS

if TYPE_CHECKING:
    from spanmask.masking import Masker

#: Rows that are masked at once: what they need along the way stays in the processor's cache.
_MASKED_ROWS = 256


class Masks(StrEnum):
    """Which masks rows come with: those stored, or, for each epoch k, those that ``preshard --mask-epoch k`` would store."""

    STORED = "stored"
    FRESH = "fresh"


class RowReader:
    """Reads rows of datasets that share a vocabulary.

    Parameters
    ----------
    datasets
        Open splits.
    masks
        As stored, or fresh ones for each epoch.
    backend
        ``compiled`` copies rows with kernels, ``numpy`` without numba; the rows are the same.
    first_epoch
        The mask epoch whose masks epoch 0 has, where they are fresh; those of later epochs follow.

    Raises
    ------
    ConfigError
        No dataset is given, or nothing is masked in one.
    MismatchError
        The datasets have different vocabularies, or fresh masks are asked of one of an earlier format or other masking rules.
    """

    def __init__(self, datasets: Sequence[ShardSet], *, masks: Masks, backend: Backend, first_epoch: int = 0) -> None:
        self.datasets = tuple(datasets)
        self._masks, self._backend, self._first_epoch = masks, backend, first_epoch
        self._check()
        compiled = backend is Backend.COMPILED
        self._shelves = [CompiledShelf(shards) if compiled else Shelf(shards) for shards in self.datasets]
        self._masker = lru_cache(maxsize=2 * len(self.datasets))(self._make_masker)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(RowReader, masks=self._masks, backend=self._backend, first_epoch=self._first_epoch), (
            self.datasets,
        )

    @property
    def paired(self) -> bool:
        """Whether rows are, or may be, pairs of segments."""
        return any(shards.manifest.paired for shards in self.datasets)

    def read(self, datasets: Offsets, rows: Offsets, epoch: int) -> MaskedBlock:
        """Return rows in the order asked for. datasets, rows: (R,) which dataset, and which row of it.

        Raises
        ------
        ShardError
            A shard is damaged, or missing (`IncompleteShards`).
        """
        parts, places = [], []
        for number in range(len(self.datasets)):
            chosen = np.flatnonzero(datasets == number)
            if len(chosen):
                parts.append(self._read(number, rows[chosen], epoch))
                places.append(chosen)
        if self.paired:
            parts = [one if one.pairs is not None else replace(one, pairs=unpaired(len(one))) for one in parts]
        block = join(parts)
        return block if len(parts) == 1 else select(block, np.argsort(np.concatenate(places)))

    def lengths(self, datasets: Offsets, rows: Offsets) -> Offsets:
        """Return the tokens of rows, special ones included, (R,)."""
        lengths = np.empty(len(rows), np.int64)
        for number, shelf in enumerate(self._shelves):
            chosen = np.flatnonzero(datasets == number)
            lengths[chosen] = shelf.lengths(rows[chosen])
        return lengths

    def _read(self, number: int, rows: Offsets, epoch: int) -> MaskedBlock:
        fresh = self._masks is Masks.FRESH
        block = self._shelves[number].read(rows, whole=fresh)
        if not fresh:
            return block
        masker = self._masker(number, self._first_epoch + epoch)
        pieces = [
            part(block, first, min(first + _MASKED_ROWS, len(block))) for first in range(0, len(block), _MASKED_ROWS)
        ]
        masked = join([masker.remask(piece) for piece in pieces])
        return replace(masked, word_starts=None, annotations=None)

    def _make_masker(self, number: int, epoch: int) -> Masker:
        from spanmask.masking import Masker

        manifest = self.datasets[number].manifest
        counts = manifest.unigram
        unigram = None if counts is None else np.array(counts, np.int64)
        return Masker(replace(manifest.config.masking, mask_epoch=epoch), manifest.vocabulary, unigram)

    def _check(self) -> None:
        if not self.datasets:
            raise ConfigError("no dataset is given: give at least one")
        require_targets(self.datasets)
        first, *others = (shards.manifest.stated_vocabulary for shards in self.datasets)
        hashes = {known.sha256 for known in (first, *others)}
        if len(hashes) > 1:
            raise MismatchError(f"the datasets have {len(hashes)} vocabularies: give datasets that share one")
        for number, known in enumerate(others, start=1):
            if known.cased is not first.cased:
                raise MismatchError(
                    f"{self.datasets[0].root} is {CASINGS[first.cased]} and {self.datasets[number].root} {CASINGS[known.cased]}, by one "
                    "vocabulary: give datasets of one casing"
                )
        if self._masks is Masks.FRESH:
            for shards in self.datasets:
                require_current(shards.manifest, shards.root, "masking anew")


def require_targets(datasets: Sequence[ShardSet]) -> None:
    """Refuse a split in which nothing is masked: its loss would be a mean over nothing.

    Raises
    ------
    ConfigError
        There is one.
    """
    for shards in datasets:
        counts = shards.manifest.statistics[shards.split.name]
        if counts["masked_tokens"] == 0:
            raise ConfigError(
                f"{shards.root}: none of the {counts['tokens']:,} tokens of split {shards.split.name} is masked, so that there is "
                "nothing to learn from; preshard its text with longer sequences, or with --scheme token"
            )
