"""What the messages of an Arrow IPC file or stream state of their compressed buffers, looked at before Arrow allocates them.

A message is a FlatBuffers table and a body; a compressed buffer in the body begins with its size when decompressed. (Format of both:
arrow.apache.org/docs/format/Columnar.html and IPC's Message.fbs.) Bytes that make no sense here are left to Arrow to refuse.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pyarrow as pa

#: Times its bytes that a compressed buffer may grow to where it grows beyond the limit: text never does.
_GROWTH = 1000
_DICTIONARY, _BATCH = 2, 3
#: Bytes of a footer's block, and of a buffer's place.
_BLOCK_BYTES, _BUFFER_BYTES = 24, 16


class _Table(NamedTuple):
    """A table of FlatBuffers: where it lies in some bytes."""

    data: memoryview
    at: int

    @classmethod
    def root(cls, data: memoryview) -> _Table:
        """Return the table that a buffer of FlatBuffers begins with."""
        return cls(data, _number("<I", data, 0))

    def field(self, index: int) -> int | None:
        """Return where a field lies, or None where it is left out."""
        layout = self.at - _number("<i", self.data, self.at)
        known = 4 + 2 * index < _number("<H", self.data, layout)
        offset = _number("<H", self.data, layout + 4 + 2 * index) if known else 0
        return self.at + offset if offset else None

    def table(self, index: int) -> _Table | None:
        """Return the table that a field refers to."""
        at = self.field(index)
        return None if at is None else _Table(self.data, at + _number("<I", self.data, at))

    def items(self, index: int, form: str, size: int) -> Iterator[tuple[int, ...]]:
        """Yield the structures of a vector."""
        at = self.field(index)
        if at is not None:
            start = at + _number("<I", self.data, at)
            for k in range(_number("<I", self.data, start)):
                yield struct.unpack_from(form, self.data, start + 4 + k * size)


class Growth(NamedTuple):
    """Which buffers are watched: those of some columns of a schema, for growing beyond a limit of bytes."""

    schema: pa.Schema
    columns: frozenset[int]
    limit: int

    def batches(self, data: memoryview, is_file: bool) -> Iterator[int]:
        """Yield for each record batch the size that a buffer grows to beyond the limit, or 0; dictionaries count with the batch after."""
        with suppress(struct.error):
            largest = 0
            for kind, header, body in _file_messages(data) if is_file else _stream_messages(data):
                largest = max(largest, self._largest(kind, header, body))
                if kind == _BATCH:
                    yield largest

    def _largest(self, kind: int, header: _Table | None, body: memoryview) -> int:
        batch = header.table(1) if kind == _DICTIONARY and header is not None else header
        if kind not in (_DICTIONARY, _BATCH) or batch is None or batch.field(3) is None:
            return 0
        variadic = batch.items(4, "<q", 8)
        watched = _watched(self.schema, self.columns, lambda: next(variadic, (0,))[0]) if kind == _BATCH else None
        sizes = [0]
        for at, size in batch.items(2, "<qq", _BUFFER_BYTES):
            if (watched is None or next(watched, False)) and at >= 0 and size >= 8:
                stated = _number("<q", body, at)
                sizes.append(stated if stated > max(self.limit, _GROWTH * size) else 0)
        return max(sizes)


def _watched(schema: pa.Schema, columns: frozenset[int], variadic: Callable[[], int]) -> Iterator[bool]:
    """Yield for each buffer of a record batch whether it belongs to one of the columns."""
    for index, field in enumerate(schema):
        for _ in range(_buffer_count(field.type, variadic)):
            yield index in columns


def _buffer_count(kind: Any, variadic: Callable[[], int]) -> int:
    """Return how many buffers a column has in a message, its children's included."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    own = int(kind.num_buffers)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        own = 2 + variadic()
    elif pa.types.is_null(kind) or pa.types.is_union(kind) or pa.types.is_run_end_encoded(kind):
        own -= 1  # They have no validity in messages.
    return own + sum(_buffer_count(kind.field(k).type, variadic) for k in range(kind.num_fields))


def _number(form: str, data: memoryview, at: int) -> int:
    if at < 0:
        raise struct.error
    return int(struct.unpack_from(form, data, at)[0])


def _file_messages(data: memoryview) -> Iterator[tuple[int, _Table | None, memoryview]]:
    """Yield the messages that a file's footer lists, dictionaries first: kind, header and body."""
    size = _number("<i", data, len(data) - 10)
    footer = _Table.root(data[len(data) - 10 - size : len(data) - 10])
    for blocks in (2, 3):
        for at, metadata, body in footer.items(blocks, "<qi4xq", _BLOCK_BYTES):
            yield *_header(data[at : at + metadata]), data[at + metadata : at + metadata + body]


def _stream_messages(data: memoryview) -> Iterator[tuple[int, _Table | None, memoryview]]:
    at = 0
    while at < len(data):
        prefix = _prefix_bytes(data[at : at + 4])
        size = _number("<i", data, at + prefix - 4)
        if size <= 0:
            return
        metadata = data[at : at + prefix + size]
        body_at = _Table.root(metadata[prefix:]).field(3)
        body = 0 if body_at is None else _number("<q", metadata[prefix:], body_at)
        at += len(metadata)
        yield *_header(metadata), data[at : at + body]
        at += max(0, body)


def _header(metadata: memoryview) -> tuple[int, _Table | None]:
    """Return a message's kind and its header, from its metadata with the size before it."""
    message = _Table.root(metadata[_prefix_bytes(metadata) :])
    kind = message.field(1)
    return 0 if kind is None else _number("<B", message.data, kind), message.table(2)


def _prefix_bytes(metadata: memoryview) -> int:
    """Return the bytes before a message's table: its size, and in all but the oldest files four bytes of ones before that."""
    return 8 if bytes(metadata[:4]) == b"\xff" * 4 else 4
