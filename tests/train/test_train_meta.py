"""What a step does on a device, shown without one: on the meta device, which has shapes and no numbers, so that any read fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spanmask_bench.training_memory import bins_that_fit, empty_batch, kept_bytes, step_bytes
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters
from train.conftest import NO_DROPOUT

from spanmask.loading import Position
from spanmask.loading.share import Counts
from spanmask.model import Attention, SpanBertConfig, SpanBertForPreTraining
from spanmask.model.attention import neighbours_of
from spanmask.train import TrainConfig, TrainStep
from spanmask.train.distributed import World
from spanmask.train.feeding import StepBatches
from spanmask.train.updating import forward_of

META = torch.device("meta")
each_objective = pytest.mark.parametrize("objective", ["mlm", "mlm+sbo"])


def _model(objective: str, attention: str = "varlen", **changes: Any) -> SpanBertForPreTraining:
    changes = NO_DROPOUT | {"objective": objective, "attention": attention, "max_positions": 64} | changes
    with META:
        return SpanBertForPreTraining(SpanBertConfig.preset("tiny", vocab_size=300, **changes))


def _step() -> StepBatches:
    counts = Counts(**dict.fromkeys(Counts.__dataclass_fields__, 1))
    return StepBatches(
        batches=(empty_batch(3, 64, 30), empty_batch(3, 64, 30)),
        scales=torch.empty(3, device=META),
        overall=counts,
        own=counts,
        squares=1,
        before=Position(),
        after=Position(),
    )


@each_objective
@pytest.mark.parametrize(("attention", "dtype"), [("varlen", "bf16"), ("sdpa", "fp32")])
def test_nothing_of_a_step_is_read_by_the_host(objective: str, attention: str, dtype: str) -> None:
    """Up to torch's own fused AdamW, which is one kernel and knows no meta device."""
    model = _model(objective, attention)
    config = TrainConfig.of("fast", steps=10, objective=objective, dtype=dtype, compile=False, attention=attention)
    update = TrainStep(model, config, World(device=META))
    with pytest.raises(RuntimeError, match=r"`fused=True` requires all the params .* supported devices") as told:
        update(1, _step())
    assert told.traceback[-1].name == "_device_dtype_check_for_fused"
    assert all(parameter.grad is not None for parameter in model.parameters())
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        update.read()


def test_a_read_by_the_host_would_be_found() -> None:
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        neighbours_of(empty_batch(3, 64, 30), Attention.UNPADDED, torch.float32)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
def test_a_step_with_the_kernel_for_unequal_lengths_is_one_graph() -> None:
    torch._dynamo.reset()
    counters.clear()
    counter = CompileCounterWithBackend("eager")
    forward = forward_of(_model("mlm+sbo"), torch.bfloat16)
    compiled = torch.compile(forward, fullgraph=True, dynamic=False, backend=counter)
    for _ in range(2):
        compiled(empty_batch(3, 64, 30), torch.empty(3, device=META)).loss.backward()
    assert (counter.frame_count, dict(counters["graph_break"])) == (1, {})


# --- Memory


def test_what_is_kept_for_the_backward_pass_is_counted_tensor_by_tensor() -> None:
    """Of a layer: its input, queries, keys, values, context, what both norms take and give, and what the feed-forward layer makes."""
    hidden, inner, slots = 128, 512, 3 * 64
    one, two = (kept_bytes(_model("mlm", layers=layers), empty_batch(3, 64, 1)) for layers in (1, 2))
    numbers = 3 * hidden + hidden + 2 * hidden + 2 * inner + 2 * hidden
    of_attention = 4 * 2 * slots
    of_norms = 2 * 2 * 4 * slots
    assert two - one == pytest.approx(2 * numbers * slots + of_attention + of_norms, rel=0.03)


def test_the_memory_of_a_step_is_that_of_its_weights_and_grows_with_its_bins() -> None:
    objective = "mlm+sbo"
    one, two, three = (step_bytes("tiny", objective, bins=100 * bins, slots=64) for bins in (1, 2, 3))
    with META:
        config = SpanBertConfig.preset("tiny", vocab_size=28_996, objective=objective)
        parameters = sum(parameter.numel() for parameter in SpanBertForPreTraining(config).parameters())
    assert one["parameters"] + one["gradients"] + one["moments"] + one["cast"] == (4 + 4 + 8 + 2) * parameters
    assert two["all"] - one["all"] == pytest.approx(three["all"] - two["all"], rel=1e-3)
    fits = bins_that_fit(one["all"] / 1e9, "tiny", objective, slots=64)
    assert 99 <= fits <= 101
    assert bins_that_fit(0.01, "tiny", objective) == 0
