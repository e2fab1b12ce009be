"""Models of transformers with our losses: what they compute alone they compute here, packed or padded; what cannot be is told."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import literal_model as literal
import pytest
import torch
from model.backbones import ARCHITECTURES, ENTRIES, PACKED, backbone_of, config_of, shape_of
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForMaskedLM, BigBirdConfig

from spanmask.errors import ConfigError
from spanmask.model import BackboneForPreTraining, PackedTensors, SboTensors, objective_scales
from spanmask.model.attention import Neighbours
from spanmask.model.backbone_attention import attend
from spanmask.model.backbone_trial import wrapped
from spanmask.model.config import Attention

Bins = list[list[literal.Sequence]]
#: Of three sequences, one of them longer than ModernBERT's window of 4 tokens to each side.
SHAPES = [(6, [(2, 4)]), (19, [(1, 2), (9, 12), (17, 18)]), (7, [(3, 5)])]
GENERATOR = torch.Generator().manual_seed(2)
DRAWN = [literal.random_sequence(GENERATOR, length, spans, ENTRIES - 2) for length, spans in SHAPES]
#: Without the padding id, which is in no text: RoBERTa counts its tokens without it.
SEQUENCES: list[literal.Sequence] = [([one + 2 for one in ids], spans, under) for ids, spans, under in DRAWN]
PACKED_BINS, ROWS = [SEQUENCES[:2], SEQUENCES[2:]], [[one] for one in SEQUENCES]


def tensors_of(bins: Bins, width: int = 26) -> PackedTensors:
    lists = literal.pack(bins, width=width, mlm=8, sbo=8)
    fields = {name: torch.tensor(values, dtype=torch.int32) for name, values in lists.items()}
    boundary = SboTensors(**{name: fields.pop(f"sbo_{name}") for name in SboTensors._fields})
    return PackedTensors(**fields, sbo=boundary)


def model_of(name: str, **changes: Any) -> BackboneForPreTraining:
    """A model in float64."""
    torch.manual_seed(8)
    model, _ = wrapped(backbone_of(name, **changes), shape_of(), "DIR")
    with torch.no_grad():
        for parameter in (model.sbo or nn.Module()).parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    return model.double()


def layouts_of(name: str) -> list[tuple[tuple[Attention, ...], PackedTensors]]:
    ways = [(Attention.UNPADDED,), (Attention.SDPA,)] if name in PACKED else []
    return [((), tensors_of(ROWS)), *((way, tensors_of(PACKED_BINS)) for way in ways)]


def twin(name: str, model: BackboneForPreTraining) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Summed losses of both heads, and gradients of their sum by name: transformers' own model on each row, and the literal head on it."""
    theirs = backbone_of(name).double()
    head = {f"sbo.{key}": value.detach().clone().requires_grad_() for key, value in model.sbo.named_parameters()}  # type: ignore[union-attr]
    named = head | {"encoder.embeddings.words.weight": theirs.get_input_embeddings().weight}
    mlm = sbo = torch.zeros((), dtype=torch.float64)
    for ids, spans, originals in SEQUENCES:
        labels = torch.full((len(ids),), literal.NONE)
        for (start, end), under in zip(spans, originals, strict=True):
            labels[start:end] = torch.tensor(under)
        row = torch.tensor(ids)[None]
        output = theirs(row, attention_mask=torch.ones_like(row), output_hidden_states=True)
        # ModernBERT's own loss is of scores in float32.
        mlm = mlm + functional.cross_entropy(output.logits[0], labels, reduction="sum")
        states = output.hidden_states[-1][0]
        for (start, end), under in zip(spans, originals, strict=True):
            for at, label in enumerate(under):
                scores = literal.sbo_scores(named, states[start - 1], states[end], at, ENTRIES)
                sbo = sbo + torch.log(torch.exp(scores).sum()) - scores[label]
    (mlm + sbo).backward()
    gradients = {f"backbone.{key}": value.grad for key, value in theirs.named_parameters()}
    return mlm.detach(), sbo.detach(), gradients | {key: value.grad for key, value in head.items()}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_losses_and_gradients_are_transformers_own_and_the_literal_heads_in_every_layout(name: str) -> None:
    model = model_of(name)
    mlm, sbo, gradients = twin(name, model)
    assert model.packed is (name in PACKED)
    for ways, batch in layouts_of(name):
        model.ways = ways
        model.zero_grad()
        output = model(batch, objective_scales(1, 1))
        output.loss.backward()
        torch.testing.assert_close(output.mlm_sum, mlm, rtol=1e-8, atol=0)
        torch.testing.assert_close(output.sbo_sum, sbo, rtol=1e-8, atol=0)
        for key, parameter in model.named_parameters():
            found, wanted = (torch.zeros(()) if one is None else one for one in (parameter.grad, gradients[key]))
            torch.testing.assert_close(
                found.expand_as(parameter),
                wanted.expand_as(parameter),
                rtol=1e-6,
                atol=1e-9,
                check_dtype=False,
                msg=f"{key} {ways}",
            )


@pytest.mark.parametrize("name", PACKED)
def test_a_model_in_training_drops_out_and_one_pass_of_bfloat16_is_near_the_exact(name: str) -> None:
    dropout = "attention_dropout" if name == "modernbert" else "attention_probs_dropout_prob"
    model, batch = model_of(name, **{dropout: 0.5}), tensors_of(PACKED_BINS)
    scales = objective_scales(1, 1)
    torch.manual_seed(1)
    first = model(batch, scales).loss
    second = model(batch, scales).loss
    model.eval()
    assert len({float(first.detach()), float(second.detach()), float(model(batch, scales).loss.detach())}) == 3
    exact = model(batch, scales).loss.detach()
    cast = {key: value.to(torch.bfloat16) for key, value in model.named_parameters()}
    rough = torch.func.functional_call(model, cast, (batch, scales)).loss.detach()
    assert abs(float(rough / exact) - 1) < 0.1


@pytest.mark.parametrize("name", ["electra", "modernbert"])
def test_second_parts_of_pairs_have_their_type_where_the_encoder_has_types(name: str) -> None:
    """In every layout, against rows that transformers computes alone; the second half of each row is the second part."""
    theirs, model = backbone_of(name).double().eval(), model_of(name).eval()
    alone = []
    for ids, spans, _ in SEQUENCES:
        types = torch.tensor([place >= len(ids) // 2 for place in range(len(ids))]).long()
        given = {"token_type_ids": types[None]} if name == "electra" else {}
        logits = theirs(torch.tensor(ids)[None], **given).logits[0]
        alone.append(torch.cat([logits[start:end] for start, end in spans]))
    for ways, batch in layouts_of(name):
        halves = torch.zeros_like(batch.input_ids)
        for row, index in enumerate(batch.sequence_index):
            for number in range(1, int(index.max()) + 1):
                slots = torch.nonzero(index == number).flatten()
                halves[row, slots[len(slots) // 2 :]] = 1
        model.ways = ways
        found = model.score(batch._replace(token_types=halves)).mlm[batch.mlm_labels != literal.NONE]
        torch.testing.assert_close(found, torch.cat(alone), rtol=1e-6, atol=1e-7)
        if name == "electra":
            assert (model.score(batch).mlm[batch.mlm_labels != literal.NONE] - found).abs().max() > 0.01


def test_a_rank_without_a_token_has_no_loss_and_gradients_of_zero() -> None:
    model = model_of("roberta")
    output = model(tensors_of([[], []]), objective_scales(0, 0))
    output.loss.backward()
    assert float(output.loss.detach()) == 0.0
    assert not any(one.grad is not None and one.grad.any() for one in model.parameters())


@pytest.mark.parametrize("name", ["modernbert", "electra"])
def test_rows_of_the_embedding_beyond_the_vocabulary_are_never_predicted(name: str) -> None:
    torch.manual_seed(1)
    backbone = backbone_of(name, ENTRIES + 8)
    with torch.no_grad():
        backbone.get_output_embeddings().bias[ENTRIES:] = 50.0
    model, _ = wrapped(backbone, shape_of(), "DIR")
    output = model(tensors_of(PACKED_BINS), objective_scales(1, 1))
    assert max(output.mlm_predicted.max(), output.sbo_predicted.max()) < ENTRIES


@pytest.mark.parametrize("size", [1, 4, 5, 16, 21, 50])
@pytest.mark.parametrize("apart", [False, True])
def test_windows_give_what_a_mask_of_the_whole_gives(size: int, apart: bool) -> None:
    torch.manual_seed(size)
    query, key, value = torch.randn(3, 1, 2, size, 4, dtype=torch.float64).unbind(0)
    places = torch.arange(size)
    same = (places[:, None] < size // 2) == (places < size // 2) if apart else torch.ones(size, size, dtype=torch.bool)
    between = torch.zeros(size, size).double().masked_fill(~same, -torch.inf) if apart else None
    near = (places[:, None] - places).abs() < 4
    expected = functional.scaled_dot_product_attention(query, key, value, near & same, scale=0.3)
    bounds = Neighbours(torch.tensor([0, size]), None, size, places, ((size, between),))
    found, _ = attend(None, query, key, value, None, neighbours=bounds, scaling=0.3, sliding_window=4)
    torch.testing.assert_close(found, expected.transpose(1, 2))


# --- What is tried before training


def test_how_batches_are_made_is_told_with_its_reason() -> None:
    told = {name: wrapped(backbone_of(name), shape_of(), "DIR")[1] for name in ("roberta", "deberta")}
    assert told["roberta"] == (
        "batches are packed: RobertaForMaskedLM is told by position ids and a block mask where sequences end, "
        "on CPU by attention sequence by sequence"
    )
    assert told["deberta"].startswith(
        "batches are bucketed, a sequence a row: DebertaV2ForMaskedLM cannot be told where sequences of a bin end (given a block mask: "
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_trying_changes_neither_the_seed_nor_whether_the_model_is_in_training(name: str) -> None:
    backbone = backbone_of(name)
    torch.manual_seed(4)
    wrapped(backbone, shape_of(objective="mlm"), "DIR")
    drawn = torch.rand(3)
    torch.manual_seed(4)
    assert torch.equal(drawn, torch.rand(3))
    assert backbone.training


@pytest.mark.parametrize("wrong", ["a mask of all", "no window", "positions that go on"])
def test_a_model_whose_sequences_would_see_each_other_is_not_packed(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """Of new weights, as small as those that training begins with."""
    torch.manual_seed(0)
    backbone = AutoModelForMaskedLM.from_config(
        config_of("electra" if wrong == "positions that go on" else "modernbert")
    )
    whole = BackboneForPreTraining._mask
    given = BackboneForPreTraining._given

    def all_of_it(self: BackboneForPreTraining, index: Tensor) -> Any:
        return whole(self, torch.ones_like(index))

    def without_window(self: BackboneForPreTraining, index: Tensor) -> Any:
        mask = whole(self, index)
        return dict.fromkeys(mask, mask["full_attention"])

    def going_on(self: BackboneForPreTraining, batch: PackedTensors) -> Any:
        return given(
            self, batch._replace(positions=torch.arange(batch.positions.shape[1]).expand_as(batch.positions) % 40)
        )

    if wrong == "positions that go on":
        monkeypatch.setattr(BackboneForPreTraining, "_given", going_on)
    else:
        monkeypatch.setattr(BackboneForPreTraining, "_mask", all_of_it if wrong == "a mask of all" else without_window)
    model, told = wrapped(backbone, shape_of(), "DIR")
    assert not model.packed
    assert "of the largest apart" in told


def _untie(backbone: Any) -> None:
    backbone.get_output_embeddings().weight = nn.Parameter(torch.randn(ENTRIES, 12))


def _scale(backbone: Any) -> None:
    backbone.lm_head.register_forward_hook(lambda _module, _given, output: output * 2)
    backbone.lm_head.decoder.forward = lambda rows: functional.linear(rows, backbone.lm_head.decoder.weight) + 1


def _fail(backbone: Any) -> None:
    def refuse(*_: Any) -> None:
        raise ValueError("which language?")

    backbone.roberta.encoder.register_forward_pre_hook(refuse)


def _see_padding(backbone: Any) -> None:
    """As encoders do whose attention is an approximation over the whole row."""

    def mix(_module: Any, _given: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state + output.last_hidden_state.mean(1, keepdim=True)
        return output

    backbone.roberta.encoder.register_forward_hook(mix)


def _hide(backbone: Any) -> None:
    backbone.get_output_embeddings = lambda: None


def _blind(backbone: Any) -> None:
    backbone.roberta.forward = partial(backbone.roberta.forward)
    backbone.roberta.forward.__signature__ = inspect.Signature()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (_untie, "an output embedding that is tied to the input embedding, .*: set tie_word_embeddings to true"),
        (_scale, r"a head that ends in a product with its word embedding \(scores are .*% of the largest apart\)"),
        (_fail, r"a forward pass that ids and an attention mask are enough for \(ValueError: which language\?\)"),
        (_see_padding, r"an encoder for which padding is nothing \(scores are .*% of the largest apart\)"),
        (_hide, "an output embedding, which scores are made with"),
        (_blind, "an attention mask: its encoder takes none"),
    ],
)
def test_a_part_that_is_missing_is_named(change: Any, part: str) -> None:
    backbone = backbone_of("roberta")
    change(backbone)
    with pytest.raises(ConfigError, match=f"^DIR: RobertaForMaskedLM lacks {part}"):
        wrapped(backbone, shape_of(), "DIR")


def test_sparse_attention_is_not_packed_by_what_short_sequences_tell() -> None:
    sizes = {
        "vocab_size": ENTRIES,
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    told = [
        wrapped(AutoModelForMaskedLM.from_config(BigBirdConfig(**sizes, attention_type=kind)), shape_of(), "DIR")[1]
        for kind in ("block_sparse", "original_full")
    ]
    assert "(attention of long sequences is block-sparse" in told[0]
    assert told[1].startswith("batches are packed")


def test_deberta_without_its_legacy_head_is_refused_for_its_head() -> None:
    with pytest.raises(ConfigError, match="DebertaV2ForMaskedLM lacks "):
        wrapped(backbone_of("deberta", legacy=False), shape_of(), "DIR")


def test_attention_for_packs_without_a_pack_is_refused() -> None:
    states = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ConfigError, match=r"set_attn_implementation\('sdpa'\)"):
        attend(None, states, states, states, None)
