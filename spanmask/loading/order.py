"""In which order samples come: a pure function of the datasets' fingerprints, the seed, the epoch and the place, in constant memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np

from spanmask.blocks import offsets_of
from spanmask.errors import ConfigError
from spanmask.loading.permutation import Permutation
from spanmask.records import Offsets
from spanmask.shard.reader import ShardSet
from spanmask.shard.schema import BATCH_ROWS

#: Bytes of shards above which `auto` reads by blocks: below, they stay in memory once read.
GLOBAL_LIMIT = 4 << 30

_MIXED_LIMIT = 1 << 31


class OrderKind(StrEnum):
    """How samples are shuffled.

    ``global``: any row may come anywhere. ``block``: blocks of 1,024 rows in any order, then the rows of some consecutive ones, so that
    reads are sequential. ``none``: as stored. ``auto``: ``block`` above `GLOBAL_LIMIT`, else ``global``.
    """

    AUTO = "auto"
    GLOBAL = "global"
    BLOCK = "block"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What order needs to know of a dataset.

    fingerprint: of its manifest, with the split. row_offsets, block_offsets: (shards + 1,) the row, and the block of up to 1,024 rows, with
    which each shard begins; a shard's last block alone may be short.
    """

    fingerprint: str
    row_offsets: Offsets
    block_offsets: Offsets

    @classmethod
    def of(cls, shards: ShardSet) -> Source:
        """Return the source that an open split is."""
        name = f"{shards.manifest.fingerprint}/{shards.split.name}"
        return cls(fingerprint=name, row_offsets=shards.row_offsets, block_offsets=shards.block_offsets)

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return int(self.row_offsets[-1])

    @property
    def blocks(self) -> int:
        """Blocks of all shards."""
        return int(self.block_offsets[-1])

    def first_rows(self, blocks: Offsets) -> Offsets:
        """Return the rows with which blocks begin, (n,)."""
        shard = np.searchsorted(self.block_offsets, blocks, side="right") - 1
        rows: Offsets = self.row_offsets[shard] + (blocks - self.block_offsets[shard]) * BATCH_ROWS
        return rows

    def sizes(self, blocks: Offsets) -> Offsets:
        """Return the rows of blocks, (n,)."""
        shard = np.searchsorted(self.block_offsets, blocks, side="right") - 1
        rows: Offsets = np.minimum(self.row_offsets[shard + 1] - self.first_rows(blocks), BATCH_ROWS)
        return rows


class BlockOrder:
    """One pass over a source in which blocks are permuted, and then the rows of each group of consecutive ones.

    Only the short blocks, at most one a shard, must be looked up; all else follows from the place.
    """

    def __init__(self, source: Source, shuffle_blocks: int, key: Any) -> None:
        self._source = source
        self._key = key
        self._width = shuffle_blocks
        self._blocks = Permutation(source.blocks, [key, "blocks"])
        last = source.block_offsets[1:] - 1
        missing = BATCH_ROWS - source.sizes(last)
        short = np.flatnonzero(missing)
        places = self._blocks.inverse(last[short])
        order = np.argsort(places)
        self._short_places = places[order]
        self._missing_before = offsets_of(missing[short][order])

    def __call__(self, places: Offsets) -> Offsets:
        """Return the rows at places, (n,)."""
        groups = self._groups_of(places)
        rows = np.empty(len(places), np.int64)
        for group in np.unique(groups).tolist():
            chosen = groups == group
            rows[chosen] = self._rows(group, places[chosen])
        return rows

    def _rows_before(self, blocks: Offsets) -> Offsets:
        """Return how many rows the first so many blocks of the permuted order have, (n,)."""
        rows: Offsets = blocks * BATCH_ROWS - self._missing_before[np.searchsorted(self._short_places, blocks)]
        return rows

    def _first_of(self, groups: Offsets) -> Offsets:
        return self._rows_before(np.minimum(groups * self._width, self._source.blocks))

    def _groups_of(self, places: Offsets) -> Offsets:
        """Return the group of each place, by bisection: were all blocks full it would be the lowest possible one."""
        size = self._width * BATCH_ROWS
        low = places // size
        high = (places + int(self._missing_before[-1])) // size
        while (low < high).any():
            middle = (low + high + 1) // 2
            starts_before = self._first_of(middle) <= places
            low, high = np.where(starts_before, middle, low), np.where(starts_before, high, middle - 1)
        return low

    def _rows(self, group: int, places: Offsets) -> Offsets:
        first, stop = self._first_of(np.array([group, group + 1])).tolist()
        blocks = self._blocks(np.arange(group * self._width, min((group + 1) * self._width, self._source.blocks)))
        offsets = offsets_of(self._source.sizes(blocks))
        inside = Permutation(stop - first, [self._key, "rows", group])(places - first)
        owner = np.searchsorted(offsets, inside, side="right") - 1
        rows: Offsets = self._source.first_rows(blocks)[owner] + inside - offsets[owner]
        return rows


class Order:
    """The order of the samples of every epoch.

    Parameters
    ----------
    sources
        The datasets.
    seed
        Picks one order among many.
    kind
        How samples are shuffled.
    shuffle_blocks
        With ``block``: blocks whose rows are shuffled together, 16 MB or so for every sixteen.
    weights
        How often an epoch takes each row of a dataset, on average; 1 by default. With 0.5, two epochs take each row once.

    Raises
    ------
    ConfigError
        There is nothing to order, or a number is out of range.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        seed: int,
        kind: OrderKind = OrderKind.GLOBAL,
        shuffle_blocks: int = 16,
        weights: Sequence[float] | None = None,
    ) -> None:
        _check(sources, shuffle_blocks, weights)
        self._sources = tuple(sources)
        self._seed = seed
        self._kind = kind
        self._shuffle_blocks = shuffle_blocks
        chosen = [1.0] * len(sources) if weights is None else list(weights)
        self._shares = [max(round(w * source.rows), 1) for w, source in zip(chosen, sources, strict=True)]
        self._pass = lru_cache(maxsize=4 * len(self._sources))(self._make_pass)
        if len(sources) > 1 and self.size >= _MIXED_LIMIT:
            raise ConfigError(
                f"an epoch of several datasets has {self.size:,} samples, more than {_MIXED_LIMIT:,}; lower their weights"
            )

    @property
    def size(self) -> int:
        """Samples of an epoch."""
        return sum(self._shares)

    def __call__(self, epoch: int, places: Offsets) -> tuple[Offsets, Offsets]:
        """Return the dataset and the row of the samples at places of an epoch, (n,) each, places in [0, size)."""
        datasets, counts = self._deal(places)
        rows = np.empty(len(places), np.int64)
        for number, source in enumerate(self._sources):
            chosen = np.flatnonzero(datasets == number)
            passes, within = np.divmod(epoch * self._shares[number] + counts[chosen], source.rows)
            for one in np.unique(passes).tolist():
                now = passes == one
                rows[chosen[now]] = self._pass(number, one)(within[now])
        return datasets, rows

    def _deal(self, places: Offsets) -> tuple[Offsets, Offsets]:
        """Return whose turn it is at places, and how often it was before: each dataset comes at equal distances among those after it."""
        datasets, counts = np.zeros(len(places), np.int64), places.copy()
        left, rest = np.arange(len(places)), self.size
        for number, share in enumerate(self._shares):
            at = counts[left]
            before = at * share // rest
            now = (at + 1) * share // rest > before
            datasets[left[now]] = number
            counts[left] = np.where(now, before, at - before)
            left, rest = left[~now], rest - share
        return datasets, counts

    def _make_pass(self, number: int, pass_number: int) -> Any:
        source = self._sources[number]
        key = ["order", source.fingerprint, self._seed, pass_number]
        if self._kind is OrderKind.BLOCK:
            return BlockOrder(source, self._shuffle_blocks, key)
        return Permutation(source.rows, key) if self._kind is OrderKind.GLOBAL else lambda places: places


def resolve(kind: OrderKind, datasets: Sequence[ShardSet]) -> OrderKind:
    """Return the kind that ``auto`` stands for."""
    if kind is not OrderKind.AUTO:
        return kind
    size = sum(int(dataset.split.shards.counts("bytes").sum()) for dataset in datasets)
    return OrderKind.BLOCK if size > GLOBAL_LIMIT else OrderKind.GLOBAL


def _check(sources: Sequence[Source], shuffle_blocks: int, weights: Sequence[float] | None) -> None:
    if not sources or any(source.rows == 0 for source in sources):
        raise ConfigError("there are no rows to load: give at least one dataset, each with rows in its split")
    if shuffle_blocks < 1:
        raise ConfigError(f"shuffle_blocks is {shuffle_blocks}: give 1 or more")
    if weights is not None and (len(weights) != len(sources) or not all(0 < weight <= 1000 for weight in weights)):
        raise ConfigError(
            f"weights are {list(weights)}: give one above 0, up to 1000, for each of {len(sources)} datasets",
            options=("weights",),
        )
