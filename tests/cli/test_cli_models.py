"""`spanmask export-model` and `spanmask infill` on a real run: what they write and print, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from spanmask import PreshardConfig, preshard
from spanmask.config import VocabularyConfig
from spanmask.model import load, write_tokenizer
from spanmask.train import TrainConfig, train
from spanmask.vocab import load_vocabulary

TEXT = "the old cat sat on the mat and nobody told it\n\nanother document of some words follows here today\n" * 8
SHAPE = {"model": "tiny", "hidden": 32, "layers": 1, "heads": 2, "intermediate": 32, "max_positions": 32}
OPTIONS = {**SHAPE, "steps": 2, "warmup": 1, "batch_size": 2, "save_every": 1, "device": "cpu", "lr": 0.01}

OneLine = Callable[[str], str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "a.txt").write_text(TEXT)
    preshard(folder / "a.txt", folder / "shards", PreshardConfig.of(seed=1, max_tokens=32), jobs=1)
    threads = torch.get_num_threads()
    train(folder / "shards", folder / "run", TrainConfig.of("fast", **OPTIONS, threads=1))
    assert torch.get_num_threads() == threads
    return folder / "run"


# --- export-model


def test_the_latest_checkpoint_is_exported_for_transformers(shell: Any, run: Path) -> None:
    result = shell("export-model", run, "--out", "model")
    assert (result.code, result.error) == (0, "")
    assert result.out == "wrote model: step 2, encoder with MLM and span boundary heads\n"
    stored = load_file(run / "checkpoints" / "step-00000002" / "model.safetensors")
    bert = BertForMaskedLM.from_pretrained(shell.folder / "model")
    words = bert.bert.embeddings.word_embeddings.weight
    assert torch.equal(words, stored["encoder.embeddings.words.weight"][: len(words)])
    loaded = load(shell.folder / "model").state_dict()
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)
    assert AutoTokenizer.from_pretrained(shell.folder / "model").tokenize("The Cat") == ["The", "Cat"]


def test_another_checkpoint_is_exported_by_its_step(shell: Any, run: Path) -> None:
    assert "step 1," in shell("export-model", run, "--out", "model", "--step", 1).out
    first, second = (load_file(run / "checkpoints" / f"step-0000000{n}" / "model.safetensors") for n in (1, 2))
    found = load(shell.folder / "model").state_dict()["mlm.bias"]
    assert torch.equal(found, first["mlm.bias"])
    assert not torch.equal(found, second["mlm.bias"])


def test_a_model_that_is_there_is_replaced_only_when_told(shell: Any, run: Path, one_line: OneLine) -> None:
    shell("export-model", run, "--out", "model", "--step", 1)
    before = (shell.folder / "model" / "model.safetensors").read_bytes()
    refused = shell("export-model", run, "--out", "model")
    assert refused.code == 2
    assert "it holds config.json already; give another folder, or --overwrite" in one_line(refused.error)
    assert (shell.folder / "model" / "model.safetensors").read_bytes() == before
    assert shell("export-model", run, "--out", "model", "--overwrite").code == 0
    assert (shell.folder / "model" / "model.safetensors").read_bytes() != before


@pytest.mark.parametrize("command", ["show", "audit", "verify", "export --to parquet --out rows", "train --out next"])
def test_a_run_in_place_of_a_dataset_is_told(shell: Any, run: Path, one_line: OneLine, command: str) -> None:
    name, *options = command.split()
    result = shell(name, run, *options)
    assert result.code == 2
    assert f"{run}: a run of `spanmask train`; give the dataset" in one_line(result.error)


def test_a_model_is_not_written_to_a_url(shell: Any, run: Path, one_line: OneLine) -> None:
    told = one_line(shell("export-model", run, "--out", "s3://bucket/model").error)
    assert told.startswith("spanmask: --out is s3:/")
    assert ": a URL, and only files and folders of this machine" in told
    assert not (shell.folder / "s3:").exists()


def test_a_step_without_a_checkpoint_names_those_there_are(shell: Any, run: Path, one_line: OneLine) -> None:
    refused = shell("export-model", run, "--out", "model", "--step", 7)
    assert refused.code == 2
    assert "it has no checkpoint of step 7; it has 1, 2: give one of these" in one_line(refused.error)
    assert not (shell.folder / "model").exists()


def test_a_run_that_is_none_or_has_no_checkpoint_is_refused(shell: Any, run: Path, one_line: OneLine) -> None:
    assert "run.json" in one_line(shell("export-model", "nowhere", "--out", "model").error)
    (shell.folder / "young").mkdir()
    (shell.folder / "young" / "run.json").write_bytes((run / "run.json").read_bytes())
    refused = shell("export-model", "young", "--out", "model")
    assert refused.code == 2
    assert "the run has no checkpoint yet; wait for one, or resume it" in one_line(refused.error)


def test_a_truncated_checkpoint_is_not_exported(shell: Any, run: Path, one_line: OneLine) -> None:
    broken = shell.folder / "run"
    for path in (run / "run.json", *(run / "checkpoints" / "step-00000002").iterdir()):
        target = broken / path.relative_to(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    weights = broken / "checkpoints" / "step-00000002" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    refused = shell("export-model", broken, "--out", "model")
    assert refused.code == 2
    assert "it is truncated or altered" in one_line(refused.error)
    assert not (shell.folder / "model").exists()


# --- infill


def test_infilling_names_guesses_by_both_heads_and_the_joined_span(shell: Any, run: Path) -> None:
    result = shell("infill", run, "The old [MASK] [MASK] sat on [MASK].", "--top", 3)
    assert (result.code, result.error) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "The old [MASK] [MASK] sat on [MASK]."
    assert [line for line in lines if "span" in line] == ["  span of 2 at token 3", "  span of 1 at token 7"]
    ways = [line.split()[:2] for line in lines[2:9]]
    assert ways == [["1", "mlm"], ["1", "sbo"], ["2", "mlm"], ["2", "sbo"], ["=", "mlm"], ["=", "sbo"], ["=", "both"]]
    assert lines[2].count("%") == 3


def test_an_export_answers_as_its_run_does(shell: Any, run: Path) -> None:
    shell("export-model", run, "--out", "model")
    answers = [json.loads(shell("infill", model, "a [MASK]", "[MASK] b", "--json").out) for model in (run, "model")]
    assert answers[0] == answers[1]
    [first, second] = answers[0]
    assert (first["text"], second["text"]) == ("a [MASK]", "[MASK] b")
    [span] = first["spans"]
    assert (span["start"], span["end"], len(span["tokens"])) == (2, 3, 1)
    [token] = span["tokens"]
    assert (len(token["mlm"]), len(token["sbo"])) == (5, 5)
    assert token["mlm"][0]["id"] == span["mlm"]["ids"][0]
    assert 0 < token["mlm"][4]["probability"] <= token["mlm"][0]["probability"] < 1
    assert load_vocabulary(VocabularyConfig()).entries[token["sbo"][0]["id"]] == token["sbo"][0]["token"]


def test_pieces_of_a_word_are_joined_in_the_span(shell: Any, run: Path) -> None:
    """A model that always guesses one piece."""
    shell("export-model", run, "--out", "model")
    number = load_vocabulary(VocabularyConfig()).ids["##ing"]
    from safetensors.torch import save_file

    path = shell.folder / "model" / "model.safetensors"
    tensors = load_file(path)
    tensors["cls.predictions.bias"][number] = 100.0
    save_file(tensors, path, metadata={"format": "pt"})
    [answer] = json.loads(shell("infill", "model", "it is [MASK][MASK]", "--json").out)
    assert answer["spans"][0]["mlm"]["text"] == "inging"
    assert answer["spans"][0]["tokens"][1]["mlm"][0]["token"] == "##ing"
    assert answer["spans"][0]["tokens"][1]["mlm"][0]["text"] == "…ing"
    told = shell("infill", "model", "it is [MASK][MASK]", "--top", 2).out
    assert "##" not in told
    assert "    1  mlm   …ing 100.0%, " in told
    assert told.splitlines()[-2].startswith(
        "%: how probable a token is there. =: the likeliest tokens together, and the "
    )


def test_standard_input_is_a_text_a_line(shell: Any, run: Path) -> None:
    result = shell("infill", run, "-", "--json", stdin=b"one [MASK]\n\n  [MASK] two\r\n")
    assert [answer["text"] for answer in json.loads(result.out)] == ["one [MASK]", "[MASK] two"]
    mixed = shell("infill", run, "[MASK] zero", "-", "--json", stdin=b"one [MASK]\n")
    assert [answer["text"] for answer in json.loads(mixed.out)] == ["[MASK] zero", "one [MASK]"]


def test_a_bert_of_transformers_answers_by_mlm_alone_and_it_is_said(shell: Any) -> None:
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=28_996,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    BertForMaskedLM(config).save_pretrained(shell.folder / "bert")
    write_tokenizer(shell.folder / "bert", load_vocabulary(VocabularyConfig()), max_tokens=16)
    result = shell("infill", "bert", "a [MASK]")
    assert (result.code, result.error) == (0, "bert has no span boundary head: mlm only\n")
    assert "sbo" not in result.out
    answer, legend = result.out.split("\n\n")
    assert [line.split()[:2] for line in answer.splitlines()[2:]] == [["1", "mlm"], ["=", "mlm"]]
    assert legend.startswith("mlm: by a masked token's own place.\n%: how probable a token is there. ")


def test_a_span_longer_than_the_table_of_offsets_is_said(shell: Any, run: Path) -> None:
    result = shell("infill", run, "[MASK] " * 21)
    assert result.code == 0
    assert result.error == "the span boundary head knows the first 20 tokens of a span: beyond them mlm only\n"
    assert result.out.count(" sbo ") == 20


@pytest.mark.parametrize(
    ("texts", "stdin", "message"),
    [
        (["no mask"], b"", "the text has no [MASK]: write [MASK] once for each token"),
        (["[MASK]", "no mask"], b"", "text 2 of 2 has no [MASK]"),
        (["[MASK] " * 31], b"", "the text has 33 tokens with the special ones, and the model 32 positions: shorten it"),
        (["-"], b"\n \n", "standard input has no line of text: give one text a line"),
        (["-"], b"\xff [MASK]", "standard input is not UTF-8"),
    ],
)
def test_texts_that_cannot_be_filled_in_are_refused(
    shell: Any, run: Path, one_line: OneLine, texts: list[str], stdin: bytes, message: str
) -> None:
    result = shell("infill", run, *texts, stdin=stdin)
    assert (result.code, result.out) == (2, "")
    assert message in one_line(result.error)


def test_a_model_without_its_tokenizer_is_refused(shell: Any, run: Path, one_line: OneLine) -> None:
    shell("export-model", run, "--out", "model")
    (shell.folder / "model" / "vocab.txt").unlink()
    result = shell("infill", "model", "[MASK]")
    assert result.code == 2
    assert "it has neither tokenizer.json nor vocab.txt; save the model's tokenizer there" in one_line(result.error)
    (shell.folder / "other").mkdir()
    assert "other: no model.safetensors or pytorch_model.bin there; give" in one_line(
        shell("infill", "other", "[MASK]").error
    )
    assert "nowhere: no such folder; give" in one_line(shell("infill", "nowhere", "[MASK]").error)


def test_help_of_these_commands_loads_no_torch() -> None:
    code = "import spanmask_cli.infill, spanmask_cli.export_model, sys; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
