"""What a run is about to do, in figures, and how long an update takes here."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from spanmask.loading.position import Position
from spanmask.loading.share import Counts
from spanmask.model.config import SpanBertConfig
from spanmask.model.pretraining import PretrainingModel
from spanmask.shard.reader import ShardSet
from spanmask.train.config import TrainConfig
from spanmask.train.distributed import World
from spanmask.train.feeding import step_batches
from spanmask.train.metrics import flops
from spanmask.train.starting import stream_of
from spanmask.train.step import is_compiled
from spanmask.train.updating import computing_of, forward_of, precision_of
from spanmask.train.watching import Plan

#: Passes are tried over more and more bins until one takes so many seconds, or has as many bins as an update.
_SECONDS, _PASSES, _GROWTH = 0.5, 2, 4


def plan_of(
    config: TrainConfig, model: SpanBertConfig, parameters: int, shards: Sequence[ShardSet], world: World, step: int
) -> Plan:
    """Return what a run will do from a step on. parameters: of the model."""
    weights = config.weights or [1.0] * len(shards)
    parts = [[round(weight * count) for count in _counts(one)] for weight, one in zip(weights, shards, strict=True)]
    rows, tokens, masked = map(sum, zip(*parts, strict=True))
    width = config.width or max(one.manifest.config.sequence.max_tokens for one in shards)
    update = min(config.batch_size * config.accumulate * world.size * width, tokens)
    targets = update * masked // tokens
    work = Counts(tokens=update, mlm=targets, sbo=targets, sequences=0)
    device, precision = computing_of(config.dtype, world.device)
    return Plan(
        device=device,
        ranks=world.size,
        precision=precision,
        compiled=is_compiled(config, world.device),
        model=config.backbone or config.init_from or config.model,
        parameters=parameters,
        rows=rows,
        tokens=tokens,
        update_tokens=update,
        step=step,
        steps=config.steps,
        note=_note(config),
        update_flops=flops(model, work, update * tokens // rows),
    )


def as_told(plan: Plan, config: TrainConfig, batches: str, *, packed: bool) -> Plan:
    """Return a plan with what there is to tell of its batches; rows that are not packed hold a sequence each, of any length."""
    if packed:
        return replace(plan, note=batches or plan.note)
    rows = config.batch_size * config.accumulate * plan.ranks
    update = min(round(rows * plan.tokens / plan.rows), plan.update_tokens)
    return replace(
        plan, note=batches, update_tokens=update, update_flops=plan.update_flops * update / plan.update_tokens
    )


def _note(config: TrainConfig) -> str:
    """Return that a model has a schedule which was not its own."""
    if config.model == "base" and config.init_from is None and (config.steps, config.lr) == (2_400_000, 1e-4):
        return "this is the paper's schedule, SpanBERT-large's; the released base model had that of --preset paper-base"
    return ""


def _counts(shards: ShardSet) -> tuple[int, int, int]:
    """Return rows, tokens and masked tokens of a split."""
    split = shards.split
    return split.rows, split.tokens, shards.manifest.statistics[split.name]["masked_tokens"]


def trial_seconds(model: PretrainingModel, config: TrainConfig, shards: Sequence[ShardSet], world: World) -> float:
    """Return about how many seconds a token of an update takes this rank, by passes over the first bins of the data, from one on.

    Of the run nothing changes: an update clears gradients before it begins, and draws dropout from a seed of its own.
    """
    forward = forward_of(model, precision_of(config.dtype, world.device))
    best, bins, passes, seconds = math.inf, 1, 0, 0.0
    while seconds < _SECONDS and (passes < _PASSES or bins < config.batch_size):
        stream = stream_of(shards, config.changed(batch_size=bins), model.config, world, packed=model.packed)
        feed = step_batches(stream, Position(), accumulate=1, sbo_weight=config.sbo_weight, device=world.device)
        with closing(feed):
            step = next(feed)
        began = time.perf_counter()
        forward(step.batches[0], step.scales).loss.backward()
        seconds = time.perf_counter() - began
        best, passes = min(best, seconds / step.own.tokens), passes + 1
        bins = min(_GROWTH * bins, config.batch_size)
    return best
