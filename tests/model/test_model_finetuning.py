"""Fine-tuned models compute what transformers' do with the same weights, alone, padded or packed; and go there and back.

What is equal to what: scores at tokens always. The loss of classes always. The loss of spans where nothing is padded; where a batch is,
transformers' softmax runs over padding too, which ours never does, so theirs is taken of their scores with those of padding left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import VOCABULARY
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    pipeline,
)

from spanmask.errors import ConfigError
from spanmask.model import (
    ClassHead,
    FineTuned,
    PackedTensors,
    Pooler,
    SboTensors,
    SpanBertConfig,
    SpanBertEncoder,
    SpanHead,
    TokenClassHead,
    export_finetuned,
    load_finetuned,
    padded_tensors,
    read_encoder,
    read_tokenizer,
    span_losses,
)

SIZES = {"vocab_size": 80, "hidden": 32, "layers": 2, "heads": 2, "intermediate": 48, "max_positions": 64}
LABELS = ("no", "yes", "maybe")
#: Of six pairs: the whole, and where the second part begins. All of one length, or each of its own.
EVEN, UNEVEN = [(11, 4)] * 6, [(11, 4), (24, 9), (3, 2), (17, 16), (6, 3), (20, 5)]
#: Each head with what loads it.
AUTO: list[tuple[type[SpanHead | ClassHead], Any]] = [
    (SpanHead, AutoModelForQuestionAnswering),
    (ClassHead, AutoModelForSequenceClassification),
    (TokenClassHead, AutoModelForTokenClassification),
]
#: Slots of a bin.
WIDTH = 45
WAYS = pytest.mark.parametrize("way", ["sdpa", "unpadded"])


@dataclass(frozen=True)
class Pairs:
    """Rows of ids, types and mask, padded at their ends, with an answer in each; and its class."""

    ids: Tensor
    types: Tensor
    mask: Tensor
    starts: Tensor
    ends: Tensor
    classes: Tensor

    @property
    def lengths(self) -> list[int]:
        return self.mask.sum(1).tolist()


def _pairs(sizes: list[tuple[int, int]]) -> Pairs:
    draw = torch.Generator().manual_seed(3)
    places = torch.arange(max(size for size, _ in sizes))
    lengths, seconds = torch.tensor(sizes).T
    mask = (places < lengths[:, None]).long()
    starts = (torch.rand(len(sizes), generator=draw) * lengths).long()
    return Pairs(
        ids=torch.randint(1, 80, mask.shape, generator=draw) * mask,
        types=(places >= seconds[:, None]).long() * mask,
        mask=mask,
        starts=starts,
        ends=(starts + lengths - 1) // 2,
        classes=torch.randint(len(LABELS), (len(sizes),), generator=draw),
    )


def _model(head: type[SpanHead | ClassHead], **changes: Any) -> FineTuned:
    """Every parameter random, so that no two tensors can be taken for each other."""
    torch.manual_seed(1)
    config = SpanBertConfig.from_json(SIZES | {"hidden_dropout": 0.0, "attention_dropout": 0.0} | changes)
    encoder = SpanBertEncoder(config)
    model = {
        SpanHead: lambda: FineTuned(encoder, SpanHead(config)),
        ClassHead: lambda: FineTuned(encoder, ClassHead(config, LABELS), Pooler(config)),
        TokenClassHead: lambda: FineTuned(encoder, TokenClassHead(config, LABELS)),
    }[head]()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            rows = 80 if name.endswith("words.weight") else len(parameter)
            parameter[:rows] = torch.randn(parameter[:rows].shape) / 4 + name.endswith("norm.weight")
    return model.double().eval()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[type, Any]:
    """transformers' models, loaded from ours, by the kind of head; missing or unexpected tensors fail here."""
    found: dict[type, Any] = {}
    for head, auto in AUTO:
        folder = tmp_path_factory.mktemp("theirs") / "model"
        export_finetuned(_model(head), folder, VOCABULARY)
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


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).detach().abs().max())


# --- Equal to transformers


@WAYS
@LAYOUTS
def test_scores_and_losses_of_spans_are_transformers(theirs: dict[type, Any], way: str, layout: Layout) -> None:
    pairs, model = _pairs(UNEVEN), _model(SpanHead, attention=way)
    scores, losses = _spans(model, pairs, layout(pairs))
    expected, their_losses = _their_spans(theirs[SpanHead], pairs)
    assert _apart(scores, expected) < 1e-8
    assert _apart(losses, their_losses) < 1e-8
    assert float(scores.detach().std()) > 0.1


@WAYS
@LAYOUTS
def test_where_nothing_is_padded_the_loss_is_the_one_that_transformers_returns(
    theirs: dict[type, Any], way: str, layout: Layout
) -> None:
    pairs, model = _pairs(EVEN), _model(SpanHead, attention=way)
    answers = {"start_positions": pairs.starts, "end_positions": pairs.ends}
    output = theirs[SpanHead](input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types, **answers)
    assert _apart(_spans(model, pairs, layout(pairs))[1].mean(), output.loss) < 1e-8


def test_where_a_batch_is_padded_theirs_is_another_loss(theirs: dict[type, Any]) -> None:
    pairs = _pairs(UNEVEN)
    answers = {"start_positions": pairs.starts, "end_positions": pairs.ends}
    output = theirs[SpanHead](input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types, **answers)
    assert _apart(output.loss, _their_spans(theirs[SpanHead], pairs)[1].mean()) > 0.1


@WAYS
@LAYOUTS
def test_scores_and_losses_of_classes_are_transformers(theirs: dict[type, Any], way: str, layout: Layout) -> None:
    pairs, model = _pairs(UNEVEN), _model(ClassHead, attention=way)
    packed = layout(pairs)
    scores = model(packed.batch, packed.firsts)
    output = theirs[ClassHead](
        input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types, labels=pairs.classes
    )
    assert _apart(scores, output.logits) < 1e-8
    assert _apart(functional.cross_entropy(scores, pairs.classes), output.loss) < 1e-8


@WAYS
@LAYOUTS
def test_scores_and_losses_of_tokens_are_transformers(theirs: dict[type, Any], way: str, layout: Layout) -> None:
    pairs, model = _pairs(UNEVEN), _model(TokenClassHead, attention=way)
    packed = layout(pairs)
    at = torch.cat([torch.arange(size) + first for size, first in zip(pairs.lengths, packed.firsts, strict=True)])
    scores = model(packed.batch)[at]
    labels = torch.where((pairs.mask > 0) & (pairs.ids % 3 > 0), pairs.ids % len(LABELS), -100)
    output = theirs[TokenClassHead](
        input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types, labels=labels
    )
    assert _apart(scores, output.logits[pairs.mask > 0]) < 1e-8
    assert _apart(functional.cross_entropy(scores, labels[pairs.mask > 0]), output.loss) < 1e-8


@WAYS
def test_gradients_of_packed_pairs_are_those_of_transformers(theirs: dict[type, Any], way: str, tmp_path: Path) -> None:
    pairs, model, bert = _pairs(UNEVEN), _model(SpanHead, attention=way), theirs[SpanHead]
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
    pairs, model = _pairs(UNEVEN), _model(SpanHead, attention=way)
    packed = wrong(_packed(pairs))
    found, expected = _spans(model, pairs, packed)[1], _their_spans(theirs[SpanHead], pairs)[1]
    assert _apart(found, expected) > 1e-3


@WAYS
@pytest.mark.parametrize("place", ["last", "one behind", "the bin's first"])
def test_a_pooler_over_another_slot_is_seen(theirs: dict[type, Any], way: str, place: str) -> None:
    pairs, model = _pairs(UNEVEN), _model(ClassHead, attention=way)
    packed = _packed(pairs)
    firsts = {
        "last": packed.firsts + torch.tensor(pairs.lengths) - 1,
        "one behind": packed.firsts + 1,
        "the bin's first": packed.firsts // WIDTH * WIDTH,
    }[place]
    output = theirs[ClassHead](input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types)
    assert _apart(model(packed.batch, firsts), output.logits) > 1e-3


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


# --- Out and back


@pytest.mark.parametrize(("head", "auto"), AUTO)
def test_a_fine_tuned_folder_is_complete_and_read_back_to_the_bit(tmp_path: Path, head: Any, auto: Any) -> None:
    model = _model(head).float()
    export_finetuned(model, tmp_path / "out", VOCABULARY, card="# A card\n")
    names = {"README.md", "config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    again = load_finetuned(tmp_path / "out")
    assert again.config == model.config.changed(objective=again.config.objective)
    state, other = model.state_dict(), again.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)
    assert read_tokenizer(tmp_path / "out").sha256 == VOCABULARY.sha256
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs.model_max_length == 64
    bert = auto.from_pretrained(tmp_path / "out")
    assert bert.config.hidden_dropout_prob == 0
    if head is not SpanHead:
        assert again.head.labels == LABELS
        assert bert.config.id2label == dict(enumerate(LABELS))
        assert bert.config.label2id == {name: number for number, name in enumerate(LABELS)}
    bert.save_pretrained(tmp_path / "theirs")
    third = load_finetuned(tmp_path / "theirs").state_dict()
    assert all(torch.equal(state[name], third[name]) for name in state)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_labels_that_transformers_names_itself_are_read(tmp_path: Path, count: int) -> None:
    bert = BertForSequenceClassification(BertConfig(**BERT_SIZES, num_labels=count))
    bert.save_pretrained(tmp_path)
    head = load_finetuned(tmp_path).head
    assert isinstance(head, ClassHead)
    assert head.labels == tuple(f"LABEL_{number}" for number in range(count))
    assert torch.equal(head.dense.weight, bert.classifier.weight)


def test_a_number_is_told_as_it_is_by_transformers_pipelines(tmp_path: Path) -> None:
    model = _model(SpanHead)
    config = model.config
    export_finetuned(FineTuned(model.encoder, ClassHead(config, ("number",)), Pooler(config)), tmp_path, VOCABULARY)
    assert AutoConfig.from_pretrained(tmp_path).problem_type == "regression"
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    theirs.classifier.weight.data.zero_()
    theirs.classifier.bias.data.fill_(3.75)
    told = pipeline("text-classification", model=theirs, tokenizer=AutoTokenizer.from_pretrained(tmp_path))("a")
    assert told[0]["score"] == 3.75


def test_a_head_that_transformers_has_not_lies_beside_the_encoder_which_it_loads(tmp_path: Path) -> None:
    model = _model(SpanHead)
    model.head = torch.nn.Linear(32, 5)
    export_finetuned(model, tmp_path / "out", VOCABULARY)
    theirs = AutoModel.from_pretrained(tmp_path / "out", add_pooling_layer=False).state_dict()
    ours = model.encoder.embeddings.positions.weight
    assert torch.equal(theirs["embeddings.position_embeddings.weight"], ours)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(stored["head.weight"], model.head.weight)
    assert torch.equal(stored["head.bias"], model.head.bias)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"architectures": ["BertForMaskedLM"]},
            r"architectures is \['BertForMaskedLM'\], expected one of BertForQuestionAnswering, ",
        ),
        ({"architectures": None}, "architectures is None, expected one of"),
        ({"architectures": [7]}, r"architectures is \[7\], expected one of"),
        ({"architectures": []}, r"architectures is \[\], expected one of"),
        ({"architectures": [["x"]]}, "expected one of"),
        (
            {"architectures": ["BertForQuestionAnswering"]},
            r"it lacks head.dense.bias, head.dense.weight \(2 tensors\); save",
        ),
        ({"id2label": {"0": "a", "1": "b"}}, r"id2label is {'0': 'a', '1': 'b'}, expected the names of the 3 labels"),
        ({"id2label": {"0": "a", "1": "b", "3": "c"}}, "expected the names of the 3 labels"),
        ({"id2label": {"0": "a", "1": "b", "2": 7}}, "expected the names of the 3 labels"),
        ({"id2label": ["a", "b", "c"]}, "expected the names of the 3 labels"),
        (
            {"model_type": "distilbert"},
            "model_type is 'distilbert', expected 'bert': the encoder here computes nothing else",
        ),
        ({"hidden_size": 64}, "word_embeddings.weight has shape"),
    ],
)
def test_a_config_that_is_no_fine_tuned_models_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    export_finetuned(_model(ClassHead), tmp_path / "out", VOCABULARY)
    path = tmp_path / "out" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=told) as caught:
        load_finetuned(tmp_path / "out")
    assert str(caught.value).startswith(str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("classifier.weight"), "it lacks classifier.weight; save the model again"),
        (lambda state: state.pop("classifier.bias"), r"it lacks head.dense.bias \(1 tensors\); save the model again"),
        (lambda state: state.pop("bert.pooler.dense.bias"), r"it lacks pooler.dense.bias \(1 tensors\)"),
        (
            lambda state: state.update({"classifier.weight": torch.ones(3, 31)}),
            r"classifier.weight has shape \(3, 31\)",
        ),
        (lambda state: state.update({"classifier.weight": torch.ones(4, 32)}), "names of the 4 labels"),
        (lambda state: state.update({"classifier.weight": torch.tensor(1.0)}), "names of the 0 labels"),
        (lambda state: state.update({"classifier.weight": torch.ones(0, 32)}), "it lacks classifier.weight"),
        (lambda state: state["classifier.bias"].fill_(math.nan), "classifier.bias|head.dense.bias holds NaN"),
        (lambda state: state["bert.pooler.dense.weight"].fill_(math.inf), "pooler.dense.weight holds NaN"),
        (lambda state: state.update({"classifier.bias": torch.ones(3, dtype=torch.int64)}), "which is no weight"),
    ],
)
def test_tensors_that_are_no_fine_tuned_models_are_refused(tmp_path: Path, change: Any, told: str) -> None:
    export_finetuned(_model(ClassHead), tmp_path / "out", VOCABULARY)
    path = tmp_path / "out" / "model.safetensors"
    state = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(state)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=told):
        load_finetuned(tmp_path / "out")


# --- Encoders to begin from

BERT_SIZES = {
    "vocab_size": 80,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 24,
}


def _bert(kind: Any, **changes: Any) -> Any:
    torch.manual_seed(2)
    bert = kind(BertConfig(**BERT_SIZES | changes)).eval()
    with torch.no_grad():
        for parameter in bert.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 4)
    return bert


@pytest.mark.parametrize(
    "kind", [BertModel, BertForPreTraining, BertForQuestionAnswering, BertForSequenceClassification]
)
@pytest.mark.parametrize("pooler", [False, True])
def test_any_bert_is_an_encoder_to_begin_from(tmp_path: Path, kind: Any, pooler: bool) -> None:
    bert = _bert(kind)
    bert.save_pretrained(tmp_path)
    loaded = read_encoder(tmp_path, VOCABULARY, pooler=pooler, attention="sdpa")
    new = pooler and kind is BertForQuestionAnswering
    assert loaded.initialised == (("pooler.dense.weight", "pooler.dense.bias") if new else ())
    pairs = _pairs(UNEVEN)
    with torch.no_grad():
        found = loaded.encoder.eval()(padded_tensors(pairs.ids, pairs.mask, pairs.types)).view(*pairs.ids.shape, 32)
        output = getattr(bert, "bert", bert)(input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types)
        assert float((found - output.last_hidden_state)[pairs.mask > 0].abs().max()) < 1e-5
        if pooler and not new:
            assert loaded.pooler is not None
            assert _apart(loaded.pooler(found[:, 0]), output.pooler_output) < 1e-5
    heads = {name for name in loaded.unused if "pooler" not in name}
    assert heads == {name for name in bert.state_dict() if name.startswith(("cls.p", "cls.s", "qa_", "classi"))} - {
        "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"
    }  # fmt: skip
    assert ("bert.pooler.dense.weight" in loaded.unused) is (not pooler and kind is not BertForQuestionAnswering)


@pytest.mark.parametrize("rows", [0, 1])
def test_token_types_that_a_checkpoint_lacks_are_new_and_named(tmp_path: Path, rows: int) -> None:
    bert = _bert(BertModel, type_vocab_size=max(rows, 1))
    bert.save_pretrained(tmp_path)
    if not rows:
        state = load_file(tmp_path / "model.safetensors")
        del state["embeddings.token_type_embeddings.weight"]
        save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    torch.manual_seed(4)
    loaded = read_encoder(tmp_path, VOCABULARY)
    assert loaded.initialised == ("encoder.embeddings.types.weight",)
    types = loaded.encoder.embeddings.types.weight
    assert types.shape == (2, 32)
    assert torch.equal(types[:rows], bert.embeddings.token_type_embeddings.weight[:rows])
    assert 0.01 < float(types[rows:].detach().std()) < 0.03
    torch.manual_seed(4)
    assert torch.equal(types, read_encoder(tmp_path, VOCABULARY).encoder.embeddings.types.weight)


def test_rows_beyond_the_vocabulary_are_dropped_and_too_few_refused(tmp_path: Path) -> None:
    bert = _bert(BertModel, vocab_size=96)
    bert.save_pretrained(tmp_path / "more")
    words = read_encoder(tmp_path / "more", VOCABULARY).encoder.embeddings.words.weight
    assert torch.equal(words[:80], bert.embeddings.word_embeddings.weight[:80])
    assert not words[80:].any()
    _bert(BertModel, vocab_size=79).save_pretrained(tmp_path / "fewer")
    with pytest.raises(
        ConfigError, match="its embedding has 79 rows, and the vocabulary 80 entries: give the model the"
    ):
        read_encoder(tmp_path / "fewer", VOCABULARY)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("encoder.layer.1.output.dense.bias"), r"it lacks encoder.layers.1.down.bias \(1 tensors\)"),
        (lambda state: state.pop("encoder.layer.0.attention.self.key.bias"), r"it lacks encoder.layers.0.attention.qkv.bias"),
        (lambda state: state.pop("embeddings.word_embeddings.weight"), "it lacks encoder.embeddings.words.weight"),
        (lambda state: state["encoder.layer.0.output.dense.bias"].fill_(math.nan), "layers.0.down.bias holds NaN or an inf"),
        (lambda state: state.update({"pooler.dense.bias": torch.ones(31)}), r"pooler.dense.bias has shape \(31,\)"),
        (lambda state: state.update({"pooler.dense.bias": torch.full((32,), math.nan)}), "pooler.dense.bias holds NaN"),
        (lambda state: state.clear(), "a model of 2 layers, and 0 tensors"),
        (lambda state: [state.update({f"roberta.{n}": state.pop(n)}) for n in list(state)], "it lacks encoder.embeddings.words"),
    ],
)  # fmt: skip
def test_an_encoder_that_is_not_whole_is_refused(tmp_path: Path, change: Any, told: str) -> None:
    _bert(BertModel).save_pretrained(tmp_path)
    state = {name: tensor.clone() for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    change(state)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=told) as caught:
        read_encoder(tmp_path, VOCABULARY, pooler=True)
    assert str(caught.value).startswith(str(tmp_path))
