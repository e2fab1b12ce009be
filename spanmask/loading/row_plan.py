"""Padded batches: which samples each takes, and reading them some batches at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import islice

import numpy as np

from spanmask.batches import PaddedBatch
from spanmask.blocks import block_of, borders_of, offsets_of, part, unpaired
from spanmask.loading.config import BatchLayout, Last
from spanmask.loading.padding import pad
from spanmask.loading.permutation import Permutation
from spanmask.loading.position import Position
from spanmask.loading.share import Counts, Delivered, Recipe, Share
from spanmask.loading.targets import count_targets
from spanmask.records import MaskedBlock, Offsets

#: Rows read at once: for fewer, calls would take longer than the work.
READ_ROWS = 4096
#: Samples of about one length that stay together when a window is shuffled.
_BUCKET = 64


class RowPlan:
    """Cuts the stream of samples into batches. dropped: samples left out so far."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._size = recipe.order.size
        self._bucketed = recipe.config.layout is BatchLayout.BUCKETED
        self._window = lru_cache(maxsize=2)(self._make_window)
        self.dropped = 0

    def batches_left(self, position: Position, share: Share) -> int:
        """Return how many batches each rank has to the epoch's end."""
        left = max(self._size - self.place_of(position), 0)
        whole = self._recipe.config.batch_size * share.world
        return left // whole if self._recipe.config.last is Last.DROP else -(-left // whole)

    def batches(self, position: Position, share: Share, *, first: int, step: int) -> Iterator[Delivered]:
        """Yield one rank's batches from a position to the epoch's end: that of number ``first``, and every ``step``-th from there."""
        begin, count = self.place_of(position), self.batches_left(position, share)
        width = self._recipe.config.batch_size
        numbers = iter(range(first, count, step))
        while chunk := list(islice(numbers, max(READ_ROWS // width, 1))):
            starts = begin + (np.array(chunk) * share.world + share.rank) * width
            places = starts[:, None] + np.arange(width)
            wanted = places if self._recipe.config.last is not Last.WRAP else places % self._size
            there = wanted < self._size
            datasets, rows = self._samples(position.epoch, wanted[there])
            block = self._recipe.reader.read(datasets, rows, position.epoch) if len(rows) else None
            bounds = offsets_of(there.sum(axis=1)).tolist()
            for number, low, high in zip(chunk, bounds, bounds[1:], strict=False):
                consumed = min(begin + (number + 1) * width * share.world, self._size)
                ends = number == count - 1
                after = Position(epoch=position.epoch + 1) if ends else self._position(position.epoch, consumed)
                yield self._deliver(block, datasets[low:high], rows[low:high], (low, high), after)
        if self._recipe.config.last is Last.DROP:
            self.dropped += self._size - begin - count * width * share.world

    def _deliver(
        self, block: MaskedBlock | None, datasets: Offsets, rows: Offsets, bounds: tuple[int, int], after: Position
    ) -> Delivered:
        recipe = self._recipe
        chosen = self._none if block is None else part(block, *bounds)
        batch: PaddedBatch = pad(
            chosen,
            rows,
            datasets,
            rows_wanted=recipe.config.batch_size,
            width=recipe.width,
            pad_id=recipe.special["pad"],
            cls_id=recipe.special["cls"],
            sep_id=recipe.special["sep"],
            rule=recipe.rule,
            backend=recipe.backend,
        )
        sbo = 0 if recipe.rule is None else int(count_targets(chosen, recipe.rule).sbo.sum())
        counts = Counts(
            tokens=len(chosen.input_ids.values),
            mlm=len(chosen.labels.values),
            sbo=sbo,
            sequences=len(chosen),
            pairs=int(np.count_nonzero(borders_of(chosen))),
        )
        return Delivered(batch=batch, after=after, counts=counts)

    @property
    def _none(self) -> MaskedBlock:
        """A block without rows, with the columns of the others."""
        none = block_of([])
        return replace(none, pairs=unpaired(0)) if self._recipe.reader.paired else none

    def place_of(self, position: Position) -> int:
        """Return the place in its epoch of the sample that is next at a position."""
        return position.window * self._recipe.config.window + position.unit

    def end(self, epoch: int) -> Position:
        """Return the position after all of an epoch that is still in it."""
        return self._position(epoch, self._size)

    def _position(self, epoch: int, consumed: int) -> Position:
        if not self._bucketed:
            return Position(epoch=epoch, unit=consumed)
        window, unit = divmod(consumed, self._recipe.config.window)
        return Position(epoch=epoch, window=window, unit=unit)

    def _samples(self, epoch: int, places: Offsets) -> tuple[Offsets, Offsets]:
        """Return the datasets and rows of the samples at places of an epoch."""
        if not self._bucketed:
            return self._recipe.order(epoch, places)
        windows, inside = np.divmod(places, self._recipe.config.window)
        found = np.empty((2, len(places)), np.int64)
        for window in np.unique(windows).tolist():
            chosen = windows == window
            found[:, chosen] = self._window(epoch, window)[:, inside[chosen]]
        return found[0], found[1]

    def _make_window(self, epoch: int, window: int) -> Offsets:
        """Return the datasets and rows (2, n) of a window: sorted by length, and buckets of neighbours shuffled."""
        size = self._recipe.config.window
        places = np.arange(window * size, min((window + 1) * size, self._size))
        datasets, rows = self._recipe.order(epoch, places)
        by_length = np.argsort(self._recipe.reader.lengths(datasets, rows), kind="stable")
        whole = len(places) // _BUCKET
        key = ["buckets", self._recipe.config.seed, epoch, window]
        shuffled = (Permutation(whole, key)(np.arange(whole))[:, None] * _BUCKET + np.arange(_BUCKET)).ravel()
        chosen = by_length[np.concatenate((shuffled, np.arange(whole * _BUCKET, len(places))))]
        return np.stack((datasets[chosen], rows[chosen]))
