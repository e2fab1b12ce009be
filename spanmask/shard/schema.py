"""The schema of a shard, and masked rows to and from record batches (FORMAT.md §2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from spanmask.blocks import columns_of, from_columns, from_pair_columns, pair_columns
from spanmask.buffers import to_arrow, to_numpy
from spanmask.config import FORMAT_VERSION, PAIR_COLUMNS, Scheme
from spanmask.records import MaskedBlock, Ragged

#: Rows of a record batch, but for the last of a shard.
BATCH_ROWS = 1024
#: Bytes a shard never exceeds, but for one of a single record batch.
SHARD_LIMIT = 1 << 30

#: Where a shard's schema says which content it has.
CONTENT_KEY = b"spanmask.content_sha256"
#: Types that a kept column may have.
KEPT_TYPES = (
    pa.bool_(),
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float32(), pa.float64()),
    pa.string(),
)


_PAIR_TYPES = (pa.uint16(), pa.uint8(), pa.uint64(), pa.uint32())


def _list_field(name: str, item: pa.DataType) -> pa.Field:
    return pa.field(name, pa.list_(pa.field("item", item, nullable=False)), nullable=False)


def shard_schema(
    ids: np.dtype[Any],
    *,
    words_stored: bool,
    scheme: Scheme,
    paired: bool = False,
    kept: Sequence[pa.Field] = (),
    format_version: int = FORMAT_VERSION,
) -> pa.Schema:
    """Return the schema of a shard.

    Parameters
    ----------
    ids
        uint16 or uint32, after the vocabulary's size.
    words_stored
        Whether rows carry their word starts.
    scheme
        With ``annotated``, rows carry their annotated ranges.
    paired
        Whether rows are pairs of segments.
    kept
        Fields passed through, in order. They may be null, but for format 1.
    format_version
        Of the format.
    """
    token = pa.from_numpy_dtype(ids)
    fields = [
        pa.field("document_id", pa.uint64(), nullable=False),
        pa.field("segment", pa.uint32(), nullable=False),
        _list_field("input_ids", token),
        _list_field("span_starts", pa.uint16()),
        _list_field("span_ends", pa.uint16()),
        _list_field("labels", token),
    ]
    if words_stored:
        fields.append(_list_field("word_starts", pa.uint16()))
    if scheme is Scheme.ANNOTATED:
        fields += [_list_field("annotation_starts", pa.uint16()), _list_field("annotation_ends", pa.uint16())]
    if paired:
        fields += [pa.field(name, kind, nullable=False) for name, kind in zip(PAIR_COLUMNS, _PAIR_TYPES, strict=True)]
    fields += [pa.field(field.name, field.type, nullable=format_version > 1) for field in kept]
    return pa.schema(fields, metadata={b"spanmask.format_version": str(format_version).encode()})


def _list_array(column: Ragged[Any], kind: pa.DataType) -> pa.Array:
    values = np.ascontiguousarray(column.values, kind.value_type.to_pandas_dtype())
    offsets = np.ascontiguousarray(column.offsets, np.int32)
    child = pa.Array.from_buffers(kind.value_type, len(values), [None, pa.py_buffer(values)])
    return pa.ListArray.from_buffers(kind, len(column), [None, pa.py_buffer(offsets)], children=[child])


def to_record_batch(block: MaskedBlock, kept: Sequence[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """Return S masked rows as one record batch, without copying their values. kept: a column of S values for each kept field."""
    columns = [to_arrow(block.document_ids), to_arrow(block.segments)]
    columns += [_list_array(column, schema.field(name).type) for name, column in columns_of(block).items()]
    columns += [] if block.pairs is None else map(to_arrow, pair_columns(block.pairs).values())
    return pa.RecordBatch.from_arrays([*columns, *kept], schema=schema)


def from_record_batch(batch: pa.RecordBatch) -> MaskedBlock:
    """Return the masked rows of a fully validated record batch; values are views of it."""
    lists = {field.name: _flat(batch.column(field.name)) for field in batch.schema if pa.types.is_list(field.type)}
    documents, segments = (to_numpy(batch.column(name)) for name in ("document_id", "segment"))
    numbers = {name: to_numpy(batch.column(name)) for name in PAIR_COLUMNS if name in batch.schema.names}
    return from_columns(documents, segments, lists, from_pair_columns(numbers))


def _flat(column: pa.ListArray) -> Ragged[Any]:
    offsets = to_numpy(column.offsets)
    values = to_numpy(column.values)[offsets[0] : offsets[-1]]
    return Ragged(values=values, offsets=np.subtract(offsets, offsets[0], dtype=np.int64))


def has_nulls(batch: pa.RecordBatch) -> bool:
    """Return whether any value is null that may not be, inside lists too."""
    fixed = [column for field, column in zip(batch.schema, batch.columns, strict=True) if not field.nullable]
    lists = [column.values for column in fixed if pa.types.is_list(column.type)]
    return any(column.null_count for column in [*fixed, *lists])


def first_unpaired(batch: pa.RecordBatch) -> tuple[str, int] | None:
    """Return the pair of columns, and the first row, in which starts and ends differ in number (I3, I12), if any."""
    for number, what in (("I3", "span"), ("I12", "annotation")):
        names = [f"{what}_starts", f"{what}_ends"]
        if names[0] in batch.schema.names:
            starts, ends = (np.diff(to_numpy(batch.column(name).offsets)) for name in names)
            if not np.array_equal(starts, ends):
                return f"{' and '.join(names)} ({number})", int(np.argmax(starts != ends))
    return None


def content_chunks(batch: pa.RecordBatch) -> list[Any]:
    """Return the content bytes of a record batch, in pieces (FORMAT.md §5)."""
    chunks: list[Any] = []
    for column in batch.columns:
        if pa.types.is_list(column.type):
            cells = _flat(column)
            chunks += [cells.offsets.astype("<i4"), np.ascontiguousarray(cells.values)]
        elif pa.types.is_string(column.type):
            chunks += _string_chunks(without_nulls(column))
        else:
            chunks.append(to_numpy(without_nulls(column)))
    for number, column in enumerate(batch.columns):
        if column.null_count:
            chunks += [np.array([number], "<i4"), to_numpy(column.is_null())]
    return [chunk.view(np.uint8) if isinstance(chunk, np.ndarray) else chunk for chunk in chunks]


def without_nulls(column: pa.Array) -> pa.Array:
    """Return a kept column with zero, false or an empty string in place of each null."""
    if not column.null_count:
        return column
    return column.fill_null(pa.scalar("" if pa.types.is_string(column.type) else 0).cast(column.type))


def _string_chunks(column: pa.Array) -> list[Any]:
    _, offset_buffer, data = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32, column.offset + len(column) + 1)[column.offset :].astype("<i8")
    text = memoryview(data)[offsets[0] : offsets[-1]] if data is not None else b""
    return [offsets - offsets[0], text]
