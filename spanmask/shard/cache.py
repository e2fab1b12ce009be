"""Copies of an object store's shards on this machine, named by their SHA-256: shared by datasets and processes, without a lock.

::

    FOLDER/ab/abcd….arrow       a copy; its name says all that is in it, so it may be made twice, and appears whole or not at all
    FOLDER/fetching/…           copies under way, by digest, host and process; and claims: who fetches which, so that others wait

Nothing rests on claims: where one is lost, an object is fetched twice. Copies that were used least lately go when there are too many bytes.
"""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from spanmask.config import size_of
from spanmask.errors import ConfigError, ShardError, StorageError
from spanmask.escaping import short_digest
from spanmask.kernels.user_cache import is_own, user_cache_folder
from spanmask.owners import Owner, host_name
from spanmask.remote import Sink
from spanmask.storage import TEMPORARY, advice_for, beside, owner_of

#: Bytes of copies that are kept; the variable that says otherwise.
LIMIT, LIMIT_VARIABLE = 64 << 30, "SPANMASK_SHARD_CACHE_BYTES"
#: How often an object is fetched that comes as another than the manifest says.
_TRIES = 3
#: Seconds without a byte after which another process fetches, too, and after which what is under way is taken to be nobody's.
_STILL, _ABANDONED = 60.0, 86400.0
#: Each process looks at how much there is when it has fetched this part of the limit, or for so many seconds, since it looked last: N of
#: them exceed the limit by N/1,024 of it at most, or by what they fetch in ten seconds where that is less, and by the shard each is at.
_LOOKS, _LOOK_SECONDS = 1024, 10.0

#: The names that copies and claims have, and what is under way: a folder may hold files of the user's, too, which are never removed.
_COPY, _UNDER_WAY = (
    re.compile(r"[0-9a-f]{64}\.arrow"),
    re.compile(rf"[0-9a-f]{{64}}\.claim|{re.escape(TEMPORARY)}.*", re.DOTALL),
)

#: Writes an object's bytes to a file.
Fetch = Callable[[Sink], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A shard in an object store, as the manifest states it. name: of the object, for people."""

    sha256: str
    bytes: int
    name: str


class ShardCache:
    """Copies of shards in a folder. limit: bytes of them that are kept."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self._folder, self.limit = folder, limit
        self._under_way = folder / "fetching"
        self._looked_at, self._fetched_since = -math.inf, 0
        self._trusted = False

    def open(self, wanted: Wanted, fetch: Fetch) -> IO[bytes]:
        """Return a shard's copy, open for reading, fetched where there is none.

        Raises
        ------
        ShardError
            The object is another than the manifest says, each time.
        StorageError
            The cache cannot be used, or whatever ``fetch`` raises.
        """
        self._require_own()
        claim = _Claim(self._under_way / f"{wanted.sha256}.claim")
        while True:
            kept = self._kept(wanted)
            if kept is not None:
                return kept
            if self._take(claim):
                with claim.held():
                    # Another may have fetched it between the look and the claim.
                    return self._kept(wanted) or self._fetched(wanted, fetch, claim)
            claim.wait()

    def ensure(self, wanted: Wanted, fetch: Fetch) -> None:
        """Fetch a copy where there is none, and nobody is at it; errors as of `open`."""
        self._require_own()
        claim = _Claim(self._under_way / f"{wanted.sha256}.claim")
        if self.path(wanted).exists():
            self.touch(wanted)
        elif self._take(claim):
            with claim.held():
                (self._kept(wanted) or self._fetched(wanted, fetch, claim)).close()

    def fresh(self, wanted: Wanted, fetch: Fetch) -> IO[bytes]:
        """Return a shard as it is in the store now, open for reading; no copy of it is kept. Errors as of `open`."""
        self._make_folders()
        file = self._arrived(wanted, fetch, lambda: None)
        Path(file.name).unlink(missing_ok=True)
        return file

    def path(self, wanted: Wanted) -> Path:
        """Return where a shard's copy lies, if there is one."""
        return self._folder / wanted.sha256[:2] / f"{wanted.sha256}.arrow"

    def touch(self, wanted: Wanted) -> None:
        """Note that a copy is in use."""
        # It may be gone, or not ours to touch; whoever has it open keeps it.
        with suppress(OSError):
            os.utime(self.path(wanted))

    def _kept(self, wanted: Wanted) -> IO[bytes] | None:
        path = self.path(wanted)
        with self._reporting("open", path):
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:
                return None
            if os.fstat(file.fileno()).st_size != wanted.bytes:
                file.close()
                path.unlink(missing_ok=True)
                return None
        self.touch(wanted)
        return file

    def _take(self, claim: _Claim) -> bool:
        self._make_folders()
        with self._reporting("write", claim.path):
            return claim.take()

    def _fetched(self, wanted: Wanted, fetch: Fetch, claim: _Claim) -> IO[bytes]:
        """Fetch a copy, give it its name, and make room for what comes."""
        path = self.path(wanted)
        for _ in range(_TRIES):
            file = self._arrived(wanted, fetch, claim.renew)
            with self._reporting("write", path):
                path.parent.mkdir(exist_ok=True, mode=0o700)
                try:
                    os.replace(file.name, path)
                except FileNotFoundError:
                    # It was taken for a dead process's, and removed.
                    file.close()
                    continue
                self._make_room(wanted.bytes)
            return file
        raise StorageError(f"{path}: something removes copies before they are complete; look for what does")

    def _arrived(self, wanted: Wanted, fetch: Fetch, on_bytes: Callable[[], object]) -> _Arriving:
        """Return a file that was fetched and is what the manifest says, under a name of its own."""
        if wanted.bytes > self.limit:
            raise StorageError(
                f"{wanted.name}: {wanted.bytes:,} bytes, and copies may take {self.limit:,}; raise {LIMIT_VARIABLE}"
            )
        told = ""
        for _ in range(_TRIES):
            with self._reporting("write", self._under_way):
                file = _Arriving(beside(self._under_way / wanted.sha256), wanted.bytes, self._reporting, on_bytes)
            try:
                fetch(file)
            except BaseException:
                file.discard()
                raise
            told = file.differs_from(wanted)
            if not told:
                file.seek(0)
                return file
            file.discard()
        raise ShardError(f"{told}, on {_TRIES} tries; restore the object, or preshard again", path=wanted.name)

    def _make_folders(self) -> None:
        with self._reporting("write", self._folder):
            self._folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder.mkdir(exist_ok=True, mode=0o700)
            self._under_way.mkdir(exist_ok=True, mode=0o700)

    def _require_own(self) -> None:
        """Refuse a folder in which others could put rows of theirs under a digest."""
        if self._trusted or not self._folder.exists():
            return
        if not is_own(self._folder):
            raise StorageError(
                f"{self._folder}: others can write there, where copies of shards of object stores are kept; "
                "take that from them (chmod 700), or set SPANMASK_CACHE_DIR to a folder of your own"
            )
        self._trusted = True

    def _make_room(self, fetched: int) -> None:
        """Remove the copies used least lately, where there are too many, and what dead processes left."""
        now = time.monotonic()
        self._fetched_since += fetched
        if self._fetched_since < self.limit // _LOOKS and now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at, self._fetched_since = now, 0
        _remove_abandoned(self._under_way)
        kept = sorted(_copies(self._folder))
        excess = sum(size for _, size, _ in kept) - self.limit
        for _, size, path in kept:
            if excess <= 0:
                return
            with suppress(FileNotFoundError):
                os.unlink(path)
            excess -= size

    @contextmanager
    def _reporting(self, doing: str, path: Path) -> Iterator[None]:
        """Turn what the file system refuses into a `StorageError` that says what the file is for."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = f"; or lower {LIMIT_VARIABLE}, which is {self.limit:,}" if full else ""
            raise StorageError(
                f"{path}: could not {doing} ({error.strerror or error}), where copies of shards of object stores are kept; "
                f"{advice_for(error)}; or set SPANMASK_CACHE_DIR to a folder with room{advice}"
            ) from error


class _Arriving(io.FileIO):
    """A new file that hashes what is written to it, and takes no more bytes than are wanted."""

    def __init__(
        self, path: Path, wanted: int, reporting: Callable[[str, Path], Any], on_bytes: Callable[[], object]
    ) -> None:
        super().__init__(path, "x+")
        self._wanted, self._reporting, self._on_bytes = wanted, reporting, on_bytes
        self._bytes, self._content = 0, hashlib.sha256()

    def write(self, data: Any, /) -> int:
        """Append bytes; what is beyond those wanted is counted alone."""
        view = memoryview(data).cast("B")
        self._bytes += len(view)
        if self._bytes <= self._wanted:
            self._content.update(view)
            left = view
            with self._reporting("write", Path(str(self.name))):
                while left:
                    left = left[super().write(left) :]
        self._on_bytes()
        return len(view)

    def differs_from(self, wanted: Wanted) -> str:
        """Return in what the bytes written are not those wanted, for people; empty where they are."""
        if self._bytes > wanted.bytes:
            return f"more than {wanted.bytes:,} bytes came, which is what the manifest says"
        if self._bytes != wanted.bytes:
            return f"{self._bytes:,} bytes came, the manifest says {wanted.bytes:,}"
        found = self._content.hexdigest()
        if found != wanted.sha256:
            return f"SHA-256 is {short_digest(found)}, the manifest says {short_digest(wanted.sha256)}"
        return ""

    def discard(self) -> None:
        """Close and remove the file."""
        self.close()
        with suppress(OSError):
            os.unlink(str(self.name))


class _Claim:
    """A file that says who fetches an object, as long as somebody does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pause = 0.005
        self._seen, self._since = 0, 0.0

    def take(self) -> bool:
        """Return whether this process is the one to fetch now; a dead one's claim is removed, to be taken next time."""
        try:
            with self.path.open("x") as file:
                file.write(str(Owner.here()))
        except FileExistsError:
            if self._is_dead():
                self.path.unlink(missing_ok=True)
            return False
        return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Give the claim up after the body."""
        try:
            yield
        finally:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def renew(self) -> None:
        """Tell the others that bytes arrive."""
        if time.monotonic() - self._since >= 1:
            self._since = time.monotonic()
            with suppress(OSError):
                os.utime(self.path)

    def wait(self) -> None:
        """Wait a moment, the longer the more often."""
        time.sleep(self._pause)
        self._pause = min(self._pause * 1.5, 0.2)

    def _is_dead(self) -> bool:
        try:
            owner = Owner.of(self.path.read_text("utf-8", "replace"))
            changed = self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if changed != self._seen:
            # The clocks of two hosts may differ: what counts is for how long we saw no change.
            self._seen, self._since = changed, time.monotonic()
        return time.monotonic() - self._since > _STILL or (owner is not None and owner.lives is False)


def _plain_files(folder: str | Path, name: re.Pattern[str]) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    """Yield the regular files of a folder that have a name of some kind, and what the file system says of each."""
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            if name.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                yield entry, entry.stat(follow_symlinks=False)


def _copies(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Yield when each copy was last used, its bytes and its path."""
    for inner in os.scandir(folder):
        if len(inner.name) == 2 and inner.is_dir(follow_symlinks=False):
            for entry, state in _plain_files(inner.path, _COPY):
                if entry.name.startswith(inner.name):
                    yield state.st_mtime_ns, state.st_size, entry.path


def _remove_abandoned(under_way: Path) -> None:
    """Remove what no process is fetching any more: one of this host that is dead, or one that nobody saw write for a day."""
    for entry, state in _plain_files(under_way, _UNDER_WAY):
        owner = owner_of(Path(entry.path))
        if time.time() - state.st_mtime > _ABANDONED or (owner is not None and owner.lives is False):
            with suppress(FileNotFoundError):
                os.unlink(entry.path)


@lru_cache
def _cache_in(folder: Path, limit: int) -> ShardCache:
    return ShardCache(folder, limit)


def shard_cache() -> ShardCache:
    """Return the user's cache of shards, this host's: in a home that hosts share, one would remove what another has mapped.

    Raises
    ------
    ConfigError
        Its limit, in SPANMASK_SHARD_CACHE_BYTES, is no size.
    """
    stated = os.environ.get(LIMIT_VARIABLE)
    try:
        limit = size_of(stated) if stated else LIMIT
    except ValueError:
        raise ConfigError(f"{LIMIT_VARIABLE} is {stated!r}: give bytes, or a number with MiB or GiB") from None
    return _cache_in(user_cache_folder() / "shard-copies" / host_name(), limit)
