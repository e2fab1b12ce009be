"""The shards of a dataset as one array, and `shards.arrow`, its file beside the manifest (FORMAT.md §4): no object a shard."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.buffers import to_arrow, to_numpy
from spanmask.config import FORMAT_VERSION
from spanmask.errors import ShardError
from spanmask.shard.framing import has_compressed_batches
from spanmask.shard.listed import read_listed
from spanmask.shard.schema import BATCH_ROWS, SHARD_LIMIT

SHARDS = "shards.arrow"
#: Shards that a dataset may have, and what a number of rows, tokens or bytes of one stays below: so no sum passes 63 bits.
SHARDS_LIMIT = 1 << 22
_COUNT_LIMIT = 1 << 40
#: The least that a shard spends on a row, its tokens aside, and on a token: an identity and an offset into each of four lists; an id.
_ROW_BYTES, _TOKEN_BYTES = 28, 2
#: What the file may have beside the values of its columns.
_FRAME = 1 << 16
_PATH = re.compile(
    r"(train|validation)/shard-(\d{5}|[1-9]\d{5,8})-(\d{5}|[1-9]\d{5,8})(_\d\d|_[1-9]\d{2,8})?\.arrow", re.ASCII
)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBERS = ["task", "block", "part"]
_COUNTS = ["rows", "tokens", "bytes"]
_DIGESTS = ["sha256", "content_sha256"]
_IDENTITIES = ["first_document_id", "first_segment", "last_document_id", "last_segment"]
#: A row of the array. Digests as their 32 bytes: NumPy's bytes type is of that length, whatever they end with.
_RECORD = np.dtype(
    [(name, "<u4") for name in _NUMBERS]
    + [(name, "<i8") for name in _COUNTS]
    + [(name, "S32") for name in _DIGESTS]
    + [(name, "<u8" if name.endswith("id") else "<u4") for name in _IDENTITIES]
)
_SCHEMA = pa.schema(
    [
        pa.field(name, pa.binary(32) if name in _DIGESTS else pa.from_numpy_dtype(_RECORD[name]), nullable=False)
        for name in _RECORD.names or ()
    ],
    metadata={b"spanmask.format_version": str(FORMAT_VERSION).encode()},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRecord:
    """One shard file: where it lies in the dataset, what it holds, and its digests. first, last: identities of its outer rows."""

    path: str
    rows: int
    tokens: int
    bytes: int
    sha256: str
    content_sha256: str
    first: tuple[int, int]
    last: tuple[int, int]

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` and JSON made of a record."""
        return cls(**{**value, "first": tuple(value["first"]), "last": tuple(value["last"])})


class Shards(Sequence[ShardRecord]):
    """The shards of a split, in order. array: one row a shard; a record of it is made when it is asked for."""

    def __init__(self, split: str, array: npt.NDArray[Any]) -> None:
        self.split = split
        self.array = array

    @classmethod
    def of(cls, split: str, records: Iterable[ShardRecord]) -> Self:
        """Collect records, in order.

        Raises
        ------
        ValueError
            A path is none that a shard of this split may have, or a digest is none.
        """
        return cls(split, np.fromiter((_row(split, record) for record in records), _RECORD))

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> ShardRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ShardRecord]: ...
    def __getitem__(self, index: int | slice) -> ShardRecord | Sequence[ShardRecord]:
        if isinstance(index, slice):
            return Shards(self.split, self.array[index])
        task, block, part, rows, tokens, size, sha256, content, *identities = self.array[index].tolist()
        # NumPy takes zero bytes at the end of a digest for none.
        sha256, content = (value.ljust(32, b"\0").hex() for value in (sha256, content))
        return ShardRecord(
            path=f"{self.split}/shard-{task:05}-{block:05}{f'_{part:02}' if part else ''}.arrow",
            rows=rows,
            tokens=tokens,
            bytes=size,
            sha256=sha256,
            content_sha256=content,
            first=(identities[0], identities[1]),
            last=(identities[2], identities[3]),
        )

    def counts(self, name: str) -> npt.NDArray[np.int64]:
        """Return the rows, tokens or bytes of every shard, (n,)."""
        column: npt.NDArray[np.int64] = self.array[name]
        return column

    def of_unit(self, task: int, block: int | None) -> list[int]:
        """Return the numbers of the shards of a task, or of one block of it."""
        chosen = self.array["task"] == task
        if block is not None:
            chosen &= self.array["block"] == block
        numbers: list[int] = np.flatnonzero(chosen).tolist()
        return numbers


def _row(split: str, record: ShardRecord) -> tuple[Any, ...]:
    found = _PATH.fullmatch(record.path)
    if found is None or found[1] != split:
        raise ValueError(f"{record.path!r} is no shard of {split}")
    numbers = (int(found[2]), int(found[3]), int((found[4] or "_0")[1:]))
    counts = (record.rows, record.tokens, record.bytes)
    identities = (*record.first, *record.last)
    digests = (record.sha256, record.content_sha256)
    if not all(_DIGEST.fullmatch(value) for value in digests):
        raise ValueError(f"{record.path}: no digests")
    if not all(type(value) is int for value in (*counts, *identities)) or len(identities) != 4:
        raise ValueError(f"{record.path}: no counts, or no identities")
    return (*numbers, *counts, *map(bytes.fromhex, digests), *identities)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The shards of a split, in order."""

    name: str
    shards: Shards

    @classmethod
    def of(cls, name: str, records: Iterable[ShardRecord]) -> Self:
        """Return the split of some records; see `Shards.of`."""
        return cls(name=name, shards=Shards.of(name, records))

    @property
    def rows(self) -> int:
        """Rows in all shards."""
        return int(self.shards.counts("rows").sum())

    @property
    def tokens(self) -> int:
        """Tokens in all shards, special ones included."""
        return int(self.shards.counts("tokens").sum())

    @property
    def content_digest(self) -> str:
        """SHA-256 of the shards' content digests in order."""
        return hashlib.sha256(self.shards.array["content_sha256"].tobytes()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the split as the manifest writes it."""
        counts = {"rows": self.rows, "tokens": self.tokens, "shards": len(self.shards)}
        return {**counts, "content_digest": self.content_digest}

    def check(self) -> None:
        """Refuse figures that no shards have.

        Raises
        ------
        ValueError
            There is no shard, shards are not in the order of their numbers, or counts are none.
        """
        array = self.shards.array
        if not 0 < len(array) <= SHARDS_LIMIT:
            raise ValueError(f"{self.name} has {len(array)} shards")
        rows, tokens, sizes = (array[name] for name in _COUNTS)
        if not all(((array[name] >= 0) & (array[name] < _COUNT_LIMIT)).all() for name in _COUNTS):
            raise ValueError(f"the sizes of a shard of {self.name} are no counts")
        fits = (rows > 0) & (3 * rows <= tokens) & (_ROW_BYTES * rows + _TOKEN_BYTES * tokens <= sizes)
        if not (fits & ((rows <= BATCH_ROWS) | (sizes <= SHARD_LIMIT))).all():
            raise ValueError(f"a shard of {self.name} has other bytes than its rows and tokens take")
        numbers = [array[name].astype(np.int64) for name in _NUMBERS]
        task, block, part = (np.diff(column) for column in numbers)
        if not ((task > 0) | (task == 0) & ((block > 0) | (block == 0) & (part > 0))).all():
            raise ValueError(f"{self.name} names a shard twice, or not in the order of tasks, blocks and parts")


def table_bytes(splits: Mapping[str, Split]) -> memoryview:
    """Return `shards.arrow`: the shards of all splits, one split after another, in one record batch."""
    array = np.concatenate([split.shards.array for split in splits.values()])
    columns = [_column(array[field.name], field.type) for field in _SCHEMA]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, _SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
    return memoryview(sink.getvalue())


def _column(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_binary(kind):
        return to_arrow(values)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values.tobytes())])


def read_table(folder: Path, stated: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, Split]:
    """Read `shards.arrow`. stated: its size and digest; counts: the shards of each split, in order: both as the manifest has them.

    Raises
    ------
    IncompleteShards
        The file is missing.
    ShardError
        It is not the file that the manifest describes.
    """
    total = sum(counts.values())
    # Before it is read: so many shards take so many bytes, and a frame.
    if total > SHARDS_LIMIT or not 0 <= stated["bytes"] - total * _RECORD.itemsize < _FRAME:
        raise ShardError(f"{stated['bytes']} bytes do not hold {total} shards", path=SHARDS)
    try:
        array = _array_of(read_listed(folder / SHARDS, stated), total)
    except (pa.ArrowException, OSError, ValueError, KeyError, struct.error) as error:
        raise ShardError(f"not the table of FORMAT.md ({error})", path=SHARDS) from None
    splits, first = {}, 0
    for name, count in counts.items():
        splits[name] = Split(name=name, shards=Shards(name, array[first : first + count]))
        first += count
    return splits


def _array_of(data: bytes, total: int) -> npt.NDArray[Any]:
    reader = pa.ipc.open_file(pa.BufferReader(data))
    if reader.num_record_batches != 1 or not reader.schema.equals(_SCHEMA, check_metadata=True):
        raise ValueError("its schema is another, or it has several record batches")
    if has_compressed_batches(data):
        raise ValueError("it is compressed")
    batch = reader.get_batch(0)
    batch.validate(full=True)
    if batch.num_rows != total or any(column.null_count for column in batch.columns):
        raise ValueError(f"{batch.num_rows} rows instead of {total}, or nulls")
    array = np.empty(total, _RECORD)
    for name, column in zip(_SCHEMA.names, batch.columns, strict=True):
        if name in _DIGESTS:
            array[name] = np.frombuffer(column.buffers()[1], "S32", total, column.offset * 32)
        else:
            array[name] = to_numpy(column)
    return array
