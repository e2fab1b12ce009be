"""Strings of any Arrow layout: how long each is, and the same in one buffer. Columns flow in, lengths and plain columns flow out.

Dictionaries and views may stand for a million times their bytes, so lengths are told without decoding. Buffers have been checked.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from spanmask.records import Bytes, Flags, Offsets

#: Bytes of a view; the first four are its string's length.
_VIEW_BYTES = 16


def is_plain(kind: pa.DataType) -> bool:
    """Tell whether a column holds its strings in one buffer, with offsets."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_text(kind: pa.DataType) -> bool:
    """Tell whether a column holds strings, in any layout."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return is_plain(kind) or bool(pa.types.is_string_view(kind))


def plain_offsets(column: pa.Array) -> Offsets:
    """Return the (D + 1,) byte offsets of a string or large_string column in its data buffer."""
    dtype = np.dtype(np.int64 if pa.types.is_large_string(column.type) else np.int32)
    buffer = column.buffers()[1]
    if buffer is None or buffer.size == 0:
        return np.zeros(len(column) + 1, np.int64)
    return np.frombuffer(buffer, dtype, len(column) + 1, column.offset * dtype.itemsize).astype(np.int64)


def plain_bytes(column: pa.Array) -> Bytes:
    """Return the data buffer of a string or large_string column, which its offsets point into."""
    buffer = column.buffers()[2]
    return np.frombuffer(b"" if buffer is None else buffer, np.uint8)


def lengths(column: pa.Array) -> Offsets:
    """Return the (D,) bytes of each string; of a null, what its place says, or 0."""
    if pa.types.is_dictionary(column.type):
        indices, known = _indices(column)
        found = np.zeros(len(column), np.int64)
        found[known] = lengths(column.dictionary)[indices]
        return found
    if is_plain(column.type):
        return np.diff(plain_offsets(column))
    return _views(column)[:, :4].copy().view(np.int32)[:, 0].astype(np.int64)


def plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return strings as string or large_string, their encoding unchecked."""
    if column.type == kind:
        return column
    if not pa.types.is_dictionary(column.type):
        return column.cast(kind)
    if is_plain(column.dictionary.type):
        return column.dictionary_decode().cast(kind)
    return _chosen_views(column).cast(kind)


def _indices(column: pa.Array) -> tuple[Offsets, Flags]:
    """Return the indices of a dictionary's rows that have one, and which rows do."""
    known: Flags = column.indices.is_valid().to_numpy(zero_copy_only=False)
    return column.indices.drop_null().to_numpy().astype(np.int64), known


def _views(column: pa.Array) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    buffer = column.buffers()[1]
    if buffer is None or buffer.size == 0:
        return np.zeros((len(column), _VIEW_BYTES), np.uint8)
    flat = np.frombuffer(buffer, np.uint8, len(column) * _VIEW_BYTES, column.offset * _VIEW_BYTES)
    return flat.reshape(-1, _VIEW_BYTES)


def _chosen_views(column: pa.Array) -> pa.Array:
    """Return the entries that a dictionary of views has for each row, as views of the same bytes: Arrow cannot pick them."""
    indices, known = _indices(column)
    views = np.zeros((len(column), _VIEW_BYTES), np.uint8)
    views[known] = _views(column.dictionary)[indices]
    known[known] = column.dictionary.is_valid().to_numpy(zero_copy_only=False)[indices]
    validity = pa.array(known).buffers()[1]
    return pa.Array.from_buffers(
        column.dictionary.type, len(column), [validity, pa.py_buffer(views.tobytes()), *column.dictionary.buffers()[2:]]
    )


def without_encoding(column: pa.Array) -> pa.Array:
    """Return strings as binary: their structure is checked for the whole batch, their encoding row by row."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column.indices.validate(full=True)
        return pa.DictionaryArray.from_arrays(column.indices, without_encoding(column.dictionary), safe=True)
    views = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
    return column.view(views[kind]) if kind in views else column
