"""Packed batches: windows of samples become bins, and batches take consecutive bins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count, islice
from typing import Any

import numpy as np

from spanmask.loading.batches import Narrow, PackedBatch, SboTargets
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
            np.diff(self.block.input_offsets),
            np.diff(self.block.label_offsets),
            count_targets(self.block, recipe.rule).sbo,
        )
        names = Identified(self.block.document_ids, self.block.segments)
        self.bins: Bins = assign(*needs, capacities, identities=names)
        of_rows = np.stack((*needs, np.ones(len(self.rows), np.int64)), axis=1)
        self.used: Offsets = np.add.reduceat(of_rows[self.bins.members], self.bins.offsets[:-1], axis=0)


_Bin = tuple[_Window, int]


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
        width = self._recipe.config.batch_size
        bins = self._bins(position)

        def take() -> tuple[list[_Bin], list[_Bin]]:
            """Return the next bins, and the global batch that they make, if any."""
            taken = list(islice(bins, width * share.world))
            return taken, self._completed(taken, position.epoch, width * share.world)

        taken, whole = take()
        for number in count():
            if not whole:
                self.dropped += len(taken)
                return
            taken, following = take()
            if number >= first and (number - first) % step == 0:
                after = _before(taken[0], position.epoch) if following else Position(epoch=position.epoch + 1)
                yield self._deliver(whole, whole[share.rank * width : (share.rank + 1) * width], after)
            whole = following

    def _bins(self, position: Position) -> Iterator[_Bin]:
        """Yield the bins of an epoch from a position on."""
        for number in range(position.window, self._windows):
            window = self._window(position.epoch, number)
            for index in range(position.unit if number == position.window else 0, len(window.bins)):
                yield window, index

    def _completed(self, taken: list[_Bin], epoch: int, wanted: int) -> list[_Bin]:
        """Return the bins of a global batch; of the epoch's last one, those that the options have it hold, or none."""
        missing = wanted - len(taken) if taken else 0
        if missing and self._recipe.config.last is Last.DROP:
            return []
        if missing and self._recipe.config.last is Last.WRAP:
            while len(taken) < wanted:
                taken = taken + list(islice(self._bins(Position(epoch=epoch)), wanted - len(taken)))
        return taken

    def _deliver(self, whole: Sequence[_Bin], own: Sequence[_Bin], after: Position) -> Delivered:
        counts = _counts(own)
        overall = counts if len(own) == len(whole) else _counts(whole)
        return Delivered(batch=self._fill(own, whole[0][0]), after=after, counts=counts, overall=overall)

    def _fill(self, own: Sequence[_Bin], window: _Window) -> PackedBatch:
        """Write bins into a batch, each run of consecutive ones apart, and then together; no bins as an empty run of a window."""
        recipe = self._recipe
        runs = _runs(own)
        parts = []
        left = recipe.config.batch_size
        for index, (packed, first, stop) in enumerate(runs or [(window, 0, 0)]):
            wanted = left if index >= len(runs) - 1 else stop - first
            parts.append(
                fill(
                    packed.block,
                    packed.rows,
                    packed.datasets,
                    packed.bins.slice(first, stop),
                    bins_wanted=wanted,
                    capacities=self._capacities,
                    pad_id=recipe.special["pad"],
                    rule=recipe.rule,
                    engine=recipe.engine,
                )
            )
            left -= wanted
        return _joined(parts)


def _runs(bins: Sequence[_Bin]) -> list[tuple[_Window, int, int]]:
    """Return the runs of consecutive bins of one window: the window, its first bin, and the one after its last."""
    runs: list[tuple[_Window, int, int]] = []
    for window, index in bins:
        if runs and runs[-1][0] is window and runs[-1][2] == index:
            runs[-1] = (window, runs[-1][1], index + 1)
        else:
            runs.append((window, index, index + 1))
    return runs


def _before(bin_: _Bin, epoch: int) -> Position:
    window, index = bin_
    return Position(epoch=epoch, window=window.number, unit=index)


def _counts(bins: Sequence[_Bin]) -> Counts:
    totals = np.zeros(4, np.int64)
    for window, first, stop in _runs(bins):
        totals += window.used[first:stop].sum(axis=0)
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
