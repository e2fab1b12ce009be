"""What a run is about to do, in figures, and how long a CPU would take over it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from spanmask.loading.share import Counts
from spanmask.model.config import SpanBertConfig
from spanmask.shard.reader import ShardSet
from spanmask.train.config import TrainConfig
from spanmask.train.distributed import World
from spanmask.train.metrics import flops
from spanmask.train.step import is_compiled
from spanmask.train.updating import precision_of
from spanmask.train.watching import Plan

#: What small models reach on a CPU of the speed of large products, about.
_REACHED = 0.7
#: Products that the speed is measured by: (n, n) each, for so many seconds.
_SIZE, _SECONDS = 512, 0.05


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
    return Plan(
        device=torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else "cpu",
        ranks=world.size,
        precision="bf16" if precision_of(config, world.device) is torch.bfloat16 else "fp32",
        compiled=is_compiled(config, world.device),
        model=config.init_from or config.model,
        parameters=parameters,
        rows=rows,
        tokens=tokens,
        update_tokens=update,
        step=step,
        steps=config.steps,
        note=_note(config),
        update_flops=flops(model, work, update * tokens // rows),
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


def cpu_seconds(work: float) -> float:
    """Return about how long this CPU takes over so many FLOPs of training, by its speed at products of matrices, which it measures."""
    one = torch.rand(_SIZE, _SIZE)
    one @ one
    began, products = time.perf_counter(), 0
    while (seconds := time.perf_counter() - began) < _SECONDS:
        one @ one
        products += 1
    return work * seconds / (products * 2 * _SIZE**3 * _REACHED)
