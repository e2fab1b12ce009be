"""Fields inside of objects: ``a.b`` is the b of a, in every kind of file, where no field is literally named so."""

from __future__ import annotations

from typing import Any

import pytest
from rows import write_rows

from spanmask.config import OnError
from spanmask.corpus.nested import looked_up
from spanmask.errors import CorpusError

ROWS = [
    {"doc": {"body": {"text": f"text {n} é"}, "id": n}, "meta": None if n % 3 else {"url": f"u{n}"}} for n in range(40)
]
FIELDS: dict[str, Any] = {"text_field": "doc.body.text", "keep": ("doc.id", "meta.url")}


def _written(corpus: Any, suffix: str, rows: list[dict[str, Any]]) -> Any:
    return corpus.find(write_rows(corpus.folder / f"rows{suffix}", rows))


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".arrow"])
def test_fields_inside_of_objects_are_read_and_kept(corpus: Any, suffix: str) -> None:
    file = _written(corpus, suffix, ROWS)
    for target in (100, 1 << 20):
        found = corpus.parts(file, target, **FIELDS)
        assert [text.strip().decode() for text in found.texts] == [row["doc"]["body"]["text"] for row in ROWS]
        assert found.kept == [
            {"doc.id": row["doc"]["id"], "meta.url": row["meta"] and row["meta"]["url"]} for row in ROWS
        ]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".arrow"])
def test_a_field_literally_so_named_wins(corpus: Any, suffix: str) -> None:
    rows = [{"a.b": "literal", "a": {"b": "nested"}}] * 3
    assert {text.strip() for text in corpus.parts(_written(corpus, suffix, rows), text_field="a.b").texts} == {
        b"literal"
    }


def test_lines_may_have_either_and_what_stands_beside_a_literal_field_decides_nothing(corpus: Any) -> None:
    rows = [
        {"a.b": "one"},
        {"a": {"b": "two"}},
        {"a.b": "three", "a": 5},
        {"a": 5},
        {"a": {"c": 1}},
        {"a": {"b": 7}},
        {"a": None},
    ]
    found = corpus.parts(_written(corpus, ".jsonl", rows), text_field="a.b", on_error=OnError.SKIP)
    assert [text.strip() for text in found.texts] == [b"one", b"two", b"three"]
    details = [one.detail for block in found.blocks for one in block.skipped_documents]
    assert details == [
        "no field 'a.b'; fields of this line: 'a'",
        "no field 'a.b'; fields of this line: 'a.c'",
        "field 'a.b' is an integer, expected a string",
        "no field 'a.b'; fields of this line: 'a'",
    ]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_a_null_struct_is_a_text_that_is_null(corpus: Any, suffix: str) -> None:
    rows = [{"a": {"b": "one"}}, {"a": None}, {"a": {"b": None}}, {"a": {"b": "two"}}]
    found = corpus.parts(_written(corpus, suffix, rows), text_field="a.b", on_error=OnError.SKIP)
    assert (found.ids, found.texts, found.skipped) == ([0, 3], [b"one", b"two"], 2)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".arrow"])
def test_a_wrong_path_is_told_with_the_fields_that_are_there(corpus: Any, suffix: str) -> None:
    file = _written(corpus, suffix, ROWS)
    there = "'doc.body.text', 'doc.id'"
    with pytest.raises(CorpusError, match=f"no (field|column) 'doc.text'; .*{there}"):
        corpus.parts(file, text_field="doc.text")


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".arrow"])
@pytest.mark.parametrize("wrong", [{"text_field": "nope", "keep": ("doc.id",)}, {**FIELDS, "keep": ("nope", "doc.id")}])
def test_a_field_that_is_asked_for_is_told_once_beside_a_wrong_one(
    corpus: Any, suffix: str, wrong: dict[str, Any]
) -> None:
    with pytest.raises(CorpusError, match=r"no (field|column) 'nope'; ") as caught:
        corpus.parts(_written(corpus, suffix, ROWS), **wrong)
    assert [str(caught.value).count(name) for name in ("'doc.id'", "'doc.body.text'")] == [1, 1]


def test_names_are_looked_up_literally_first_at_every_depth() -> None:
    assert looked_up({"a": {"b.c": 1, "b": {"c": 2}}}, "a.b.c") == (True, 1)
    assert looked_up({"a.b": {"c": 3}}, "a.b.c") == (True, 3)
    assert looked_up({"a": {"b": None}}, "a.b") == (True, None)
    assert looked_up({"a": {"b": None}}, "a.b.c") == (False, None)
