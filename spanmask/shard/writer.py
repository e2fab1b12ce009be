"""Rows in, published shard files and their records out."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from spanmask.buffers import to_numpy
from spanmask.places import Place, place_of
from spanmask.shard.schema import BATCH_ROWS, CONTENT_KEY, SHARD_LIMIT, content_chunks
from spanmask.shard.table import ShardRecord

#: Bytes of a file beyond which a block's rows go on in another one, where ``shard_bytes`` asks for no more.
_FILE_LIMIT = 64 << 20
#: What IPC framing and padding may add to a record batch, and the schema and footer to a file.
_BATCH_OVERHEAD = 16 << 10
_FILE_OVERHEAD = 1 << 20


def file_limit(shard_bytes: int) -> int:
    """Return the bytes that the file of so many bytes of text may have: twice as many, within 64 MiB and a shard's limit."""
    return min(max(2 * shard_bytes, _FILE_LIMIT), SHARD_LIMIT)


def write_shards(
    root: Path | Place, stem: str, batches: Sequence[pa.RecordBatch], limit: int = _FILE_LIMIT
) -> list[ShardRecord]:
    """Publish the rows of a block, in one file or, beyond a limit, in several.

    Parameters
    ----------
    root
        The dataset's folder, or where else it is written.
    stem
        The first shard's path in it without ``.arrow``; in a folder of this machine its own exists. The others are ``stem_01`` and so on.
    batches
        Rows in order, in record batches of any size.
    limit
        Bytes that a file has at most, but for one of a single record batch.

    Raises
    ------
    StorageError
        The file system refused; no file has the name it could not write.
    """
    if not batches:
        return []
    parts = enumerate(_cut(pa.Table.from_batches(batches), limit))
    return [write_shard(root, f"{stem}{f'_{number:02}' if number else ''}.arrow", part) for number, part in parts]


def _cut(rows: pa.Table, limit: int) -> Iterator[pa.Table]:
    """Cut rows into runs that fit in a file, after whole record batches."""
    first, size = 0, _FILE_OVERHEAD
    for start in range(0, rows.num_rows, BATCH_ROWS):
        batch = rows.slice(start, BATCH_ROWS).nbytes + _BATCH_OVERHEAD
        if start > first and size + batch > limit:
            yield rows.slice(first, start - first)
            first, size = start, _FILE_OVERHEAD
        size += batch
    yield rows.slice(first)


def write_shard(root: Path | Place, path: str, rows: pa.Table) -> ShardRecord:
    """Publish rows as a file in one step, digested as they are written; see `write_shards`."""
    content, sums = _digests(rows)
    schema = rows.schema.with_metadata({**rows.schema.metadata, CONTENT_KEY: content.encode()})
    written = place_of(root).write(path, lambda file: _serialise(rows, schema, sums, _Digested(file)))
    documents, segments = rows.column("document_id"), rows.column("segment")
    return ShardRecord(
        path=path,
        rows=rows.num_rows,
        tokens=sum(int(np.ptp(to_numpy(chunk.offsets))) for chunk in rows.column("input_ids").chunks),
        bytes=written.size,
        sha256=written.sha256.hexdigest(),
        content_sha256=content,
        first=(documents[0].as_py(), segments[0].as_py()),
        last=(documents[-1].as_py(), segments[-1].as_py()),
    )


class _Digested:
    """What is written to a file, counted and digested while it is still in the processor's caches. sha256: of it; size: its bytes."""

    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256, self.size = hashlib.sha256(), 0

    def write(self, data: pa.Buffer | bytes) -> None:
        self._file.write(data)
        self.sha256.update(data)
        self.size += len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        """Leave that to whoever opened the file, as closing it."""

    close = flush


def _digests(rows: pa.Table) -> tuple[str, list[bytes]]:
    """Return the content digest of a shard file, and the checksum of each of its record batches."""
    content, sums = hashlib.sha256(), []
    for batch in _batches(rows):
        chunks = content_chunks(batch)
        sums.append(checksum(chunks))
        for chunk in chunks:
            content.update(chunk)
    return content.hexdigest(), sums


def _serialise(rows: pa.Table, schema: pa.Schema, sums: Sequence[bytes], sink: _Digested) -> _Digested:
    # Batches are made twice, since the schema comes first and tells of them all; to hold them would take the file's size once more.
    with pa.ipc.new_file(sink, schema) as writer:
        for batch, known in zip(_batches(rows), sums, strict=True):
            writer.write_batch(batch, custom_metadata={b"crc32": known})
    return sink


def _batches(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows.num_rows, BATCH_ROWS):
        pieces = rows.slice(start, BATCH_ROWS).to_batches()
        # The empty piece makes this a copy in any case: Arrow pads a slice with the bytes that follow it.
        yield pa.concat_batches([*pieces, pieces[0].slice(0, 0)])


def checksum(chunks: Sequence[bytes | memoryview]) -> bytes:
    """Return the CRC-32 of content bytes as eight hexadecimal digits."""
    value = 0
    for chunk in chunks:
        value = zlib.crc32(chunk, value)
    return f"{value:08x}".encode()
