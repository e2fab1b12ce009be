"""Finished datasets in, rows out: memory-mapped, without copies, or read; each record batch checked when it is first touched."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from spanmask import blocks
from spanmask.errors import ConfigError, MismatchError, ShardError
from spanmask.escaping import short_digest
from spanmask.records import MaskedBlock, Row
from spanmask.shard.manifest import Manifest, read_manifest
from spanmask.shard.root import RemoteRoot, Root, regular_state, root_of
from spanmask.shard.schema import BATCH_ROWS, SHARD_LIMIT, from_record_batch
from spanmask.shard.shard_file import Known, ShardFile, Verify
from spanmask.shard.table import ShardRecord, Split
from spanmask.storage import digest, reporting

#: Told of the rows done, and of all there are to do, as work on a dataset goes on.
OnRows = Callable[[int, int], None]

#: How long rows of an open shard are handed on without looking whether the file changed.
LOOK_SECONDS = 1.0


def _open_limit() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 16_384 if files == resource.RLIM_INFINITY else min(max(files // 4, 64), 16_384)


#: Shards of a split that stay open: a quarter of the files that this process may have open, and of those that systems commonly map.
OPEN_LIMIT = _open_limit()
#: Bytes of those that stay open where they are read and not mapped.
HELD_LIMIT = 4 << 30


def advancing(on_progress: OnRows | None, total: int) -> Callable[[int], None]:
    """Return what takes the rows just done, and tells of all that are."""
    done = 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        if on_progress is not None:
            on_progress(done, total)

    return advance


class ShardSet(Sequence[Row]):
    """The rows of one split of a finished dataset, in order.

    Shards are mapped into memory when first needed, or read into it where not ``mapped``; nothing outside the dataset's folder is opened.
    Of one in an object store, copies on this machine are (`spanmask.shard.cache`).
    At most `OPEN_LIMIT` are open, and of those that are read `HELD_LIMIT` bytes, or as many as one reading takes; one that is opened again
    is checked again if it was changed meanwhile.
    row_offsets, block_offsets: (shards + 1,) the global row, and the global record batch, with which each shard begins.
    """

    def __init__(
        self, root: Root, manifest: Manifest, split: Split, verify: Verify = Verify.FIRST, *, mapped: bool = True
    ) -> None:
        self.root = root
        self.verify = verify
        self.mapped = mapped
        self.manifest = manifest
        self.split = split
        self._files: dict[int, ShardFile] = {}
        self._kept = manifest.config.corpus.keep
        self._looked_at: dict[int, float] = {}
        self._first: ShardFile | None = None
        self._known: Known | None = None
        self._let_go_at = 0.0
        rows = split.shards.counts("rows")
        self.row_offsets = blocks.offsets_of(rows)
        self.block_offsets = _block_offsets(rows)
        self._largest = int(split.shards.counts("bytes").max(initial=1))

    def __getstate__(self) -> dict[str, Any]:
        # Files are opened, and checked, anew.
        return {**self.__dict__, "_files": {}, "_looked_at": {}, "_first": None, "_known": None}

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
        batch = self.file(shard).batch(row // BATCH_ROWS).slice(row % BATCH_ROWS, 1)
        return blocks.row_of(from_record_batch(batch), 0, {name: batch.column(name)[0].as_py() for name in self._kept})

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
        return self.files([shard])[0]

    def files(self, shards: Sequence[int]) -> list[ShardFile]:
        """Return open shards; see `look_again`."""
        missing = [shard for shard in shards if shard not in self._files]
        if missing and isinstance(self.root, RemoteRoot):
            self._let_go(self.root, shards)
        self._make_room(len(missing), shards)
        for shard in missing:
            self._files[shard] = self._opened(shard)
            self._looked_at[shard] = time.monotonic()
        self.look_again(shards)
        if len(self._files) >= self._room():
            # The last to be used are the last to be closed.
            for shard in shards:
                self._files[shard] = self._files.pop(shard)
        return [self._files[shard] for shard in shards]

    def _room(self) -> int:
        """Return how many shards may stay open."""
        return OPEN_LIMIT if self.mapped else min(OPEN_LIMIT, max(HELD_LIMIT // self._largest, 1))

    def _make_room(self, count: int, wanted: Sequence[int]) -> None:
        """Close shards that were not used for longest, those wanted apart, where there is no room for so many more."""
        excess = len(self._files) + count - self._room()
        if excess > 0:
            needed = set(wanted)
            for shard in list(islice((shard for shard in self._files if shard not in needed), excess)):
                self.close(shard)

    def close(self, shard: int) -> None:
        """Let go of a shard, if it is open: its memory goes with the last rows that anyone has of it."""
        self._files.pop(shard, None)
        self._looked_at.pop(shard, None)

    def _opened(self, shard: int) -> ShardFile:
        file = self._open(self.split.shards[shard])
        # Any one will do: each was held against one before it.
        self._first = self._first or file
        file.require_types_of(self._first)
        if isinstance(self.root, Path):
            self._known = self._known or Known(self.block_offsets)
            self._known.share(shard, file)
        return file

    def _open(self, record: ShardRecord) -> ShardFile:
        # One that is larger is a single record batch, of any size that a manifest says, and would be read into memory whole.
        mapped = self.mapped or record.bytes > SHARD_LIMIT
        begin = partial(ShardFile, self.root, record, self.manifest, self.verify, mapped=mapped)
        try:
            return begin()
        except ShardError:
            if isinstance(self.root, Path) or not self.root.drop_damaged(record):
                raise
            return begin()

    def _let_go(self, root: RemoteRoot, wanted: Sequence[int]) -> None:
        """Close shards whose copies the cache has given up, those wanted apart: open, they would go on taking its disk."""
        now = time.monotonic()
        # Of thousands a look takes a while, too.
        if now - self._let_go_at < LOOK_SECONDS * max(1, len(self._files) / 1024):
            return
        self._let_go_at = now
        gone = [number for number, file in self._files.items() if not root.holds(file.record)]
        for number in set(gone).difference(wanted):
            self.close(number)

    def look_again(self, shards: Iterable[int]) -> None:
        """Refuse those of some shards that are open and changed.

        Each is looked at `LOOK_SECONDS` after it was looked at last, with `Verify.ALWAYS` each time.

        Raises
        ------
        ShardError
            The size or modification time of one is another.
        """
        now = time.monotonic()
        late = now if self.verify is Verify.ALWAYS else now - LOOK_SECONDS
        for shard in shards:
            if self._looked_at.get(shard, now + 1) <= late:
                self._files[shard].check_unchanged()
                self._looked_at[shard] = now

    def resized(self) -> Iterator[tuple[ShardRecord, int]]:
        """Yield the shards that have another size than the manifest says, and which; of an object store none."""
        if isinstance(self.root, Path):
            for record in self.split.shards:
                with suppress(FileNotFoundError):
                    size = (self.root / record.path).stat().st_size
                    if size != record.bytes:
                        yield record, size

    def check_digest(self, shard: int) -> None:
        """Read a whole shard and compare its SHA-256 with the manifest's.

        Raises
        ------
        ShardError
            It is another file.
        """
        record = self.split.shards[shard]
        if isinstance(self.root, RemoteRoot):
            # All bytes are compared as they come, and those of a copy that was there again.
            self.root.drop_damaged(record)
            self.root.open(record).close()
            return
        regular_state(self.root, record.path)
        found = digest(self.root / record.path)
        if found != record.sha256:
            raise ShardError(
                f"SHA-256 is {short_digest(found)}, the manifest says {short_digest(record.sha256)}; restore the file",
                path=record.path,
            )

    def check_digests(self) -> None:
        """Compare the SHA-256 of every shard, as `check_digest` does: what one would do before a long run."""
        for shard in range(len(self.split.shards)):
            self.check_digest(shard)

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


def _block_offsets(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the record batch with which each shard begins, and the end, (shards + 1,). rows: of each shard, (shards,)."""
    offsets = np.zeros(len(rows) + 1, np.int64)
    # In the memory of the result: that of steps between would stay with a process that opens very many shards.
    batches = offsets[1:]
    np.add(rows, BATCH_ROWS - 1, out=batches)
    np.floor_divide(batches, BATCH_ROWS, out=batches)
    np.cumsum(batches, out=batches)
    return offsets


def _split_index(offsets: npt.NDArray[np.int64], index: int) -> tuple[int, int]:
    # The last that begins at or before it: an empty owner begins where the next one does, and is passed over.
    owner = int(np.searchsorted(offsets, index, side="right")) - 1
    return owner, index - int(offsets[owner])


def open_shards(
    folder: str | os.PathLike[str],
    split: str = "train",
    *,
    verify: str = "first",
    mmap: bool = True,
    fingerprint: str | None = None,
    vocabulary: str | None = None,
) -> ShardSet:
    """Open a split of a finished dataset; exported as ``spanmask.open``.

    Parameters
    ----------
    folder
        What ``spanmask preshard --out`` wrote: a folder, or the URL of a prefix in an object store.
    split
        ``train`` or ``validation``.
    verify
        When checksums of record batches are compared: ``first`` (as each is first touched), ``always`` or ``never``.
    mmap
        Whether shards are mapped into memory, which is fast, and ends this process by SIGBUS where somebody cuts a shard that is mapped.
        Without, they are read into it whole, about 4 GiB of them at a time, and what was read stays as it was; one above 1 GiB, which is
        a single record batch, is mapped all the same.
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
    StorageError
        The file system, or the object store, refused.
    """
    if verify not in tuple(Verify):
        raise ConfigError(f"verify is {verify!r}: give one of {', '.join(Verify)}")
    root = root_of(folder)
    with reporting(root, "open"):
        manifest = read_manifest(root)
    for what, expected, found in (
        ("fingerprint", fingerprint, manifest.fingerprint),
        ("vocabulary", vocabulary, manifest.stated_vocabulary.sha256),
    ):
        if expected not in (None, found):
            raise MismatchError(
                f"{root}: its {what} is {found}, expected was {expected}; give the dataset that goes with it"
            )
    splits = manifest.splits
    if split not in splits:
        raise ConfigError(f"{root} has no split {split!r}; it has {', '.join(splits) or 'none'}")
    return ShardSet(root, manifest, splits[split], Verify(verify), mapped=mmap)
