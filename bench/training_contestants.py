"""Who trains in `training`: spanmask's own step, and transformers' model, on the same rows with the same masks from the same weights."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from spanmask.batches import PackedBatch
from spanmask.errors import ConfigError
from spanmask.loading.position import Position
from spanmask.loading.stream import Stream
from spanmask.model import BackboneForPreTraining, export_backbone
from spanmask.model.convert import export
from spanmask.model.pretraining import SpanBertForPreTraining
from spanmask.shard.reader import ShardSet, open_shards
from spanmask.storage import publish_bytes
from spanmask.train.config import TrainConfig
from spanmask.train.distributed import World
from spanmask.train.feeding import StepBatches, step_batches
from spanmask.train.metrics import flops
from spanmask.train.starting import initial_model, model_config, stream_of
from spanmask.train.step import TrainStep

from .baselines.hugging_face_trainer import HuggingFaceTrainer, Step, example_of
from .training_variants import BACKBONES, Setting, Variant

#: Options that all contestants share: no dropout, stored masks, a schedule that no measurement reaches the end of.
_OPTIONS: dict[str, Any] = {
    "preset": "fast",
    "steps": 100_000,
    "warmup": 1_000,
    "clip": 1.0,
    "masks": "stored",
    "weight_decay": 0.01,
}


class Contestant(Protocol):
    """What can be measured."""

    #: Seconds that steps waited for their batches.
    waited: float

    def step(self) -> None:
        """Take the next optimizer step; it may still be under way on the device."""

    def loss(self) -> float:
        """Return the mean MLM loss since this was last called; waits for the device."""

    def load(self, steps: int) -> None:
        """Make the batches of so many steps, and do nothing with them."""

    def slots(self) -> int:
        """Return the slots of all different steps, padding included."""


def train_config(setting: Setting, variant: Variant) -> TrainConfig:
    """Return the options of a variant; a kernel that only CUDA has is left to ``auto`` elsewhere."""
    own: dict[str, Any]
    if setting.model in BACKBONES:
        own = {"backbone": _backbone(setting)}
    else:
        kernel = "sdpa" if variant.kernel == "cudnn" else variant.kernel
        attention = kernel if setting.device == "cuda" else "auto"
        own = {"model": setting.model, "attention": attention, "compile": variant.compiled}
    return TrainConfig.of(
        **_OPTIONS,
        **own,
        objective=variant.objective,
        batch_size=setting.bins,
        accumulate=setting.accumulate,
        width=setting.slots,
        device=setting.device,
        seed=setting.seed,
    )


def _backbone(setting: Setting) -> str:
    """Return the folder of a model of transformers, whose configuration is written beside the dataset."""
    dataset = Path(setting.dataset)
    entries = len(open_shards(dataset, "train").manifest.vocabulary)
    sizes = {**BACKBONES[setting.model], "vocab_size": entries, "max_position_embeddings": setting.slots}
    folder = dataset.parent / setting.model
    folder.mkdir(exist_ok=True)
    publish_bytes(folder / "config.json", json.dumps(sizes).encode())
    return str(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a contestant stands on. tokens, flops: of each different step, flops by the variant's objective.

    target_slots: ``filled``, the share of the slots for MLM targets that hold one, and ``second``, that of the micro-batches that have the
    second, larger number of slots.
    """

    config: TrainConfig
    shards: ShardSet
    stream: Stream
    world: World
    tokens: tuple[int, ...]
    flops: tuple[float, ...]
    target_slots: dict[str, float]


def ground_of(setting: Setting, variant: Variant) -> Ground:
    """Return what a variant trains on.

    Raises
    ------
    ConfigError
        The dataset has too few rows for a step.
    """
    config = train_config(setting, variant)
    shards = open_shards(setting.dataset, "train", verify="first")
    world = World(device=torch.device(setting.device))
    shape = model_config(config, [shards]) if config.backbone is None else initial_model(config, [shards]).config
    stream = stream_of([shards], config, shape, world)
    steps = _once(stream, config, torch.device("cpu"), setting.steps)
    slots = [len(batch.mlm_labels) for step in steps for batch in step.batches]
    return Ground(
        config=config,
        shards=shards,
        stream=stream,
        world=world,
        tokens=tuple(step.own.tokens for step in steps),
        flops=tuple(flops(shape, step.own, step.squares) for step in steps),
        target_slots={
            "filled": sum(step.own.mlm for step in steps) / sum(slots),
            "second": sum(size > stream.slots[0].mlm for size in slots) / len(slots),
        },
    )


def _once(stream: Stream, config: TrainConfig, device: torch.device, most: int) -> list[StepBatches]:
    """Return the steps of the first epoch on a device, the last one, which may hold empty bins, left out."""
    found = []
    feed = step_batches(stream, Position(), accumulate=config.accumulate, sbo_weight=1.0, device=device)
    with closing(feed):
        for step in islice(feed, most):
            if step.after.epoch:
                break
            found.append(step)
    if not found:
        raise ConfigError("the text is shorter than two training steps: give more text, or fewer bins a step")
    return found


class Ours:
    """spanmask's step, fed as its trainer feeds it."""

    def __init__(self, ground: Ground, variant: Variant) -> None:
        self._ground, self._kernel = ground, variant.kernel
        config, device = ground.config, ground.world.device
        model = initial_model(config, [ground.shards]).to(device).train()
        self._update = TrainStep(model, config, ground.world)
        self._feed = cycle(self._held()) if variant.resident else self._endless()
        self._number, self._targets, self.waited = 0, 0, 0.0

    def _held(self) -> list[StepBatches]:
        ground = self._ground
        return _once(ground.stream, ground.config, ground.world.device, len(ground.tokens))

    def _endless(self) -> Iterator[StepBatches]:
        """Yield the different steps over and over, made by a thread."""
        ground = self._ground
        while True:
            feed = step_batches(
                ground.stream,
                Position(),
                accumulate=ground.config.accumulate,
                sbo_weight=1.0,
                device=ground.world.device,
            )
            with closing(feed):
                yield from islice(feed, len(ground.tokens))

    def step(self) -> None:
        """Take the next step."""
        began = time.perf_counter()
        step = next(self._feed)
        self.waited += time.perf_counter() - began
        self._number += 1
        with self._backend():
            self._update(self._number, step)
        self._targets += step.overall.mlm

    def _backend(self) -> AbstractContextManager[Any]:
        forced = self._kernel == "cudnn" and self._ground.world.device.type == "cuda"
        return sdpa_kernel(SDPBackend.CUDNN_ATTENTION) if forced else nullcontext()

    def loss(self) -> float:
        """Return the mean MLM loss since this was last called; waits for the device."""
        read = self._update.read()
        if read.failed:
            raise AssertionError(f"the gradients of step {read.failed} are not finite")
        mean = read.mlm_sum / self._targets
        self._targets = 0
        return mean

    def load(self, steps: int) -> None:
        """Make the batches of so many steps, and do nothing with them."""
        count = steps * self._ground.config.accumulate
        for _ in islice(self._ground.stream.batches(Position()), count):
            pass

    def slots(self) -> int:
        """Return the slots of all different steps, padding included."""
        config = self._ground.config
        return len(self._ground.tokens) * config.accumulate * config.batch_size * (config.width or 0)


def build(setting: Setting, variant: Variant, ground: Ground) -> Contestant:
    """Return a contestant before its first step."""
    if variant.peer is None:
        return Ours(ground, variant)
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder:
        model, vocabulary = initial_model(ground.config, [ground.shards]), ground.shards.manifest.vocabulary
        if isinstance(model, BackboneForPreTraining):
            export_backbone(model, folder, vocabulary)
        else:
            export(cast(SpanBertForPreTraining, model), folder, vocabulary)
        device = ground.world.device
        return HuggingFaceTrainer(Path(folder), _rows_of_steps(setting, ground), ground.config, device, variant.peer)


def _rows_of_steps(setting: Setting, ground: Ground) -> list[Step]:
    """Return the rows that lie in the bins of each step, micro-batch by micro-batch."""
    count = len(ground.tokens) * setting.accumulate
    batches = [one.batch for one in islice(ground.stream.batches(Position()), count)]
    groups = [_examples(ground.shards, batch) for batch in batches if isinstance(batch, PackedBatch)]
    steps = range(0, len(groups), setting.accumulate)
    return [tuple(groups[first : first + setting.accumulate]) for first in steps]


def _examples(shards: ShardSet, batch: PackedBatch) -> tuple[Any, ...]:
    numbers: Sequence[int] = np.sort(batch.rows[batch.rows >= 0]).tolist()
    return tuple(example_of(shards[number]) for number in numbers)
