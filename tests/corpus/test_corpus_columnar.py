"""Parquet and Arrow: any layout of the same rows gives the same documents, and files that lie are refused."""

from __future__ import annotations

import struct
from itertools import product
from typing import Any

import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted import plant

from spanmask.config import CorpusConfig, OnError
from spanmask.corpus import arrow, columnar, cutting, parquet
from spanmask.corpus.inputs import Part
from spanmask.corpus.kept import with_kept
from spanmask.corpus.reading import divide
from spanmask.errors import ConfigError, CorpusError, SpanmaskError, StorageError

TEXTS = ["", "one", "zwei\n\nlines", "drei äöü", "😀\0", "", "the same", "the same"] * 5
KINDS = ["string", "large_string", "string_view", "dictionary", "dictionary of views"]
LAYOUTS = ["parquet", "file", "stream", "compressed file", "compressed stream"]


def save(corpus: Any, table: pa.Table, layout: str, rows: int = 7) -> Any:
    """Write a table in some layout, so many rows a group or batch."""
    sink = pa.BufferOutputStream()
    if layout == "parquet":
        pq.write_table(table, sink, row_group_size=rows, write_page_checksum=True)
        return corpus.write(".parquet", sink.getvalue().to_pybytes())
    options = pa.ipc.IpcWriteOptions(compression="zstd" if layout.startswith("compressed") else None)
    opener = pa.ipc.new_file if layout.endswith("file") else pa.ipc.new_stream
    with opener(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return corpus.write(".arrow", sink.getvalue().to_pybytes())


def text_as(kind: str, texts: list[str | None]) -> pa.Array:
    if kind.startswith("dictionary"):
        encoded = pa.array(texts).dictionary_encode()
        values = encoded.dictionary.cast(pa.string_view()) if kind.endswith("views") else encoded.dictionary
        return pa.DictionaryArray.from_arrays(encoded.indices, values)
    return pa.array(texts, getattr(pa, kind)())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "kind"), [pair for pair in product(LAYOUTS, KINDS) if pair != ("parquet", "dictionary of views")]
)
def test_any_string_type_in_any_layout_gives_the_same_documents(
    corpus: Any, layout: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"other": range(len(TEXTS)), "text": text_as(kind, TEXTS), "last": text_as(kind, TEXTS)})
    monkeypatch.setattr(columnar, "BLIND_ROWS", 3)
    monkeypatch.setattr(parquet, "BLIND_ROWS", 3)
    monkeypatch.setattr(cutting, "BLOCK_BYTES", 20)
    for rows in (1, 7, 100):
        file = save(corpus, table, layout, rows)
        for target in (1, 17, 1 << 20):
            found = corpus.parts(file, target)
            assert found.ids == list(range(len(TEXTS)))
            assert found.texts == [text.encode() for text in TEXTS]
            assert found.skipped == 0
        found = corpus.parts(file, 17, keep=("last",))
        assert (found.ids, found.kept) == (list(range(len(TEXTS))), [{"last": text} for text in TEXTS])
        assert all(block.kept.schema.field("last").type == pa.string() for block in found.blocks)


@pytest.mark.parametrize(
    "kind", [polars.String, polars.Categorical, polars.Enum(["one", "zwei", "drei äöü \U0001f600 long"])]
)
@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_what_polars_writes_is_read(corpus: Any, kind: Any, compression: Any) -> None:
    texts = ["one", "zwei", "zwei", "drei äöü \U0001f600 long", "one"]
    frame = polars.DataFrame({"text": texts, "id": texts, "s": [[[0, 1]]] * 5}).with_columns(
        polars.col("text", "id").cast(kind)
    )
    for suffix, write in (
        (".arrow", lambda path: frame.write_ipc(path, compression=compression)),
        (".ipc", lambda path: frame.write_ipc_stream(path, compression=compression)),
        (".parquet", lambda path: frame.write_parquet(path, compression=compression)),
    ):
        path = corpus.folder / f"frame{suffix}"
        write(path)
        found = corpus.parts(corpus.find(path), keep=("id",), spans_field="s")
        assert found.texts == [text.encode() for text in texts]
        assert (found.kept, found.ranges) == ([{"id": text} for text in texts], [[(0, 1)]] * 5)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_nulls_of_any_string_type_are_left_out_as_text_and_kept_as_null(corpus: Any, kind: str) -> None:
    texts = [None, "a", "", None, "long enough to lie outside of its view"]
    file = save(corpus, pa.table({"text": text_as(kind, texts), "k": text_as(kind, texts[::-1])}), "file")
    found = corpus.parts(file, on_error=OnError.SKIP)
    assert (found.texts, found.skipped) == ([text.encode() for text in texts if text is not None], 2)
    found = corpus.parts(file, on_error=OnError.SKIP, keep=("k",))
    assert (found.ids, found.kept) == ([1, 2, 4], [{"k": None}, {"k": ""}, {"k": None}])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_range_of_rows_can_be_read_by_itself(corpus: Any, layout: str) -> None:
    file = save(corpus, pa.table({"text": TEXTS}), layout)
    for start, stop in ((0, 1), (3, 9), (7, 14), (6, 23), (39, 40), (5, 5)):
        blocks = list(columnar.read_rows(Part(file=file, start=start, stop=stop), CorpusConfig()))
        ids = [number for block in blocks for number in block.document_ids.tolist()]
        assert ids == list(range(start, stop))
        assert b"".join(block.text.tobytes() for block in blocks) == "".join(TEXTS[start:stop]).encode()


def test_parts_of_parquet_are_whole_row_groups_up_to_the_target(corpus: Any) -> None:
    texts = [f"{number:04}" + "x" * 996 for number in range(40)]
    file = save(corpus, pa.table({"text": texts}), "parquet", rows=10)
    bounds = [(part.start, part.stop) for part in divide(file, CorpusConfig(), 30_000)]
    assert bounds == [(0, 20), (20, 40)]
    assert [part.stop for part in divide(file, CorpusConfig(), 1)] == [10, 20, 30, 40]


@pytest.mark.parametrize("layout", ["file", "stream"])
def test_parts_of_arrow_cut_inside_large_batches(corpus: Any, layout: str) -> None:
    texts = ["x" * 1000] * 40
    file = save(corpus, pa.table({"text": texts}), layout, rows=40)
    assert [(part.start, part.stop) for part in divide(file, CorpusConfig(), 10_000)] == [
        (0, 10),
        (10, 20),
        (20, 30),
        (30, 40),
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_without_rows_have_no_parts(corpus: Any, layout: str) -> None:
    file = save(corpus, pa.table({"text": pa.array([], pa.string())}), layout)
    assert divide(file, CorpusConfig(), 10) == []


@pytest.mark.parametrize("kind", ["large_string", "dictionary"])
def test_huge_batches_are_handed_on_in_blocks(corpus: Any, kind: str) -> None:
    file = save(corpus, pa.table({"text": text_as(kind, ["x" * 100_000] * 130)}), "file", rows=1000)
    blocks = corpus.parts(file, 1 << 30).blocks
    assert len(blocks) == 4
    assert max(len(block.text) for block in blocks) < (4 << 20) + 100_000


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary"])
def test_null_text_is_an_error_with_its_row(corpus: Any, layout: str, kind: str) -> None:
    file = save(corpus, pa.table({"text": text_as(kind, [*"abcdefghij", None, "k"])}), layout)
    with pytest.raises(CorpusError, match="field 'text' is null") as caught:
        corpus.parts(file)
    assert (caught.value.path, caught.value.row) == (file.path, 10)
    found = corpus.parts(file, on_error=OnError.SKIP)
    assert (b"".join(found.texts), found.ids[-1], found.skipped) == (b"abcdefghijk", 11, 1)


def not_utf8(kind: str) -> pa.Array:
    binary = pa.array([b"fine", b"\xff\xfe", "é".encode(), b"fine"], pa.large_binary())
    if kind == "dictionary":
        values = pa.array([b"fine", b"\xff\xfe", "é".encode()], pa.binary()).view(pa.string())
        return pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 0]), values)
    if kind == "string_view":
        return binary.cast(pa.binary_view()).view(pa.string_view())
    return binary.view(pa.large_string()) if kind == "large_string" else binary.cast(pa.binary()).view(pa.string())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary"])
def test_text_that_is_not_utf8_is_an_error_with_its_row(corpus: Any, layout: str, kind: str) -> None:
    file = save(corpus, pa.table({"text": not_utf8(kind)}), layout)
    if (kind, layout) == ("dictionary", "parquet"):
        with pytest.raises(CorpusError, match="Invalid UTF8"):  # Arrow refuses such a dictionary as a whole
            corpus.parts(file)
        return
    with pytest.raises(CorpusError, match="byte 0xff is not valid UTF-8") as caught:
        corpus.parts(file)
    assert caught.value.row == 1
    found = corpus.parts(file, on_error=OnError.SKIP)
    assert (found.ids, found.texts, found.skipped) == ([0, 2, 3], [b"fine", "é".encode(), b"fine"], 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kept_columns_pass_through(corpus: Any, layout: str) -> None:
    kept = {
        "flag": pa.array([True, False, True]),
        "small": pa.array([1, 2, 3], pa.uint8()),
        "half": pa.array([0.5, 1.5, 2.5], pa.float32()),
        "name": pa.array(["a", "é", ""], pa.large_string()),
    }
    file = save(corpus, pa.table({**kept, "text": ["x", "y", "z"]}), layout, rows=2)
    names = ("name", "flag", "half", "small")
    found = corpus.parts(file, 1, keep=names)
    assert found.kept == [{name: kept[name][row].as_py() for name in names} for row in range(3)]
    assert [str(kind) for kind in found.blocks[0].kept.schema.types] == ["string", "bool", "float", "uint8"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_kept_null_is_null_and_a_column_of_nulls_too(corpus: Any, layout: str) -> None:
    table = pa.table({"text": ["a", "b", "c"], "id": [1, None, 3], "none": pa.nulls(3)})
    found = corpus.parts(save(corpus, table, layout), keep=("id", "none"))
    assert found.kept == [{"id": 1, "none": None}, {"id": None, "none": None}, {"id": 3, "none": None}]
    assert (found.texts, found.skipped) == ([b"a", b"b", b"c"], 0)
    assert [str(kind) for kind in found.blocks[0].kept.schema.types] == ["int64", "string"]


def test_a_kept_column_that_some_files_lack_is_null_there(corpus: Any) -> None:
    files = [
        save(corpus, pa.table({"text": ["a"]}), "parquet"),
        save(corpus, pa.table({"text": ["b"], "id": pa.array([2], pa.int16())}), "file"),
        corpus.write(".jsonl", b'{"text": "c", "id": 7}\n{"text": "d"}\n'),
    ]
    config = CorpusConfig(keep=("id",))
    known = with_kept(files, config)
    found = [corpus.parts(file, keep=("id",)) for file in known]
    assert [row for documents in found for row in documents.kept] == [{"id": None}, {"id": 2}, {"id": 7}, {"id": None}]
    assert {str(documents.blocks[0].kept.schema.field("id").type) for documents in found} == {"int16"}
    with pytest.raises(CorpusError, match="no field 'name'; fields of the first document: 'text'"):
        with_kept(files, CorpusConfig(keep=("name",)))
    wide = save(corpus, pa.table({"text": ["b"], "id": ["x"]}), "parquet")
    with pytest.raises(ConfigError, match=r"field 'id' is int16 in .*, and string in .*: a kept field has one type"):
        with_kept([*files, wide], config)


PAIRS = [[[2, 3], [0, 1]], None, [], [[0, 2]]]
RANGE_TYPES = [
    pa.list_(pa.list_(pa.int64())),
    pa.large_list(pa.list_(pa.uint16())),
    pa.list_(pa.list_(pa.int32(), 2)),
    pa.list_(pa.struct({"label": pa.string(), "end": pa.int32(), "start": pa.uint64()})),
]


def ranges_as(kind: pa.DataType, ranges: list[Any]) -> pa.Array:
    if pa.types.is_struct(kind.value_type):
        ranges = [row and [item and dict(zip(("start", "end"), item, strict=True)) for item in row] for row in ranges]
    return pa.array(ranges, kind)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", RANGE_TYPES, ids=str)
def test_ranges_come_from_pairs_and_structs(corpus: Any, layout: str, kind: pa.DataType) -> None:
    table = pa.table({"text": ["äöü", "b", "c", "😀d"], "s": ranges_as(kind, PAIRS), "w": [[2, 0, 2], None, [], [1]]})
    for rows in (1, 3, 10):
        found = corpus.parts(save(corpus, table, layout, rows), 4, spans_field="s", words_field="w")
        assert found.ranges == [[(0, 1), (2, 3)], [], [], [(0, 2)]]
        assert found.points == [[0, 2], [], [], [1]]


@pytest.mark.parametrize("layout", ["parquet", "file"])
@pytest.mark.parametrize("kind", RANGE_TYPES, ids=str)
@pytest.mark.parametrize("bad", [[[0, 2]], [[1, 1]], [None], [[0, None]]])
def test_ranges_that_do_not_fit_name_their_row(corpus: Any, layout: str, kind: pa.DataType, bad: Any) -> None:
    if bad == [None] and layout == "parquet" and "fixed_size" in str(kind):
        pytest.skip("Parquet cannot hold null in place of a list of fixed size")
    table = pa.table({"text": ["ab", "é", "ab"], "s": ranges_as(kind, [[[0, 1]], bad, [[1, 2]]])})
    file = save(corpus, table, layout)
    with pytest.raises(CorpusError, match="field 's'") as caught:
        corpus.parts(file, spans_field="s")
    assert caught.value.row == 1
    found = corpus.parts(file, spans_field="s", on_error=OnError.SKIP)
    assert (found.ranges, found.ids, found.skipped) == ([[(0, 1)], [(1, 2)]], [0, 2], 1)


@pytest.mark.parametrize("layout", ["parquet", "file", "stream"])
def test_columns_that_are_missing_or_of_another_type_are_refused(corpus: Any, layout: str) -> None:
    table = pa.table({"body": ["a"], "n": [1], "list": [[1]], "map": [{"start": 1}]})
    file = save(corpus, table, layout)
    for options, error, reason in (
        ({}, CorpusError, "no column 'text'; columns of this file: 'body', 'n', 'list', 'map.start'"),
        ({"text_field": "n"}, CorpusError, "column 'n' is int64, expected strings"),
        (
            {"text_field": "body", "spans_field": "list"},
            CorpusError,
            "'list' is list<.*int64>, expected lists of pairs",
        ),
        ({"text_field": "body", "words_field": "n"}, CorpusError, "expected lists of integers"),
        ({"text_field": "body", "keep": ("list",)}, ConfigError, "'list' is list<.*int64>; kept columns are booleans"),
    ):
        with pytest.raises(error, match=reason):
            corpus.parts(file, **options)
        with pytest.raises(error, match=reason):
            list(columnar.read_rows(Part(file=file, start=0, stop=1), CorpusConfig(**options)))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("data", [b"", b"plain text that is long enough", b"PAR1" * 9, b"ARROW1\0\0" * 9])
def test_files_that_are_not_what_their_name_says_are_refused(corpus: Any, suffix: str, data: bytes) -> None:
    with pytest.raises(CorpusError, match=r"not (a Parquet|an Arrow IPC) file"):
        divide(corpus.write(suffix, data), CorpusConfig(), 100)


def test_a_column_there_twice_is_refused(corpus: Any) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pytest.raises(CorpusError, match="2 times"):
        corpus.parts(save(corpus, table, "stream"))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["parquet", "file", "stream"])
def test_flipped_bytes_never_do_worse_than_an_error_of_ours(corpus: Any, layout: str) -> None:
    table = pa.table(
        {"text": ["some text", "é", "and more", None][:3], "s": [[[0, 1]], [], None], "id": ["a", "b", "c"]}
    )
    whole = (corpus.folder / save(corpus, table, layout).name).read_bytes()
    outcomes = set()
    for at in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[at] ^= (1, 255, 128)[at // 3 % 3]
        file = corpus.write(".parquet" if layout == "parquet" else ".arrow", bytes(damaged))
        try:
            found = corpus.parts(file, 5, spans_field="s", keep=("id",))
            outcomes.add(len(found.ids))
        except SpanmaskError as error:
            outcomes.add(type(error).__name__)
    assert {3, "CorpusError"} <= outcomes
    assert not outcomes & {"StorageError", "ShardError"}


def _lying_offsets(kind: pa.DataType, dtype: Any) -> pa.Array:
    offsets = pa.py_buffer(np.array([0, 1 << 30, 3], dtype))
    return pa.Array.from_buffers(kind, 2, [None, offsets, pa.py_buffer(b"abc")])


def _lying_view(buffer: int, place: int) -> pa.Array:
    view = struct.pack("<i4sii", 20, b"text", buffer, place)
    return pa.Array.from_buffers(pa.string_view(), 1, [None, pa.py_buffer(view), pa.py_buffer(b"text" * 9)])


def _dictionary(indices: list[int], values: pa.Array) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), values, safe=False)


LYING = {
    "offsets": _lying_offsets(pa.string(), np.int32),
    "large offsets": _lying_offsets(pa.large_string(), np.int64),
    "a view's place": _lying_view(0, 1 << 20),
    "a view's buffer": _lying_view(5, 0),
    "an index": _dictionary([0, 1 << 20], pa.array(["a"])),
    "an index below": _dictionary([0, -1], pa.array(["a"])),
    "offsets of a dictionary": _dictionary([0, 1], _lying_offsets(pa.string(), np.int32)),
    "a view of a dictionary": _dictionary([0, 0], _lying_view(0, 1 << 20)),
}


@pytest.mark.parametrize("what", LYING)
def test_offsets_that_lie_are_refused_before_they_are_used(corpus: Any, what: str) -> None:
    file = save(corpus, pa.table({"text": LYING[what]}), "file")
    with pytest.raises(CorpusError, match="damaged"):
        list(columnar.read_rows(Part(file=file, start=0, stop=2), CorpusConfig()))


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_rows_that_no_buffer_holds_are_refused_where_a_file_is_divided_and_read(corpus: Any, kind: str) -> None:
    table, rows, more = pa.table({"text": text_as(kind, ["ab", "a longer text"] * 160 + ["c"])}), 321, 1 << 20
    path = corpus.folder / save(corpus, table, "file", rows).name
    path.write_bytes(path.read_bytes().replace(rows.to_bytes(8, "little"), more.to_bytes(8, "little")))
    file = corpus.find(path)
    for read in (
        lambda: divide(file, CorpusConfig(), 100),
        lambda: list(columnar.read_rows(Part(file=file, start=0, stop=2), CorpusConfig())),
    ):
        with pytest.raises(CorpusError, match=r"damaged one .*expected at least"):
            read()


def test_a_file_that_may_not_be_read_is_a_storage_error(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(corpus, pa.table({"text": ["a"]}), "file")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pa, "memory_map", refuse)
    with pytest.raises(StorageError, match="permissions"):
        divide(file, CorpusConfig(), 1)


# --- The defence taken out


def test_a_reader_that_checks_no_offsets_is_found(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be followed by all that makes documents of the batch."""
    plant(monkeypatch, arrow, "without_encoding(batch.column(name)).validate(full=True)", "pass")
    monkeypatch.setattr(columnar, "documents_of", lambda *_: pytest.fail("offsets would be followed"))
    with pytest.raises(pytest.fail.Exception, match="offsets would be followed"):
        test_offsets_that_lie_are_refused_before_they_are_used(corpus, "offsets")
