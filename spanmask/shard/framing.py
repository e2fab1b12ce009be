"""What Arrow's reader does not tell of an IPC file: where its record batches lie, and whether one is compressed, before it is unpacked.

A few kilobytes of compressed batches can unpack to gigabytes, and Arrow has no limit to give. Reads the flatbuffers of the footer and of
each message (https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format); ``struct.error`` says that they point out of the file.
"""

from __future__ import annotations

import struct
from typing import Any

_MAGIC_AND_SIZE = 10
_CONTINUATION = 0xFFFFFFFF
_BLOCK_BYTES = 24
# Fields of the flatbuffer tables, by their order in Arrow's schemas.
_FOOTER_RECORD_BATCHES = 3
_MESSAGE_HEADER = 2
_BATCH_COMPRESSION = 3


def has_compressed_batches(file: Any) -> bool:
    """Return whether a record batch of an IPC file is compressed. file: its bytes, as a buffer."""
    data = memoryview(file)
    return any(
        _field(data, _follow(data, _field(data, _root(data, at), _MESSAGE_HEADER)), _BATCH_COMPRESSION)
        for at in record_batches(data)
    )


def _uint32(data: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _follow(data: memoryview, at: int) -> int:
    return at + _uint32(data, at)


def _root(data: memoryview, message: int) -> int:
    """Return the table of the message at an offset: after its size, which follows a marker in all but old files."""
    return _follow(data, message + (8 if _uint32(data, message) == _CONTINUATION else 4))


def _field(data: memoryview, table: int, number: int) -> int:
    """Return where a table's field lies, 0 if it is left out."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    slot = 4 + 2 * number
    if slot >= struct.unpack_from("<H", data, vtable)[0]:
        return 0
    offset = int(struct.unpack_from("<H", data, vtable + slot)[0])
    return table + offset if offset else 0


def record_batches(file: Any) -> list[int]:
    """Return where the record batch messages that the footer names begin. file: its bytes, as a buffer."""
    data = memoryview(file)
    end = len(data) - _MAGIC_AND_SIZE
    footer = end - _uint32(data, end)
    field = _field(data, _follow(data, footer), _FOOTER_RECORD_BATCHES)
    if not field:
        return []
    vector = _follow(data, field)
    return [int(struct.unpack_from("<q", data, vector + 4 + _BLOCK_BYTES * k)[0]) for k in range(_uint32(data, vector))]
