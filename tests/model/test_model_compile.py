"""The step compiles to one graph a shape, once: nothing in it waits for the host, branches on data or depends on a batch's counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters
from torch.func import functional_call

from spanmask.model import (
    PackedTensors,
    PretrainingOutput,
    SboTensors,
    SpanBertConfig,
    SpanBertForPreTraining,
    objective_scales,
    padded_tensors,
)

# What torch's own compiler warns of when it is imported.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")]


def _batch(seed: int, mlm: int = 30, sbo: int = 24) -> PackedTensors:
    """Three bins of 64 slots, with sequences of other lengths for each seed, and so many target slots, half of them empty."""
    generator = torch.Generator().manual_seed(seed)

    def draw(below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=generator, dtype=torch.int32)

    mask = (torch.arange(64) < draw(65, 3, 1)).int()
    labels = draw(300, mlm).where(draw(2, mlm) > 0, -100)
    sbo_labels = draw(300, sbo).where(draw(2, sbo) > 0, -100)
    # Targets are tokens: what eager attention on CPU leaves out are the slots of none.
    tokens = torch.nonzero(mask.flatten())[:, 0].int()
    places = [tokens[draw(len(tokens), count)] for count in (mlm, sbo, sbo)]
    targets = SboTensors(places[1], places[2], draw(20, sbo), sbo_labels)
    batch = padded_tensors(draw(300, 3, 64), mask)
    return batch._replace(mlm_positions=places[0], mlm_labels=labels, sbo=targets)


def _model(objective: str, dropout: float) -> SpanBertForPreTraining:
    torch.manual_seed(0)
    changes = {"max_positions": 64, "objective": objective, "hidden_dropout": dropout, "attention_dropout": dropout}
    return SpanBertForPreTraining(SpanBertConfig.preset("tiny", vocab_size=300, **changes))


@pytest.mark.parametrize(("objective", "dropout"), [("mlm", 0.0), ("mlm+sbo", 0.0), ("mlm+sbo", 0.1)])
def test_a_step_with_weights_cast_inside_is_one_graph_compiled_once(objective: str, dropout: float) -> None:
    torch._dynamo.reset()
    counters.clear()
    model = _model(objective, dropout)

    def step(batch: PackedTensors, scales: Tensor) -> Tensor:
        cast = {name: value.bfloat16() for name, value in model.named_parameters()}
        output: PretrainingOutput = functional_call(model, cast, (batch, scales))
        return output.loss

    counter = CompileCounterWithBackend("inductor")
    compiled = torch.compile(step, fullgraph=True, dynamic=False, backend=counter)
    for seed in (1, 2, 3):
        compiled(_batch(seed), objective_scales(10 + seed, 7 * seed)).backward()
    assert counter.frame_count == 1
    assert not counters["recompiles"]
    assert not counters["graph_break"]
    assert {value.grad.dtype for value in model.parameters() if value.grad is not None} == {torch.float32}
    assert all(value.grad is not None for value in model.parameters())


def test_two_shapes_of_targets_are_two_graphs_whatever_comes_when() -> None:
    torch._dynamo.reset()
    counters.clear()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(_model("mlm+sbo", 0.0), fullgraph=True, dynamic=False, backend=counter)
    for seed, shape in enumerate([(30, 24), (60, 60), (30, 24), (30, 24), (60, 60), (30, 24)]):
        compiled(_batch(seed, *shape), objective_scales(10 + seed, 9))
    assert counter.frame_count == 2
    assert not counters["graph_break"]


def told(output: PretrainingOutput, batch: PackedTensors) -> PretrainingOutput:
    """What an output tells: ids in slots without a target are none's best."""
    mlm, sbo = batch.mlm_labels >= 0, batch.sbo.labels[: len(output.sbo_predicted)] >= 0
    return output._replace(mlm_predicted=output.mlm_predicted[mlm], sbo_predicted=output.sbo_predicted[sbo])


@pytest.mark.parametrize("objective", ["mlm", "mlm+sbo"])
def test_compiled_losses_and_gradients_are_the_eager_ones(objective: str) -> None:
    torch._dynamo.reset()
    model, batch, scales = _model(objective, 0.0), _batch(4), objective_scales(12, 9)
    eager = model(batch, scales)
    eager.loss.backward()
    expected = {name: value.grad for name, value in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    output = torch.compile(model, fullgraph=True, dynamic=False)(batch, scales)
    output.loss.backward()
    torch.testing.assert_close(told(output, batch), told(eager, batch), rtol=1e-5, atol=1e-5)
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.grad, expected[name], rtol=1e-3, atol=1e-6, msg=name)
