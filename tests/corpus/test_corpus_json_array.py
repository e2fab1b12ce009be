"""Arrays of JSON: each element is the record that it would be as a line of its own."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from spanmask.config import Format, OnError
from spanmask.errors import CorpusError

ROWS = [
    {"id": n, "text": text * (n % 4 + 1), "more": [{"a": [1, 2.5e-3]}, None, "]", '\\"'], "note": None}
    for n, text in enumerate(
        ["plain ", "brackets [ ] { } , ", 'quotes " and \\ ', "naïve 漢字 🎈 ", "new\nline ", ""] * 5
    )
]


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("suffix", [".json", ".json.gz", ".json.xz"])
@pytest.mark.parametrize("indent", [None, 2])
def test_elements_are_the_records_of_json_lines(
    corpus: Any, piece: int, suffix: str, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ROWS if piece > 1 else ROWS[:7]
    monkeypatch.setattr("spanmask.corpus.json_array._PIECE_BYTES", piece)
    monkeypatch.setattr("spanmask.corpus.jsonl.BLOCK_BYTES", 500)
    file = corpus.write(
        suffix, b"\xef\xbb\xbf \n" + json.dumps(rows, indent=indent, ensure_ascii=False).encode() + b"\n "
    )
    assert (file.format, file.is_sequential) == (Format.JSON, True)
    found = corpus.parts(file, keep=("id", "note"))
    assert found.ids == list(range(len(rows)))
    assert [text.decode() for text in found.texts] == [row["text"] for row in rows]
    assert found.kept == [{"id": row["id"], "note": None} for row in rows]


def test_a_file_of_lines_is_told_from_an_array(corpus: Any) -> None:
    assert corpus.write(".json", b'{"text": "[a]"}\n').format is Format.JSONL
    assert corpus.write(".jsonl", b"[1]\n").format is Format.JSONL
    path = corpus.folder / "named"
    path.write_bytes(b'[{"text": "a"}]')
    assert corpus.parts(corpus.find(path, Format.JSON)).texts == [b"a"]
    for empty in (b"", b"[]", b" [ ] "):
        path.write_bytes(empty)
        assert corpus.parts(corpus.find(path, Format.JSON)).ids == []


def test_elements_that_are_no_documents_are_told_and_left_out_by_their_numbers(corpus: Any) -> None:
    data = (
        b'[{"text": "good"}, 5, [1], {"text": null}, {"body": 1}, {"text": "b\xff"}, {"text": "'
        + b"x" * 99
        + b'"}, {"text": "end"}]'
    )
    file = corpus.write(".json", data)
    with pytest.raises(CorpusError, match=r"row 1: an integer instead of a JSON object"):
        corpus.parts(file)
    found = corpus.parts(file, on_error=OnError.SKIP, max_document_bytes=60)
    assert (found.ids, found.texts) == ([0, 7], [b"good", b"end"])
    told = [(one.document_id, str(one.reason)) for block in found.blocks for one in block.skipped_documents]
    assert told == [(1, "json"), (2, "json"), (3, "field"), (4, "field"), (5, "encoding"), (6, "length")]


@pytest.mark.parametrize(
    "data",
    [
        *(b'[{"text": "a"}, {"text": "b"', b'[{"text": "a"} {"text": "b"}]', b'[{"text": "a"}, {bad}, {}]'),
        *(b"[" * 9999, b'[{"text": "a"}]]', b'[{"text": "a"}', b"["),
    ],
)
@pytest.mark.parametrize("on_error", OnError)
def test_an_array_that_breaks_off_ends_in_an_error_always(corpus: Any, data: bytes, on_error: OnError) -> None:
    with pytest.raises(CorpusError, match=r"row \d+: .*expected an array of objects"):
        corpus.parts(corpus.write(".json", data), on_error=on_error)


def test_an_element_without_end_is_not_held_for_ever(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanmask.corpus.json_array._PIECE_BYTES", 100)
    with pytest.raises(CorpusError, match="row 0: it has more than 1,000 bytes"):
        corpus.parts(corpus.write(".json", b'[{"text": "' + b"x" * 9000), max_document_bytes=1000)


def test_random_arrays_are_read_as_python_reads_them(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = random.Random(5)
    for piece in (3, 10, 50):
        monkeypatch.setattr("spanmask.corpus.json_array._PIECE_BYTES", piece)
        rows = [
            {"text": "".join(choose.choices('ab"\\[]{},:é \t1', k=choose.randint(0, 40))), "n": choose.random()}
            for _ in range(60)
        ]
        found = corpus.parts(corpus.write(".json", json.dumps(rows, indent=choose.choice([None, 1])).encode()))
        assert [text.decode() for text in found.texts] == [row["text"] for row in rows]
