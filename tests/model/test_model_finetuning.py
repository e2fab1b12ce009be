"""Fine-tuned models compute what transformers' do with the same weights, alone, padded or packed.

What is equal to what: scores at tokens always. The loss of classes always. The loss of spans where nothing is padded; where a batch is,
transformers' softmax runs over padding too, which ours never does, so theirs is taken of their scores with those of padding left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from model.pairs import AUTO, EVEN, LABELS, UNEVEN, Pairs, apart, model_of, pairs_of
from safetensors.torch import load_file
from small import VOCABULARY
from torch import Tensor
from torch.nn import functional
from transformers import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from spanmask.model import (
    ClassHead,
    FineTuned,
    PackedTensors,
    SboTensors,
    SpanHead,
    TokenClassHead,
    export_finetuned,
    padded_tensors,
    span_losses,
)

#: Slots of a bin.
WIDTH = 45
WAYS = pytest.mark.parametrize("way", ["sdpa", "unpadded"])


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[type, Any]:
    """transformers' models, loaded from ours, by the kind of head; missing or unexpected tensors fail here."""
    found: dict[type, Any] = {}
    for head, auto in AUTO:
        folder = tmp_path_factory.mktemp("theirs") / "model"
        export_finetuned(model_of(head), folder, VOCABULARY)
        found[head], report = auto.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
        assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
        found[head] = found[head].double().eval()
    classes = [BertForQuestionAnswering, BertForSequenceClassification, BertForTokenClassification]
    assert [type(model) for model in found.values()] == classes
    return found


# --- Packed by hand


@dataclass(frozen=True)
class Packed:
    """A batch, which sequence each of its slots belongs to, and where each begins."""

    batch: PackedTensors
    sequences: Tensor
    firsts: Tensor


Layout = Callable[[Pairs], Packed]


def _packed(pairs: Pairs, bins: Sequence[Sequence[int]] = ((1,), (2, 0, 4), (5, 3)), width: int = WIDTH) -> Packed:
    """Rows of these numbers in each bin, one behind another."""
    fields = {name: torch.zeros(len(bins), width, dtype=torch.int32) for name in ("ids", "index", "places", "types")}
    sequences = torch.full((len(bins), width), len(pairs.ids))
    firsts, bounds = torch.zeros(len(pairs.ids), dtype=torch.int64), []
    for b, members in enumerate(bins):
        at = 0
        for k, row in enumerate(members, start=1):
            size = pairs.lengths[row]
            part = slice(at, at + size)
            fields["ids"][b, part], fields["types"][b, part] = pairs.ids[row, :size], pairs.types[row, :size]
            fields["index"][b, part], fields["places"][b, part] = k, torch.arange(size)
            sequences[b, part], firsts[row] = row, b * width + at
            bounds.append(b * width + at)
            at += size
        fields["places"][b, at:] = torch.arange(width - at)
        bounds += [b * width + at] if at < width else []
    none = torch.empty(0, dtype=torch.int32)
    batch = PackedTensors(
        input_ids=fields["ids"],
        sequence_index=fields["index"],
        positions=fields["places"],
        cu_seqlens=torch.tensor([*bounds, len(bins) * width], dtype=torch.int32),
        mlm_positions=none,
        mlm_labels=none,
        sbo=SboTensors(none, none, none, none),
        token_types=fields["types"],
    )
    return Packed(batch, sequences.flatten(), firsts)


def _padded(pairs: Pairs) -> Packed:
    rows, width = pairs.ids.shape
    batch = padded_tensors(pairs.ids, pairs.mask, pairs.types)
    numbers = torch.arange(rows)
    return Packed(batch, numbers[:, None].expand(-1, width).where(pairs.mask > 0, rows).flatten(), numbers * width)


def _in_another_order(pairs: Pairs) -> Packed:
    """A bin is full."""
    return _packed(pairs, [[3, 0, 4, 2], [5], [1]], sum(pairs.lengths[row] for row in (3, 0, 4, 2)))


LAYOUTS = pytest.mark.parametrize("layout", [_padded, _packed, _in_another_order])


def _spans(model: FineTuned, pairs: Pairs, packed: Packed) -> tuple[Tensor, Tensor]:
    """Our scores at tokens, row after row, (T, 2), and the loss of each row."""
    scores = model(packed.batch)
    at = [torch.arange(size) + first for size, first in zip(pairs.lengths, packed.firsts, strict=True)]
    losses = span_losses(scores, packed.sequences, packed.firsts + pairs.starts, packed.firsts + pairs.ends)
    return scores[torch.cat(at)], losses


def _their_spans(bert: Any, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Their scores at tokens, (T, 2), and the loss of each row, padding left out of the softmax."""
    output = bert(input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types)
    scores = torch.stack([output.start_logits, output.end_logits], dim=2)
    kept = scores.masked_fill(pairs.mask[:, :, None] == 0, -torch.inf)
    starts = functional.cross_entropy(kept[:, :, 0], pairs.starts, reduction="none")
    ends = functional.cross_entropy(kept[:, :, 1], pairs.ends, reduction="none")
    return scores[pairs.mask > 0], (starts + ends) / 2


# --- Equal to transformers


@WAYS
@LAYOUTS
def test_scores_and_losses_of_spans_are_transformers(theirs: dict[type, Any], way: str, layout: Layout) -> None:
    pairs, model = pairs_of(UNEVEN), model_of(SpanHead, attention=way)
    scores, losses = _spans(model, pairs, layout(pairs))
    expected, their_losses = _their_spans(theirs[SpanHead], pairs)
    assert apart(scores, expected) < 1e-8
    assert apart(losses, their_losses) < 1e-8
    assert float(scores.detach().std()) > 0.1


@WAYS
@LAYOUTS
def test_where_nothing_is_padded_the_loss_is_the_one_that_transformers_returns(
    theirs: dict[type, Any], way: str, layout: Layout
) -> None:
    pairs, model = pairs_of(EVEN), model_of(SpanHead, attention=way)
    answers = {"start_positions": pairs.starts, "end_positions": pairs.ends}
    output = theirs[SpanHead](input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types, **answers)
    assert apart(_spans(model, pairs, layout(pairs))[1].mean(), output.loss) < 1e-8


def test_where_a_batch_is_padded_theirs_is_another_loss(theirs: dict[type, Any]) -> None:
    pairs = pairs_of(UNEVEN)
    answers = {"start_positions": pairs.starts, "end_positions": pairs.ends}
    output = theirs[SpanHead](input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types, **answers)
    assert apart(output.loss, _their_spans(theirs[SpanHead], pairs)[1].mean()) > 0.1


@WAYS
@LAYOUTS
def test_scores_and_losses_of_classes_are_transformers(theirs: dict[type, Any], way: str, layout: Layout) -> None:
    pairs, model = pairs_of(UNEVEN), model_of(ClassHead, attention=way)
    packed = layout(pairs)
    scores = model(packed.batch, packed.firsts)
    output = theirs[ClassHead](
        input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types, labels=pairs.classes
    )
    assert apart(scores, output.logits) < 1e-8
    assert apart(functional.cross_entropy(scores, pairs.classes), output.loss) < 1e-8


@WAYS
@LAYOUTS
def test_scores_and_losses_of_tokens_are_transformers(theirs: dict[type, Any], way: str, layout: Layout) -> None:
    pairs, model = pairs_of(UNEVEN), model_of(TokenClassHead, attention=way)
    packed = layout(pairs)
    at = torch.cat([torch.arange(size) + first for size, first in zip(pairs.lengths, packed.firsts, strict=True)])
    scores = model(packed.batch)[at]
    labels = torch.where((pairs.mask > 0) & (pairs.ids % 3 > 0), pairs.ids % len(LABELS), -100)
    output = theirs[TokenClassHead](
        input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types, labels=labels
    )
    assert apart(scores, output.logits[pairs.mask > 0]) < 1e-8
    assert apart(functional.cross_entropy(scores, labels[pairs.mask > 0]), output.loss) < 1e-8


@WAYS
def test_gradients_of_packed_pairs_are_those_of_transformers(theirs: dict[type, Any], way: str, tmp_path: Path) -> None:
    pairs, model, bert = pairs_of(UNEVEN), model_of(SpanHead, attention=way), theirs[SpanHead]
    bert.zero_grad()
    _their_spans(bert, pairs)[1].sum().backward()
    _spans(model, pairs, _packed(pairs))[1].sum().backward()
    for parameter in model.parameters():
        parameter.data = parameter.grad  # written under their names, gradients are easy to compare
    export_finetuned(model, tmp_path / "gradients", VOCABULARY)
    found = load_file(tmp_path / "gradients" / "model.safetensors")
    for name, parameter in bert.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad.float(), rtol=1e-6, atol=1e-9, msg=name)


# --- Each wrong is seen


def _without_types(packed: Packed) -> Packed:
    return replace(packed, batch=packed.batch._replace(token_types=None))


def _types_turned(packed: Packed) -> Packed:
    types = packed.batch.token_types
    assert types is not None
    return replace(packed, batch=packed.batch._replace(token_types=1 - types))


def _one_softmax(packed: Packed) -> Packed:
    """Padding belongs to the last sequence before it."""
    sequences = packed.sequences.clone()
    last = sequences[0]
    for slot, owner in enumerate(sequences.tolist()):
        last = last if owner == int(packed.sequences.max()) else torch.tensor(owner)
        sequences[slot] = last
    return replace(packed, sequences=sequences)


def _one_bin_one_sequence(packed: Packed) -> Packed:
    index = (packed.batch.sequence_index > 0).int()
    return replace(packed, batch=packed.batch._replace(sequence_index=index))


def _places_of_the_bin(packed: Packed) -> Packed:
    places = torch.arange(packed.batch.positions.shape[1], dtype=torch.int32).expand_as(packed.batch.positions)
    return replace(packed, batch=packed.batch._replace(positions=places))


@WAYS
@pytest.mark.parametrize(
    "wrong", [_without_types, _types_turned, _one_softmax, _one_bin_one_sequence, _places_of_the_bin]
)
def test_a_wrong_in_a_batch_moves_the_loss_of_spans(
    theirs: dict[type, Any], way: str, wrong: Callable[[Packed], Packed]
) -> None:
    pairs, model = pairs_of(UNEVEN), model_of(SpanHead, attention=way)
    packed = wrong(_packed(pairs))
    found, expected = _spans(model, pairs, packed)[1], _their_spans(theirs[SpanHead], pairs)[1]
    assert apart(found, expected) > 1e-3


@WAYS
@pytest.mark.parametrize("place", ["last", "one behind", "the bin's first"])
def test_a_pooler_over_another_slot_is_seen(theirs: dict[type, Any], way: str, place: str) -> None:
    pairs, model = pairs_of(UNEVEN), model_of(ClassHead, attention=way)
    packed = _packed(pairs)
    firsts = {
        "last": packed.firsts + torch.tensor(pairs.lengths) - 1,
        "one behind": packed.firsts + 1,
        "the bin's first": packed.firsts // WIDTH * WIDTH,
    }[place]
    output = theirs[ClassHead](input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types)
    assert apart(model(packed.batch, firsts), output.logits) > 1e-3


# --- The loss by itself


def test_the_loss_of_spans_is_the_literal_one() -> None:
    draw = torch.Generator().manual_seed(5)
    scores = torch.randn(12, 2, generator=draw, dtype=torch.float64) * 30
    owners = [0, 0, 0, 2, 2, 1, 3, 3, 1, 1, 1, 3]
    starts, ends = [1, 8, 4], [2, 5, 3]
    expected = []
    for row, places in enumerate(zip(starts, ends, strict=True)):
        mine = [scores[slot] for slot in range(12) if owners[slot] == row]
        costs = [
            math.log(sum(math.exp(float(one[side] - scores[place, side])) for one in mine))
            for side, place in enumerate(places)
        ]
        expected.append(sum(costs) / 2)
    found = span_losses(scores, torch.tensor(owners), torch.tensor(starts), torch.tensor(ends))
    assert found.tolist() == pytest.approx(expected, rel=1e-12)
    half = span_losses(scores.bfloat16(), torch.tensor(owners), torch.tensor(starts), torch.tensor(ends))
    assert half.dtype == torch.float32
    assert half.tolist() == pytest.approx(expected, rel=0.02)
