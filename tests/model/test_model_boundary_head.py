"""The public head on anyone's encoder: scores, loss and gradients of a literal twin in float64, whatever the layout and the embedding."""

from __future__ import annotations

from typing import Any

import literal_model as literal
import pytest
import torch
from torch import Tensor

from spanmask.errors import ConfigError
from spanmask.model import BoundaryOutput, SboTensors, SpanBertConfig, SpanBertForPreTraining, SpanBoundaryHead

ENTRIES = 11
#: Two rows of seven states: (row, left, right, offset, label) of each target.
TARGETS = [(0, 0, 3, 0, 4), (0, 0, 3, 1, 10), (1, 2, 4, 0, 0), (1, 4, 6, 0, 7), (1, 4, 6, 0, 7)]
LENGTH = 7


def head_of(rows: int, width: int | None, **changes: Any) -> tuple[SpanBoundaryHead, Tensor, Tensor]:
    """A head in float64 whose every parameter is random, with hidden states (2, 7, 6) and an embedding."""
    torch.manual_seed(3)
    sizes = {"vocab_size": ENTRIES, "max_span_offset": 4, "span_offset_dim": 3} | changes
    head = SpanBoundaryHead(6, rows, width=width, **sizes).double()
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter) / 2)
    hidden, words = torch.randn(2, LENGTH, 6).double(), torch.randn(rows, width or 6).double()
    return head, hidden.requires_grad_(), words.requires_grad_()


def packed() -> SboTensors:
    """The targets by numbers of the 14 slots, and two slots without one."""
    columns = [[row * LENGTH + left, row * LENGTH + right, at, label] for row, left, right, at, label in TARGETS]
    return SboTensors(*torch.tensor([*columns, *[[0, 0, 0, literal.NONE]] * 2], dtype=torch.int32).T)


def padded() -> SboTensors:
    """The targets by positions in their rows, in four slots of each."""
    slots = torch.tensor([0, 0, 0, literal.NONE], dtype=torch.int32).repeat(2, 4, 1)
    filled = [0, 0]
    for row, *target in TARGETS:
        slots[row, filled[row]] = torch.tensor(target, dtype=torch.int32)
        filled[row] += 1
    return SboTensors(*slots.unbind(2))


def twin(head: SpanBoundaryHead, hidden: Tensor, words: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The summed loss, and the gradient of its mean by name."""
    leaves = {f"sbo.{name}": value.detach().clone().requires_grad_() for name, value in head.named_parameters()}
    leaves |= {"hidden": hidden.detach().clone().requires_grad_(), "words": words.detach().clone().requires_grad_()}
    named = leaves | {"encoder.embeddings.words.weight": leaves["words"]}
    total = torch.zeros((), dtype=torch.float64)
    for row, left, right, at, label in TARGETS:
        states = leaves["hidden"][row]
        scores = literal.sbo_scores(named, states[left], states[right], at, ENTRIES)
        total = total + torch.log(torch.exp(scores).sum()) - scores[label]
    (total / len(TARGETS)).backward()
    return total.detach(), {name: value.grad for name, value in leaves.items() if value.grad is not None}


@pytest.mark.parametrize("layout", ["padded", "packed", "flat"])
@pytest.mark.parametrize(("rows", "width"), [(ENTRIES, None), (16, None), (ENTRIES, 4), (16, 4)])
def test_loss_and_gradients_are_those_of_the_literal_twin(layout: str, rows: int, width: int | None) -> None:
    """Of a vocabulary that is padded or not, and an embedding as wide as the hidden states or narrower."""
    head, hidden, words = head_of(rows, width)
    total, gradients = twin(head, hidden, words)
    states = hidden.flatten(0, 1) if layout == "flat" else hidden
    found: BoundaryOutput = head(states, words, padded() if layout == "padded" else packed())
    found.loss.backward()
    torch.testing.assert_close(found.total.detach(), total, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.loss.detach(), total / len(TARGETS), rtol=1e-12, atol=0)
    given = {f"sbo.{name}": value for name, value in head.named_parameters()} | {"hidden": hidden, "words": words}
    assert given.keys() == gradients.keys()
    for name, value in given.items():
        torch.testing.assert_close(value.grad, gradients[name], rtol=1e-9, atol=1e-13, msg=name)


@pytest.mark.parametrize("targets", [padded(), packed()], ids=["padded", "packed"])
def test_counts_are_of_the_targets_and_of_those_whose_best_entry_is_the_label(targets: SboTensors) -> None:
    head, hidden, words = head_of(16, 4)
    found = head(hidden, words, targets)
    scores = head.score(hidden, words, targets).view(*targets.labels.shape, 16)
    there = targets.labels != literal.NONE
    assert int(found.targets) == len(TARGETS)
    assert torch.equal(found.predicted[there], scores.argmax(-1)[there])
    assert int(found.correct) == int((found.predicted == targets.labels)[there].sum())
    right = targets._replace(labels=torch.where(there, found.predicted, literal.NONE))
    assert int(head(hidden, words, right).correct) == len(TARGETS)


def test_padding_of_the_vocabulary_is_never_predicted_even_if_its_rows_are_the_largest() -> None:
    head, hidden, words = head_of(16, None)
    with torch.no_grad():
        words[ENTRIES:], head.bias[ENTRIES:] = 50.0, 50.0
    found = head(hidden, words, packed())
    found.loss.backward()
    assert found.predicted.max() < ENTRIES
    assert words.grad is not None
    assert not words.grad[ENTRIES:].any()


def test_without_a_target_the_loss_is_zero_and_moves_nothing() -> None:
    head, hidden, words = head_of(16, None)
    found = head(hidden, words, packed()._replace(labels=torch.full((7,), literal.NONE)))
    found.loss.backward()
    assert (float(found.loss.detach()), int(found.targets)) == (0.0, 0)
    assert not any(parameter.grad.any() for parameter in head.parameters() if parameter.grad is not None)


def test_our_own_model_has_this_head_and_a_seed_its_weights_under_the_names_they_had() -> None:
    config = SpanBertConfig.preset("tiny", vocab_size=300, hidden=8, heads=2, intermediate=8, span_offset_dim=3)
    torch.manual_seed(1)
    model = SpanBertForPreTraining(config)
    torch.manual_seed(1)
    SpanBertForPreTraining(config.changed(objective="mlm"))
    alone = SpanBoundaryHead(8, 384, vocab_size=300, span_offset_dim=3)
    state = {name.removeprefix("sbo."): value for name, value in model.state_dict().items() if name.startswith("sbo.")}
    assert type(model.sbo) is SpanBoundaryHead
    assert state.keys() == {
        "bias",
        "offsets.weight",
        *(f"{step}.{part}" for step in ("first", "second") for part in _PARTS),
    }
    assert all(torch.equal(value, state[name]) for name, value in alone.state_dict().items())


_PARTS = ("dense.weight", "dense.bias", "norm.weight", "norm.bias")


def test_what_does_not_belong_together_is_told_with_both_shapes() -> None:
    head, hidden, words = head_of(16, 4)
    with pytest.raises(ConfigError, match=r"the word embedding is \(16, 6\), and the head was made for \(16, 4\)"):
        head(hidden, torch.zeros(16, 6).double(), packed())
    with pytest.raises(ConfigError, match=r"boundary targets \(2, 4\).*hidden states are \(14, 6\): give \(2, L, H\)"):
        head(hidden.flatten(0, 1), words, padded())
    with pytest.raises(ConfigError, match="vocab_size is 17, and the embedding has 16 rows"):
        SpanBoundaryHead(6, 16, vocab_size=17)
    with pytest.raises(ConfigError, match="no sbo_left: ask for boundary targets"):
        SboTensors.taken_from({"input_ids": torch.zeros(1)})
