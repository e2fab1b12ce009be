"""The compiled reader of JSON lines accepts nothing that Arrow does not, and reads the same; plain lines it reads itself."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from figures import figure
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spanmask.config import CorpusConfig, Format
from spanmask.corpus import jsonl
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.jsonl_strings import StringReader
from spanmask.kernels.jsonl import DEPTH_LIMIT, STRIDE, find_specials

untimed = settings(deadline=None, max_examples=400)

SCHEMA = pa.schema([("text", pa.large_string()), ("é id", pa.string())])
FILE = InputFile(
    path="lines.jsonl", name="lines.jsonl", index=0, size=1, mtime_ns=0, format=Format.JSONL, compression=None
)

#: What lines are made of: every token, whole and broken, and what hides in strings.
TOKENS = [
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        '"',
        " ",
        "\t",
        "\r",
        "\\",
        "/",
        "'",
        "\x0b",
        "\0",
        "\x1f",
        "\x7f",
        "\xa0",
        "\ufeff",
    ),
    *(
        "0",
        "-",
        "01",
        "-0",
        "1",
        "12.5",
        "1.",
        ".5",
        "1e5",
        "1E+05",
        "1e",
        "1e-2",
        "1e400",
        "-1.5e-7",
        "9" * 70,
        "1" * 400,
    ),
    *("true", "false", "null", "True", "nul", "NaN", "Infinity", "-Infinity", "undefined"),
    *('"text"', '"é id"', '"te\\u0078t"', '"other"', '"text" : "a"', '"é id":"b"', '"text":', '"é id":', '"x":', '"":'),
    *(
        '"a"',
        '""',
        '"é😀"',
        '"\\n\\t\\r\\b\\f\\/\\\\\\""',
        '"\\u00e9\\u4e2d\\u0000"',
        '"\\ud83d\\ude00"',
        '"\\uD83D\\uDE00"',
    ),
    *(
        '"\\ud800"',
        '"\\udc00"',
        '"\\ud800\\ud800"',
        '"\\ud83dx"',
        '"\\ud83d\\n"',
        '"\\u12g4"',
        '"\\u123"',
        '"\\x"',
        '"\\',
        '"\\"',
    ),
    *("[1, [2, {}]]", '{"text": "inner"}', "[]", "{}", "[,]", "[1,]", '{"a":1,}', '{"a":1,"a":2}', "//", "/**/", "{,}"),
    *("x" * 61, '"' + "y" * 130 + '"', '"' + "z" * 61 + '\\n"'),
]
soups = st.lists(st.sampled_from(TOKENS), max_size=14).map("".join)
objects = st.lists(
    st.tuples(st.sampled_from(TOKENS[-45:]), st.sampled_from(TOKENS), st.sampled_from(["", " ", "\t"])).map(
        lambda parts: parts[0] + parts[2] + ":" + parts[2] + parts[1]
    )
).map(lambda members: "{" + ",".join(['"text":"a"', *members, '"é id": "b"']) + "}")


def read_by_arrow(line: bytes, schema: pa.Schema) -> dict[str, list[Any]] | None:
    """Read one line as the reader of any lines does."""
    reader = jsonl._Reader(FILE, CorpusConfig(), schema)
    lines = jsonl._find_lines(line, len(line))
    if len(lines) != 1 or not lines.in_utf8().usable.all():
        return None
    table = reader._read(lines, 0, 1)
    return None if table is None else table.to_pydict()


def read_compiled(raw: list[bytes], schema: pa.Schema) -> dict[str, list[Any]] | None:
    reader = StringReader.of(schema)
    assert reader is not None
    ends = np.cumsum([len(line) + 1 for line in raw]) - 1
    starts = ends - [len(line) for line in raw]
    batch = reader.read(np.frombuffer(b"\n".join(raw), np.uint8), starts, ends)
    if batch is None:
        return None
    batch.validate(full=True)
    return batch.to_pydict()


def assert_never_more_than_arrow(line: bytes, schema: pa.Schema = SCHEMA) -> bool:
    """Hold the two against each other; return whether the compiled one read the line."""
    found = read_compiled([line], schema)
    if found is not None:
        assert found == read_by_arrow(line, schema)
        assert None not in [value for column in found.values() for value in column]
    return found is not None


@untimed
@given(st.one_of(soups, objects))
@example('{"text":"a","é id":"b"}')
@example('{"text":"a","é id":"b","text":"a"}')
@example('{"text":"a","é id":"b"}{"text":"a","é id":"b"}')
@example('{"text":"a","é id":"b"} \x00')
@example('{"text":{"text":"a"},"é id":"b"}')
def test_tokens_in_any_order_are_read_as_arrow_reads_them_or_left_to_it(line: str) -> None:
    if "\n" not in line:
        assert_never_more_than_arrow(line.encode())


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@untimed
@given(
    st.text(max_size=80),
    st.text(max_size=9),
    st.dictionaries(st.text(max_size=3), json_values),
    st.booleans(),
    st.data(),
)
def test_a_line_with_bytes_changed_is_read_as_arrow_reads_it_or_left_to_it(
    text: str, name: str, others: dict[str, Any], ascii: bool, data: st.DataObject
) -> None:
    try:
        line = bytearray(json.dumps({"text": text, **others, "é id": name}, ensure_ascii=ascii).encode())
    except UnicodeEncodeError:
        return
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(line) - 1))
        line[at : at + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from(TOKENS)).encode()
    try:
        line.decode()
    except UnicodeDecodeError:
        return
    if b"\n" not in line:
        assert_never_more_than_arrow(bytes(line))


def _mutated(choose: random.Random, seeds: list[bytes]) -> bytes:
    line = bytearray(choose.choice(seeds))
    for _ in range(choose.randint(1, 4)):
        at = choose.randrange(len(line) + 1)
        kind = choose.randrange(4)
        if kind == 0:
            line[at : at + choose.randint(1, 3)] = b""
        elif kind == 1:
            line[at:at] = choose.choice(TOKENS).encode()
        elif kind == 2:
            line[at : at + 1] = bytes([choose.choice(b'{}[]:,"\\/ 0123456789eE+-.tfnu\x1f\x80\xc3')])
        else:
            other = choose.choice(seeds)
            cut = choose.randrange(len(other))
            line[at:at] = other[cut : cut + choose.randint(1, 12)]
    return bytes(line)


def _assert_many_agree(count: int) -> None:
    choose = random.Random(1)
    seeds = [
        '{"text": "a\\n\\"b\\" c\\u00e9\\ud83d\\ude00 d", "é id": "enwiki-12"}'.encode(),
        '{"id": 5, "meta": {"a": [1, -2.5e3, {"b": null}], "c": {}}, "text": "", "é id": "é"}'.encode(),
        '{"é id":"","n":[true,false,[],[[0.1]]],"text":"'.encode() + b"long " * 30 + b'\\\\"}',
    ]
    read = 0
    for _ in range(count):
        line = _mutated(choose, seeds)
        try:
            line.decode()
        except UnicodeDecodeError:
            continue
        if b"\n" not in line:
            read += assert_never_more_than_arrow(line)
    assert read > count / 50


def test_lines_mutated_at_random_are_read_as_arrow_reads_them_or_left_to_it() -> None:
    _assert_many_agree(4000)


@pytest.mark.slow
def test_many_more_lines_mutated_at_random_are_read_as_arrow_reads_them_or_left_to_it() -> None:
    _assert_many_agree(figure(100_000, 400_000))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-9),
    st.text(max_size=9),
)
plain = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@settings(untimed, max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
            st.dictionaries(st.text("abcd", max_size=3), plain, max_size=3),
            st.booleans(),
            st.sampled_from([None, 1]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_plain_objects_are_read_without_arrow(rows: list[tuple[str, str, dict[str, Any], bool, int | None]]) -> None:
    raw = []
    for text, name, others, ascii, indent in rows:
        line = json.dumps({**others, "text": text, "id": name, "z": others}, ensure_ascii=ascii, indent=indent)
        raw.append(line.replace("\n", "\r").encode())
    found = read_compiled(raw, pa.schema([("text", pa.large_string()), ("id", pa.string())]))
    assert found == {"text": [row[0] for row in rows], "id": [row[1] for row in rows]}


def test_every_code_point_is_unescaped_to_its_utf8() -> None:
    points = [*range(0xD800), *range(0xE000, 0x110000, 61), 0x10FFFF]
    texts = ["".join(map(chr, points[start : start + 500])) for start in range(0, len(points), 500)]
    for escape in (str.lower, str.upper):
        raw = []
        for text in texts:
            units = np.frombuffer(text.encode("utf-16-le"), "<u2")
            raw.append(b'{"text":"%s"}' % "".join("\\u" + escape(f"{unit:04x}") for unit in units).encode())
        assert read_compiled(raw, pa.schema([("text", pa.string())])) == {"text": texts}


@pytest.mark.parametrize("depth", [DEPTH_LIMIT - 1, DEPTH_LIMIT])
def test_nesting_is_read_past_up_to_the_limit(depth: int) -> None:
    nested = {"list": "[" * depth + "]" * depth, "object": '{"a":' * depth + "1" + "}" * depth}
    for value in nested.values():
        line = ('{"é id": "i", "other": ' + value + ', "text": "t"}').encode()
        assert assert_never_more_than_arrow(line) == (depth < DEPTH_LIMIT)
    assert not assert_never_more_than_arrow(('{"text":"t","é id":"i","o":' + "[" * depth + "}").encode())


@pytest.mark.parametrize(
    "line",
    [
        '{"text": "a"}',
        '{"text": null, "é id": "b"}',
        '{"text": 1, "é id": "b"}',
        '{"text": "a", "é id": "b", "text": "a"}',
        '{"text": "a", "\\u00e9 id": "b"}',
        '{"text": "\\ud800", "é id": "b"}',
        '{"text": "a", "é id": "b", "x": NaN}',
        '{"text": "a", "é id": "b"} {}',
        '{"text": "a", "é id": "b"',
        '["text", "a"]',
        "",
    ],
)
def test_one_odd_line_leaves_its_block_to_arrow(line: str) -> None:
    fine = '{"text": "a", "é id": "b"}'.encode()
    assert read_compiled([fine, fine], SCHEMA) is not None
    assert read_compiled([fine, line.encode(), fine], SCHEMA) is None


def test_fields_that_are_no_strings_or_named_twice_are_left_to_arrow() -> None:
    text = ("text", pa.large_string())
    assert StringReader.of(pa.schema([text, ("n", pa.int64())])) is None
    assert StringReader.of(pa.schema([text, text])) is None


@untimed
@given(st.binary(max_size=300), st.integers(1, 300))
def test_specials_are_found_wherever_they_stand_or_their_room_is_too_small(data: bytes, room: int) -> None:
    wanted = [at for at, byte in enumerate(data) if byte < 0x20 or byte in b'"\\']
    for size in (room, len(data) + 2 * STRIDE):
        specials = np.full(size, -7, np.int32)
        count = find_specials(np.frombuffer(data, np.uint8), specials)
        if count >= 0:
            assert specials[: count + 1].tolist() == [*wanted, len(data)]
            assert (specials[len(wanted) + 1 :] == -7).all()
        else:
            assert size <= len(wanted) + STRIDE


def test_a_text_of_escaped_quotes_alone_has_too_many_specials_and_is_left_to_arrow() -> None:
    line = '{"text":"%s","é id":"b"}'
    assert not assert_never_more_than_arrow((line % ('\\"' * 1000)).encode())
    assert assert_never_more_than_arrow((line % ('\\"ab' * 1000)).encode())
