"""The stream of batches of one rank: datasets and options in, batches with the position after each out.

A global batch is a run of consecutive samples (or bins) of the stream; each rank takes its part of it, so the stream does not depend on how
many ranks, workers or samples a batch there are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from spanmask.loading.bin_plan import BinPlan
from spanmask.loading.binning import Capacities, TargetSlots
from spanmask.loading.capacities import choose_capacities, choose_slots, most_slots
from spanmask.loading.config import BatchLayout, LoadConfig
from spanmask.loading.fetching import Fetching, with_fetching
from spanmask.loading.order import Order, OrderKind, Source, resolve
from spanmask.loading.position import Position
from spanmask.loading.row_plan import READ_ROWS, RowPlan
from spanmask.loading.rows import Masks, RowReader
from spanmask.loading.share import Delivered, Recipe, Share
from spanmask.loading.targets import SboRule, resolve_rule
from spanmask.shard.cache import LIMIT_VARIABLE, shard_cache
from spanmask.shard.reader import ShardSet
from spanmask.shard.root import RemoteRoot

__all__ = ["Delivered", "Share", "Stream"]


class Stream:
    """The batches of one rank.

    Parameters
    ----------
    datasets
        Open splits that share a vocabulary.
    config
        Options.
    share
        Which part of each global batch is this rank's.

    Attributes
    ----------
    rule
        Which masked tokens are SBO targets; None: none.
    capacities, slots
        What a bin holds, and the usual P and Q of a batch and those that hold any batch; None and empty where batches are padded.

    Raises
    ------
    ConfigError
        Options that do not fit the datasets.
    MismatchError
        The datasets have different vocabularies.
    """

    def __init__(self, datasets: Sequence[ShardSet], config: LoadConfig, share: Share | None = None) -> None:
        self.config = config
        self.datasets = tuple(datasets)
        self.share = share or Share()
        backend = config.backend.resolved
        reader = RowReader(datasets, masks=config.masks, backend=backend, first_epoch=config.mask_epoch)
        kind = resolve(config.order, datasets)
        order = Order(
            [self._source(number, shards) for number, shards in enumerate(datasets)],
            seed=config.seed,
            kind=kind,
            shuffle_blocks=config.shuffle_blocks,
            weights=config.weights,
        )
        self.rule = resolve_rule(
            [shards.manifest.config.masking for shards in datasets],
            wanted=False if config.sbo is None and config.layout is not BatchLayout.PACKED else config.sbo,
            edges=config.edges,
            max_span_offset=config.max_span_offset,
        )
        special = self.datasets[0].manifest.stated_vocabulary.special.as_dict()
        longest = max(shards.manifest.config.sequence.max_tokens for shards in datasets)
        self.capacities: Capacities | None = None
        self.slots: tuple[TargetSlots, ...] = ()
        width = config.width
        if config.layout is BatchLayout.PACKED:
            width = longest if width is None else width
            self.capacities = config.capacities or _capacities(self.datasets, width)
            self.slots = _slots(self.datasets, self.rule, self.capacities, config.batch_size)
            width = self.capacities.tokens
        recipe = Recipe(
            reader=reader,
            order=order,
            config=config,
            width=width,
            rule=self.rule,
            backend=backend,
            special={name: special[name] or 0 for name in ("pad", "cls", "sep")},
        )
        self._plan: RowPlan | BinPlan = (
            RowPlan(recipe) if self.capacities is None else BinPlan(recipe, self.capacities, self.slots)
        )
        self._order, self._samples = order, order.size
        self._kind = kind
        self._warned = False

    def _source(self, number: int, shards: ShardSet) -> Source:
        """Return what order needs to know of a dataset, under the name that orders it."""
        source, name = Source.of(shards), self.config.order_key
        return source if name is None else replace(source, fingerprint=f"{name}/{number}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Stream, (self.datasets, self.config, self.share)

    @property
    def samples(self) -> int:
        """Samples of an epoch, on all ranks together."""
        return self._samples

    @property
    def knows_overall(self) -> bool:
        """Whether batches are delivered with the counts of those of all ranks."""
        return self.share.world == 1 or self.capacities is not None

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the stream, as plain JSON values: what a state is compared by."""
        config = self.config
        capacities = self.capacities
        return {
            "datasets": [Source.of(shards).fingerprint for shards in self.datasets],
            "seed": config.seed,
            "order": str(self._kind),
            "shuffle_blocks": config.shuffle_blocks,
            "weights": None if config.weights is None else list(config.weights),
            "order_key": config.order_key,
            "masks": str(config.masks),
            # None of the settings of a stream that was saved before there was one.
            "mask_epoch": config.mask_epoch or None,
            "layout": str(config.layout),
            "window": None if config.layout is BatchLayout.PADDED else config.window,
            "capacities": capacities and [capacities.tokens, capacities.sequences],
        }

    def batches(self, position: Position, *, first: int = 0, step: int = 1) -> Iterator[Delivered]:
        """Yield this rank's batches of an epoch, from a position to the epoch's end.

        Parameters
        ----------
        position
            Where to begin.
        first, step
            Yield the batch of this number, from 0, and then every ``step``-th: a worker's among as many.
        """
        if self.config.masks is Masks.STORED and position.epoch > 0 and not self._warned:
            self._warned = True
            warnings.warn(
                "stored masks are the same in every epoch; for new ones take masks='fresh'", UserWarning, stacklevel=2
            )
        batches = self._plan.batches(position, self.share, first=first, step=step)
        if all(isinstance(shards.root, Path) for shards in self.datasets):
            return batches
        self._warn_of_a_small_cache()
        span = max(self.config.window, READ_ROWS * self.share.world * step)
        place = self._plan.place_of(position)
        begin = partial(Fetching, self._order, self.datasets, position.epoch, place, span)
        return with_fetching(batches, begin, partial(self._read_before, position.epoch))

    def _warn_of_a_small_cache(self) -> None:
        remote = [shards for shards in self.datasets if isinstance(shards.root, RemoteRoot)]
        size, limit = sum(int(shards.split.shards.counts("bytes").sum()) for shards in remote), shard_cache().limit
        if size > limit and self._kind is not OrderKind.NONE:
            warnings.warn(
                f"the datasets in object stores have {size:,} bytes, and {limit:,} of copies are kept: with order {self._kind} shards are "
                f"fetched again and again; raise {LIMIT_VARIABLE}, or take order='none'",
                UserWarning,
                stacklevel=3,
            )

    def _read_before(self, epoch: int, delivered: Delivered) -> int:
        """Return the place in an epoch that a batch of it ends at."""
        return self._samples if delivered.after.epoch > epoch else self._plan.place_of(delivered.after)

    def batches_left(self, position: Position) -> int | None:
        """Return how many batches each rank has from a position to the epoch's end; None where only packing would tell."""
        return self._plan.batches_left(position, self.share)

    def batches_in(self, epoch: int) -> int:
        """Return how many batches each rank has in an epoch; where they are packed, this reads the lengths of all its rows."""
        if isinstance(self._plan, BinPlan):
            return self._plan.batches_in(epoch, self.share)
        return self._plan.batches_left(Position(epoch=epoch), self.share)

    def end(self, epoch: int) -> Position:
        """Return the position after all of an epoch that is still in it: no batch is left from there."""
        return self._plan.end(epoch)

    @property
    def dropped(self) -> int:
        """Samples, or bins, that ``last = drop`` left out at the ends of epochs so far."""
        return self._plan.dropped


def _statistics(datasets: Sequence[ShardSet]) -> list[dict[str, Any]]:
    return [shards.manifest.statistics[shards.split.name] for shards in datasets]


def _capacities(datasets: Sequence[ShardSet], tokens: int) -> Capacities:
    """Return capacities that suit every dataset."""
    chosen = [choose_capacities(statistics, tokens=tokens) for statistics in _statistics(datasets)]
    return max(chosen, key=lambda one: one.sequences)


def _slots(
    datasets: Sequence[ShardSet], rule: SboRule | None, capacities: Capacities, bins: int
) -> tuple[TargetSlots, TargetSlots]:
    """Return the usual slots of a batch, the largest that any of the datasets needs, and those that hold any batch."""
    most = most_slots([one.manifest.config.masking for one in datasets], rule, capacities, bins=bins)
    chosen = [choose_slots(statistics, rule, capacities, bins=bins) for statistics in _statistics(datasets)]
    mlm, sbo = max(one.mlm for one in chosen), max(one.sbo for one in chosen)
    return TargetSlots(mlm=min(mlm, most.mlm), sbo=min(sbo, most.sbo)), most
