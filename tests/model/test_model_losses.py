"""Losses and gradients of both heads are those of a literal twin in float64, and edges cost what they should: mostly nothing."""

from __future__ import annotations

from typing import Any

import literal_model as literal
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from spanmask.model import (
    Objective,
    PackedTensors,
    SboTensors,
    SpanBertConfig,
    SpanBertForPreTraining,
    objective_scales,
)
from spanmask.model.loss import loss_of_rows, target_loss

LAYERS, HEADS, WIDTH = 2, 2, 12
Bins = list[list[literal.Sequence]]


def model_of(vocab: int = 37, **changes: Any) -> SpanBertForPreTraining:
    """A model of width 8 in float64 whose every parameter, the vocabulary's padding aside, is random."""
    torch.manual_seed(5)
    sizes = {
        "hidden": 8,
        "layers": LAYERS,
        "heads": HEADS,
        "intermediate": 16,
        "max_positions": 16,
        "span_offset_dim": 5,
    }
    no_dropout = {"hidden_dropout": 0.0, "attention_dropout": 0.0}
    model = SpanBertForPreTraining(
        SpanBertConfig(**(sizes | no_dropout | {"vocab_size": vocab, "max_span_offset": 4} | changes))
    )
    model.double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            rows = vocab if name.endswith(("words.weight", "mlm.bias", "sbo.bias")) else len(parameter)
            parameter[:rows] = torch.randn(parameter[:rows].shape, dtype=torch.float64) / 2
    return model


def tensors_of(bins: Bins, *, mlm: int = 6, sbo: int = 6, width: int = WIDTH) -> PackedTensors:
    lists = literal.pack(bins, width=width, mlm=mlm, sbo=sbo)
    fields = {name: torch.tensor(values, dtype=torch.int32) for name, values in lists.items()}
    boundary = SboTensors(**{name: fields.pop(f"sbo_{name}") for name in SboTensors._fields})
    return PackedTensors(**fields, sbo=boundary)


def _bins(*shapes: list[tuple[int, list[tuple[int, int]]]], vocab: int = 37) -> Bins:
    generator = torch.Generator().manual_seed(9)
    return [[literal.random_sequence(generator, length, spans, vocab) for length, spans in shape] for shape in shapes]


CASES = {
    "two bins of two": _bins([(6, [(2, 4)]), (5, [(1, 2)])], [(4, [(1, 3)]), (7, [(1, 2), (3, 5)])]),
    "a span at each edge": _bins([(6, [(1, 3), (4, 5)])]),
    "a row without spans beside one with": _bins([(5, []), (5, [(2, 4)])]),
    "an empty bin": _bins([(8, [(3, 5)])], []),
    "a full bin of one": _bins([(12, [(2, 6), (8, 9)])]),
    "nothing but [CLS] [SEP] beside one with": _bins([(2, []), (9, [(4, 7)])]),
}


def _twin(model: SpanBertForPreTraining, bins: Bins, weight: float) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """Loss, the two sums, and gradients by name, as the literal twin has them."""
    parameters = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    mlm, sbo = literal.losses(parameters, bins, layers=LAYERS, heads=HEADS, vocab=model.config.vocab_size)
    zero = torch.zeros((), dtype=torch.float64)
    mlm_sum, sbo_sum = sum(mlm, zero), sum(sbo, zero)
    loss = mlm_sum / max(len(mlm), 1) + weight * sbo_sum / max(len(sbo), 1)
    loss.backward()
    return loss.detach(), mlm_sum.detach(), sbo_sum.detach(), {n: _grad(p) for n, p in parameters.items()}


def _grad(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _count(labels: Tensor) -> int:
    return int((labels != literal.NONE).sum())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_losses_and_gradients_are_those_of_the_literal_twin(name: str, weight: float) -> None:
    model, batch = model_of(), tensors_of(CASES[name])
    loss, mlm_sum, sbo_sum, gradients = _twin(model, CASES[name], weight)
    counts = _count(batch.mlm_labels), _count(batch.sbo.labels)
    output = model(batch, objective_scales(*counts, sbo_weight=weight))
    output.loss.backward()
    torch.testing.assert_close(output.loss.detach(), loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(output.mlm_sum, mlm_sum, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(output.sbo_sum, sbo_sum, rtol=1e-12, atol=1e-12)
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradients[parameter_name], rtol=1e-9, atol=1e-12, msg=parameter_name)


@pytest.mark.parametrize("vocab", [37, 127, 128, 129])
def test_any_vocabulary_size_gives_the_loss_over_its_entries_alone(vocab: int) -> None:
    model, bins = model_of(vocab), CASES["two bins of two"]
    output = model(tensors_of(bins), objective_scales(5, 5))
    mlm, sbo = literal.losses(dict(model.named_parameters()), bins, layers=LAYERS, heads=HEADS, vocab=vocab)
    assert model.config.padded_vocab == (128 if vocab <= 128 else 256)
    torch.testing.assert_close(output.mlm_sum, sum(mlm, torch.zeros(())).detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(output.sbo_sum, sum(sbo, torch.zeros(())).detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_padding_of_the_vocabulary_never_wins_and_gets_no_gradient(dtype: torch.dtype) -> None:
    """Even if its rows were the largest of all."""
    model, batch = model_of().to(dtype), tensors_of(CASES["two bins of two"])
    with torch.no_grad():
        model.encoder.embeddings.words.weight[37:] = 50.0
        model.mlm.bias[37:] = 50.0
    output = model(batch, objective_scales(6, 6))
    output.loss.backward()
    assert max(output.mlm_predicted.max(), output.sbo_predicted.max()) < 37
    for parameter in (model.encoder.embeddings.words.weight, model.mlm.bias, model.sbo.bias):  # type: ignore[union-attr]
        assert parameter.grad is not None
        assert not parameter.grad[37:].any()
        assert parameter.grad[:37].any()


def test_a_new_models_padding_of_the_vocabulary_is_zero_and_its_biases_too() -> None:
    torch.manual_seed(0)
    config = SpanBertConfig.preset("tiny", vocab_size=300)
    model = SpanBertForPreTraining(config)
    words = model.encoder.embeddings.words.weight
    assert words.shape == (384, 128)
    assert not words[300:].any()
    assert (
        abs(float(words[:300].detach().std()) - 0.02) < 0.001
    )  # 38,400 draws: a false alarm is 14 standard errors away
    assert not any(value.any() for name, value in model.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_bins_without_any_target_cost_nothing_and_move_nothing(dtype: torch.dtype) -> None:
    model = model_of().to(dtype)
    output = model(tensors_of(_bins([(4, [])], [])), objective_scales(0, 0))
    output.loss.backward()
    assert (float(output.loss.detach()), float(output.mlm_sum), float(output.sbo_sum)) == (0.0, 0.0, 0.0)
    assert (int(output.mlm_correct), int(output.sbo_correct)) == (0, 0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_masked_tokens_without_a_boundary_target_leave_the_mlm_loss_alone() -> None:
    model, batch = model_of(), tensors_of(CASES["a span at each edge"])
    without = batch._replace(sbo=batch.sbo._replace(labels=torch.full_like(batch.sbo.labels, literal.NONE)))
    output = model(without, objective_scales(3, 0))
    assert float(output.sbo_sum) == 0.0
    torch.testing.assert_close(output.loss, output.mlm_sum / 3)
    torch.testing.assert_close(output.mlm_sum, model(batch, objective_scales(3, 3)).mlm_sum)


def test_no_slots_for_boundary_targets_is_no_boundary_loss() -> None:
    model, bins = model_of(), CASES["two bins of two"]
    output = model(tensors_of(bins, sbo=0), objective_scales(6, 0))
    output.loss.backward()
    assert output.sbo_predicted.shape == (0,)
    assert float(output.sbo_sum) == 0.0
    torch.testing.assert_close(output.mlm_sum, model(tensors_of(bins), objective_scales(6, 6)).mlm_sum)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_slots_without_a_target_cost_nothing() -> None:
    model, bins = model_of(), CASES["two bins of two"]
    few, many = (model(tensors_of(bins, mlm=n, sbo=n), objective_scales(6, 6)) for n in (6, 11))
    torch.testing.assert_close(few.loss, many.loss, rtol=1e-13, atol=0)
    assert (few.mlm_correct, few.sbo_correct) == (many.mlm_correct, many.sbo_correct)


def test_objective_mlm_has_one_head_and_its_loss() -> None:
    both, alone = model_of(), model_of(objective=Objective.MLM)
    alone.load_state_dict({name: value for name, value in both.state_dict().items() if not name.startswith("sbo.")})
    batch = tensors_of(CASES["two bins of two"])
    output = alone(batch, objective_scales(6, 0))
    output.loss.backward()
    assert alone.sbo is None
    assert output.sbo_predicted.shape == (0,)
    torch.testing.assert_close(output.mlm_sum, both(batch, objective_scales(6, 6)).mlm_sum, rtol=1e-13, atol=0)
    torch.testing.assert_close(output.loss, output.mlm_sum / 6)
    assert all(parameter.grad is not None for parameter in alone.parameters())


def test_counts_of_the_whole_step_make_micro_batches_add_up() -> None:
    bins = CASES["two bins of two"]
    whole, parts = model_of(), model_of()
    scales = objective_scales(6, 6, sbo_weight=0.5)
    whole(tensors_of(bins), scales).loss.backward()
    for half in (bins[:1], bins[1:]):
        parts(tensors_of(half), scales).loss.backward()
    for (name, one), (_, other) in zip(whole.named_parameters(), parts.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-13, msg=name)


def test_scales_are_the_reciprocal_counts_and_zero_for_none() -> None:
    assert objective_scales(4, 5, sbo_weight=2.0).tolist() == [0.25, 0.4, 0.0]
    assert objective_scales(0, 0, 2).tolist() == [0.0, 0.0, 0.5]
    assert objective_scales(3, 3).dtype == torch.float64


def test_correct_counts_targets_whose_best_entry_is_the_label() -> None:
    """One [MASK] more has its own prediction as label, and is then right."""
    model, batch = model_of(), tensors_of(CASES["two bins of two"])
    first = model(batch, objective_scales(6, 6))
    labels = first.mlm_predicted.where(batch.mlm_labels != literal.NONE, literal.NONE).int()
    boundary = first.sbo_predicted.where(batch.sbo.labels != literal.NONE, literal.NONE).int()
    labels[0] = (labels[0] + 1) % 37
    right = batch._replace(mlm_labels=labels, sbo=batch.sbo._replace(labels=boundary))
    second = model(right, objective_scales(6, 6))
    assert (int(second.mlm_correct), int(second.sbo_correct)) == (_count(labels) - 1, _count(boundary))
    scores = model.score(batch)
    assert scores.mlm.shape == (12, 128)
    for found, scored, given in (
        (first.mlm_predicted, scores.mlm, batch.mlm_labels),
        (first.sbo_predicted, scores.sbo, batch.sbo.labels),
    ):
        there = given != literal.NONE
        assert torch.equal(found[there], scored.argmax(1)[there])
        assert found.shape == given.shape


def test_bfloat16_parameters_give_a_float32_loss_close_to_the_exact() -> None:
    batch = tensors_of(CASES["two bins of two"])
    exact, rough = (model_of().to(dtype)(batch, objective_scales(6, 6)) for dtype in (torch.float64, torch.bfloat16))
    assert rough.loss.dtype == torch.float32
    assert abs(float(exact.loss.detach() / rough.loss.detach()) - 1) < 0.05


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [0, 1, 128, 300])
def test_the_loss_some_rows_at_a_time_is_that_of_all_scores(dtype: torch.dtype, count: int) -> None:
    """Loss, best ids and gradients, for rows that fill no chunk, one, and more, with slots without a target among them."""
    generator = torch.Generator().manual_seed(count)
    shapes = {"rows": (count, 16), "words": (60, 16), "bias": (60,)}
    given = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    labels = torch.randint(60, (count,), generator=generator).int()
    labels[2::5] = literal.NONE
    there = labels != literal.NONE
    found = {}
    for way in ("at once", "some at a time"):
        rows, words, bias = (value.to(dtype).requires_grad_() for value in given.values())
        scores = functional.linear(rows, words, bias)
        loss = target_loss(scores, labels) if way == "at once" else loss_of_rows(rows, words, bias, labels)
        (loss.total * 0.25).backward()
        found[way] = (loss, [rows.grad, words.grad, bias.grad])
    (whole, expected), (parts, gradients) = found.values()
    bounds = {torch.float64: 1e-11, torch.float32: 1e-3, torch.bfloat16: 0.6}
    torch.testing.assert_close(parts.total, whole.total, rtol=bounds[dtype] / 10, atol=bounds[dtype])
    torch.testing.assert_close(gradients, expected, rtol=bounds[dtype] / 10, atol=bounds[dtype])
    assert int(parts.correct) == int(whole.correct)
    assert torch.equal(parts.predicted[there], whole.predicted[there])


def test_the_loss_without_gradients_is_the_same_and_has_no_second_derivative() -> None:
    rows, words, bias = (torch.randn(shape, dtype=torch.float64) for shape in ((5, 4), (9, 4), (9,)))
    labels = torch.tensor([1, 2, literal.NONE, 8, 0])
    with torch.no_grad():
        quiet = loss_of_rows(rows, words, bias, labels).total
    rows.requires_grad_()
    loss = loss_of_rows(rows, words, bias, labels).total
    assert torch.equal(quiet, loss.detach())
    [gradient] = torch.autograd.grad(loss, rows, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()


def test_a_loss_of_rows_that_is_gone_through_twice_has_the_same_gradient_twice() -> None:
    rows, words, bias = (torch.randn(shape, dtype=torch.float64) for shape in ((5, 4), (9, 4), (9,)))
    loss = loss_of_rows(rows.requires_grad_(), words, bias, torch.tensor([1, 2, literal.NONE, 8, 0])).total * 3
    first, second = (torch.autograd.grad(loss, rows, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
