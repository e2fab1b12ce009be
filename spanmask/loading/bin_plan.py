"""Packed batches: windows of samples become bins, and batches take consecutive bins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from spanmask.batches import Narrow, PackedBatch, SboTargets
from spanmask.loading.binning import Bins, Capacities, Identified, assign
from spanmask.loading.config import Last
from spanmask.loading.packing import fill
from spanmask.loading.position import Position
from spanmask.loading.share import Counts, Delivered, Recipe, Share
from spanmask.loading.targets import count_targets
from spanmask.records import MaskedBlock, Offsets


class _Window:
    """Some consecutive samples of an epoch, packed.

    block: their S rows. datasets, rows: (S,). bins: which rows share one. used: (n, 4) tokens, MLM targets, SBO targets and sequences of
    each bin.
    """

    def __init__(self, recipe: Recipe, capacities: Capacities, epoch: int, number: int) -> None:
        size = recipe.config.window
        places = np.arange(number * size, min((number + 1) * size, recipe.order.size))
        self.number = number
        self.datasets, self.rows = recipe.order(epoch, places)
        self.block: MaskedBlock = recipe.reader.read(self.datasets, self.rows, epoch)
        needs = (
            self.block.input_ids.lengths,
            self.block.labels.lengths,
            count_targets(self.block, recipe.rule).sbo,
        )
        names = Identified(self.block.document_ids, self.block.segments)
        self.bins: Bins = assign(*needs, capacities, identities=names)
        of_rows = np.stack((*needs, np.ones(len(self.rows), np.int64)), axis=1)
        self.used: Offsets = np.add.reduceat(of_rows[self.bins.members], self.bins.offsets[:-1], axis=0)


class _Run(NamedTuple):
    """The bins [first, stop) of a window."""

    window: _Window
    first: int
    stop: int


class BinPlan:
    """Packs windows of samples, and cuts the stream of bins into batches. dropped: bins left out so far."""

    def __init__(self, recipe: Recipe, capacities: Capacities) -> None:
        self._recipe = recipe
        self._capacities = capacities
        self._windows = -(-recipe.order.size // recipe.config.window)
        self._window = lru_cache(maxsize=2)(lambda epoch, number: _Window(recipe, capacities, epoch, number))
        self.dropped = 0

    def batches_left(self, _position: Position, _share: Share) -> None:
        """Return None: how many bins there are is known once all windows are packed."""
        return

    def batches(self, position: Position, share: Share, *, first: int, step: int) -> Iterator[Delivered]:
        """Yield one rank's batches from a position to the epoch's end: that of number ``first``, and every ``step``-th from there."""
        epoch, width = position.epoch, self._recipe.config.batch_size
        drops = self._recipe.config.last is Last.DROP
        runs, position = self._take(position, width * share.world)
        for number in count():
            if not runs or (drops and _size(runs) < width * share.world):
                self.dropped += _size(runs)
                return
            following, beyond = self._take(position, width * share.world)
            if number >= first and (number - first) % step == 0:
                ends = not following or (drops and _size(following) < width * share.world)
                yield self._deliver(
                    self._whole(runs, epoch, share), share, Position(epoch=epoch + 1) if ends else position
                )
            runs, position = following, beyond

    def _take(self, position: Position, wanted: int) -> tuple[list[_Run], Position]:
        """Return as many bins as are wanted, or are left of the epoch, from a position on, and the position after them."""
        runs, number, first = [], position.window, position.unit
        while wanted and number < self._windows:
            window = self._window(position.epoch, number)
            stop = min(first + wanted, len(window.bins))
            if first < stop:
                runs.append(_Run(window, first, stop))
                wanted -= stop - first
            number, first = (number, stop) if stop < len(window.bins) else (number + 1, 0)
        return runs, Position(epoch=position.epoch, window=number, unit=first)

    def _whole(self, runs: list[_Run], epoch: int, share: Share) -> list[_Run]:
        """Return the bins of a global batch, an epoch's last one filled up where it wraps."""
        if self._recipe.config.last is Last.WRAP:
            missing = self._recipe.config.batch_size * share.world - _size(runs)
            while missing > 0:
                first, _ = self._take(Position(epoch=epoch), missing)
                runs = [*runs, *first]
                missing -= _size(first)
        return runs

    def _deliver(self, whole: list[_Run], share: Share, after: Position) -> Delivered:
        width = self._recipe.config.batch_size
        own = _cut(whole, share.rank * width, (share.rank + 1) * width)
        counts = _counts(own)
        overall = counts if share.world == 1 else _counts(whole)
        return Delivered(
            batch=self._fill(own or [_Run(whole[0].window, 0, 0)]), after=after, counts=counts, overall=overall
        )

    def _fill(self, runs: list[_Run]) -> PackedBatch:
        """Write bins into a batch, each run apart, and then together; the last one makes up for bins that are missing."""
        recipe = self._recipe
        missing = recipe.config.batch_size - _size(runs)
        parts = [
            fill(
                run.window.block,
                run.window.rows,
                run.window.datasets,
                run.window.bins.slice(run.first, run.stop),
                bins_wanted=run.stop - run.first + (missing if run is runs[-1] else 0),
                capacities=self._capacities,
                pad_id=recipe.special["pad"],
                rule=recipe.rule,
                engine=recipe.engine,
            )
            for run in runs
        ]
        return _joined(parts)


def _size(runs: Sequence[_Run]) -> int:
    return sum(run.stop - run.first for run in runs)


def _cut(runs: Sequence[_Run], start: int, stop: int) -> list[_Run]:
    """Return the bins [start, stop) of runs that lie one after another."""
    found, before = [], 0
    for run in runs:
        first, last = max(start - before, 0) + run.first, min(stop - before + run.first, run.stop)
        if first < last:
            found.append(_Run(run.window, first, last))
        before += run.stop - run.first
    return found


def _counts(runs: Sequence[_Run]) -> Counts:
    totals = np.zeros(4, np.int64)
    for run in runs:
        totals += run.window.used[run.first : run.stop].sum(axis=0)
    tokens, mlm, sbo, sequences = totals.tolist()
    return Counts(tokens=tokens, mlm=mlm, sbo=sbo, sequences=sequences)


def _joined(parts: Sequence[PackedBatch]) -> PackedBatch:
    """Return bins of several batches as one batch."""
    if len(parts) == 1:
        return parts[0]

    def stacked(name: str, of: Sequence[Any]) -> Any:
        return np.concatenate([getattr(one, name) for one in of])

    names = ("input_ids", "sequence_index", "positions", "mlm_positions", "mlm_labels", "sequences", "rows", "datasets")
    targets = [one.sbo for one in parts]
    sbo = SboTargets(**{name: stacked(name, targets) for name in ("left", "right", "offsets", "labels")})
    return PackedBatch(**{name: stacked(name, parts) for name in names}, sbo=sbo, cu_seqlens=_joined_bounds(parts))


def _joined_bounds(parts: Sequence[PackedBatch]) -> Narrow:
    """Return ``cu_seqlens`` of bins put one after another: where sequences start, and the end repeated."""
    starts, before = [], 0
    for one in parts:
        end = one.input_ids.size
        starts.append(one.cu_seqlens[: np.searchsorted(one.cu_seqlens, end)] + before)
        before += end
    bounds = np.full(sum(len(one.cu_seqlens) - 1 for one in parts) + 1, before, np.int32)
    found = np.concatenate(starts)
    bounds[: len(found)] = found
    return bounds
