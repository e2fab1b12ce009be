"""A model goes to transformers and back with its numbers unchanged; what cannot be read is refused with the reason."""

from __future__ import annotations

import json
import resource
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import VOCABULARY
from torch import Tensor
from trained import byte_level, stories
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertForPreTraining, BertModel

from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError, MismatchError, StorageError
from spanmask.folders import claimed
from spanmask.model import (
    Objective,
    SpanBertConfig,
    SpanBertForPreTraining,
    export,
    import_model,
    load,
    padded_tensors,
    read_tokenizer,
    write_tokenizer,
)
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary, load_vocabulary, vocabulary_from_tokenizer

#: V = 80, so 48 rows of the embedding are padding.
SIZES = {"vocab_size": 80, "hidden": 32, "layers": 2, "heads": 2, "intermediate": 48, "max_positions": 24}
BERT_SIZES = {
    "vocab_size": 83,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 24,
}
POOLER = {"pooler.dense.weight", "pooler.dense.bias"}
NSP = {"cls.seq_relationship.weight", "cls.seq_relationship.bias"}


def _model(**changes: Any) -> SpanBertForPreTraining:
    """Every parameter random, so that no two tensors can be taken for each other."""
    torch.manual_seed(1)
    model = SpanBertForPreTraining(SpanBertConfig.from_json(SIZES | changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            rows = (
                model.config.vocab_size if name.endswith(("words.weight", "mlm.bias", "sbo.bias")) else len(parameter)
            )
            parameter[:rows] = torch.randn(parameter[:rows].shape) / 4
    return model


def _bert() -> BertForPreTraining:
    torch.manual_seed(2)
    bert = BertForPreTraining(BertConfig(**BERT_SIZES)).eval()
    with torch.no_grad():
        for parameter in bert.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 4)
    return bert


def _padded(vocab: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1, vocab, (3, 20), generator=generator)
    mask = (torch.arange(20) < torch.tensor([[20], [13], [1]])).long()
    return ids * mask, mask


@torch.no_grad()
def _scores(model: SpanBertForPreTraining, ids: Tensor, mask: Tensor) -> Tensor:
    """MLM scores of every slot, (3, 20, V)."""
    every = torch.arange(60)
    batch = padded_tensors(ids, mask)._replace(mlm_positions=every, mlm_labels=every)
    return model.score(batch).mlm[:, : model.config.vocab_size].view(3, 20, -1)


@torch.no_grad()
def _their_scores(bert: Any, ids: Tensor, mask: Tensor) -> Tensor:
    output = bert(input_ids=ids, attention_mask=mask)
    logits: Tensor = output.logits if hasattr(output, "logits") else output.prediction_logits
    return logits


def _assert_same_scores(one: Tensor, other: Tensor, mask: Tensor) -> None:
    assert float((one - other)[mask > 0].abs().max()) <= 1e-5
    assert float(one.abs().max()) > 0.1


# --- Out


def test_transformers_loads_an_export_with_nothing_missing_but_pooler_and_nsp(tmp_path: Path) -> None:
    model = _model()
    export(model, tmp_path, VOCABULARY)
    ids, mask = _padded(80)
    for kind, missing in ((BertForMaskedLM, set()), (BertForPreTraining, {f"bert.{name}" for name in POOLER} | NSP)):
        bert, report = kind.from_pretrained(tmp_path, output_loading_info=True)
        assert set(report["missing_keys"]) == missing
        assert not report["unexpected_keys"] and not report["mismatched_keys"] and not report["error_msgs"]  # noqa: PT018
        _assert_same_scores(_scores(model, ids, mask), _their_scores(bert.eval(), ids, mask), mask)


def test_the_bare_encoder_of_transformers_leaves_only_the_mlm_head_aside(tmp_path: Path) -> None:
    """As it does with what its own BertForMaskedLM saves."""
    model = _model()
    export(model, tmp_path, VOCABULARY)
    BertForMaskedLM.from_pretrained(tmp_path).save_pretrained(tmp_path / "theirs")
    bert, report = BertModel.from_pretrained(tmp_path, output_loading_info=True)
    _, theirs = BertModel.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert set(report["missing_keys"]) == POOLER
    assert set(report["unexpected_keys"]) == set(theirs["unexpected_keys"])
    ids, mask = _padded(80)
    with torch.no_grad():
        found = bert.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
        states = model.encoder(padded_tensors(ids, mask)).view(3, 20, 32)
    _assert_same_scores(states, found, mask)


def test_an_export_holds_berts_tensors_cropped_and_no_decoder(tmp_path: Path) -> None:
    export(_model().to(torch.bfloat16), tmp_path, VOCABULARY)
    BertForMaskedLM(BertConfig(**BERT_SIZES)).save_pretrained(tmp_path / "theirs")
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == load_file(tmp_path / "theirs" / "model.safetensors").keys()
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    assert stored["bert.embeddings.word_embeddings.weight"].shape == (80, 32)
    assert stored["cls.predictions.bias"].shape == (80,)
    head = load_file(tmp_path / "sbo_head.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in head.items()} == {
        "cls.pair_target_predictions.position_embeddings.weight": (20, 200),
        "cls.pair_target_predictions.mlp_layer_norm.linear1.weight": (32, 264),
        "cls.pair_target_predictions.mlp_layer_norm.linear1.bias": (32,),
        "cls.pair_target_predictions.mlp_layer_norm.layer_norm1.gamma": (32,),
        "cls.pair_target_predictions.mlp_layer_norm.layer_norm1.beta": (32,),
        "cls.pair_target_predictions.mlp_layer_norm.linear2.weight": (32, 32),
        "cls.pair_target_predictions.mlp_layer_norm.linear2.bias": (32,),
        "cls.pair_target_predictions.mlp_layer_norm.layer_norm2.gamma": (32,),
        "cls.pair_target_predictions.mlp_layer_norm.layer_norm2.beta": (32,),
        "cls.pair_target_predictions.bias": (80,),
    }


def test_an_export_is_complete_and_its_config_is_berts(tmp_path: Path) -> None:
    export(_model(), tmp_path / "new" / "folder", VOCABULARY)
    names = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    assert names == {"config.json", "model.safetensors", "sbo_head.safetensors", "tokenizer_config.json", "vocab.txt"}
    config = json.loads((tmp_path / "new" / "folder" / "config.json").read_text("utf-8"))
    assert (config["architectures"], config["hidden_act"], config["vocab_size"]) == (["BertForMaskedLM"], "gelu", 80)
    assert (config["num_attention_heads"], config["layer_norm_eps"], config["pad_token_id"]) == (2, 1e-12, 0)


@pytest.mark.parametrize("name", ["cased", "uncased"])
def test_the_tokenizer_beside_a_model_is_the_vocabularys_with_its_casing(tmp_path: Path, name: str) -> None:
    vocabulary = load_vocabulary(VocabularyConfig(vocab=name))
    write_tokenizer(tmp_path, vocabulary, max_tokens=24)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    text = "The Étude isn't [MASK] here, 東京."
    pieces = {
        "cased": ["The", "É", "##tude", "isn", "'", "t", "[MASK]", "here", ",", "東", "京", "."],
        "uncased": ["the", "et", "##ude", "isn", "'", "t", "[MASK]", "here", ",", "東", "京", "."],
    }
    assert theirs.tokenize(text) == pieces[name]
    assert theirs(text)["input_ids"] == [vocabulary.ids[p] for p in ("[CLS]", *pieces[name], "[SEP]")]
    assert (theirs.mask_token_id, theirs.pad_token_id, theirs.model_max_length) == (103, 0, 24)
    prose = stories()[:20_000]
    ours = Tokenizer(vocabulary).encode([prose]).token_ids.tolist()
    assert theirs(prose, add_special_tokens=False, verbose=False)["input_ids"] == ours
    read = read_tokenizer(tmp_path)
    assert (read.sha256, read.cased) == (vocabulary.sha256, name == "cased")


def test_another_tokenizer_keeps_its_tokenizer_json(tmp_path: Path) -> None:
    vocabulary = vocabulary_from_tokenizer("bpe.json", byte_level())
    write_tokenizer(tmp_path, vocabulary, max_tokens=24)
    assert read_tokenizer(tmp_path).sha256 == vocabulary.sha256
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.mask_token_id == vocabulary.special.mask
    assert not (tmp_path / "vocab.txt").exists()


def test_a_model_that_is_there_is_replaced_only_when_told(tmp_path: Path) -> None:
    export(_model(), tmp_path, VOCABULARY)
    with pytest.raises(ConfigError, match=r"it holds config.json already; give another folder, or --overwrite"):
        export(_model(objective="mlm"), tmp_path, VOCABULARY)
    export(_model(objective="mlm"), tmp_path, VOCABULARY, overwrite=True)
    assert not (tmp_path / "sbo_head.safetensors").exists()
    assert load(tmp_path).config.objective is Objective.MLM


def test_a_model_that_cannot_be_written_leaves_the_one_before_whole(tmp_path: Path) -> None:
    out = tmp_path / "model"
    export(_model(), out, VOCABULARY)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(StorageError, match=r"model/model.safetensors: could not write \(File too large\)"):
            export(_model(), out, VOCABULARY, overwrite=True)
        with pytest.raises(StorageError, match=r"other/model.safetensors: could not write"):
            export(_model(), tmp_path / "new" / "other", VOCABULARY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_other_things_is_never_replaced_by_a_model(tmp_path: Path, overwrite: bool) -> None:
    export(_model(), tmp_path, VOCABULARY)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"it holds thesis.txt, which is no model's; give another folder"):
        export(_model(), tmp_path, VOCABULARY, overwrite=overwrite)
    assert load(tmp_path).config == _model().config


def test_of_two_exports_of_models_at_one_place_one_is_refused(tmp_path: Path) -> None:
    with claimed(tmp_path / "model"), pytest.raises(MismatchError, match="model: another spanmask process is writing"):
        export(_model(), tmp_path / "model", VOCABULARY)
    export(_model(), tmp_path / "model", VOCABULARY)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_vocabulary_of_another_size_is_refused(tmp_path: Path) -> None:
    cased = load_vocabulary(VocabularyConfig(vocab="cased"))
    with pytest.raises(ConfigError, match="vocabulary cased has 28,996 entries, and the model 80: give the one"):
        export(_model(), tmp_path / "new", cased)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not create the folder"):
        export(_model(), tmp_path / "file", VOCABULARY)


# --- Back


@pytest.mark.parametrize("objective", list(Objective))
def test_an_export_loads_back_to_the_bit(tmp_path: Path, objective: Objective) -> None:
    model = _model(objective=objective)
    export(model, tmp_path, VOCABULARY)
    loaded = load(tmp_path)
    assert loaded.config == model.config
    state, other = model.state_dict(), loaded.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_loading_takes_what_the_folder_does_not_decide(tmp_path: Path) -> None:
    export(_model(max_span_offset=7, span_offset_dim=11), tmp_path, VOCABULARY)
    model = load(tmp_path, attention="sdpa", hidden_dropout=0.0)
    assert (model.config.max_span_offset, model.config.span_offset_dim) == (7, 11)
    assert (model.config.attention, model.config.hidden_dropout, model.config.attention_dropout) == ("sdpa", 0.0, 0.1)
    imported = import_model(tmp_path, attention_dropout=0, max_span_offset=7)
    assert imported.model.config.attention_dropout == 0.0


def test_any_bert_of_transformers_is_a_start_and_its_missing_heads_are_named(tmp_path: Path) -> None:
    bert = _bert()
    bert.save_pretrained(tmp_path)
    imported = import_model(tmp_path)
    ids, mask = _padded(83)
    _assert_same_scores(_scores(imported.model.eval(), ids, mask), _their_scores(bert, ids, mask), mask)
    assert set(imported.unused) == {f"bert.{name}" for name in POOLER} | NSP
    assert imported.initialised
    assert set(imported.initialised) == {n for n in imported.model.state_dict() if n.startswith("sbo.")}
    alone = import_model(tmp_path, objective=Objective.MLM)
    assert (alone.initialised, alone.model.sbo) == ((), None)
    assert not imported.model.encoder.embeddings.words.weight[83:].any()


def test_there_and_back_is_the_same_bert(tmp_path: Path) -> None:
    bert = _bert()
    bert.save_pretrained(tmp_path / "first")
    model = import_model(tmp_path / "first").model
    entries = tuple(f"more{number}" for number in range(3))
    export(model, tmp_path / "second", Vocabulary(name="v", entries=VOCABULARY.entries + entries, cased=True))
    again = BertForMaskedLM.from_pretrained(tmp_path / "second").state_dict()
    first = bert.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in again)


def test_a_bare_encoder_is_a_start_and_its_mlm_head_is_drawn_anew(tmp_path: Path) -> None:
    _bert().bert.save_pretrained(tmp_path)
    assert not any(name.startswith("bert.") for name in load_file(tmp_path / "model.safetensors"))
    imported = import_model(tmp_path, objective=Objective.MLM)
    assert set(imported.initialised) == {n for n in imported.model.state_dict() if n.startswith("mlm.")}
    assert set(imported.unused) == {f"bert.{name}" for name in POOLER}
    with pytest.raises(ConfigError, match=r"it lacks mlm.* start training from it instead \(--init-from\)"):
        load(tmp_path)


def _rewrite(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def test_names_of_berts_first_checkpoints_are_understood(tmp_path: Path) -> None:
    bert = _bert()
    bert.save_pretrained(tmp_path)

    def age(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        old = {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
            for n, t in tensors.items()
        }
        old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].clone()
        old["cls.predictions.decoder.bias"] = old.pop("cls.predictions.bias")
        return old

    _rewrite(tmp_path, age)
    imported = import_model(tmp_path)
    assert not any(name.startswith(("encoder.", "mlm.")) for name in imported.initialised)
    assert "cls.predictions.decoder.weight" not in imported.unused
    ids, mask = _padded(83)
    _assert_same_scores(_scores(imported.model.eval(), ids, mask), _their_scores(bert, ids, mask), mask)


def test_a_model_in_several_files_is_read_whole(tmp_path: Path) -> None:
    bert = _bert()
    bert.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    ids, mask = _padded(83)
    ours = import_model(tmp_path, objective=Objective.MLM).model.eval()
    _assert_same_scores(_scores(ours, ids, mask), _their_scores(bert, ids, mask), mask)


# --- Refused


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    for folder, found in (
        (tmp_path, "no model.safetensors or pytorch_model.bin there"),
        (tmp_path / "none", "none: no such folder"),
    ):
        with pytest.raises(ConfigError, match=rf"{found}; give a folder that holds a BERT"):
            load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "sbo_head.safetensors"])
@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, name: str, kept: int) -> None:
    export(_model(), tmp_path, VOCABULARY)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:kept])
    with pytest.raises(ConfigError, match=rf"{name}: not a whole safetensors file \(.*\); copy it again"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', expected 'bert'"),
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new', expected 'gelu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        (
            {"hidden_size": 64},
            r"embeddings.word_embeddings.weight has shape \(83, 32\), and config.json says \(83, 64\)",
        ),
        (
            {"num_hidden_layers": 3},
            r"it lacks encoder.layers.2.attention.qkv.weight, .* \(12 tensors\); save the model again",
        ),
        ({"num_attention_heads": 5}, "hidden is 32 and heads 5"),
        ({"vocab_size": "many"}, "vocab_size is 'many': give a whole number"),
    ],
)
def test_a_bert_that_computes_otherwise_or_is_not_whole_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    _bert().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ConfigError, match=message):
        import_model(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "list, expected a JSON object"),
        ("{}", "it lacks vocab_size, hidden_size, num_hidden_layers"),
    ],
)
def test_a_broken_config_is_refused(tmp_path: Path, text: str, message: str) -> None:
    export(_model(), tmp_path, VOCABULARY)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"config.json: {message}"):
        load(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"config.json: no such file"):
        load(tmp_path)


def test_a_vocabulary_that_does_not_tell_its_casing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it has neither tokenizer.json nor vocab.txt"):
        read_tokenizer(tmp_path)
    with pytest.raises(ConfigError, match=r"none: no such folder; give one that holds a model, or its tokenizer"):
        read_tokenizer(tmp_path / "none")
    text = resources.files("spanmask.data").joinpath("bert-base-cased-vocab.txt").read_text("utf-8")
    (tmp_path / "vocab.txt").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=r"does not say the casing of vocab.txt; add do_lower_case, true or false"):
        read_tokenizer(tmp_path)
