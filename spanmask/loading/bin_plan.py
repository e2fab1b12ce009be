"""Packed batches: windows of samples become bins, and batches take consecutive bins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import NamedTuple

import numpy as np

from spanmask.batches import PackedBatch
from spanmask.blocks import extra_tokens, join, offsets_of, select
from spanmask.errors import ShardError
from spanmask.loading.binning import Bins, Capacities, TargetSlots, assign
from spanmask.loading.capacities import masked_share
from spanmask.loading.config import Last
from spanmask.loading.packing import fill
from spanmask.loading.position import Position
from spanmask.loading.share import Counts, Delivered, Recipe, Share
from spanmask.loading.slots import name_of
from spanmask.loading.targets import count_targets
from spanmask.records import MaskedBlock, Offsets


def _places(recipe: Recipe, number: int) -> Offsets:
    """Return the places of a window's samples in an epoch."""
    size = recipe.config.window
    return np.arange(number * size, min((number + 1) * size, recipe.order.size))


class _Window:
    """Some consecutive samples of an epoch, packed.

    block: their S rows. datasets, rows: (S,). bins: which rows share one. used: (n + 1, 5) tokens, MLM targets, SBO targets, pairs and
    sequences of the bins before each, and of all.
    """

    def __init__(self, recipe: Recipe, capacities: Capacities, epoch: int, number: int) -> None:
        places = _places(recipe, number)
        self.number = number
        self.datasets, self.rows = recipe.order(epoch, places)
        self.block: MaskedBlock = recipe.reader.read(self.datasets, self.rows, epoch)
        tokens = self.block.input_ids.lengths
        self.bins: Bins = assign(tokens, capacities, name=lambda row: name_of(self.block, row))
        paired = extra_tokens(self.block)
        of_rows = (tokens, self.block.labels.lengths, count_targets(self.block, recipe.rule).sbo, paired)
        of_bins = [offsets_of(column[self.bins.members])[self.bins.offsets] for column in of_rows]
        self.used: Offsets = np.stack((*of_bins, self.bins.offsets), axis=1)


class _Run(NamedTuple):
    """The bins [first, stop) of a window."""

    window: _Window
    first: int
    stop: int


class BinPlan:
    """Packs windows of samples, and cuts the stream of bins into batches, each with the first of some slots that hold its targets.

    dropped: bins left out so far.
    """

    def __init__(self, recipe: Recipe, capacities: Capacities, slots: Sequence[TargetSlots]) -> None:
        self._recipe = recipe
        self._capacities = capacities
        self._slots = slots
        self._windows = -(-recipe.order.size // recipe.config.window)
        self._window = lru_cache(maxsize=2)(lambda epoch, number: _Window(recipe, capacities, epoch, number))
        self.dropped = 0

    def batches_left(self, _position: Position, _share: Share) -> None:
        """Return None: how many bins there are is known once all windows are packed."""
        return

    def batches_in(self, epoch: int, share: Share) -> int:
        """Return how many batches each rank has in an epoch, by packing its lengths."""
        recipe, bins = self._recipe, 0
        for number in range(self._windows):
            lengths = recipe.reader.lengths(*recipe.order(epoch, _places(recipe, number)))
            bins += len(assign(lengths, self._capacities))
        size = recipe.config.batch_size * share.world
        return bins // size if recipe.config.last is Last.DROP else -(-bins // size)

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

    def end(self, epoch: int) -> Position:
        """Return the position after all of an epoch that is still in it."""
        return Position(epoch=epoch, window=self._windows)

    def place_of(self, position: Position) -> int:
        """Return the place in its epoch of the first sample of a position's window."""
        return position.window * self._recipe.config.window

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
        batch = self._fill(own or [_Run(whole[0].window, 0, 0)], counts)
        return Delivered(batch=batch, after=after, counts=counts, overall=overall)

    def _fill(self, runs: list[_Run], counts: Counts) -> PackedBatch:
        """Write the bins of some windows into a batch."""
        recipe = self._recipe
        taken = [run.window.bins.slice(run.first, run.stop) for run in runs]
        bins, windows = taken[0], [run.window for run in runs]
        block, rows, datasets = windows[0].block, windows[0].rows, windows[0].datasets
        if len(runs) > 1:
            pairs = list(zip(windows, taken, strict=True))
            block = join([select(window.block, some.members) for window, some in pairs])
            rows = np.concatenate([window.rows[some.members] for window, some in pairs])
            datasets = np.concatenate([window.datasets[some.members] for window, some in pairs])
            sizes = np.concatenate([np.diff(some.offsets) for some in taken])
            bins = Bins(offsets=offsets_of(sizes), members=np.arange(len(rows)))
        return fill(
            block,
            rows,
            datasets,
            bins,
            bins_wanted=recipe.config.batch_size,
            capacities=self._capacities,
            slots=self._slots_for(counts, block, bins.members),
            pad_id=recipe.special["pad"],
            rule=recipe.rule,
            backend=recipe.backend,
        )

    def _slots_for(self, counts: Counts, block: MaskedBlock, members: Offsets) -> TargetSlots:
        """Return the first slots that hold so many targets; where none do, some row has more than its masking allows."""
        for slots in self._slots:
            if counts.mlm <= slots.mlm and counts.sbo <= slots.sbo:
                return slots
        share = max(masked_share(shards.manifest.config.masking) for shards in self._recipe.reader.datasets)
        tokens, masked = block.input_ids.lengths - 2, block.labels.lengths
        row = int(members[(masked - float(share) * tokens)[members].argmax()])
        raise ShardError(
            f"{name_of(block, row)} has {masked[row]} masked tokens of {tokens[row]}, more than its masking allows (FORMAT.md §6), and its "
            f"batch {counts.mlm}, more than {self._slots[-1].mlm}: run spanmask verify, and preshard the text again"
        )


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
    taken = [run.window.used[run.stop] - run.window.used[run.first] for run in runs]
    tokens, mlm, sbo, pairs, sequences = sum(taken, np.zeros(5, np.int64)).tolist()
    return Counts(tokens=tokens, mlm=mlm, sbo=sbo, sequences=sequences, pairs=pairs)
