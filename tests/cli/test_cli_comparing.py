"""`audit` and `show` on one dataset and on several: what each line is of, the same sequences together, JSON for both."""

from __future__ import annotations

import json
from typing import Any

import pytest
from resealed import reseal

WORDS = "the quick brown fox jumps over the lazy dog while nobody looks at it again today"


@pytest.fixture
def datasets(shell: Any) -> Any:
    """Three datasets: two of one text, of which the second begins later, and one of another."""
    text = shell.write("a.txt", "\n\n".join(f"{WORDS} {number}" for number in range(6)))
    other = shell.write("b.txt", f"{WORDS} once more\n")
    for out, path, options in (
        ("spans", text, ()),
        ("words", text, ("--scheme", "word", "--holdout", "0.4")),
        ("other", other, ()),
    ):
        assert shell.preshard(path, *options, out=out).code == 0
    return shell


def test_one_audit_and_one_page_are_headed_with_their_dataset(datasets: Any) -> None:
    found = datasets("audit", "spans", "--html", "a.html")
    assert (found.code, found.error) == (0, "wrote a.html\n")
    assert found.out.startswith("spans: train split, 6 sequences of at most 512 tokens;")
    assert "<h1>Audit of spans: train split</h1>" in (datasets.folder / "a.html").read_text()
    told = json.loads(datasets("audit", "spans", "--json").out)
    assert (told["dataset"], told["rows"]) == ("spans", 6)


def test_audits_stand_side_by_side(datasets: Any) -> None:
    found = datasets("audit", "spans", "words", "--html", "a.html")
    assert found.code == 0
    assert "scheme span (paper) word" in " ".join(found.out.split())
    assert "<h1>Audits of spans and words: train split</h1>" in (datasets.folder / "a.html").read_text()
    told = json.loads(datasets("audit", "spans", "words", "--json").out)
    assert [one["dataset"] for one in told] == ["spans", "words"]


def test_one_failed_audit_of_several_exits_with_1(datasets: Any) -> None:
    def change(content: dict[str, Any]) -> None:
        content["sampling"]["train"]["replacement_units"]["kept"] += 1

    reseal(datasets.folder / "words", change)
    found = datasets("audit", "spans", "words")
    assert found.code == 1
    assert "words: FAILED draws equal the manifest's: replacement_units differ" in " ".join(found.out.split())


@pytest.mark.parametrize("command", ["audit", "show"])
def test_datasets_that_cannot_be_compared_are_refused(datasets: Any, one_line: Any, command: str) -> None:
    assert "spans is given twice" in one_line(datasets(command, "spans", "spans/").error)
    missing = datasets(command, "spans", "nowhere")
    assert (missing.code, "nowhere: no such folder; give" in one_line(missing.error)) == (2, True)
    assert "validation" in one_line(datasets(command, "spans", "words", "--split", "validation").error)


def test_the_same_sequences_are_shown_together(datasets: Any) -> None:
    rows = json.loads(datasets("show", "spans", "words", "--n", 6, "--json").out)
    by_dataset = {name: [row for row in rows if row["dataset"] == name] for name in ("spans", "words")}
    assert len(by_dataset["spans"]) == 6
    assert 0 < len(by_dataset["words"]) < 6
    for row in by_dataset["words"]:
        [same] = [one for one in by_dataset["spans"] if one["document_id"] == row["document_id"]]
        assert same["original"] == row["original"]
        assert rows.index(row) == rows.index(same) + 1
    shown = datasets("show", "spans", "words", "--n", 1).out
    assert shown.startswith("spans: train split, 6 sequences")
    assert "spans, row 0 · a.txt, place 0" in shown


def test_rows_of_other_inputs_stand_together_by_number(datasets: Any) -> None:
    rows = json.loads(datasets("show", "spans", "other", "--n", 3, "--json").out)
    assert [(row["dataset"], row["row"]) for row in rows] == [("spans", 0), ("other", 0), ("spans", 1), ("spans", 2)]


def test_rows_as_json_hold_what_is_shown(datasets: Any) -> None:
    [row] = json.loads(datasets("show", "spans", "--n", 1, "--json").out)
    assert row["dataset"] == "spans"
    assert row["masked"] == sum(span["end"] - span["start"] for span in row["spans"])
    for number, span in enumerate(row["spans"]):
        inside = row["pieces"][span["start"] : span["end"]]
        assert {piece["span"] for piece in inside} == {number}
        assert {piece["role"] for piece in inside} <= {"masked", "random", "kept"}
        assert "".join(f"{'' if p['attached'] else ' '}{p['original']}" for p in inside).strip() == span["original"]
    assert row["tokens"] == len(row["pieces"]) - 2
    assert "exclude each other" in datasets("show", "spans", "--json", "--html", "x.html").error
