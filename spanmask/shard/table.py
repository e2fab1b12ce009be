"""The shards of a dataset as columns, and `shards.arrow`, its file beside the manifest (FORMAT.md §4): no object a shard."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.buffers import to_arrow, to_numpy
from spanmask.config import FORMAT_VERSION
from spanmask.errors import ShardError
from spanmask.shard.framing import has_compressed_batches
from spanmask.shard.listed import read_listed
from spanmask.shard.root import Root
from spanmask.shard.schema import BATCH_ROWS, SHARD_LIMIT

SHARDS = "shards.arrow"
#: Shards that a dataset may have, and what a number of rows, tokens or bytes of one stays below: so no sum passes 63 bits.
SHARDS_LIMIT = 1 << 22
_COUNT_LIMIT = 1 << 40
#: The least that a shard spends on a row, its tokens aside, and on a token: an identity and an offset into each of four lists; an id.
_ROW_BYTES, _TOKEN_BYTES = 28, 2
#: Shards that are checked together.
_CHECKED = 1 << 12
#: What the file may have beside the values of its columns.
_FRAME = 1 << 16
_PATH = re.compile(
    r"(train|validation)/shard-(\d{5}|[1-9]\d{5,8})-(\d{5}|[1-9]\d{5,8})(_\d\d|_[1-9]\d{2,8})?\.arrow", re.ASCII
)
#: By name, (n,) each.
Columns = Mapping[str, npt.NDArray[Any]]
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBERS = ["task", "block", "part"]
_COUNTS = ["rows", "tokens", "bytes"]
_DIGESTS = ["sha256", "content_sha256"]
_IDENTITIES = ["first_document_id", "first_segment", "last_document_id", "last_segment"]
#: A row of the columns. Digests as their 32 bytes: NumPy's bytes type is of that length, whatever they end with.
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
    """The shards of a split, in order. columns: (n,) each, by name, one value a shard; a record of it is made when it is asked for."""

    def __init__(self, split: str, columns: Columns) -> None:
        self.split = split
        self.columns = columns

    @classmethod
    def of(cls, split: str, records: Iterable[ShardRecord]) -> Self:
        """Collect records, in order.

        Raises
        ------
        ValueError
            A path is none that a shard of this split may have, or a digest is none.
        """
        return cls.of_rows(split, rows_of(split, records))

    @classmethod
    def of_rows(cls, split: str, data: bytes | bytearray) -> Self:
        """Return the shards of what `rows_of` returned, of several pieces of it one after another too."""
        array = np.frombuffer(data, _RECORD)
        return cls(split, {name: array[name] for name in _SCHEMA.names})

    @classmethod
    def joined(cls, split: str, parts: Sequence[Shards]) -> Self:
        """Return the shards of some, one after another, at least one."""
        return cls(split, {name: np.concatenate([part.columns[name] for part in parts]) for name in _SCHEMA.names})

    def __len__(self) -> int:
        return len(self.columns["task"])

    @overload
    def __getitem__(self, index: int) -> ShardRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ShardRecord]: ...
    def __getitem__(self, index: int | slice) -> ShardRecord | Sequence[ShardRecord]:
        if isinstance(index, slice):
            return Shards(self.split, {name: column[index] for name, column in self.columns.items()})
        task, block, part, rows, tokens, size, sha256, content, *identities = (
            self.columns[name][index].item() for name in _SCHEMA.names
        )
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
        return self.columns[name]

    def of_unit(self, task: int, block: int | None) -> list[int]:
        """Return the numbers of the shards of a task, or of one block of it."""
        chosen = self.columns["task"] == task
        if block is not None:
            chosen &= self.columns["block"] == block
        numbers: list[int] = np.flatnonzero(chosen).tolist()
        return numbers


def rows_of(split: str, records: Iterable[ShardRecord]) -> bytes:
    """Return records in so many bytes each as they take in the table, for collecting very many; raises as `Shards.of`."""
    return np.fromiter((_row(split, record) for record in records), _RECORD).tobytes()


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
        return hashlib.sha256(_values(self.shards.columns["content_sha256"])).hexdigest()

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
        if not 0 < len(self.shards) <= SHARDS_LIMIT:
            raise ValueError(f"{self.name} has {len(self.shards)} shards")
        # Some at a time: what is compared takes memory, too. Each with the one before it, for their order.
        for first in range(0, len(self.shards), _CHECKED):
            part = slice(max(first - 1, 0), first + _CHECKED)
            self._check_columns({name: column[part] for name, column in self.shards.columns.items()})

    def _check_columns(self, columns: Columns) -> None:
        rows, tokens, sizes = (columns[name] for name in _COUNTS)
        if not all(((column >= 0) & (column < _COUNT_LIMIT)).all() for column in (rows, tokens, sizes)):
            raise ValueError(f"the sizes of a shard of {self.name} are no counts")
        fits = (rows > 0) & (3 * rows <= tokens) & (_ROW_BYTES * rows + _TOKEN_BYTES * tokens <= sizes)
        if not (fits & ((rows <= BATCH_ROWS) | (sizes <= SHARD_LIMIT))).all():
            raise ValueError(f"a shard of {self.name} has other bytes than its rows and tokens take")
        # Compared as they stand: the numbers have no sign, nor would their differences.
        later, same = (
            [compare(columns[name][1:], columns[name][:-1]) for name in _NUMBERS] for compare in (np.greater, np.equal)
        )
        if not (later[0] | same[0] & (later[1] | same[1] & later[2])).all():
            raise ValueError(f"{self.name} names a shard twice, or not in the order of tasks, blocks and parts")


def table_bytes(splits: Mapping[str, Split]) -> memoryview:
    """Return `shards.arrow`: the shards of all splits, one split after another, in one record batch."""
    joined = Shards.joined("", [split.shards for split in splits.values()])
    columns = [_column(joined.columns[field.name], field.type) for field in _SCHEMA]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, _SCHEMA) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_SCHEMA))
    return memoryview(sink.getvalue())


def _column(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    if not pa.types.is_fixed_size_binary(kind):
        return to_arrow(values)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(_values(values))])


def _values(column: npt.NDArray[Any]) -> memoryview:
    """Return the bytes of a column, one value after another."""
    return np.ascontiguousarray(column).view(np.uint8).data


def read_table(root: Root, stated: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, Split]:
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
        columns = _columns_of(read_listed(root, SHARDS, stated), total)
    except (pa.ArrowException, OSError, ValueError, KeyError, struct.error) as error:
        raise ShardError(f"not the table of FORMAT.md ({error})", path=SHARDS) from None
    splits, first = {}, 0
    for name, count in counts.items():
        shards = Shards(name, {key: column[first : first + count] for key, column in columns.items()})
        splits[name] = Split(name=name, shards=shards)
        first += count
    return splits


def _columns_of(data: bytes, total: int) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of the file as they lie in its bytes: nothing is copied."""
    reader = pa.ipc.open_file(pa.BufferReader(data))
    if reader.num_record_batches != 1 or not reader.schema.equals(_SCHEMA, check_metadata=True):
        raise ValueError("its schema is another, or it has several record batches")
    if has_compressed_batches(data):
        raise ValueError("it is compressed")
    batch = reader.get_batch(0)
    batch.validate(full=True)
    if batch.num_rows != total or any(column.null_count for column in batch.columns):
        raise ValueError(f"{batch.num_rows} rows instead of {total}, or nulls")
    return {name: _values_of(column, _RECORD[name]) for name, column in zip(_SCHEMA.names, batch.columns, strict=True)}


def _values_of(column: pa.Array, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    if not pa.types.is_fixed_size_binary(column.type):
        return to_numpy(column)
    return np.frombuffer(column.buffers()[1], kind, len(column), column.offset * kind.itemsize)
