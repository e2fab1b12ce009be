"""Folders, and prefixes of object stores, under which files appear whole or not at all: names and bytes in and out."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from spanmask import remote
from spanmask.errors import ConfigError
from spanmask.storage import (
    TEMPORARY,
    beside,
    digest,
    publish,
    refuse_url,
    reporting,
    require_file,
    sync_folder,
    write_through,
)
from spanmask.urls import shown

#: A file's name in a place: parts of plain characters, none of them a step up, a step aside or hidden from a listing.
_NAME = re.compile(r"(?!\.{1,2}(/|$))[^/\\:\x00-\x1f]+(/(?!\.{1,2}(/|$))[^/\\:\x00-\x1f]+)*")

_T = TypeVar("_T")


class Place(ABC):
    """A folder or prefix. Names are relative to it, with slashes, and lead nowhere else.

    All methods raise ConfigError where a name could lead elsewhere, or a file that is read is not there, and StorageError where the file
    system or the store refuses.
    """

    @abstractmethod
    def read(self, name: str, limit: int | None = None) -> bytes:
        """Return a file's bytes; one of more than a limit is refused."""

    @abstractmethod
    def write(self, name: str, fill: Callable[[IO[bytes]], _T]) -> _T:
        """Publish a file whose content ``fill`` writes, called once with an open one; return what it returned.

        A file that had the name goes. Locally the folder that it goes to exists.
        """

    def publish(self, name: str, data: bytes | memoryview) -> None:
        """Publish a file with these bytes; see `write`."""
        self.write(name, lambda file: file.write(data))

    @abstractmethod
    def publish_new(self, name: str, data: bytes) -> bool:
        """Publish a file where nothing has the name; tell whether it is there with these bytes then."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Return a file's bytes, None where there is none."""

    @abstractmethod
    def digest(self, name: str) -> str:
        """Return a file's SHA-256 in hexadecimal."""

    @abstractmethod
    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return all files below a folder of the place with their bytes, sorted by name; none where there is no such folder."""

    @abstractmethod
    def times(self, folder: str) -> dict[str, float]:
        """Return the files in a folder of the place with when they were written, in seconds since 1970; some may come or go meanwhile."""

    def names(self, prefix: str = "") -> list[str]:
        """Return all files below a folder of the place, sorted."""
        return list(self.sizes(prefix))

    @abstractmethod
    def remove(self, *names: str) -> None:
        """Remove files; those that are not there are none."""


@dataclass(frozen=True, slots=True)
class LocalPlace(Place):
    """A folder of this machine."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def _path(self, name: str) -> Path:
        return self.folder / checked_name(name)

    def read(self, name: str, limit: int | None = None) -> bytes:
        """See `Place`."""
        path = self._path(name)
        require_file(path, limit)
        with reporting(path, "read"):
            return path.read_bytes()

    def write(self, name: str, fill: Callable[[IO[bytes]], _T]) -> _T:
        """See `Place`."""
        return publish(self._path(name), fill)

    def publish_new(self, name: str, data: bytes) -> bool:
        """See `Place`."""
        path = self._path(name)
        temporary = beside(path)
        with reporting(path, "write"):
            try:
                write_through(temporary, lambda file: file.write(data))
                # Unlike a rename, a link is refused where the name is taken.
                os.link(temporary, path)
            except FileExistsError:
                return path.read_bytes() == data
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(path.parent)
        return True

    def size(self, name: str) -> int | None:
        """See `Place`."""
        path = self._path(name)
        with reporting(path, "read"):
            return path.stat().st_size if path.is_file() else None

    def digest(self, name: str) -> str:
        """See `Place`."""
        return digest(self._path(name))

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """See `Place`; what is being written is no file yet."""
        top = self._path(prefix) if prefix else self.folder
        with reporting(top, "list"):
            found = [Path(folder, name) for folder, _, names in os.walk(top) for name in names]
            kept = [path for path in found if not path.name.startswith(TEMPORARY)]
            return {
                name: path.stat().st_size
                for name, path in sorted((p.relative_to(self.folder).as_posix(), p) for p in kept)
            }

    def times(self, folder: str) -> dict[str, float]:
        """See `Place`."""
        found, top = dict[str, float](), self._path(folder)
        with reporting(top, "list"), contextlib.suppress(FileNotFoundError), os.scandir(top) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if not entry.name.startswith(TEMPORARY):
                        found[f"{folder}/{entry.name}"] = entry.stat().st_mtime
        return found

    def remove(self, *names: str) -> None:
        """See `Place`."""
        for path in map(self._path, names):
            with reporting(path, "remove"):
                path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class RemotePlace(Place):
    """A prefix of an object store. One request writes a file: none is ever there in part."""

    url: str

    def __fspath__(self) -> str:
        return self.url

    def __str__(self) -> str:
        return shown(self.url)

    def _url(self, name: str) -> str:
        return f"{self.url}/{checked_name(name)}"

    def read(self, name: str, limit: int | None = None) -> bytes:
        """See `Place`."""
        url = self._url(name)
        data = remote.read(url) if limit is None else remote.read_whole(url, limit)
        if data is None:
            raise ConfigError(f"{shown(url)}: more than {limit:,} bytes, which is all that is read of such a file")
        return data

    def write(self, name: str, fill: Callable[[IO[bytes]], _T]) -> _T:
        """See `Place`; the content is held in memory."""
        file = io.BytesIO()
        result = fill(file)
        remote.put(self._url(name), file.getvalue())
        return result

    def publish_new(self, name: str, data: bytes) -> bool:
        """See `Place`; where the store has no such request, `spanmask.remote.puts_conditionally`, it is looked first."""
        return remote.put_new(self._url(name), data)

    def size(self, name: str) -> int | None:
        """See `Place`."""
        found = remote.find(self._url(name))
        return None if found is None else found.size

    def digest(self, name: str) -> str:
        """See `Place`."""
        content = hashlib.sha256()
        remote.download(self._url(name), _Digesting(content.update))
        return content.hexdigest()

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """See `Place`; one listing, however deep."""
        entries = remote.listing(self._url(prefix) if prefix else self.url)
        return {entry.url.removeprefix(f"{self.url}/"): entry.size for entry in entries}

    def times(self, folder: str) -> dict[str, float]:
        """See `Place`."""
        return {entry.url.removeprefix(f"{self.url}/"): entry.written for entry in remote.listing(self._url(folder))}

    def remove(self, *names: str) -> None:
        """See `Place`."""
        remote.delete(map(self._url, names))


@dataclass(frozen=True, slots=True)
class _Digesting:
    """What bytes are written to that are not kept."""

    write: Callable[[bytes], object]


def place_of(path: str | os.PathLike[str] | Place) -> Place:
    """Return the place that a path or a URL names.

    Raises
    ------
    ConfigError
        It is a URL of a kind that is not written, or names no bucket, or holds a password.
    """
    if isinstance(path, Place):
        return path
    if remote.is_url(path):
        return RemotePlace(remote.url_of(path))
    refuse_url(path)
    return LocalPlace(Path(path))


def checked_name(name: str) -> str:
    """Return a name that stays in its place.

    Raises
    ------
    ConfigError
        It is empty or absolute, has an empty part, a step up, a scheme or a control character.
    """
    if _NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{name!r}: no name of a file in a folder; give parts joined by slashes, none of them . or .."
        )
    return name
