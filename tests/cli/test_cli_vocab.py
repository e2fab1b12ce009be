"""`spanmask vocab` as users call it: what it writes, tells and refuses, and what the other commands do with its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trained

from spanmask.model import SpanBertConfig, SpanBertForPreTraining, export
from spanmask.tokenization import Tokenizer

STORIES = trained.stories()[:40_000]

OneLine = Callable[[str], str]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_a_vocabulary_is_written_told_of_and_presharded_with(shell: Any, kind: str) -> None:
    text = shell.write("a.txt", STORIES)
    result = shell("vocab", text, "--kind", kind, "--size", 600, "--out", "v")
    assert (result.code, result.error) == (0, "")
    lines = result.out.splitlines()
    assert lines[0] == "read: 1 file"
    assert lines[1].startswith("text: 0.0 MB in ")
    assert lines[2] == f"vocabulary: 600 entries ({kind}{', cased' if kind == 'wordpiece' else ''})"
    assert lines[-2].startswith("fit: ")
    assert lines[-2].endswith(" with cased")
    assert lines[-1] == "wrote v"
    presharded = shell.preshard(text, "--vocab", "v")
    assert presharded.code == 0, presharded.error
    assert shell("verify", "out", "--source").code == 0
    if kind == "wordpiece":
        assert "is cased, and --uncased was given" in shell.preshard(text, "--vocab", "v", "--uncased", out="o").error


def test_figures_come_as_json(shell: Any) -> None:
    shell.write("a.txt", STORIES)
    shell.write("c.md", "passed over")
    found = json.loads(shell("vocab", ".", "--size", 600, "--uncased", "--out", "v", "--json").out)
    assert (found["kind"], found["cased"], found["entries"], found["asked_for"]) == ("wordpiece", False, 600, 600)
    assert found["inputs"] == {"files": 1, "passed_over": {".md": 1}}
    assert found["text_bytes"] == len(STORIES.encode())
    assert [part["vocabulary"] for part in found["measured"]] == ["tokenizer.json", "uncased"]
    assert found["warnings"] == []


def test_documents_come_through_standard_input(shell: Any) -> None:
    lines = "".join(json.dumps({"text": part}) + "\n" for part in STORIES.split("\n\n"))
    result = shell("vocab", "-", "--format", "jsonl", "--size", 500, "--out", "v", stdin=lines.encode())
    assert result.code == 0, result.error
    assert sorted(path.name for path in shell.folder.iterdir()) == ["v"]


def test_a_text_too_small_for_the_size_is_told(shell: Any) -> None:
    result = shell("vocab", shell.write("a.txt"), "--size", 5000, "--out", "v")
    assert result.code == 0
    assert "fewer than the 5,000 asked for: the text has no more pieces that stand together 2 times" in result.out
    assert "fewer than the" in shell("vocab", "a.txt", "--size", 900, "--kind", "unigram", "--out", "u").out


def test_documents_left_out_are_told(shell: Any) -> None:
    shell.write("a.jsonl", json.dumps({"text": STORIES}) + "\nno JSON\n")
    refused = shell("vocab", "a.jsonl", "--size", 500, "--out", "v")
    assert (refused.code, (shell.folder / "v").exists()) == (5, False)
    assert "a.jsonl:2" in refused.error
    assert "1 left out" in shell("vocab", "a.jsonl", "--size", 500, "--out", "v", "--on-error", "skip").out


def test_a_folder_in_the_way_is_refused_and_a_vocabulary_replaced_when_told(shell: Any, one_line: OneLine) -> None:
    text = shell.write("a.txt", STORIES)
    assert shell("vocab", text, "--size", 500, "--out", "v").code == 0
    before = (shell.folder / "v" / "vocab.txt").read_bytes()
    refused = shell("vocab", text, "--size", 600, "--out", "v")
    assert refused.code == 2
    assert "it holds vocab.txt already; give another folder, or --overwrite" in one_line(refused.error)
    assert (shell.folder / "v" / "vocab.txt").read_bytes() == before
    assert shell("vocab", text, "--size", 600, "--kind", "bpe", "--out", "v", "--overwrite").code == 0
    assert not (shell.folder / "v" / "vocab.txt").exists()
    (shell.folder / "v" / "notes.md").write_text("mine")
    foreign = shell("vocab", text, "--size", 600, "--out", "v", "--overwrite")
    assert "it holds notes.md, which is no vocabulary's; give another folder" in one_line(foreign.error)
    assert "a file stands there" in one_line(shell("vocab", text, "--size", 600, "--out", text).error)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.txt"], "nowhere.txt"),
        (["a.txt", "--size", 20], "give a larger --size, or a lower --coverage"),
        (["a.txt", "--kind", "bpe", "--uncased"], "leave --uncased out"),
        (["a.txt", "--size", "many"], "size is 'many': give a whole number"),
        (["a.txt", "--kind", "bert"], "kind is 'bert': give one of wordpiece, bpe, unigram"),
        (["a.png"], "no reader goes by this name"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    shell: Any, one_line: OneLine, arguments: list[Any], told: str
) -> None:
    shell.write("a.txt")
    shell.write("a.png")
    result = shell("vocab", *arguments, "--out", "v")
    assert result.code == 2
    assert told in one_line(result.error)
    assert not (shell.folder / "v").exists()


# --- Adding pieces to a model's


@pytest.fixture
def bert(shell: Any) -> Path:
    """A tiny BERT with a vocabulary of its own."""
    shell.write("a.txt", STORIES)
    assert shell("vocab", "a.txt", "--size", 500, "--out", "v").code == 0
    vocabulary = Tokenizer("v").vocabulary
    config = SpanBertConfig(vocab_size=500, hidden=16, layers=1, heads=2, intermediate=16, max_positions=32)
    export(SpanBertForPreTraining(config), shell.folder / "bert", vocabulary)
    return Path("bert")


def test_pieces_are_added_to_a_model_and_told(shell: Any, bert: Path) -> None:
    result = shell("vocab", "a.txt", "--extend", bert, "--add", 40, "--out", "new")
    assert (result.code, result.error) == (0, "")
    first, added, vocabulary, fit, last = result.out.splitlines()
    assert first == "read: 1 file"
    assert re.fullmatch(r"added: 40 pieces: (\S+ \(\d+ times\), ){5}…", added)
    assert vocabulary == "vocabulary: 540 entries, 500 before"
    now, before = map(float, re.fullmatch(r"fit: (\S+) bytes of text a token, (\S+) with the one before", fit).groups())
    assert now > before
    assert last == "wrote new: preshard with --vocab new, then train with --init-from new"
    assert shell.preshard("a.txt", "--vocab", "new").code == 0
    again = shell("vocab", "a.txt", "--extend", bert, "--add", 2, "--out", "new", "--overwrite", "--json")
    found = json.loads(again.out)
    assert (found["entries"], len(found["added"])) == (502, 2)
    assert {"piece", "count", "parts"} == found["added"][0].keys()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--extend", "bert"], "--extend MODEL and --add N go together"),
        (["--add", 3], "--extend MODEL and --add N go together"),
        (["--extend", "bert", "--add", 3, "--size", 3], "--size goes with training, not with --extend"),
        (["--extend", "bert", "--add", "few"], "add is 'few': give a whole number"),
        (["--extend", "bert", "--add", 0], "give a number of pieces from 1"),
        (["--extend", "bert", "--add", 10**6], "runs of the model's pieces stand 2 times or more"),
        (["--extend", "v", "--add", 3], "no model.safetensors or pytorch_model.bin there"),
        (["--extend", "nowhere", "--add", 3], "nowhere"),
    ],
)
def test_what_cannot_be_added_is_told_in_one_line(
    shell: Any, bert: Path, one_line: OneLine, arguments: list[Any], told: str
) -> None:
    result = shell("vocab", "a.txt", *arguments, "--out", "new")
    assert result.code == 2
    assert told in one_line(result.error)
    assert not (shell.folder / "new").exists()
