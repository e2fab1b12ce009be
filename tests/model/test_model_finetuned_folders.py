"""Folders of fine-tuned models go to transformers and come back, and any BERT is an encoder to begin from; what is none is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from model.pairs import AUTO, LABELS, UNEVEN, apart, model_of, pairs_of
from safetensors.torch import load_file, save_file
from small import VOCABULARY
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    pipeline,
)

from spanmask.errors import ConfigError
from spanmask.model import (
    ClassHead,
    FineTuned,
    Pooler,
    SpanHead,
    export_finetuned,
    load_finetuned,
    padded_tensors,
    read_encoder,
    read_tokenizer,
)

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


# --- Out and back


@pytest.mark.parametrize(("head", "auto"), AUTO)
def test_a_fine_tuned_folder_is_complete_and_read_back_to_the_bit(tmp_path: Path, head: Any, auto: Any) -> None:
    model = model_of(head).float()
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
    model = model_of(SpanHead)
    config = model.config
    export_finetuned(FineTuned(model.encoder, ClassHead(config, ("number",)), Pooler(config)), tmp_path, VOCABULARY)
    assert AutoConfig.from_pretrained(tmp_path).problem_type == "regression"
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    theirs.classifier.weight.data.zero_()
    theirs.classifier.bias.data.fill_(3.75)
    told = pipeline("text-classification", model=theirs, tokenizer=AutoTokenizer.from_pretrained(tmp_path))("a")
    assert told[0]["score"] == 3.75


def test_a_head_that_transformers_has_not_lies_beside_the_encoder_which_it_loads(tmp_path: Path) -> None:
    model = model_of(SpanHead)
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
    export_finetuned(model_of(ClassHead), tmp_path / "out", VOCABULARY)
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
    export_finetuned(model_of(ClassHead), tmp_path / "out", VOCABULARY)
    path = tmp_path / "out" / "model.safetensors"
    state = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(state)
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=told):
        load_finetuned(tmp_path / "out")


# --- Encoders to begin from


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
    pairs = pairs_of(UNEVEN)
    with torch.no_grad():
        found = loaded.encoder.eval()(padded_tensors(pairs.ids, pairs.mask, pairs.types)).view(*pairs.ids.shape, 32)
        output = getattr(bert, "bert", bert)(input_ids=pairs.ids, attention_mask=pairs.mask, token_type_ids=pairs.types)
        assert float((found - output.last_hidden_state)[pairs.mask > 0].abs().max()) < 1e-5
        if pooler and not new:
            assert loaded.pooler is not None
            assert apart(loaded.pooler(found[:, 0]), output.pooler_output) < 1e-5
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
