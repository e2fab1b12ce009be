"""Where a dataset lies: in a folder of this machine, or below a prefix of an object store, and how its files are read from there."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from spanmask import remote
from spanmask.errors import ConfigError, IncompleteShards, MissingExtraError, ShardError
from spanmask.shard.cache import Wanted, shard_cache
from spanmask.storage import digest, reporting
from spanmask.urls import shown

if TYPE_CHECKING:
    from spanmask.shard.table import ShardRecord

_MISSING = "the file is missing; restore it, or run preshard again"


@dataclass(frozen=True, slots=True)
class RemoteRoot(os.PathLike[str]):
    """A prefix of an object store with a dataset. Its shards are read from copies on this machine.

    kept: whether copies stay in the user's cache (`spanmask.shard.cache`), and are taken from there; else a shard is fetched each time.
    """

    url: str
    kept: bool = True

    def __fspath__(self) -> str:
        return self.url

    def __str__(self) -> str:
        return shown(self.url)

    def read(self, name: str, limit: int) -> bytes:
        """Return the bytes of an object of at most so many, by one request.

        Raises
        ------
        IncompleteShards
            There is none.
        ShardError
            It is larger.
        StorageError
            The store refused.
        """
        try:
            data = remote.read_whole(f"{self.url}/{name}", limit)
        except MissingExtraError:
            raise
        except ConfigError:
            # Of a URL that was taken before, this alone is left.
            raise IncompleteShards(_MISSING, path=name) from None
        if data is None:
            raise ShardError(f"not an object of at most {limit} bytes", path=name)
        return data

    def open(self, record: ShardRecord) -> IO[bytes]:
        """Return a copy of a shard, open for reading, each of its bytes as the manifest has them; fetched where there is none.

        Raises
        ------
        IncompleteShards
            There is no such object.
        ShardError
            It is another.
        StorageError
            The store refused, or the folder of copies cannot be used.
        """
        cache, wanted = shard_cache(), self._wanted(record)
        return (cache.open if self.kept else cache.fresh)(wanted, partial(self._fetch, record))

    def fetch(self, record: ShardRecord) -> None:
        """Have a copy of a shard ready for `open`, where no other process is at it already; errors as of `open`."""
        shard_cache().ensure(self._wanted(record), partial(self._fetch, record))

    def touch(self, record: ShardRecord) -> None:
        """Note that a shard's copy is in use."""
        if self.kept:
            shard_cache().touch(self._wanted(record))

    def holds(self, record: ShardRecord) -> bool:
        """Return whether there is a copy of a shard."""
        return self.kept and shard_cache().path(self._wanted(record)).exists()

    def drop_damaged(self, record: ShardRecord) -> bool:
        """Remove a shard's copy if it is not, or no more, what the manifest says; return whether it was so."""
        path = shard_cache().path(self._wanted(record))
        damaged = self.kept and path.exists() and digest(path) != record.sha256
        if damaged:
            path.unlink(missing_ok=True)
        return damaged

    def names(self) -> list[str]:
        """Return what lies below the prefix, by one listing."""
        return [entry.url.removeprefix(f"{self.url}/") for entry in remote.listing(self.url)]

    def _wanted(self, record: ShardRecord) -> Wanted:
        return Wanted(sha256=record.sha256, bytes=record.bytes, name=f"{self}/{record.path}")

    def _fetch(self, record: ShardRecord, file: remote.Sink) -> None:
        try:
            # One byte more tells of an object that is larger, whatever is in it.
            remote.download(f"{self.url}/{record.path}", file, stop=record.bytes + 1)
        except MissingExtraError:
            raise
        except ConfigError:
            raise IncompleteShards(f"{self}: {_MISSING}", path=record.path) from None


#: Where a dataset lies.
Root = Path | RemoteRoot


def root_of(folder: str | os.PathLike[str]) -> Root:
    """Return where a dataset lies that is given by its path or URL.

    Raises
    ------
    ConfigError
        The URL cannot be used, or was made a `Path`, which spoils it.
    """
    if isinstance(folder, RemoteRoot):
        return folder
    if not remote.is_url(folder):
        return Path(folder)
    if isinstance(folder, Path):
        raise ConfigError(f"{folder}: a Path, which has one slash of a URL's two: give the URL as it is, a str")
    return RemoteRoot(remote.url_of(folder))


def name_of(root: Root) -> str:
    """Return a dataset's name for people: that of its folder, or the last part of its prefix."""
    return root.resolve().name if isinstance(root, Path) else str(root).rpartition("/")[2]


def read_file(root: Root, name: str, limit: int) -> bytes:
    """Return the bytes of a plain file of at most so many in a dataset.

    Raises
    ------
    IncompleteShards
        The file is missing.
    ShardError
        It is a link or something else, or larger.
    StorageError
        It cannot be read.
    """
    if isinstance(root, RemoteRoot):
        return root.read(name, limit)
    path = root / name
    with reporting(path, "read"):
        try:
            state = path.lstat()
        except FileNotFoundError:
            raise IncompleteShards(_MISSING, path=name) from None
        if not stat.S_ISREG(state.st_mode) or state.st_size > limit:
            raise ShardError(f"not a regular file of at most {limit} bytes", path=name)
        return path.read_bytes()


def open_shard(root: Root, record: ShardRecord) -> IO[bytes]:
    """Return a shard, open for reading, that has as many bytes as the manifest says.

    Raises
    ------
    IncompleteShards
        The file is missing.
    ShardError
        It has another size, or it or its folder is a link or something else. Of an object store, whose bytes are compared: it is another.
    StorageError
        It cannot be opened, or fetched.
    """
    if isinstance(root, RemoteRoot):
        return root.open(record)
    state = regular_state(root, record.path)
    if state.st_size != record.bytes:
        raise ShardError(f"{state.st_size} bytes, the manifest says {record.bytes}", path=record.path)
    with reporting(root / record.path, "map"):
        return (root / record.path).open("rb")


def regular_state(root: Path, relative: str) -> os.stat_result:
    """Return what the file system says of a shard, having made sure that it is a plain file in a plain folder of the dataset.

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
        raise IncompleteShards(_MISSING, path=relative) from None
    if not stat.S_ISREG(state.st_mode) or not stat.S_ISDIR(folder.st_mode):
        raise ShardError("not a regular file inside the dataset's folder", path=relative)
    return state
