"""Documents do not depend on how a file is divided, read in pieces or compressed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanmask.config import CorpusConfig, Layout, OnError
from spanmask.corpus.cutting import Rooms
from spanmask.corpus.reading import divide, read_part, stream_blocks
from spanmask.corpus.streams import as_array
from spanmask.errors import CorpusError
from spanmask.records import Bytes

BOM = b"\xef\xbb\xbf"
WHITE = " \t\x0b\x0c\r\n\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
WORDS = ["a", "b c", "é\u3000x", "\0", "{", " y", "\u200b", "\ufeff", "\x1c"]
GAPS = [
    "\n",
    "\n",
    "\n\n",
    "\n \n",
    "\n\u3000\u00a0\n",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\n\u2028\u2029",
    "\n" + "\u3000 " * 9 + "\n",
]

texts = st.lists(st.sampled_from([*WORDS, *GAPS]), max_size=30).map(lambda parts: "".join(parts).encode())
marked = st.tuples(st.sampled_from([b"", b"", b"", BOM]), texts).map(b"".join)
bytewise = st.tuples(marked, st.sampled_from([b"", b"\xe3\x80", b"\xff", b"\n\xc2\n"]), texts).map(b"".join)
sizes = st.integers(1, 200)
quick = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def is_blank(line: bytes) -> bool:
    return set(line.decode(errors="replace")) <= set(WHITE)


def naive(data: bytes, layout: Layout) -> list[tuple[int, bytes]]:
    """Return each document's offset and text up to its last filled line, by reading line by line."""
    at = len(BOM) if data.startswith(BOM) else 0
    documents: list[tuple[int, bytes]] = []
    before = True
    for line in data[at:].split(b"\n"):
        if not is_blank(line):
            if not documents or (layout is not Layout.FILE and (before or layout is Layout.DOCUMENTS)):
                documents.append((at, line))
            else:
                start, _ = documents[-1]
                documents[-1] = (start, data[start : at + len(line)])
        before = is_blank(line)
        at += len(line) + 1
    return documents


def without_blank_end(text: bytes) -> bytes:
    lines = text.split(b"\n")
    while len(lines) > 1 and is_blank(lines[-1]):
        lines.pop()
    return b"\n".join(lines)


def shown(found: Any) -> list[tuple[int, bytes]]:
    return list(zip(found.ids, map(without_blank_end, found.texts), strict=True))


@quick
@given(data=marked, layout=st.sampled_from(Layout), target=sizes, piece=st.integers(1, 60), block=st.integers(1, 60))
def test_byte_ranges_of_text_give_the_documents_of_the_whole(
    shared_corpus: Any, data: bytes, layout: Layout, target: int, piece: int, block: int
) -> None:
    expected = naive(data, layout)
    file = shared_corpus.write(".txt", data)
    with shared_corpus.small(piece, block):
        assert shown(shared_corpus.parts(file, target, layout=layout)) == expected
        assert shown(shared_corpus.stream(file, target, layout=layout)) == expected


@settings(quick, max_examples=40)
@given(data=marked, layout=st.sampled_from(Layout), target=sizes, suffix=st.sampled_from([".txt.gz", ".txt.zst"]))
def test_compression_changes_no_document(
    shared_corpus: Any, data: bytes, layout: Layout, target: int, suffix: str
) -> None:
    file = shared_corpus.write(suffix, data)
    assert shown(shared_corpus.stream(file, target, layout=layout)) == naive(data, layout)


@quick
@given(data=bytewise, layout=st.sampled_from(Layout), target=sizes, piece=st.integers(1, 60))
def test_only_documents_that_are_not_utf8_are_skipped(
    shared_corpus: Any, data: bytes, layout: Layout, target: int, piece: int
) -> None:
    file = shared_corpus.write(".txt", data)
    good, bad = [], 0
    for place, text in naive(data, layout):
        try:
            text.decode()
            good.append((place, text))
        except UnicodeDecodeError:
            bad += 1
    with shared_corpus.small(piece, 50):
        found = shared_corpus.parts(file, target, layout=layout, on_error=OnError.SKIP)
        assert shown(found) == good
        assert found.skipped == bad
        if bad:
            with pytest.raises(CorpusError, match="UTF-8") as caught:
                shared_corpus.parts(file, target, layout=layout)
            line = caught.value.line
            assert line is not None
            with pytest.raises(UnicodeDecodeError):
                data.split(b"\n")[line - 1].decode()


GOOD_LINES = [
    '{"text": "a"}',
    ' {"n": [1, {"x": "}"}], "text": "é\\n\\u00e9"} \r',
    '{"text": ""}',
    '{"text":"😀","other":null}\t',
]
BAD_LINES = [
    *(
        '{"text": "a"} {"text": "b"}',
        '{"text": 1}',
        '{"text": null}',
        "{}",
        "[]",
        '{"text": "a"',
        "x",
        '{"text": "\\ud800"}',
    ),
    *(
        '{"text": "a"}}',
        '{"text": "a", "text": "b"}',
        '"text"',
        '{"text": "a",}',
        "\ufeff{}",
        '{"text": "a\x01"}',
        "}",
        "{",
    ),
]
BLANK_LINES = ["", " ", "\r", "\u3000\x0b", "\u2028"]
json_lines = st.lists(st.sampled_from([*GOOD_LINES, *GOOD_LINES, *BLANK_LINES, *BAD_LINES]), max_size=25)


@quick
@given(
    lines=json_lines,
    end=st.booleans(),
    mark=st.booleans(),
    broken=st.booleans(),
    target=sizes,
    block=st.integers(1, 90),
)
def test_json_lines_are_judged_one_by_one_however_they_are_divided(
    shared_corpus: Any, lines: list[str], end: bool, mark: bool, broken: bool, target: int, block: int
) -> None:
    raw = [line.encode() for line in lines]
    if broken and raw:
        raw[len(raw) // 2] = b'{"text": "a", "b": "\xff"}'
    data = (BOM if mark else b"") + b"\n".join(raw) + (b"\n" if end else b"")
    expected, bad, at = [], [], len(BOM) if mark else 0
    for number, line in enumerate(raw):
        if line.decode(errors="replace") in GOOD_LINES:
            expected.append((at, json.loads(line)["text"].encode()))
        elif line.decode(errors="replace") not in BLANK_LINES:
            bad.append(number + 1)
        at += len(line) + 1
    file = shared_corpus.write(".jsonl", data)
    with shared_corpus.small(max(1, block // 2), block):
        for found in (
            shared_corpus.parts(file, target, on_error=OnError.SKIP),
            shared_corpus.stream(file, target, on_error=OnError.SKIP),
        ):
            assert list(zip(found.ids, found.texts, strict=True)) == expected
            assert found.skipped == len(bad)
        if bad:
            with pytest.raises(CorpusError, match="--on-error skip") as caught:
                shared_corpus.parts(file, target)
            assert caught.value.line in bad


def filled(text: bytes) -> int:
    """Return a text's length without the white space at its end."""
    return len(text.decode().rstrip("".join(WHITE)).encode())


@quick
@given(
    data=marked,
    layout=st.sampled_from(Layout),
    target=sizes,
    piece=st.integers(1, 60),
    block=st.integers(1, 60),
    limit=sizes,
)
def test_a_document_is_too_long_by_its_text_however_it_is_divided(
    shared_corpus: Any, data: bytes, layout: Layout, target: int, piece: int, block: int, limit: int
) -> None:
    everything = naive(data, layout)
    good = [(place, text) for place, text in everything if filled(text) <= limit]
    first = next((place for place, text in everything if filled(text) > limit), None)
    file = shared_corpus.write(".txt", data)
    options: dict[str, Any] = {"layout": layout, "max_document_bytes": limit}
    with shared_corpus.small(piece, block):
        for read in (shared_corpus.parts, shared_corpus.stream):
            found = read(file, target, **options, on_error=OnError.SKIP)
            assert (shown(found), found.skipped) == (good, len(everything) - len(good))
            if first is None:
                assert shown(read(file, target, **options)) == good
                continue
            with pytest.raises(CorpusError, match=f"more than {limit} bytes") as caught:
                read(file, target, **options)
            assert caught.value.line == data[:first].count(b"\n") + 1


@settings(quick, max_examples=80)
@given(
    lengths=st.lists(st.integers(0, 60), max_size=12),
    target=sizes,
    piece=st.integers(1, 60),
    block=st.integers(1, 60),
    limit=sizes,
)
def test_a_line_of_json_is_too_long_by_its_bytes_however_it_is_divided(
    shared_corpus: Any, lengths: list[int], target: int, piece: int, block: int, limit: int
) -> None:
    lines = [
        json.dumps({"text": f"{number}é" * length}, ensure_ascii=False).encode()
        for number, length in enumerate(lengths)
    ]
    file = shared_corpus.write(".jsonl", b"\n".join(lines))
    good = [json.loads(line)["text"].encode() for line in lines if len(line) <= limit]
    with shared_corpus.small(piece, block):
        for read in (shared_corpus.parts, shared_corpus.stream):
            found = read(file, target, max_document_bytes=limit, on_error=OnError.SKIP)
            assert (found.texts, found.skipped) == (good, len(lines) - len(good))
            if len(good) < len(lines):
                with pytest.raises(CorpusError, match=f"more than {limit} bytes") as caught:
                    read(file, target, max_document_bytes=limit)
                assert caught.value.line == 1 + next(k for k, line in enumerate(lines) if len(line) > limit)


def test_parts_are_ranges_of_exactly_the_target(corpus: Any) -> None:
    file = corpus.write(".txt", b"abc\n" * 25)
    bounds = [(part.start, part.stop) for part in divide(file, CorpusConfig(), 30)]
    assert bounds == [(0, 30), (30, 60), (60, 90), (90, 100)]


def test_an_empty_file_has_no_parts_and_no_documents(corpus: Any) -> None:
    assert divide(corpus.write(".txt", b""), CorpusConfig(), 30) == []
    assert corpus.parts(corpus.write(".jsonl", b"")).ids == []
    assert corpus.stream(corpus.write(".txt.gz", b"")).ids == []
    empty = corpus.folder / "nothing.jsonl.zst"
    empty.touch()
    assert corpus.stream(corpus.find(empty)).ids == []


def test_a_compressed_file_is_not_divided(corpus: Any) -> None:
    with pytest.raises(ValueError, match="stream_blocks"):
        divide(corpus.write(".txt.gz", b"a"), CorpusConfig(), 30)


def test_blocks_hold_the_documents_that_start_in_their_window(corpus: Any) -> None:
    data = b"first\n\nsecond " + b"x" * 100 + b"\n\n\n\nthird\n"
    file = corpus.write(".txt.zst", data)
    blocks = list(stream_blocks(file, CorpusConfig(), 10))
    assert [block.number for block in blocks] == [0, 11]
    assert blocks[0].data == data[: data.index(b"third")]
    assert (blocks[1].offset, blocks[1].data) == (data.index(b"third"), b"third\n")


def test_skipped_blocks_change_no_other(corpus: Any) -> None:
    data = b"".join(b"document %d\nsecond line\n\n" % number for number in range(200))
    file = corpus.write(".txt.gz", data)
    every = {block.number: block for block in stream_blocks(file, CorpusConfig(), 100)}
    skip = {number for number in every if number % 3}
    some = list(stream_blocks(file, CorpusConfig(), 100, skip))
    assert some == [block for number, block in every.items() if number not in skip]


def test_blocks_share_memory_that_nobody_looks_at_any_more(corpus: Any) -> None:
    files = [corpus.write(".txt.zst", b"".join(b"%d of %d\n\n" % (k, n) for k in range(200))) for n in range(2)]

    def blocks(rooms: Rooms) -> Iterator[Bytes]:
        return (as_array(raw.data) for file in files for raw in stream_blocks(file, CorpusConfig(), 500, rooms=rooms))

    let_go = list(map(bytes, blocks(Rooms())))
    assert len(let_go) > 6
    assert list(map(bytes, list(blocks(Rooms())))) == let_go
    assert len({block.ctypes.data for block in blocks(Rooms())}) <= 2
    # Neither the whole of a block is kept, nor what it came in: a part of it is enough.
    parts = [memoryview(block)[1:-1] for block in blocks(Rooms())]
    assert [b"%c%b%c" % (whole[0], part, whole[-1]) for whole, part in zip(let_go, parts, strict=True)] == let_go


def test_a_range_inside_one_long_document_has_none(corpus: Any) -> None:
    file = corpus.write(".txt", b"start\n" + b"line of the same document\n" * 100 + b"\nnext\n")
    counts = [
        sum(len(block) for block in read_part(part, CorpusConfig())) for part in divide(file, CorpusConfig(), 500)
    ]
    assert counts == [1, 0, 0, 0, 0, 1]


def test_blank_lines_without_end_are_not_held(corpus: Any) -> None:
    file = corpus.write(".txt", b"a\n" + b"\n" * 5000 + b"b\n")
    with corpus.small(100, 200):
        found = corpus.parts(file, 1 << 20)
    assert found.ids == [0, 5002]
    assert max(len(block.text) for block in found.blocks) < 500


def test_blocks_hold_about_four_mebibytes(corpus: Any) -> None:
    line = b"a sentence of some words that goes on for a while\n"
    file = corpus.write(".txt", (line * 20 + b"\n") * 10_000)
    for found in (corpus.parts(file, 1 << 30), corpus.stream(file, 1 << 30)):
        assert len(found.ids) == 10_000
        assert max(len(block.text) for block in found.blocks) < (4 << 20) + 2000
        assert len(found.blocks) <= 4
