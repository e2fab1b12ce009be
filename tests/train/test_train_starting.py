"""A run goes on from any BERT: what it lacks is named, rows beyond the vocabulary go, and rows that it needs are missed before training."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from train.conftest import NO_DROPOUT, config_of
from transformers import BertConfig, BertForMaskedLM, BertModel

from spanmask.errors import ConfigError, MismatchError
from spanmask.model import Objective, export, import_model, load, read_tokenizer, write_tokenizer
from spanmask.shard.reader import open_shards
from spanmask.train import load_run, train
from spanmask.train.record import read_run
from spanmask.train.starting import initial_model
from spanmask.vocab import Vocabulary

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def bert(shards: Path, tmp_path: Path) -> Any:
    """Make a folder of a BERT with the dataset's vocabulary and as many rows as asked for."""
    vocabulary = open_shards(shards).manifest.vocabulary

    def make(rows: int, kind: Any = BertForMaskedLM) -> Path:
        torch.manual_seed(5)
        folder = tmp_path / f"bert-{rows}"
        kind(BertConfig(vocab_size=rows, max_position_embeddings=64, **SIZES)).save_pretrained(folder)
        write_tokenizer(folder, vocabulary, max_tokens=64)
        return folder

    return make


def _config(folder: Path, **changes: Any) -> Any:
    shape = dict.fromkeys(("hidden", "heads", "intermediate"))
    return config_of(init_from=str(folder), objective="mlm", steps=1, lr=1e-9, **shape, **NO_DROPOUT, **changes)


@pytest.mark.parametrize("rows", [501, 506, 512, 640])
def test_rows_beyond_the_vocabulary_are_dropped_with_a_line_and_the_export_is_whole(
    shards: Path, tmp_path: Path, bert: Any, rows: int
) -> None:
    folder = bert(rows)
    with pytest.warns(UserWarning, match="bert-") as told:
        train(shards, tmp_path / "run", _config(folder))
    lines = [str(warning.message) for warning in told]
    assert lines == [
        f"{folder}: its embedding has {rows} rows, and the vocabulary 500 entries: the last {rows - 500} rows are dropped"
    ]
    loaded = load_run(tmp_path / "run")
    export(loaded.model, tmp_path / "model", loaded.vocabulary)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs, report = BertForMaskedLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"))
    assert theirs.config.vocab_size == 500
    first, ids = BertForMaskedLM.from_pretrained(folder).eval(), torch.arange(40)[None]
    with torch.no_grad():
        scores, before = theirs.eval()(ids).logits, first(ids).logits
    assert scores.shape == (1, 40, 500)
    assert float((scores - before[..., :500]).abs().max()) < 1e-5


def test_a_vocabulary_without_padding_has_nothing_to_tell(shards: Path, bert: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = initial_model(_config(bert(500)), [open_shards(shards)])
    assert model.config.vocab_size == 500


@pytest.mark.parametrize("rows", [1, 499])
def test_an_embedding_with_fewer_rows_than_entries_is_refused_with_both_numbers(
    shards: Path, tmp_path: Path, bert: Any, rows: int
) -> None:
    with pytest.raises(
        ConfigError, match=rf"has {rows} rows, and the vocabulary 500 entries: give .*_embeddings\(500\)"
    ):
        train(shards, tmp_path / "run", _config(bert(rows)))
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(("stated", "rows"), [(512, 500), (512, 640), (640, 512), (500, 499)])
def test_a_config_that_states_other_rows_than_the_embedding_has_is_refused(
    shards: Path, bert: Any, stated: int, rows: int
) -> None:
    folder = bert(rows)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": stated}))
    with pytest.raises(
        ConfigError,
        match=rf"word_embeddings.weight has shape \({rows}, 16\), and config.json says \({stated}, 16\); save the model again",
    ):
        initial_model(_config(folder), [open_shards(shards)])


@pytest.mark.parametrize(
    ("kind", "objective", "heads"),
    [
        (BertModel, "mlm", "MLM head"),
        (BertModel, "mlm+sbo", "MLM head and the span boundary head"),
        (BertForMaskedLM, "mlm+sbo", "span boundary head"),
    ],
)
def test_a_head_that_is_missing_is_named(shards: Path, bert: Any, kind: Any, objective: str, heads: str) -> None:
    folder = bert(500, kind)
    with pytest.warns(UserWarning, match="bert-") as told:
        initial_model(_config(folder).changed(objective=objective), [open_shards(shards)])
    assert [str(warning.message) for warning in told] == [f"{folder}: it lacks the {heads}: drawn anew"]


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "legacy"])
def test_training_begins_with_a_pickles_scores(shards: Path, tmp_path: Path, bert: Any, archive: bool) -> None:
    folder = bert(500)
    first, ids = BertForMaskedLM.from_pretrained(folder).eval(), torch.arange(40)[None]
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=archive)
    train(shards, tmp_path / "run", _config(folder))
    loaded = load_run(tmp_path / "run")
    export(loaded.model, tmp_path / "model", loaded.vocabulary)
    with torch.no_grad():
        found = BertForMaskedLM.from_pretrained(tmp_path / "model").eval()(ids).logits
        assert float((found - first(ids).logits).abs().max()) < 1e-5


def test_a_pickle_that_names_code_starts_no_run(shards: Path, tmp_path: Path, bert: Any) -> None:
    folder, ran = bert(500), tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    state = {"bert.embeddings.word_embeddings.weight": torch.zeros(500, 16), "x": _Touch(ran)}
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model.bin: it names 'posix.system', .* can run any code"):
        train(shards, tmp_path / "run", _config(folder))
    assert not ran.exists()
    assert not (tmp_path / "run" / "run.json").exists()


class _Touch:
    """What makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("lost", ["cls.predictions.bias", "cls.predictions.transform.dense.weight"])
def test_a_head_that_is_there_in_part_is_told_by_its_tensors(shards: Path, bert: Any, lost: str) -> None:
    folder = bert(500)
    tensors = load_file(folder / "model.safetensors")
    del tensors[lost]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(
        UserWarning, match=rf"lacks the MLM head \({lost.replace('cls.predictions', 'mlm')}\): drawn anew"
    ):
        initial_model(_config(folder), [open_shards(shards)])


@pytest.mark.parametrize(
    ("kind", "rows", "heads"),
    [(BertModel, 500, ["MLM head"]), (BertModel, 512, ["MLM head"]), (BertForMaskedLM, 512, [])],
)
def test_what_is_not_as_the_model_had_it_is_in_the_runs_record_and_stays_there(
    shards: Path, tmp_path: Path, bert: Any, kind: Any, rows: int, heads: list[str]
) -> None:
    run = tmp_path / "run"
    with pytest.warns(UserWarning, match="bert-"):
        train(shards, run, _config(bert(rows, kind)))
    for steps in (1, 2):
        told = json.loads((run / "run.json").read_text())
        assert (told["new_heads"], told["dropped_rows"], told["config"]["steps"]) == (heads, rows - 500, steps)
        train(shards, run, read_run(run).config.changed(steps=2), resume=True)


def test_the_record_of_a_run_of_before_lacks_it_and_is_read(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(shards, run, config_of(steps=1))
    told = json.loads((run / "run.json").read_text())
    assert (told.pop("new_heads"), told.pop("dropped_rows")) == ([], 0)
    assert told.pop("names") == {told["datasets"][0]: "out"}
    (run / "run.json").write_text(json.dumps(told))
    train(shards, run, read_run(run).config.changed(steps=2), resume=True)
    assert read_run(run).new_heads == ()
    assert read_run(run).names == {told["datasets"][0]: "out"}
    assert f"datasets out with fingerprint {told['datasets'][0][:16]};" in (run / "curves.html").read_text()


def test_a_model_goes_on_with_text_of_its_own_casing_only(
    shards: Path, uncased_shards: Path, tmp_path: Path, bert: Any
) -> None:
    folder = bert(500)
    with pytest.raises(MismatchError, match=rf"{folder} is cased and {uncased_shards} uncased, .* anew \(--cased\)"):
        train(uncased_shards, tmp_path / "run", _config(folder))
    train(shards, tmp_path / "run", config_of(steps=1))
    config = config_of(steps=2)
    with pytest.raises(MismatchError, match=rf"run is cased and {uncased_shards} uncased, by one vocabulary"):
        train(uncased_shards, tmp_path / "run", config, resume=True, allow_other_data=True)
    with pytest.raises(MismatchError, match=rf"{shards} is cased and {uncased_shards} uncased, by one vocabulary"):
        train([shards, uncased_shards], tmp_path / "both", config)
    assert load_run(tmp_path / "run").vocabulary.cased is True
    assert not (tmp_path / "both").exists()
    train(uncased_shards, tmp_path / "lower", config_of(steps=1))
    with pytest.raises(MismatchError, match=rf"lower is uncased and {shards} cased, .* anew \(--uncased\)"):
        train(shards, tmp_path / "lower", config, resume=True, allow_other_data=True)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"strip_accents": True}, "strip_accents is True, and vocab.txt is read as BERT has it (False)"),
        ({"do_lower_case": True, "strip_accents": False}, "strip_accents is False, .* (True)"),
        ({"tokenize_chinese_chars": False}, "tokenize_chinese_chars is False, .* (True)"),
    ],
)
def test_a_vocabulary_with_settings_that_are_not_berts_is_no_vocabulary_of_ours(
    bert: Any, settings: dict[str, Any], told: str
) -> None:
    folder = bert(500)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    with pytest.raises(ConfigError, match=told.replace("(", r"\(").replace(")", r"\)")):
        read_tokenizer(folder)


def test_a_padded_boundary_head_is_cut_with_the_embedding(tmp_path: Path, bert: Any) -> None:
    folder = bert(512)
    with_head: Any = import_model(folder).model
    with torch.no_grad():
        with_head.sbo.bias[:512] = torch.arange(512.0)
    entries = (*read_tokenizer(folder).entries, *(f"more{number}" for number in range(12)))
    export(with_head, tmp_path / "sbo", Vocabulary(name="v", entries=entries, cased=True))
    cut: Any = load(tmp_path / "sbo", vocab_size=500)
    assert cut.config.objective is Objective.MLM_SBO
    assert cut.sbo.bias.tolist() == [*range(500), *[0.0] * 12]
