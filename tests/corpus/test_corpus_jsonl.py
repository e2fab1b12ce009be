"""JSON lines: fields, ranges, kept values, and what errors say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted import plant

from spanmask.config import OnError
from spanmask.corpus import jsonl as reading
from spanmask.corpus import ranges
from spanmask.errors import ConfigError, CorpusError, SpanmaskError


def jsonl(*rows: Any) -> bytes:
    return b"".join(
        (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)).encode() + b"\n" for row in rows
    )


def fails(corpus: Any, data: bytes, suffix: str = ".jsonl", **options: Any) -> SpanmaskError:
    file = corpus.write(suffix, data)
    read = corpus.stream if file.compression else corpus.parts
    with pytest.raises(SpanmaskError) as caught:
        read(file, **options)
    return caught.value


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"txt": "a", "id": 1}', "no field 'text'; fields of this line: 'txt', 'id'"),
        ('{"text": null}', "field 'text' is null"),
        ('{"text": 5}', "field 'text' is an integer, expected a string"),
        ('{"text": ["a"]}', "field 'text' is a list of strings, expected a string"),
        ('{"text": []}', "field 'text' is an empty list, expected a string"),
        ('{"text": "a" "b": 1}', "malformed JSON: Expecting ',' delimiter (column 14)"),
        ('{"text": "a"} {"text": "b"}', "more than one JSON value on the line (column 15)"),
        ('["a"]', "a list instead of a JSON object"),
        ('{"text": "\\ud800"}', "a lone surrogate"),
        ("plain text", "malformed JSON"),
    ],
)
def test_errors_name_the_line_and_say_why(corpus: Any, line: str, reason: str) -> None:
    for suffix in (".jsonl", ".jsonl.gz", ".jsonl.zst"):
        error = fails(corpus, jsonl({"text": "fine"}, "", line, {"text": "fine"}), suffix)
        assert isinstance(error, CorpusError)
        assert error.line == 3
        assert reason in str(error)
        assert "--on-error skip" in str(error)
        assert str(error).startswith(f"{error.path}:3: ")


#: What JSON's grammar allows in a value that nobody asked for, and parsers refuse.
ODD_VALUES = [
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\ud800\\u0041"', "1e999", "-1e999", "0.1e99999999999", "9" * 400 + "e0"),
    *('{"y": ["\\udfff", {"z": -1e400}]}', '[["\\ud800"]]', '{"\\ud800": 1}', "9" * 5000),
]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_a_field_that_nobody_asked_for_costs_no_document(corpus: Any, value: str) -> None:
    lines = [
        f'{{"text": "a\\n\\u00e9", "n": 7, "s": [[0, 1]], "x": {value}}}',
        f' {{ "x":{value} ,"text":"b","n":8}} \r',
    ]
    file = corpus.write(".jsonl", jsonl(*lines, '{"text": "c", "n": 9, "\\udc00": 1e999}'))
    found = corpus.parts(file)
    assert (found.texts, found.skipped) == (["a\né".encode(), b"b", b"c"], 0)
    found = corpus.parts(file, keep=("n",), spans_field="s")
    assert (found.kept, found.ranges) == ([{"n": 7}, {"n": 8}, {"n": 9}], [[(0, 1)], [], []])


@pytest.mark.parametrize("value", ODD_VALUES)
def test_a_line_that_is_no_object_stays_bad_whatever_its_fields(corpus: Any, value: str) -> None:
    bad = [
        *(f'{{"text": "a", "x": {value}', f'{{"text": "a", "x": {value},}}', f'{{"text": "a" "x": {value}}}'),
        *(f'{{"text": "a", "x": {value}}}}}', f'{{1: "a", "text": "a", "x": {value}}}', f'{{"text": 1, "x": {value}}}'),
        *(
            f'{{"text": "a", "text": "b", "x": {value}}}',
            f'{{"text": {value}}}',
            f'{{"text": "\\ud800", "x": {value}}}',
        ),
    ]
    found = corpus.parts(corpus.write(".jsonl", jsonl('{"text": "ok"}', *bad)), on_error=OnError.SKIP)
    assert (found.texts, found.skipped) == ([b"ok"], len(bad))


def test_bytes_that_are_not_utf8_are_told_with_their_column(corpus: Any) -> None:
    error = fails(corpus, jsonl({"text": "fine"}) + b'{"text": "a\xffb"}\n')
    assert "byte 0xff is not valid UTF-8 (invalid start byte), in column 12" in str(error)
    assert isinstance(error, CorpusError)
    assert error.line == 2


def test_texts_are_unescaped_and_may_be_empty(corpus: Any) -> None:
    found = corpus.parts(corpus.write(".jsonl", jsonl({"text": 'a"\n\té\u0000😀'}, {"text": ""})))
    assert found.texts == ['a"\n\té\u0000😀'.encode(), b""]


def test_the_text_field_can_be_named(corpus: Any) -> None:
    found = corpus.parts(corpus.write(".ndjson", jsonl({"text": 1, "body.raw": "b"})), text_field="body.raw")
    assert found.texts == [b"b"]


def test_deep_nesting_is_read_past(corpus: Any) -> None:
    line = '{"text": "a", "other": ' + "[" * 100_000 + "]" * 100_000 + "}"
    assert corpus.parts(corpus.write(".jsonl", jsonl(line))).texts == [b"a"]


def test_kept_fields_take_their_types_from_their_first_values(corpus: Any) -> None:
    rows = [{"text": "a", "s": "x", "i": 1, "f": 1.5, "b": True}, {"text": "b", "s": "é", "i": -2, "f": 2, "b": False}]
    for target in (1, 1000):
        found = corpus.parts(corpus.write(".jsonl", jsonl(*rows)), target, keep=("b", "s", "i", "f"))
        assert found.kept == [{name: row[name] for name in ("b", "s", "i", "f")} for row in rows]
        kinds = [str(kind) for kind in found.blocks[-1].kept.schema.types]
        assert kinds == ["bool", "string", "int64", "double"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("x", "field 'id' is a string, expected an integer"),
        (1.5, "field 'id' is a number, expected an integer"),
        (2**63, "field 'id' is an integer, expected an integer of 64 bits"),
        (True, "field 'id' is a boolean"),
    ],
)
def test_a_kept_value_of_another_type_is_an_error(corpus: Any, value: Any, reason: str) -> None:
    data = jsonl({"text": "a", "id": 1}, {"text": "b", "id": value}, {"text": "c", "id": 3})
    error = fails(corpus, data, keep=("id",))
    assert isinstance(error, CorpusError)
    assert (error.line, reason in str(error)) == (2, True)
    found = corpus.parts(corpus.write(".jsonl", data), 1, keep=("id",), on_error=OnError.SKIP)
    assert (found.texts, found.kept, found.skipped) == ([b"a", b"c"], [{"id": 1}, {"id": 3}], 1)


def test_kept_fields_must_be_simple_and_there(corpus: Any) -> None:
    assert isinstance(fails(corpus, jsonl({"text": "a", "id": [1]}), keep=("id",)), ConfigError)
    error = fails(corpus, jsonl("", {"text": "a", "name": 1}), keep=("id",))
    assert isinstance(error, CorpusError)
    assert "no field 'id'; fields of the first document: 'text', 'name'" in str(error)
    assert isinstance(fails(corpus, jsonl({"text": "a"}, {"text": "b", "id": {}}), keep=("id",)), ConfigError)


def test_a_kept_field_that_is_null_or_missing_is_null(corpus: Any) -> None:
    data = jsonl("{", {"text": "a"}, {"text": "b", "id": 7}, {"text": "c", "id": None})
    file = corpus.write(".jsonl", data)
    for target in (1, 1000):
        found = corpus.parts(file, target, keep=("id",), on_error=OnError.SKIP)
        assert (found.kept, found.skipped) == ([{"id": None}, {"id": 7}, {"id": None}], 1)
        assert {str(block.kept.schema.field("id").type) for block in found.blocks} == {"int64"}
    null = corpus.write(".jsonl", jsonl({"text": "a", "id": None}, {"text": "b"}))
    found = corpus.parts(null, keep=("id",))
    assert (found.kept, str(found.blocks[0].kept.schema.field("id").type)) == ([{"id": None}] * 2, "string")
    mixed = jsonl(
        {"text": "a", "s": "x", "t": "y"}, {"text": "b", "s": None}, {"text": "c"}, {"text": "d", "s": "", "t": "z"}
    )
    found = corpus.parts(corpus.write(".jsonl", mixed), keep=("s", "t"))
    assert [row["s"] for row in found.kept] == ["x", None, None, ""]
    assert [row["t"] for row in found.kept] == ["y", None, None, "z"]


def test_ranges_and_word_starts_count_code_points_and_come_sorted(corpus: Any) -> None:
    rows = [
        {"text": "äbc", "spans": [[2, 3], [0, 2], [0, 1]], "words": [3, 0, 2, 0]},
        {"text": "😀"},
        {"text": "x", "spans": None, "words": []},
        {"text": "", "spans": [], "words": [0]},
    ]
    for target in (1, 60, 1000):
        found = corpus.parts(corpus.write(".jsonl", jsonl(*rows)), target, spans_field="spans", words_field="words")
        assert found.ranges == [[(0, 1), (0, 2), (2, 3)], [], [], []]
        assert found.points == [[0, 2, 3], [], [], [0]]


@pytest.mark.parametrize(
    ("ranges", "reason"),
    [
        ([[0, 3]], "ends beyond the text, which has 2 code points"),
        ([[0, 1], [1, 1]], "the range [1, 1] is empty or negative"),
        ([[1, 0]], "the range [1, 0] is empty"),
        ([[-1, 1]], "negative"),
        ([[0]], "[0] is not a pair"),
        ([[0, 1, 2]], "[0, 1, 2] is not a pair"),
        ([[None, 1]], "not a pair"),
        ([None], "not a pair"),
        ([0, 1], "expected a list of pairs"),
        ([[0, 1.5]], "expected a list of pairs"),
        ("x", "expected a list of pairs"),
        ([[0, 2**63]], "expected a list of pairs"),
    ],
)
def test_ranges_that_do_not_fit_are_errors_or_skipped(corpus: Any, ranges: Any, reason: str) -> None:
    data = jsonl({"text": "ok", "s": [[0, 1]]}, {"text": "éa", "s": ranges}, {"text": "ok", "s": [[1, 2]]})
    error = fails(corpus, data, spans_field="s")
    assert isinstance(error, CorpusError)
    assert (error.line, reason in str(error)) == (2, True)
    found = corpus.parts(corpus.write(".jsonl", data), spans_field="s", on_error=OnError.SKIP)
    assert (found.texts, found.ranges, found.skipped) == ([b"ok", b"ok"], [[(0, 1)], [(1, 2)]], 1)


@pytest.mark.parametrize("words", [[3], [-1], [None], [0.5], [[0]], "x"])
def test_word_starts_outside_the_text_are_errors(corpus: Any, words: Any) -> None:
    error = fails(corpus, jsonl({"text": "éa", "w": words}), words_field="w")
    assert isinstance(error, CorpusError)
    assert error.line == 1


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["a", "b"], "a list of strings"),
        ([1, 2.5, True, None], "a list of integers, numbers, booleans and nulls"),
        ([[0, "a"], [1.5]], "a list of lists of integers, strings and numbers"),
        ([[], 1], "a list of integers and lists"),
        ([{"start": 0, "end": 1}], "a list of objects"),
        ([[[[[0]]]]], "a list of lists of lists of lists"),
        ([2**63], "a list of integers beyond 64 bits"),
    ],
)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"text_field": "f"}, ", expected a string;"),
        ({"spans_field": "f"}, ", expected a list of pairs [start, end] of integers;"),
        ({"words_field": "f"}, ", expected a list of integers;"),
        ({"keep": ("f",)}, "; kept fields are strings, integers, numbers or booleans"),
    ],
)
def test_a_list_that_does_not_fit_is_told_with_what_it_holds(
    corpus: Any, value: list[Any], told: str, options: dict[str, Any], expected: str
) -> None:
    row = {"text": "a", "f": value}
    for suffix, data in ((".jsonl", jsonl(row)), (".json", json.dumps([row]).encode())):
        assert f"field 'f' is {told}{expected}" in str(fails(corpus, data, suffix, **options))


def test_a_damaged_stream_is_a_corpus_error(corpus: Any) -> None:
    for suffix, cut in ((".jsonl.gz", 10), (".jsonl.zst", 10)):
        file = corpus.write(suffix, jsonl(*({"text": f"document {n} {n * n}"} for n in range(5000))))
        whole = (corpus.folder / file.name).read_bytes()
        for damaged in (whole[:-cut], b"garbage" * 20, whole + b"garbage" * 20, whole[: len(whole) // 2]):
            (corpus.folder / file.name).write_bytes(damaged)
            with pytest.raises(CorpusError, match=r"truncated, damaged or misnamed; fetch or compress"):
                corpus.stream(file, 1000)


def test_members_and_frames_follow_each_other(corpus: Any) -> None:
    for suffix in (".jsonl.gz", ".jsonl.zst"):
        paths = [corpus.write(suffix, jsonl({"text": f"part {n}"})).path for n in range(3)]
        joined = corpus.folder / f"joined{suffix}"
        joined.write_bytes(b"".join(Path(path).read_bytes() for path in paths))
        assert corpus.stream(corpus.find(joined)).texts == [b"part 0", b"part 1", b"part 2"]


# --- The defences taken out


def test_a_reader_that_holds_no_range_against_its_text_is_found(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, ranges, " & (ends <= lengths[owners])", "")
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_ranges_that_do_not_fit_are_errors_or_skipped(corpus, [[0, 3]], "ends beyond the text")


def test_a_reader_that_counts_no_objects_is_found(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, reading, "if table.num_rows == rows else None", "")
    with pytest.raises(AssertionError, match="document_offsets"):
        test_errors_name_the_line_and_say_why(corpus, '{"text": "a"} {"text": "b"}', "more than one JSON value")
