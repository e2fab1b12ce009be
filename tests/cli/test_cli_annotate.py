"""`spanmask annotate` as it is typed: what it prints, and how it ends where it cannot go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

spacy = pytest.importorskip("spacy", reason="spaCy is in the extras spacy and test")


@pytest.fixture
def pipeline(tmp_path: Path) -> str:
    """A pipeline for which London is a place, and digits are a number."""
    nlp = spacy.blank("xx")
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "GPE", "pattern": "London"}, {"label": "CARDINAL", "pattern": [{"LIKE_NUM": True}]}])
    nlp.to_disk(tmp_path / "mine")
    return f"spacy:{tmp_path / 'mine'}"


def test_what_was_annotated_is_told_for_people_and_for_programs(shell: Any, pipeline: str) -> None:
    source = shell.write("in.jsonl", '{"body": "12 left London"}\n{"body": "Nobody came"}\n')
    options = ("annotate", source, "--with", pipeline, "--spans", "entities", "--text-field", "body", "--jobs", 1)
    result = shell(*options, "--out", "a.jsonl")
    assert (result.code, result.error) == (0, "")
    assert result.out.splitlines() == [
        "read: 1 file",
        f"with: xx_pipeline 0.0.0, spaCy {spacy.__version__}",
        "text: 0.0 MB in 2 documents; 1 without entities",
        "entities: 1 (GPE 1)",
        "left out by label: 1 (CARDINAL 1)",
        "wrote a.jsonl: preshard with --scheme annotated --spans-field entities --text-field body",
    ]
    told = json.loads(shell(*options, "--out", "b.jsonl", "--json").out)
    assert (told["ranges"], told["omitted"], told["warnings"], told["out"]) == (
        {"GPE": 1},
        {"CARDINAL": 1},
        [],
        "b.jsonl",
    )
    preshard = ("preshard", "a.jsonl", "--scheme", "annotated", "--spans-field", "entities", "--text-field", "body")
    assert shell(*preshard, "--min-tokens", 0, "--out", "shards", "--seed", 1, "--jobs", 1).code == 0


def test_where_nothing_was_found_a_warning_says_so(shell: Any, pipeline: str) -> None:
    source = shell.write("in.txt", "Nobody came\n")
    result = shell("annotate", source, "--with", pipeline, "--spans", "entities", "--out", "a.jsonl", "--jobs", 1)
    assert result.code == 0
    assert "warning: nothing was found in any document" in result.out


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--with", "spacy:en_nowhere_sm"], 2, "python -m spacy download en_nowhere_sm"),
        (["--with", "en_core_web_sm"], 2, "--with is 'en_core_web_sm': give spacy:MODEL"),
        (["--spans", "noun_chunks"], 2, "no component of it finds noun_chunks"),
        (["--omit", "GPS"], 2, "--omit: the pipeline has no label 'GPS'; did you mean 'GPE'?"),
        (["--disable", "ner"], 2, "--disable: the pipeline has no component 'ner'"),
        (["--into", "text"], 2, "--into is 'text'"),
        (["--max-characters", "10"], 2, "--max-characters is 10: give a number of characters from 1,000"),
        (["--out", "s3://b/x.jsonl"], 2, "a URL"),
        (["--text-field", "body"], 5, "no field 'body'"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    options: list[str], code: int, told: str, shell: Any, one_line: Any, pipeline: str
) -> None:
    source = shell.write("in.jsonl", '{"text": "12 left London"}\n')
    given = {"--with": pipeline, "--spans": "entities", "--out": "a.jsonl", "--jobs": "1"} | dict([options])
    result = shell("annotate", source, *[word for pair in given.items() for word in pair])
    assert result.code == code
    assert told in one_line(result.error)
    assert sorted(path.name for path in shell.folder.iterdir()) == ["in.jsonl", "mine"]
