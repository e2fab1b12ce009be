"""`spanmask overlap` as it is typed: what it prints, the list it writes, and what it refuses before anything is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

QUOTE = "it was the best of times it was the worst of times it was the age"


@pytest.fixture
def files(shell: Any) -> tuple[Path, Path]:
    rows = [{"id": f"d{k}", "text": f"{QUOTE} of {k}" if k in (2, 5) else "nothing"} for k in range(8)]
    corpus = shell.write("corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return shell.write("dev.json", json.dumps({"context": QUOTE})), corpus


def test_the_documents_found_are_told_and_listed_and_preshard_leaves_them_out(shell: Any, files: Any) -> None:
    listed = shell.folder / "ids.txt"
    result = shell("overlap", *files, "--ids", f"id={listed}", "--jobs", 1)
    assert result.code == 0
    assert "text: 0.0 MB in 8 documents" in result.out
    assert "dev.json: 1 text, 4 13-grams; 2 documents with 1 of them or more" in result.out
    assert "d5" in result.out.splitlines()[-1]
    assert listed.read_text() == "d2\nd5\n"
    assert result.error == f"wrote 2 identifiers: preshard with --exclude id={listed}\n"
    out = shell.preshard(files[1], "--exclude", f"id={listed}", "--min-tokens", 1, "--json")
    assert json.loads(out.out)["conservation"]["documents_excluded"] == 2


def test_json_tells_everything_and_a_list_on_standard_output_stands_alone(shell: Any, files: Any) -> None:
    found = json.loads(shell("overlap", *files, "--jobs", 1, "--json", "--ids", f"id={shell.folder / 'x'}").out)
    assert found["evaluations"] == {"dev.json": {"texts": 1, "ngrams": 4}}
    assert [(one["id"], one["ngrams"], one["texts"]) for one in found["found"]] == [("d2", 4, 1), ("d5", 4, 1)]
    assert found["found"][0]["file"] == str(files[1])
    result = shell("overlap", *files, "--ids", "id=-", "--n", 3, "--jobs", 1)
    assert result.out == "d2\nd5\n"
    assert "dev.json: 1 text" in result.error


def test_nothing_shared_is_an_empty_list_and_said(shell: Any, files: Any) -> None:
    listed = shell.folder / "ids.txt"
    result = shell("overlap", files[0], shell.write("other.jsonl", '{"id": 1, "text": "x"}\n'), "--ids", f"id={listed}")
    assert (result.code, listed.read_text()) == (0, "")
    assert result.error == "nothing is shared: the list is empty, and preshard needs no --exclude\n"


def test_several_evaluation_files_are_given_by_option_or_folder(shell: Any, files: Any) -> None:
    other = shell.write("more.tsv", f"1\t{QUOTE}\n")
    both = json.loads(shell("overlap", *files, "--eval", other, "--jobs", 1, "--json").out)
    folder = shell.folder / "evals"
    folder.mkdir()
    for path in (files[0], other):
        path.rename(folder / path.name)
    assert json.loads(shell("overlap", folder, files[1], "--jobs", 1, "--json").out) == both
    assert [one["evaluation"] for one in both["found"]] == ["dev.json", "more.tsv"] * 2


def test_of_many_evaluation_files_those_that_share_nothing_are_one_line(shell: Any, files: Any) -> None:
    folder = shell.folder / "evals"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.txt").write_text(f"text {number} " * 7 + "\n")
    told = shell("overlap", folder, files[1], "--jobs", 1).out
    assert told.count(" texts, ") + told.count(" text, ") == 20
    files[0].rename(folder / files[0].name)
    told = shell("overlap", folder, files[1], "--jobs", 1).out.splitlines()
    assert told[2:4] == [
        "dev.json: 1 text, 4 13-grams; 2 documents with 1 of them or more",
        "20 files, 20 texts: no document with 1 of their 13-grams or more",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--ids", "ids.txt"], 2, "--ids is 'ids.txt': give FIELD=FILE"),
        (["--ids", "=ids.txt"], 2, "give FIELD=FILE"),
        (["--ids", "id=-", "--json"], 2, "would both be on standard output"),
        (["--ids", "id=absent/ids.txt"], 2, "give the name of a file"),
        (["--ids", "id=s3://bucket/x"], 2, "a URL"),
        (["--ids", "url=ids.txt"], 5, "no field 'url'"),
        (["--n", 0], 2, "--n is 0: give a number of words"),
        (["--n", 99], 2, "no text of the evaluation files has 99 words; give a smaller --n"),
        (["--eval-field", "question"], 2, "no text in fields question"),
        (["--text-field", "body"], 5, "no field 'body'"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(
    shell: Any, files: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[object], code: int, message: str
) -> None:
    monkeypatch.chdir(shell.folder)
    before = sorted(shell.folder.iterdir())
    result = shell("overlap", *files, *arguments, "--jobs", 1)
    assert (result.code, result.out) == (code, "")
    assert message in result.error
    assert result.error.count("\n") == 1
    assert sorted(shell.folder.iterdir()) == before
