"""Finished datasets in, rows out: memory-mapped, without copies, each record batch checked when it is first touched."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.errors import ConfigError, IncompleteShards, MismatchError, ShardError
from spanmask.records import MaskedBlock, Positions, TokenIds
from spanmask.shard.framing import has_compressed_batches
from spanmask.shard.manifest import Manifest, ShardRecord, Split, read_manifest
from spanmask.shard.schema import (
    BATCH_ROWS,
    KEPT_TYPES,
    content_chunks,
    first_unpaired,
    from_record_batch,
    has_nulls,
    shard_schema,
)
from spanmask.shard.structure import structure_problem
from spanmask.shard.writer import checksum
from spanmask.storage import digest, reporting
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stored row. input_ids: (L,); span_starts, span_ends: (N,), half-open positions in it; labels: (M,) originals under the spans.

    word_starts: positions at which words start, where they are stored.
    """

    document_id: int
    segment: int
    input_ids: TokenIds
    span_starts: Positions
    span_ends: Positions
    labels: TokenIds
    kept: dict[str, Any]
    word_starts: Positions | None = None

    def original(self) -> TokenIds:
        """Return the row with its labels put back, (L,)."""
        ids = self.input_ids.copy()
        done = 0
        for start, end in zip(self.span_starts.tolist(), self.span_ends.tolist(), strict=True):
            ids[start:end] = self.labels[done : done + end - start]
            done += end - start
        return ids


class ShardFile:
    """An open shard: its record batches, each checked on first touch. buffer: the whole file, mapped.

    Raises
    ------
    IncompleteShards
        The file is missing.
    ShardError
        It is not the file that the manifest describes.
    """

    def __init__(self, root: Path, record: ShardRecord, manifest: Manifest, verify: Verify = Verify.FIRST) -> None:
        self.record = record
        self._verify = verify
        self._touched: set[int] = set()
        size = regular_size(root, record.path)
        if size != record.bytes:
            raise ShardError(f"{size} bytes, the manifest says {record.bytes}", path=record.path)
        try:
            source = pa.memory_map(os.fspath(root / record.path))
            self._reader = pa.ipc.open_file(source)
            self.buffer = source.read_buffer()
            compressed = has_compressed_batches(self.buffer)
            known = self._reader.schema.equals(expected_schema(manifest, self._reader.schema), check_metadata=True)
        except (*ARROW_ERRORS, struct.error) as error:
            raise ShardError(f"not an Arrow IPC file ({error})", path=record.path) from None
        if not known:
            raise ShardError("its schema is not that of FORMAT.md for this manifest", path=record.path)
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

    def batch(self, number: int) -> pa.RecordBatch:
        """Return a record batch after checking its structure and checksum.

        Raises
        ------
        ShardError
            The bytes are not those that were written.
        """
        known = number in self._touched and self._verify is not Verify.ALWAYS
        try:
            batch, metadata = self._reader.get_batch_with_custom_metadata(number)
            if not known:
                batch.validate(full=True)
        except ARROW_ERRORS as error:
            raise ShardError(f"record batch {number} is damaged ({error})", path=self.record.path) from None
        if not known:
            self._check_rows(number, batch)
            if self._verify is not Verify.NEVER:
                self._check_sum(number, batch, metadata)
            self._check_structure(number, batch)
            self._touched.add(number)
        return batch

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
        problem = structure_problem(from_record_batch(batch))
        if problem is not None:
            message = f"record batch {number}: {problem.message}"
            raise ShardError(message, path=self.record.path, row=number * BATCH_ROWS + problem.row)


def regular_size(root: Path, relative: str) -> int:
    """Return a shard's size, having made sure that it is a plain file in a plain folder of the dataset.

    Raises
    ------
    IncompleteShards
        The file is missing.
    ShardError
        It, or its folder, is a link or something else.
    """
    path = root / relative
    try:
        folder = path.parent.lstat()
        state = path.lstat() if stat.S_ISDIR(folder.st_mode) else folder
    except FileNotFoundError:
        raise IncompleteShards("the file is missing; restore it, or run preshard again", path=relative) from None
    if not stat.S_ISREG(state.st_mode) or not stat.S_ISDIR(folder.st_mode):
        raise ShardError("not a regular file inside the dataset's folder", path=relative)
    return state.st_size


def expected_schema(manifest: Manifest, found: pa.Schema) -> pa.Schema:
    """Return the schema that a manifest asks for; kept columns take the types found, where those can be kept."""
    config = manifest.config
    types = {field.name: field.type for field in found if field.type in KEPT_TYPES}
    kept = [pa.field(name, types[name]) for name in config.corpus.keep if name in types]
    ids = token_dtype(manifest.content["vocabulary"]["size"])
    return shard_schema(ids, words_stored=manifest.words_stored, scheme=config.masking.scheme, kept=kept)


class ShardSet(Sequence[Row]):
    """The rows of one split of a finished dataset, in order.

    Shards are mapped into memory when first needed; nothing is copied, and nothing outside the dataset's folder is opened.
    row_offsets, block_offsets: (shards + 1,) the global row, and the global record batch, with which each shard begins.
    """

    def __init__(self, root: Path, manifest: Manifest, split: Split, verify: Verify = Verify.FIRST) -> None:
        self.root = root
        self.verify = verify
        self.manifest = manifest
        self.split = split
        self._files: dict[int, ShardFile] = {}
        self._kept = manifest.config.corpus.keep
        self.row_offsets = np.concatenate(([0], np.cumsum([shard.rows for shard in split.shards]))).astype(np.int64)
        batches = [-(-shard.rows // BATCH_ROWS) for shard in split.shards]
        self.block_offsets = np.concatenate(([0], np.cumsum(batches))).astype(np.int64)

    def __len__(self) -> int:
        return int(self.row_offsets[-1])

    def __repr__(self) -> str:
        return f"<ShardSet {self.split.name!r} of {self.root}: {len(self):,} rows in {len(self.split.shards)} shards>"

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        shard, row = self.locate(index)
        batch = self.file(shard).batch(row // BATCH_ROWS)
        return _row(batch, row % BATCH_ROWS, self._kept)

    @property
    def blocks(self) -> Blocks:
        """The record batches of all shards in order."""
        return Blocks(self)

    def locate(self, index: int) -> tuple[int, int]:
        """Return the shard of a global row, and its row in it."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return _split_index(self.row_offsets, index % len(self))

    def file(self, shard: int) -> ShardFile:
        """Return an open shard."""
        if shard not in self._files:
            file = ShardFile(self.root, self.split.shards[shard], self.manifest, self.verify)
            other = next(iter(self._files.values()), file)
            if file.schema != other.schema:
                raise ShardError(f"its kept columns have other types than {other.record.path}", path=file.record.path)
            self._files[shard] = file
        return self._files[shard]

    def check_digest(self, shard: int) -> None:
        """Read a whole shard and compare its SHA-256 with the manifest's.

        Raises
        ------
        ShardError
            It is another file.
        """
        record = self.split.shards[shard]
        regular_size(self.root, record.path)
        found = digest(self.root / record.path)
        if found != record.sha256:
            raise ShardError(
                f"SHA-256 is {found}, the manifest says {record.sha256}; restore the file", path=record.path
            )

    def check_digests(self) -> None:
        """Compare the SHA-256 of every shard, as `check_digest` does: what one would do before a long run."""
        for shard in range(len(self.split.shards)):
            self.check_digest(shard)

    def blocks_of(self, shard: int) -> Iterator[MaskedBlock]:
        """Yield the record batches of one shard as masked rows."""
        file = self.file(shard)
        return (from_record_batch(file.batch(number)) for number in range(len(file)))

    def locate_block(self, index: int) -> tuple[int, int]:
        """Return the shard of a global record batch, and its number in it."""
        return _split_index(self.block_offsets, index)

    def first_row_of_block(self, index: int) -> int:
        """Return the global row with which a global record batch begins."""
        shard, number = self.locate_block(index)
        return int(self.row_offsets[shard]) + number * BATCH_ROWS

    def block_count(self) -> int:
        """Return how many record batches there are."""
        return int(self.block_offsets[-1])


class Blocks(Sequence[MaskedBlock]):
    """The record batches of a split as masked rows."""

    def __init__(self, shards: ShardSet) -> None:
        self._shards = shards

    def __len__(self) -> int:
        return self._shards.block_count()

    @overload
    def __getitem__(self, index: int) -> MaskedBlock: ...
    @overload
    def __getitem__(self, index: slice) -> list[MaskedBlock]: ...
    def __getitem__(self, index: int | slice) -> MaskedBlock | list[MaskedBlock]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"block {index} of {len(self)}")
        shard, number = self._shards.locate_block(index % len(self))
        return from_record_batch(self._shards.file(shard).batch(number))

    def __iter__(self) -> Iterator[MaskedBlock]:
        return (self[i] for i in range(len(self)))


def _split_index(offsets: npt.NDArray[np.int64], index: int) -> tuple[int, int]:
    owner = int(np.searchsorted(offsets, index, side="right")) - 1
    return owner, index - int(offsets[owner])


def _row(batch: pa.RecordBatch, row: int, kept: Sequence[str]) -> Row:
    def values(name: str) -> Any:
        return batch.column(name)[row].values.to_numpy(zero_copy_only=True)

    return Row(
        document_id=batch.column("document_id")[row].as_py(),
        segment=batch.column("segment")[row].as_py(),
        input_ids=values("input_ids"),
        span_starts=values("span_starts"),
        span_ends=values("span_ends"),
        labels=values("labels"),
        kept={name: batch.column(name)[row].as_py() for name in kept},
        word_starts=values("word_starts") if "word_starts" in batch.schema.names else None,
    )


def open_shards(
    folder: str | os.PathLike[str],
    split: str = "train",
    *,
    verify: str = "first",
    fingerprint: str | None = None,
    vocabulary: str | None = None,
) -> ShardSet:
    """Open a split of a finished dataset; exported as ``spanmask.open``.

    Parameters
    ----------
    folder
        What ``spanmask preshard --out`` wrote.
    split
        ``train`` or ``validation``.
    verify
        When checksums of record batches are compared: ``first`` (as each is first touched), ``always`` or ``never``.
    fingerprint, vocabulary
        What is expected: the dataset's fingerprint, and the SHA-256 of its vocabulary. None accepts any.

    Raises
    ------
    ConfigError
        There is no such folder or split.
    IncompleteShards
        The dataset is not finished.
    ShardError
        Its manifest is damaged.
    MismatchError
        It is not the dataset expected.
    """
    if verify not in tuple(Verify):
        raise ConfigError(f"verify is {verify!r}: give one of {', '.join(Verify)}")
    with reporting(folder, "open"):
        manifest = read_manifest(folder)
    for what, expected, found in (
        ("fingerprint", fingerprint, manifest.fingerprint),
        ("vocabulary", vocabulary, manifest.content["vocabulary"]["sha256"]),
    ):
        if expected not in (None, found):
            raise MismatchError(
                f"{folder}: its {what} is {found}, expected was {expected}; give the dataset that goes with it"
            )
    splits = manifest.splits
    if split not in splits:
        raise ConfigError(f"{folder} has no split {split!r}; it has {', '.join(splits) or 'none'}")
    return ShardSet(Path(folder), manifest, splits[split], Verify(verify))
