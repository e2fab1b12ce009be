"""Columns that stand for far more bytes than they hold: decoded some rows at a time, and rows that are too long not at all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory import with_peak

from spanmask.config import CorpusConfig, OnError
from spanmask.corpus import parquet as parquet_module
from spanmask.corpus.inputs import Part
from spanmask.corpus.reading import divide, read_part
from spanmask.errors import CorpusError

MIB, ROWS, DELTAS = 1 << 20, 2000, 160


def as_dictionary(value: str) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.arange(ROWS) % 2, pa.int32()), pa.array(["x", value]))


def as_views(value: str) -> pa.Array:
    """Every second row is a view of the same bytes."""
    two = pa.array(["x", value], pa.string_view())
    views = np.tile(np.frombuffer(two.buffers()[1], np.uint8)[:32], ROWS // 2)
    return pa.Array.from_buffers(pa.string_view(), ROWS, [None, pa.py_buffer(views), *two.buffers()[2:]])


def as_dictionary_of_views(value: str) -> pa.Array:
    plain = as_dictionary(value)
    return pa.DictionaryArray.from_arrays(plain.indices, pa.array(["x", value], pa.string_view()))


def parquet(corpus: Any, table: pa.Table, **options: Any) -> Any:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", store_schema=False, **options)
    return corpus.write(".parquet", sink.getvalue().to_pybytes())


def in_dictionary_pages(corpus: Any, value: str, field: str) -> Any:
    return parquet(corpus, pa.table({**TEXTS, field: as_dictionary(value)}), dictionary_pagesize_limit=1 << 30)


def in_delta_pages(corpus: Any, value: str, field: str) -> Any:
    """Each row but the first is the one before it and a byte more."""
    rows = [value[:200], *(value[:size] for size in range(len(value) - DELTAS, len(value)))]
    table = pa.table({"text": ["x"] * len(rows), field: rows})
    return parquet(corpus, table, use_dictionary=False, column_encoding={"text": "PLAIN", field: "DELTA_BYTE_ARRAY"})


def in_arrow(make: Callable[[str], pa.Array]) -> Callable[[Any, str, str], Any]:
    def write(corpus: Any, value: str, field: str) -> Any:
        table = pa.table({**TEXTS, field: make(value)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return corpus.write(".arrow", sink.getvalue().to_pybytes())

    return write


TEXTS = {"text": ["x"] * ROWS}
WRITERS = {
    "dictionary pages": in_dictionary_pages,
    "delta pages": in_delta_pages,
    "dictionary": in_arrow(as_dictionary),
    "views": in_arrow(as_views),
    "dictionary of views": in_arrow(as_dictionary_of_views),
}


def blocks(file: Any, config: CorpusConfig) -> Any:
    return (block for part in divide(file, config, 32 * MIB) for block in read_part(part, config))


@pytest.mark.slow
@pytest.mark.parametrize("field", ["text", "kept"])
@pytest.mark.parametrize("layout", WRITERS)
def test_rows_that_share_their_bytes_are_decoded_some_at_a_time(corpus: Any, layout: str, field: str) -> None:
    value = "é" * (MIB // 2)
    file = WRITERS[layout](corpus, value, field)
    assert file.size < 3 * MIB
    config = CorpusConfig(keep=("kept",) if field == "kept" else (), max_document_bytes=8 * MIB)
    list(itertools.islice(blocks(file, config), 2))

    def some() -> list[int]:
        # 1 GB in all, 160 MB of deltas, of which as much is read as shows that no more is held.
        read = itertools.islice(blocks(file, config), 12)
        return [number for block in read for number in block.document_ids.tolist()]

    found, peak = with_peak(some)
    assert found == list(range(len(found)))
    assert len(found) >= 40
    assert peak < 128 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("field", ["text", "kept"])
@pytest.mark.parametrize("layout", WRITERS)
def test_rows_that_are_too_long_are_not_decoded(corpus: Any, layout: str, field: str) -> None:
    value = "a" * MIB
    file = WRITERS[layout](corpus, value, field)
    options: dict[str, Any] = {"keep": ("kept",) if field == "kept" else (), "max_document_bytes": MIB // 4}
    with pytest.raises(CorpusError, match=r"row 1: a document of more than 262,144 bytes"):
        list(blocks(file, CorpusConfig(**options)))
    config = CorpusConfig(**options, on_error=OnError.SKIP)
    found, peak = with_peak(lambda: [(len(block), block.skipped) for block in blocks(file, config)])
    rows = 1 + DELTAS if layout == "delta pages" else ROWS
    assert np.sum(found, axis=0).tolist() == ([1, rows - 1] if layout == "delta pages" else [ROWS // 2, ROWS // 2])
    assert peak < 48 * MIB


@pytest.mark.parametrize("longest", [1, 7, 1000])
def test_batches_are_the_same_however_few_rows_are_decoded_at_once(
    corpus: Any, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"text": [f"{number}" * 20 for number in range(500)]})
    file = parquet(corpus, table, row_group_size=220)
    config = CorpusConfig(max_document_bytes=10**4)
    monkeypatch.setattr(parquet_module, "BLOCK_BYTES", 3000)
    expected = [block.document_ids.tolist() for block in blocks(file, config)]
    assert len(expected) > 10
    monkeypatch.setattr(parquet_module.ParquetTable, "_longest", lambda *_, **__: 10**4 // longest)
    assert [block.document_ids.tolist() for block in blocks(file, config)] == expected


def test_a_row_may_be_as_long_as_the_limit(corpus: Any) -> None:
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        table = pa.table({"text": pa.array(["ab", "abc", None, "abcd"], kind), "k": pa.array(["x", "", "x", ""], kind)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        file = corpus.write(".arrow", sink.getvalue().to_pybytes())
        for limit, texts in ((2, [b"ab"]), (3, [b"ab", b"abc"]), (4, [b"ab", b"abc", b"abcd"])):
            found = corpus.parts(file, max_document_bytes=limit, on_error=OnError.SKIP)
            assert (found.texts, found.skipped) == (texts, 4 - len(texts))
        found = corpus.parts(file, max_document_bytes=3, keep=("k",), on_error=OnError.SKIP)
        assert (found.texts, found.skipped) == ([b"ab", b"abc"], 2)
        part = Part(file=file, start=3, stop=4)
        with pytest.raises(CorpusError, match="row 3: a document of more than 3 bytes"):
            list(read_part(part, CorpusConfig(max_document_bytes=3)))


def compressed(corpus: Any, table: pa.Table, codec: str, opener: Any = pa.ipc.new_file) -> Any:
    sink = pa.BufferOutputStream()
    with opener(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    return corpus.write(".arrow", sink.getvalue().to_pybytes())


@pytest.mark.parametrize("opener", [pa.ipc.new_file, pa.ipc.new_stream])
@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary"])
@pytest.mark.parametrize("field", ["text", "kept"])
def test_a_compressed_batch_without_measure_is_refused_before_it_grows(
    corpus: Any, opener: Any, kind: str, field: str
) -> None:
    values = ["x", "a" * 64 * MIB]
    column = pa.array(values).dictionary_encode() if kind == "dictionary" else pa.array(values, getattr(pa, kind)())
    others = {"a": [[1], [2, 3]], "b": pa.array(["v", "w"], pa.string_view()), "n": pa.nulls(2), "text": ["x", "x"]}
    file = compressed(corpus, pa.table({**others, field: column}), "zstd", opener)
    assert file.size < MIB // 4
    config = CorpusConfig(max_document_bytes=8 * MIB, keep=("kept",) if field == "kept" else ())
    list(blocks(compressed(corpus, pa.table({**others, "kept": ["x", "y"]}), "zstd", opener), config))

    def refused() -> None:
        with pytest.raises(
            CorpusError, match=r"row 0: a record batch grows to 67,108,8\d\d bytes .* --max-document-bytes"
        ):
            list(blocks(file, config))

    _, peak = with_peak(refused)
    assert peak < 8 * MIB
    # Which column a dictionary belongs to is not looked at.
    if field == "kept" and kind != "dictionary":
        assert sum(map(len, blocks(file, CorpusConfig(max_document_bytes=8 * MIB)))) == 2
    whole = CorpusConfig(max_document_bytes=65 * MIB, keep=config.keep)
    assert sum(map(len, blocks(file, whole))) == 2


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("opener", [pa.ipc.new_file, pa.ipc.new_stream])
def test_batches_that_compress_well_are_read(corpus: Any, codec: str, opener: Any) -> None:
    texts = [f"{number}" + "the same again " * 20_000 for number in range(40)]
    table = pa.table({"x": pa.array(np.zeros(40)), "s": [[[0, 1]]] * 40, "text": texts, "n": pa.array([0] * 40)})
    file = compressed(corpus, table, codec, opener)
    # 12 MB in 20 KB or less: a batch may be larger than a document, and grow without measure up to one.
    found = corpus.parts(file, max_document_bytes=MIB if codec == "lz4" else 16 * MIB, keep=("n",), spans_field="s")
    assert found.texts == [text.encode() for text in texts]


def test_a_file_of_many_row_groups_takes_few_descriptors(corpus: Any) -> None:
    table = pa.table({"text": ["a" * 100, "b", "c"] * 300, "k": ["x", "y", "z"] * 300})
    file = parquet(corpus, table, row_group_size=3)
    config = CorpusConfig(keep=("k",), max_document_bytes=200)
    before = len(os.listdir("/proc/self/fd"))
    most = max(len(os.listdir("/proc/self/fd")) for _ in blocks(file, config))
    assert most - before < 6
