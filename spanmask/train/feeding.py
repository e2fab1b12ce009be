"""The stream's batches gathered into optimizer steps, whose counts are known before any of them is computed, and sent to the device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spanmask.batches import PackedBatch
from spanmask.loading.padding import as_bins
from spanmask.loading.position import Position
from spanmask.loading.prefetching import Ahead
from spanmask.loading.share import Counts, Delivered
from spanmask.loading.stream import Stream
from spanmask.loading.torch_dataset.tensors import Transfer
from spanmask.model.inputs import PackedTensors, packed_tensors
from spanmask.model.loss import objective_scales
from spanmask.train.distributed import World

#: Steps that are made ahead of the one under way.
_AHEAD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBatches:
    """An optimizer step's micro-batches on one rank.

    scales: (3,) float32 on the device, of `objective_scales` by the counts of the whole step. overall: those counts, of all micro-batches
    and ranks. own: of this rank; squares: the sum of the squares of its sequences' lengths. before, after: where the stream stands.
    """

    batches: tuple[PackedTensors, ...]
    scales: Tensor
    overall: Counts
    own: Counts
    squares: int
    before: Position
    after: Position


def step_batches(
    stream: Stream,
    position: Position,
    *,
    accumulate: int,
    sbo_weight: float,
    device: torch.device,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[StepBatches]:
    """Yield steps from a position on, without end, made ahead by a thread that ends when the generator is closed.

    A step has as many micro-batches as are to be accumulated. The last one of an epoch may have fewer, so that the steps of any division
    of the same bins into ranks and micro-batches are the same. stopping: asked while none is ready; they end where it says so.
    """
    transfer = Transfer(device)

    def make() -> Iterator[tuple[StepBatches, torch.cuda.Event | None]]:
        before = position
        for group in _groups(stream, position, accumulate):
            yield _begun(group, before, transfer, sbo_weight)
            before = group[-1].after

    ahead = Ahead(make, _AHEAD, stopping)
    try:
        for step, copied in ahead:
            transfer.finish((step.batches, step.scales), copied)
            yield step
    finally:
        ahead.close()


def _groups(stream: Stream, position: Position, accumulate: int) -> Iterator[list[Delivered]]:
    while True:
        group: list[Delivered] = []
        for delivered in stream.batches(position):
            group.append(delivered)
            if len(group) == accumulate or delivered.after.epoch > position.epoch:
                yield group
                group = []
        position = Position(epoch=position.epoch + 1)


def _begun(
    group: list[Delivered], before: Position, transfer: Transfer, sbo_weight: float
) -> tuple[StepBatches, torch.cuda.Event | None]:
    """Return a step on its way to the device, and what follows its copy."""
    overall = _total([one.overall or one.counts for one in group])
    batches = [one.batch if isinstance(one.batch, PackedBatch) else as_bins(one.batch) for one in group]
    (moved, scales), copied = transfer.begin(
        (
            tuple(packed_tensors(batch) for batch in batches),
            objective_scales(overall.mlm, overall.sbo, overall.pairs, sbo_weight=sbo_weight).float(),
        )
    )
    step = StepBatches(
        batches=moved,
        scales=scales,
        overall=overall,
        own=_total([one.counts for one in group]),
        squares=sum(map(_squares, batches)),
        before=before,
        after=group[-1].after,
    )
    return step, copied


def added_up(step: StepBatches, world: World, sbo_weight: float) -> StepBatches:
    """Return a step with the counts of all ranks, for streams that know one rank's alone; waits for the others."""
    own = step.own
    counts = torch.tensor([own.tokens, own.mlm, own.sbo, own.sequences], device=world.device)
    world.all_reduce(counts)
    tokens, mlm, sbo, sequences = counts.tolist()
    scales = objective_scales(mlm, sbo, sbo_weight=sbo_weight).to(step.scales)
    return replace(step, scales=scales, overall=Counts(tokens=tokens, mlm=mlm, sbo=sbo, sequences=sequences))


def _total(counts: list[Counts]) -> Counts:
    names = Counts.__dataclass_fields__
    return Counts(**{name: sum(getattr(one, name) for one in counts) for name in names})


def _squares(batch: PackedBatch) -> int:
    """Return the sum of the squares of the lengths of a batch's sequences, padding not counted."""
    bounds: Any = batch.cu_seqlens.astype(np.int64)
    lengths = np.diff(bounds)
    starts = bounds[:-1][lengths > 0]
    real = batch.sequence_index.reshape(-1)[starts] > 0
    return int((lengths[lengths > 0][real] ** 2).sum())
