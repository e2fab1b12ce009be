"""CSV and TSV: the same records as Python's own reader finds, every field a string, and what is wrong told by record."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import pytest

from spanmask.config import OnError
from spanmask.errors import CorpusError

GLUE = Path(__file__).resolve().parents[3] / "shared" / "data" / "glue"
_FIELDS = [
    "plain",
    "",
    "1907",
    "007",
    "NA",
    "true",
    '"',
    'he said "so"',
    "a,b",
    "two\nlines",
    "tab\there",
    "naïve 漢字",
    " x ",
]


def _written(rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _rows(count: int, seed: int) -> list[list[str]]:
    choose = random.Random(seed)
    return [[str(number), choose.choice(_FIELDS) * choose.randint(1, 3), "last"] for number in range(count)]


@pytest.mark.parametrize("block", [64, 1 << 20])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.xz", ".csv.bz2"])
def test_records_are_those_of_the_csv_module(
    corpus: Any, suffix: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanmask.corpus.delimited.BLOCK_BYTES", block)
    rows = _rows(200, block)
    found = corpus.parts(
        corpus.write(suffix, b"\xef\xbb\xbf" + _written([["id", "text", "end"], *rows])), keep=("id", "end")
    )
    assert found.ids == list(range(200))
    assert [text.decode() for text in found.texts] == [row[1] for row in rows]
    assert found.kept == [{"id": row[0], "end": row[2]} for row in rows]


def test_a_record_longer_than_a_block_is_read_in_larger_ones(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanmask.corpus.delimited.BLOCK_BYTES", 64)
    rows = [[f"{number}", "word " * (number * number)] for number in range(30)]
    file = corpus.write(".csv", _written([["id", "text"], *rows]))
    assert [text.decode() for text in corpus.parts(file).texts] == [row[1] for row in rows]
    open_quote = corpus.write(".csv", b'id,text\n0,a\n1,"' + b"and on\n" * 1000)
    with pytest.raises(CorpusError, match=r"row 1: a record of more than 1,000 bytes: is a quote never closed"):
        corpus.parts(open_quote, max_document_bytes=1000)


def test_records_of_other_widths_are_told_and_counted_by_their_numbers(corpus: Any) -> None:
    lines = [
        b"id,text",
        b"0,good",
        b"",
        b"1,bad,",
        b"2,good",
        b"3",
        b'4,"good\n"',
        b"5,\xff",
        b"6",
        b"7,good",
        b"8,a,b",
    ]
    file = corpus.write(".csv", b"\n".join(lines))
    with pytest.raises(CorpusError, match=r"row 1: 3 fields, expected 2 as in the header; .*--on-error skip"):
        corpus.parts(file)
    found = corpus.parts(file, on_error=OnError.SKIP)
    assert ([(i, text) for i, text in zip(found.ids, found.texts, strict=True)]) == [
        (0, b"good"), (2, b"good"), (4, b"good\n"), (7, b"good"),
    ]  # fmt: skip
    told = [document for block in found.blocks for document in block.skipped_documents]
    assert [(document.document_id, str(document.reason)) for document in told] == [
        (1, "field"), (3, "field"), (5, "encoding"), (6, "field"), (8, "field"),
    ]  # fmt: skip
    assert found.skipped == 5


@pytest.mark.parametrize("block", [40, 1 << 20])
def test_what_is_left_out_does_not_depend_on_blocks(corpus: Any, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanmask.corpus.delimited.BLOCK_BYTES", block)
    lines = [
        "id,text",
        *(f"{k},x,y" if k % 7 == 3 else f"{k},{'long ' * (k == 50) * 40}text" for k in range(100)),
        "tail",
    ]
    found = corpus.parts(corpus.write(".csv", "\n".join(lines).encode()), on_error=OnError.SKIP)
    assert found.ids == [k for k in range(100) if k % 7 != 3]
    told = [document.document_id for part in found.blocks for document in part.skipped_documents]
    assert told == [*range(3, 100, 7), 100]


def test_a_quote_is_no_mark_in_tsv(corpus: Any) -> None:
    file = corpus.write(".tsv", b'id\ttext\n0\t"Go" said one\n1\t"open, and not closed\n2\tno quote\n')
    assert corpus.parts(file).texts == [b'"Go" said one', b'"open, and not closed', b"no quote"]


@pytest.mark.data
@pytest.mark.skipif(not GLUE.is_dir(), reason=f"needs the tables in {GLUE}, which is not there")
@pytest.mark.parametrize(("name", "field"), [("RTE/test.tsv", "sentence1"), ("MRPC/train.tsv", "#1 String")])
def test_real_tsv_is_read_line_by_line(corpus: Any, name: str, field: str) -> None:
    path = GLUE / name
    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    found = corpus.parts(corpus.find(path), text_field=field)
    assert [text.decode() for text in found.texts] == [row[field] for row in rows]


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (b"id,body\n1,x\n", {}, CorpusError, "no column 'text'; columns of this file: 'id', 'body'"),
        (b"text,text\n1,x\n", {}, CorpusError, "column 'text' is there 2 times"),
        (b"\n\n\n", {}, CorpusError, "not CSV with a header line"),
        (b"te\xffxt\nx\n", {}, CorpusError, "no column 'text'; columns of this file: 'te\ufffdxt'"),
        (b"text,spans\nx,1\n", {"spans_field": "spans"}, CorpusError, "expected lists of pairs"),
        (b"text\nx\n", {"keep": ("id",)}, CorpusError, "no field 'id'; fields of the first document: 'text'"),
    ],
)
def test_what_is_no_table_of_texts_is_told(
    corpus: Any, data: bytes, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        corpus.parts(corpus.write(".csv", data), **options)


def test_an_empty_file_holds_no_record(corpus: Any) -> None:
    assert corpus.parts(corpus.write(".csv", b"")).ids == []
    assert corpus.parts(corpus.write(".csv", b"id,text\n")).ids == []
