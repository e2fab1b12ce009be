"""What a model predicts of a split it was not trained on: losses, accuracy, and how often whole spans come back exactly, by length.

Masks are those stored, so that every evaluation asks the same. A span is a run of masked tokens of a sequence; its length is in tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from spanmask.batches import IGNORED, PackedBatch
from spanmask.loading.padding import as_bins
from spanmask.loading.position import Position
from spanmask.loading.rows import Masks
from spanmask.model.dropout import without_dropout
from spanmask.model.inputs import packed_tensors
from spanmask.model.loss import objective_scales
from spanmask.model.pretraining import PretrainingModel
from spanmask.records import Flags
from spanmask.shard.reader import ShardSet
from spanmask.train.config import TrainConfig
from spanmask.train.distributed import World
from spanmask.train.metrics import ratio
from spanmask.train.starting import stream_of
from spanmask.train.step import sums_of
from spanmask.train.updating import forward_of, precision_of
from spanmask.train.watching import Watch

#: The longest span told of, in tokens.
LONGEST = 10

Ids = npt.NDArray[np.int64]


class AbandonedError(Exception):
    """A rank gave up an evaluation, and so all did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Spans of a length in tokens, and the shares of them whose every token was predicted right: from their own places, from boundaries.

    None where there are none; sbo_spans: those with boundary targets.
    """

    length: int
    spans: int
    mlm: float | None
    sbo_spans: int
    sbo: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Losses in nats a target, accuracies as shares of targets, None where there are none; recovery of spans of 1 to 10 tokens."""

    mlm_loss: float | None
    sbo_loss: float | None
    mlm_accuracy: float | None
    sbo_accuracy: float | None
    mlm_targets: int
    sbo_targets: int
    recovery: tuple[Recovery, ...]
    nsp_loss: float | None = None
    nsp_accuracy: float | None = None
    nsp_targets: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values; what follows is told of where it is predicted."""
        told = {**asdict(self), "recovery": [asdict(one) for one in self.recovery]}
        return told if self.nsp_targets else {name: told[name] for name in told if not name.startswith("nsp_")}


def evaluate(
    model: PretrainingModel,
    shards: Sequence[ShardSet],
    config: TrainConfig,
    world: World | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """Measure a model on a split, once through or on as much as is wanted; ranks share the work, and each returns the whole.

    Parameters
    ----------
    model
        On the world's device; it is in training mode again afterwards if it was before.
    shards
        Open splits, such as ``validation``.
    config
        Batch size, width, precision, and how many sequences are enough.
    world
        By default this process alone, on the model's device.
    watch
        Asked whether to go on, and told on the first rank how far this is.

    Raises
    ------
    ConfigError
        The splits do not fit the model.
    AbandonedError
        A rank's watch was stopping.
    """
    watch = watch or Watch()
    world = world or World(device=next(model.parameters()).device)
    stream = stream_of(shards, config, model.config, world, masks=Masks.STORED, packed=model.packed)
    forward = forward_of(model, precision_of(config.dtype, world.device))
    scales = objective_scales(1, 1, 1).float().to(world.device)
    sums, spans = np.zeros(10), np.zeros((2, 2, LONGEST + 1), np.int64)
    wanted = min(config.eval_sequences or stream.samples, stream.samples)
    done = 0
    with without_dropout(model), torch.no_grad():
        for delivered in stream.batches(Position()):
            batch = delivered.batch if isinstance(delivered.batch, PackedBatch) else as_bins(delivered.batch)
            output = forward(packed_tensors(batch).to(world.device), scales)
            told, counts = sums_of(output), delivered.counts
            pairs = counts.pairs if model.nsp is not None else 0
            # The last counts ranks that gave up; they meet the others at the sum.
            sums += [*(float(one) for one in told), counts.mlm, counts.sbo, pairs, watch.stopping()]
            if sums[-1]:
                break
            spans[0] += mlm_recovery(batch, output.mlm_predicted.cpu().numpy())
            if output.sbo_predicted.numel():
                spans[1] += sbo_recovery(batch, output.sbo_predicted.cpu().numpy())
            done += (delivered.overall or delivered.counts).sequences
            if world.first:
                watch.evaluating(min(done, wanted), wanted)
            if done >= wanted:
                break
    (*figures, abandoned), spans = _added_up(sums, spans, world)
    if abandoned:
        raise AbandonedError
    return _evaluation(figures, spans)


def _added_up(sums: npt.NDArray[np.float64], spans: Ids, world: World) -> tuple[list[float], Ids]:
    together = torch.tensor(np.concatenate([sums, spans.reshape(-1)]), dtype=torch.float64).to(world.device)
    world.all_reduce(together)
    values = together.cpu().numpy()
    return values[: len(sums)].tolist(), values[len(sums) :].astype(np.int64).reshape(spans.shape)


def _evaluation(sums: list[float], spans: Ids) -> Evaluation:
    """Return the figures of sums over all ranks. spans: (2, 2, LONGEST + 1): for MLM and SBO, spans by length and those predicted right."""
    mlm_sum, mlm_correct, sbo_sum, sbo_correct, nsp_sum, nsp_correct, mlm, sbo, nsp = sums
    (of_mlm, by_mlm), (of_sbo, by_sbo) = spans.tolist()
    recovery = tuple(
        Recovery(
            length=length,
            spans=of_mlm[length],
            mlm=ratio(by_mlm[length], of_mlm[length]),
            sbo_spans=of_sbo[length],
            sbo=ratio(by_sbo[length], of_sbo[length]),
        )
        for length in range(1, LONGEST + 1)
    )
    return Evaluation(
        mlm_loss=ratio(mlm_sum, mlm),
        sbo_loss=ratio(sbo_sum, sbo),
        mlm_accuracy=ratio(mlm_correct, mlm),
        sbo_accuracy=ratio(sbo_correct, sbo),
        mlm_targets=int(mlm),
        sbo_targets=int(sbo),
        recovery=recovery,
        nsp_loss=ratio(nsp_sum, nsp),
        nsp_accuracy=ratio(nsp_correct, nsp),
        nsp_targets=int(nsp),
    )


def mlm_recovery(batch: PackedBatch, predicted: Ids) -> Ids:
    """Count spans by length in tokens, from 0 to `LONGEST`, and those predicted whole, (2, LONGEST + 1). predicted: (P,)."""
    there = batch.mlm_labels != IGNORED
    right = (predicted == batch.mlm_labels)[there]
    # Sequences begin and end with a special token, which is not masked: no run goes from one into the next.
    begins = np.flatnonzero(np.diff(batch.mlm_positions[there], prepend=-2) != 1)
    return _counted(begins, np.diff(begins, append=len(right)), right)


def sbo_recovery(batch: PackedBatch, predicted: Ids) -> Ids:
    """Count as `mlm_recovery` does, of spans all of whose tokens are boundary targets. predicted: (Q,)."""
    there = batch.sbo.labels != IGNORED
    left = batch.sbo.left[there]
    right = (predicted == batch.sbo.labels)[there]
    begins = np.flatnonzero(np.diff(left, prepend=-2) != 0)
    lengths = (batch.sbo.right - batch.sbo.left - 1)[there][begins]
    whole = lengths == np.diff(begins, append=len(left))
    return _counted(begins, np.where(whole, lengths, LONGEST + 1), right)


def _counted(begins: Ids, lengths: Ids, right: Flags) -> Ids:
    """Count spans that begin at some targets. right: of every target, whether it was predicted."""
    if not len(begins):
        return np.zeros((2, LONGEST + 1), np.int64)
    whole = np.logical_and.reduceat(right, begins)
    short = lengths <= LONGEST
    spans = np.bincount(lengths[short], minlength=LONGEST + 1)
    return np.stack([spans, np.bincount(lengths[short & whole], minlength=LONGEST + 1)])
