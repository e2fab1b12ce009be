"""An update is AdamW's of the whole step's mean loss, however the step is divided; what is not finite changes nothing."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from train.conftest import NO_DROPOUT, config_of

import spanmask
from spanmask.loading import Position
from spanmask.loading.share import Counts
from spanmask.model import PackedTensors, SboTensors, SpanBertConfig, SpanBertForPreTraining, objective_scales
from spanmask.train import TrainConfig, TrainStep
from spanmask.train.distributed import World
from spanmask.train.feeding import StepBatches, step_batches
from spanmask.train.metrics import flops
from spanmask.train.optimizer import learning_rate, moments
from spanmask.train.starting import initial_model, stream_of
from spanmask.train.updating import dropout_seed

CPU = World(device=torch.device("cpu"))


@contextmanager
def begun(folder: Path, **changes: Any) -> Iterator[tuple[TrainStep, list[StepBatches], TrainConfig]]:
    """An update that nothing was given to yet, and the first three steps' batches."""
    config = config_of(**changes)
    shards = [spanmask.open(folder)]
    model: Any = initial_model(config, shards)
    stream = stream_of(shards, config, model.config, CPU)
    feed = step_batches(stream, Position(), accumulate=config.accumulate, sbo_weight=1.0, device=CPU.device)
    with closing(feed):
        yield TrainStep(model, config, CPU), list(islice(feed, 3)), config


def snapshot(update: TrainStep) -> dict[str, Tensor]:
    tensors = update.model.state_dict() | moments(update.model, update.optimizer)
    return {name: tensor.clone() for name, tensor in tensors.items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _adamw(before: Tensor, gradients: list[Tensor], rates: list[float], decay: float) -> Tensor:
    """Decoupled weight decay as published (Loshchilov & Hutter 2019, algorithm 2), in float64, betas .9 and .999, epsilon 1e-6."""
    value = before.double()
    first = second = torch.zeros_like(value)
    for number, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        first = 0.9 * first + 0.1 * gradient.double()
        second = 0.999 * second + 0.001 * gradient.double() ** 2
        mean, square = first / (1 - 0.9**number), second / (1 - 0.999**number)
        value = value - rate * (mean / (square.sqrt() + 1e-6) + decay * value)
    return value


@pytest.mark.parametrize("decay", ["all", "matrices"])
def test_updates_are_adamw_on_the_steps_mean_loss(shards: Path, decay: str) -> None:
    with begun(shards, decay=decay, accumulate=2, batch_size=2, **NO_DROPOUT) as (update, steps, config):
        before = snapshot(update)
        gradients: dict[str, list[Tensor]] = {name: [] for name in before}
        for number, step in enumerate(steps, start=1):
            assert len(step.batches) == 2
            twin = SpanBertForPreTraining(update.model.config)  # type: ignore[arg-type]
            twin.load_state_dict(update.model.state_dict())
            mlm = sum((twin(batch, torch.tensor([1.0, 0.0, 0.0])).loss for batch in step.batches), torch.zeros(()))
            sbo = sum((twin(batch, torch.tensor([0.0, 1.0, 0.0])).loss for batch in step.batches), torch.zeros(()))
            targets = [
                sum(int((labels >= 0).sum()) for labels in each)
                for each in zip(*map(_labels, step.batches), strict=True)
            ]
            (mlm / targets[0] + sbo / targets[1]).backward()
            for name, parameter in twin.named_parameters():
                assert parameter.grad is not None
                gradients[name].append(parameter.grad)
            update(number, step)
        rates = [learning_rate(number, config) for number in (1, 2, 3)]
        for name, parameter in update.model.named_parameters():
            rate = 0.1 if decay == "all" or parameter.ndim == 2 else 0.0
            expected = _adamw(before[name], gradients[name], rates, rate)
            torch.testing.assert_close(parameter.double(), expected, rtol=1e-4, atol=3e-6, msg=name)


def _labels(batch: PackedTensors) -> tuple[Tensor, Tensor]:
    return batch.mlm_labels, batch.sbo.labels


def test_what_is_not_finite_changes_neither_parameters_nor_moments_nor_does_any_step_after_it(shards: Path) -> None:
    with begun(shards) as (update, steps, _):
        update(1, steps[0])
        assert update.read().failed == 0
        before = snapshot(update)
        update(2, replace(steps[1], scales=torch.tensor([math.nan, 1.0, 0.0])))
        update(3, steps[2])
        assert update.read().failed == 2
        assert equal(snapshot(update), before)


def test_a_nan_in_one_weight_is_told_as_the_step_that_met_it(shards: Path) -> None:
    with begun(shards) as (update, steps, _):
        update(1, steps[0])
        with torch.no_grad():
            next(update.model.parameters())[7, 3] = math.nan
        before = snapshot(update)
        update(2, steps[1])
        assert update.read().failed == 2
        after = snapshot(update)
        assert all(torch.equal(before[name].nan_to_num(), after[name].nan_to_num()) for name in before)


def test_clipping_scales_the_whole_gradient_to_the_norm_given(shards: Path) -> None:
    norms = []
    for clip in (0.0, 0.01):
        with begun(shards, clip=clip) as (update, steps, _):
            update(1, steps[0])
            parts = [parameter.grad for parameter in update.model.parameters() if parameter.grad is not None]
            norms.append(
                (update.read().gradient_norm, math.sqrt(sum(float((part.double() ** 2).sum()) for part in parts)))
            )
    (told, found), (told_clipped, found_clipped) = norms
    assert told == pytest.approx(found, rel=1e-5)
    assert told_clipped == pytest.approx(told, rel=1e-5)
    assert found_clipped == pytest.approx(0.01, rel=1e-3)


def test_dropout_differs_by_seed_step_micro_batch_and_rank_and_in_nothing_else() -> None:
    places = [(seed, step, place, rank) for seed in (0, 1) for step in (1, 2) for place in (0, 1) for rank in (0, 1)]
    seeds = [dropout_seed(*place) for place in places]
    assert len(set(seeds)) == len(places)
    assert seeds == [dropout_seed(*place) for place in places]
    assert all(0 <= seed < 1 << 63 for seed in seeds)


def test_the_flop_formula_is_what_torch_counts_where_nothing_is_padding() -> None:
    config = SpanBertConfig(
        vocab_size=256, hidden=32, layers=3, heads=2, intermediate=96, max_positions=24, span_offset_dim=20
    )
    bins, width, mlm, sbo = 2, 24, 5, 4
    zeros = torch.zeros((bins, width), dtype=torch.int32)
    targets, boundary = (torch.zeros(bins * slots, dtype=torch.int32) for slots in (mlm, sbo))
    batch = PackedTensors(
        input_ids=zeros,
        sequence_index=zeros + 1,
        positions=zeros,
        cu_seqlens=torch.tensor([0, 24, 48], dtype=torch.int32),
        mlm_positions=targets,
        mlm_labels=targets,
        sbo=SboTensors(boundary, boundary, boundary, boundary),
    )
    model = SpanBertForPreTraining(config)
    # A product that is added in place, which the counter does not know.
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter, sdpa_kernel(SDPBackend.MATH):
        model(batch, objective_scales(1, 1)).loss.backward()
    counts = Counts(tokens=bins * width, mlm=bins * mlm, sbo=bins * sbo, sequences=bins)
    assert flops(config, counts, bins * width**2) == counter.get_total_flops()
    alone = config.changed(objective="mlm")
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter, sdpa_kernel(SDPBackend.MATH):
        SpanBertForPreTraining(alone)(batch, objective_scales(1, 1)).loss.backward()
    assert flops(alone, counts, bins * width**2) == counter.get_total_flops()


def test_the_squares_that_attention_costs_are_those_of_the_sequences_lengths(shards: Path) -> None:
    opened = spanmask.open(shards)
    with begun(shards) as (_, steps, config):
        stream = stream_of([opened], config, initial_model(config, [opened]).config, CPU)
        first = next(iter(stream.batches(Position())))
        rows = [row for row in first.batch.rows.ravel().tolist() if row >= 0]
        lengths = [len(opened[row].input_ids) for row in rows]
        assert steps[0].squares == sum(length**2 for length in lengths)
        assert steps[0].own.tokens == sum(lengths)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_compiled_updates_are_the_eager_ones(shards: Path, dtype: str) -> None:
    after = []
    for compiled in (False, True):
        with begun(shards, compile=compiled, dtype=dtype, **NO_DROPOUT) as (update, steps, _):
            for number, step in enumerate(steps, start=1):
                update(number, step)
            after.append(update.read())
    bound = 1e-5 if dtype == "fp32" else 1e-2
    assert after[0].mlm_sum == pytest.approx(after[1].mlm_sum, rel=bound)
    assert after[0].gradient_norm == pytest.approx(after[1].gradient_norm, rel=2 * bound)


@pytest.fixture
def cuda() -> World:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return World(device=torch.device("cuda"))


#: The kernel for sequences of unequal length.
VARLEN = {"dtype": "bf16", "attention": "varlen", **NO_DROPOUT}


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{}, VARLEN, {**VARLEN, "compile": False}])
def test_a_step_on_cuda_never_waits_for_the_device(shards: Path, cuda: World, changes: dict[str, Any]) -> None:
    config = config_of(device="cuda", **changes)
    opened = [spanmask.open(shards)]
    model = initial_model(config, opened).to(cuda.device)
    update = TrainStep(model, config, cuda)
    stream = stream_of(opened, config, model.config, cuda)
    with closing(step_batches(stream, Position(), accumulate=1, sbo_weight=1.0, device=cuda.device)) as feed:
        update(1, next(feed))
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for number in (2, 3, 4):
                update(number, next(feed))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert update.read().failed == 0


@pytest.mark.gpu
@pytest.mark.parametrize("objective", ["mlm", "mlm+sbo"])
@pytest.mark.parametrize("compiled", [False, True])
def test_updates_on_cuda_are_those_of_a_processor(shards: Path, cuda: World, objective: str, compiled: bool) -> None:
    read = []
    with begun(shards, objective=objective, **NO_DROPOUT) as (update, steps, _):
        for number, step in enumerate(steps, start=1):
            update(number, step)
        read.append(update.read())
    with begun(shards, objective=objective, compile=compiled, **VARLEN) as (update, steps, config):
        there = TrainStep(update.model.to(cuda.device), config, cuda)
        for number, step in enumerate(steps, start=1):
            moved = tuple(batch.to(cuda.device) for batch in step.batches)
            there(number, replace(step, batches=moved, scales=step.scales.to(cuda.device)))
        read.append(there.read())
    for figure in ("mlm_sum", "sbo_sum"):
        assert getattr(read[1], figure) == pytest.approx(getattr(read[0], figure), rel=1e-2)
    assert read[1].gradient_norm == pytest.approx(read[0].gradient_norm, rel=5e-2)


@pytest.mark.slow
def test_the_memory_of_a_run_is_its_own_whatever_started_it() -> None:
    """The system counts a process's peak from its fork on: that of the 1.5 GiB here would be what a small child tells."""
    held = np.ones(3 << 26)
    code = """
import numpy as np, torch
from spanmask.train.metrics import peak_memory
before = peak_memory(torch.device("cpu"))
more = np.ones(1 << 25)
print(before, peak_memory(torch.device("cpu")) - before)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, more = map(int, found.stdout.split())
    assert before < held.nbytes * 0.8
    assert more >= (1 << 28) * 0.95
