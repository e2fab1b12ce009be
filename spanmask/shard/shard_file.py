"""One open shard: mapped into memory, or read into it, each record batch checked when it is first touched."""

from __future__ import annotations

import mmap
import os
import struct
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.errors import ShardError
from spanmask.shard.framing import has_compressed_batches, record_batches
from spanmask.shard.manifest import Manifest
from spanmask.shard.root import Root, open_shard
from spanmask.shard.schema import (
    BATCH_ROWS,
    CONTENT_KEY,
    KEPT_TYPES,
    content_chunks,
    first_unpaired,
    from_record_batch,
    has_nulls,
    shard_schema,
)
from spanmask.shard.structure import structure_problem
from spanmask.shard.table import ShardRecord
from spanmask.shard.writer import checksum
from spanmask.storage import reporting
from spanmask.vocab import token_dtype


class Verify(StrEnum):
    """When a record batch's checksum is compared: as it is first touched, each time it is read, or never.

    Its structure is checked in any case, before anything indexes by it.
    """

    FIRST = "first"
    ALWAYS = "always"
    NEVER = "never"


#: Everything Arrow raises on bytes it does not like.
ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, IndexError, KeyError)


class ShardFile:
    """An open shard: its record batches, each checked on first touch.

    mapped: whether the file is mapped, which is fast and ends this process by SIGBUS where it touches what somebody cut off; else all of
    it is read at once. buffer: the whole file; whole: the same as an array, up to the last multiple of 8 bytes. checked: (batches,) bool,
    those that were found right; written: when the file, or what the file system says of it, was changed last, in nanoseconds.

    Raises
    ------
    IncompleteShards
        The file is missing.
    ShardError
        It is not the file that the manifest describes.
    StorageError
        It cannot be opened, as where a process may open no more files: each shard that is read stays open.
    """

    def __init__(
        self,
        root: Root,
        record: ShardRecord,
        manifest: Manifest,
        verify: Verify = Verify.FIRST,
        *,
        mapped: bool = True,
    ) -> None:
        self.record = record
        self._root, self._verify = root, verify
        path = f"{root}/{record.path}"
        self._touched: set[int] = set()
        self._vocabulary_size = manifest.stated_vocabulary.size
        try:
            with open_shard(root, record) as file, reporting(path, "map" if mapped else "read"):
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if mapped else None
                self.buffer = pa.py_buffer(file.read() if self._map is None else self._map)
                # What is changed while it is read is then known to have changed.
                state = os.fstat(file.fileno())
                self._modified, self.written = state.st_mtime_ns, state.st_ctime_ns
            self.whole = np.frombuffer(self.buffer, np.uint8, self.buffer.size // 8 * 8)
            self._advise("MADV_RANDOM", 0, self.buffer.size)
            self._reader = pa.ipc.open_file(pa.BufferReader(self.buffer))
            self._bounds = [*record_batches(self.buffer), self.buffer.size]
            self.checked: npt.NDArray[np.bool_] = np.zeros(len(self), np.bool_)
            compressed = has_compressed_batches(self.buffer)
            known = self._reader.schema.equals(expected_schema(manifest, self._reader.schema), check_metadata=True)
        except (*ARROW_ERRORS, struct.error) as error:
            raise ShardError(f"not an Arrow IPC file ({error})", path=record.path) from None
        stated = (self.schema.metadata or {}).get(CONTENT_KEY)
        if not known:
            raise ShardError("its schema is not that of FORMAT.md for this manifest", path=record.path)
        if manifest.format_version > 1 and stated != record.content_sha256.encode():
            raise ShardError(
                "it holds other rows than the manifest says (content digest); restore the file", path=record.path
            )
        if compressed:
            raise ShardError("its record batches are compressed; FORMAT.md has them plain", path=record.path)
        if len(self) != -(-record.rows // BATCH_ROWS):
            raise ShardError(f"{len(self)} record batches do not hold {record.rows} rows", path=record.path)

    def __len__(self) -> int:
        return int(self._reader.num_record_batches)

    @property
    def schema(self) -> pa.Schema:
        """The schema as stored."""
        return self._reader.schema

    def require_types_of(self, other: ShardFile) -> None:
        """Refuse kept columns of other types than another shard's of the split; the rest of both schemas is the manifest's already.

        Raises
        ------
        ShardError
            A column has another type.
        """
        if self.schema != other.schema:
            raise ShardError(f"its kept columns have other types than {other.record.path}", path=self.record.path)

    def batch(self, number: int) -> pa.RecordBatch:
        """Return a record batch after checking its structure and checksum.

        Raises
        ------
        ShardError
            The bytes are not those that were written.
        """
        try:
            return self._checked_batch(number)
        except ShardError:
            if not isinstance(self._root, Path) and self._root.drop_damaged(self.record):
                message = (
                    "its copy on this machine was damaged since it came, and is removed: run the same command again"
                )
                raise ShardError(message, path=self.record.path) from None
            raise

    def _checked_batch(self, number: int) -> pa.RecordBatch:
        known = self.checked[number] and self._verify is not Verify.ALWAYS
        try:
            if number not in self._touched:
                self._advise("MADV_WILLNEED", *self._bounds[number : number + 2])
            batch, metadata = self._reader.get_batch_with_custom_metadata(number)
            if not known:
                # In full: offsets that run outside their buffer would be followed by everything that reads the batch.
                batch.validate(full=True)
        except ARROW_ERRORS as error:
            raise ShardError(f"record batch {number} is damaged ({error})", path=self.record.path) from None
        if not known:
            self._check_rows(number, batch)
            if self._verify is not Verify.NEVER:
                self._check_sum(number, batch, metadata)
            self._check_structure(number, batch)
            # Last: a batch that was found damaged is found so again each time.
            self.checked[number] = True
        self._touched.add(number)
        return batch

    def check_unchanged(self) -> None:
        """Refuse the file if its size or modification time is not what it was when it was opened.

        Raises
        ------
        ShardError
            It was written to, or another one has its name.
        """
        if not isinstance(self._root, Path):
            # Nobody writes to a copy under its name; it may be gone, and what is mapped stays.
            self._root.touch(self.record)
            return
        try:
            state = (self._root / self.record.path).stat()
        except OSError as error:
            raise ShardError(f"it is gone since it was opened ({error.strerror})", path=self.record.path) from None
        if (state.st_size, state.st_mtime_ns) != (self.record.bytes, self._modified):
            message = (
                "it changed since it was opened: nothing may write to a dataset; restore the file, and open it again"
            )
            raise ShardError(message, path=self.record.path)

    def _advise(self, advice: str, start: int, stop: int) -> None:
        """Tell the system how bytes [start, stop) of a map will be read, where it listens: record batches in any order, each of them whole.

        Left to itself it may read megabytes around each page that is touched.
        """
        if self._map is not None and hasattr(mmap, advice):
            first = start // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(getattr(mmap, advice), first, stop - first)

    def _check_rows(self, number: int, batch: pa.RecordBatch) -> None:
        rows = min(BATCH_ROWS, self.record.rows - number * BATCH_ROWS)
        if batch.num_rows != rows:
            raise ShardError(f"record batch {number} has {batch.num_rows} rows, not {rows}", path=self.record.path)
        if has_nulls(batch):
            raise ShardError(f"record batch {number} holds nulls", path=self.record.path)

    def _check_sum(self, number: int, batch: pa.RecordBatch, metadata: Any) -> None:
        stored = dict(metadata or {}).get(b"crc32")
        written = (stored or b"none").decode("ascii", "replace")
        found = checksum(content_chunks(batch))
        if stored != found:
            raise ShardError(
                f"record batch {number} has checksum {found.decode()}, written as {written}; restore the file",
                path=self.record.path,
            )

    def _check_structure(self, number: int, batch: pa.RecordBatch) -> None:
        unpaired = first_unpaired(batch)
        if unpaired is not None:
            name, row = unpaired
            message = f"record batch {number}: {name} differ in length"
            raise ShardError(message, path=self.record.path, row=number * BATCH_ROWS + row)
        problem = structure_problem(from_record_batch(batch), self._vocabulary_size)
        if problem is not None:
            message = f"record batch {number}: {problem.message}"
            raise ShardError(message, path=self.record.path, row=number * BATCH_ROWS + problem.row)


class Known:
    """Which record batches were found right in which state of their shards, open or not. block_offsets: as of `ShardSet`."""

    def __init__(self, block_offsets: npt.NDArray[np.int64]) -> None:
        self._offsets = block_offsets
        self._checked = np.zeros(int(block_offsets[-1]), np.bool_)
        self._written = np.zeros(len(block_offsets) - 1, np.int64)

    def share(self, shard: int, file: ShardFile) -> None:
        """Give a shard that was opened what is known of it, if it is as it was then, and learn from it from here on."""
        checked = self._checked[self._offsets[shard] : self._offsets[shard + 1]]
        if self._written[shard] != file.written:
            self._written[shard] = file.written
            checked[:] = False
        file.checked = checked


def expected_schema(manifest: Manifest, found: pa.Schema) -> pa.Schema:
    """Return the schema that a manifest asks for; kept columns take the types found, where those can be kept, and content its digest."""
    config = manifest.config
    # The manifest names kept columns and not their types, which the inputs decide; all shards must agree in them.
    types = {field.name: field.type for field in found if field.type in KEPT_TYPES}
    # One that is not there, or of another type, is expected all the same, of a type that none has: no schema is then the one expected.
    kept = [pa.field(name, types.get(name, pa.null())) for name in config.corpus.keep]
    ids = token_dtype(manifest.stated_vocabulary.size)
    schema = shard_schema(
        ids,
        words_stored=manifest.words_stored,
        scheme=config.masking.scheme,
        paired=manifest.paired,
        kept=kept,
        format_version=manifest.format_version,
    )
    content = (found.metadata or {}).get(CONTENT_KEY)
    if manifest.format_version == 1 or content is None:
        return schema
    return schema.with_metadata({**schema.metadata, CONTENT_KEY: content})
