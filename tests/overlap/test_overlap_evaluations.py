"""Texts of evaluation files: every layout, named fields, and files that are not what their names say."""

from __future__ import annotations

import csv
import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from rows import write_rows

from spanmask.errors import ConfigError, CorpusError
from spanmask.overlap import evaluations
from spanmask.overlap.evaluations import read_evaluations

ANSWER = {"text": "in Normandy", "answer_start": 4}
SQUAD = {
    "version": "2.0",
    "data": [
        {
            "title": "Normans",
            "paragraphs": [
                {
                    "context": "The Normans lived in Normandy.",
                    "qas": [{"id": "q1", "question": "Where?", "answers": [ANSWER], "is_impossible": False}],
                },
                {"context": "Rollo led them.", "qas": []},
            ],
        }
    ],
}
CONLL = """#begin document (nw/x); part 000
nw/x 0 0 The DT * - - - - * (0
nw/x 0 1 cat NN * - - - - * 0)

nw/x 0 0 Sat VBD * - - - - * -
#end document
# begin document y
0\tNext\t_
1\tday\t(1)
"""


def _texts(path: Path, *fields: str) -> list[str]:
    [one] = read_evaluations([path], fields)
    return [text for text in one.texts if text.strip()]


def _written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_every_text_of_squads_layout_is_read_or_those_of_a_field_in_it(tmp_path: Path) -> None:
    contexts = ["The Normans lived in Normandy.", "Rollo led them."]
    for name, text in {"dev.json": json.dumps(SQUAD), "indented.json": "\ufeff" + json.dumps(SQUAD, indent=1)}.items():
        path = _written(tmp_path, name, text)
        assert _texts(path) == ["2.0", "Normans", contexts[0], "q1", "Where?", "in Normandy", contexts[1]]
        assert _texts(path, "context") == contexts
        assert _texts(path, "question", "context") == [contexts[0], "Where?", contexts[1]]
        assert _texts(path, "qas") == ["q1", "Where?", "in Normandy"]


def test_lines_of_mrqas_layout_and_lists_of_tokens_are_read(tmp_path: Path) -> None:
    lines = [
        {"header": {"dataset": "HotpotQA"}},
        {
            "context": "[PAR] A passage.",
            "context_tokens": [["[PAR]", 0], ["A", 6]],
            "qas": [{"question": "Who?", "answers": ["Jo", "Joe"]}],
        },
    ]
    text = "\n".join(map(json.dumps, lines)) + "\n\n"
    path = _written(tmp_path, "mrqa.jsonl.gz", gzip.compress(text.encode()))
    assert _texts(path, "context") == ["[PAR] A passage."]
    assert _texts(path) == ["HotpotQA", "[PAR] A passage.", "[PAR]", "A", "Who?", "Jo Joe"]
    tacred = [{"id": "e7", "token": ["He", "was", "born"], "subj_start": 0}]
    assert _texts(_written(tmp_path, "tacred.json", json.dumps(tacred)), "token") == ["He was born"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "cola.tsv",
            'gj04\t1\t\tThe "sailors\nx\t0\t*\trode.\n',
            ["gj04", "1", 'The "sailors', "x", "0", "*", "rode."],
        ),
        ("rows.csv", 'q,a\n"one, ""two""\nthree",4\n', ["q", "a", 'one, "two"\nthree', "4"]),
        ("plain.txt", "one\ntwo\n \t\nthree\n", ["one\ntwo", "three\n"]),
        ("coref.conll", CONLL, ["The cat Sat", "Next day"]),
        ("coref.gold_conll", CONLL, ["The cat Sat", "Next day"]),
        ("ner.conll", "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nPeter NNP B-NP B-PER\n", ["EU rejects Peter"]),
    ],
)
def test_other_layouts_go_by_their_names(tmp_path: Path, name: str, content: str, expected: list[str]) -> None:
    assert _texts(_written(tmp_path, name, content)) == expected


def test_named_fields_of_tables_are_those_of_the_header(tmp_path: Path) -> None:
    for name, mark in (("rte.tsv", "\t"), ("rte.csv", ",")):
        path = _written(tmp_path, name, f"index{mark}sentence1{mark}label\n0{mark}No weapons.{mark}not\n")
        assert _texts(path, "sentence1") == ["No weapons."]
    rows = [{"question": f"Who is {number}?", "answers": {"text": ["Jo"], "start": [3]}} for number in range(9)]
    parquet = write_rows(tmp_path / "train.parquet", rows)
    assert _texts(parquet, "question") == [f"Who is {number}?" for number in range(9)]
    assert _texts(parquet)[:2] == ["Who is 0?", "Jo"]


def test_long_fields_of_csv_are_read_and_others_keep_their_limit(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = _written(tmp_path, "long.csv", f"{'x' * (before + 1)},a\n")
    assert list(map(len, _texts(path))) == [before + 1, 1]
    assert csv.field_size_limit() == before
    with pytest.raises(CorpusError, match="not CSV"):
        _texts(_written(tmp_path, "torn.csv", '"a" b\n'))
    assert csv.field_size_limit() == before


def test_files_of_one_name_are_told_apart_and_folders_are_read(tmp_path: Path) -> None:
    for task in ("CoLA", "RTE"):
        (tmp_path / task).mkdir()
        _written(tmp_path / task, "dev.tsv", f"1\t{task}\n")
    _written(tmp_path, ".hidden.txt", "no")
    assert [one.name for one in read_evaluations([tmp_path])] == ["CoLA/dev.tsv", "RTE/dev.tsv"]
    assert [one.name for one in read_evaluations([tmp_path / "RTE" / "dev.tsv"])] == ["dev.tsv"]


@pytest.mark.parametrize(
    ("name", "content", "fields", "error", "message"),
    [
        ("a.json", "{", (), CorpusError, r"a\.json:1: not JSON .* one value, or one a line"),
        ("a.jsonl", '{"x": "y"}\n{"x"\n', (), CorpusError, r"a\.jsonl:2: not JSON"),
        ("a.json", "[" * 200_000, (), CorpusError, "nested too deeply|not JSON"),
        ("a.json", b'{"x": "\xff"}', (), CorpusError, r"a\.json: not UTF-8"),
        ("a.csv", 'x\n"y" z\n', (), CorpusError, r"a\.csv: not CSV"),
        ("a.parquet", "PAR1 no", (), CorpusError, r"a\.parquet: not Parquet"),
        ("a.txt.gz", b"\x1f\x8b no", (), CorpusError, r"a\.txt\.gz"),
        ("a.arrow", "", (), ConfigError, "write it as Parquet or JSON lines"),
        ("a.txt", " \n", (), ConfigError, r"a\.txt: no text in this evaluation file"),
        ("a.json", "[1, {}]", (), ConfigError, r"a\.json: no text in this evaluation file"),
        ("a.json", '{"x": "y"}', ("context",), ConfigError, r"a\.json: no text in fields context"),
        ("a.txt", "text", ("context",), ConfigError, r"only JSON, Parquet, TSV and CSV have some"),
        ("a.tsv", "", ("context",), ConfigError, r"a\.tsv: no text in fields context"),
    ],
)
def test_what_is_no_evaluation_file_is_told(
    tmp_path: Path, name: str, content: Any, fields: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_evaluations([_written(tmp_path, name, content)], fields)


@pytest.mark.parametrize(
    ("form", "compression"), [(tarfile.USTAR_FORMAT, ""), (tarfile.GNU_FORMAT, "gz"), (tarfile.PAX_FORMAT, "gz")]
)
def test_an_archive_is_not_searched_as_text(tmp_path: Path, form: int, compression: str) -> None:
    path = tmp_path / f"coref.tar{compression and f'.{compression}'}"
    with tarfile.open(path, f"w:{compression}", format=form) as archive:  # type: ignore[call-overload]
        archive.add(_written(tmp_path, "a.conll", "#begin document (a)\nnone\tthe\n"), "a.conll")
    with pytest.raises(ConfigError, match=r"coref\.tar\S*: a tar archive, and archives are not looked into; unpack it"):
        read_evaluations([path])


def test_an_evaluation_file_without_end_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluations, "MOST_BYTES", 1000)
    with pytest.raises(ConfigError, match=r"more than 1,000 bytes, and an evaluation file is held whole"):
        read_evaluations([_written(tmp_path, "a.txt.gz", gzip.compress(b"x" * 2000))])
    with pytest.raises(ConfigError, match="no such file"):
        read_evaluations([tmp_path / "absent.json"])


def test_a_lone_surrogate_and_deep_values_are_read(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.json", '{"x": "\\ud800 cat", "y": ' + "[" * 500 + '"deep"' + "]" * 500 + "}")
    assert _texts(path) == ["\ud800 cat", "deep"]
