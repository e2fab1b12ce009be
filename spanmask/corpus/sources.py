"""Open input files as bytes: an `InputFile` flows in, a stream that can be sought flows out; who hashes it is told what is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

from spanmask.config import Format
from spanmask.storage import reporting

if TYPE_CHECKING:
    from spanmask.corpus.inputs import InputFile
    from spanmask.corpus.objects import ColumnSource

#: Told of the bytes of a file as they are read: where they lie in it, and what they are.
Watch = Callable[[int, bytes], None]

#: Bytes of an object of columns that is fetched whole where all of it is hashed, rather than the columns and then all of it.
WHOLE_BYTES = 64 << 20


class Source(Protocol):
    """An open input file, as it lies on disk."""

    @property
    def closed(self) -> bool:
        """Whether it was let go of."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end only."""

    def seek(self, offset: int, /) -> int:
        """Go to a byte."""

    def tell(self) -> int:
        """Return at which byte the next read begins."""

    def close(self) -> None:
        """Let go of the file."""


@contextmanager
def open_input(file: InputFile, start: int = 0, stop: int | None = None) -> Iterator[Source]:
    """Open an input file at a byte. stop: up to which it will be read in order, about; None: to its end.

    Raises
    ------
    ConfigError
        It is not there.
    StorageError
        The file system or the store refused, or an object is not the one that was pinned.
    """
    with reporting(file.path, "read"), closing(_opened(file, start, stop)) as raw:
        raw.seek(start)
        yield raw if file.watch is None else _Watched(raw, file.watch)


def _opened(file: InputFile, start: int, stop: int | None) -> Source:
    if file.pin is None:
        return cast(Source, open(file.path, "rb", buffering=0))
    from spanmask.corpus.objects import ObjectSource, spooled

    if file.format is Format.ARROW:
        return cast(Source, open(spooled(file.path, file.size, file.pin), "rb", buffering=0))
    return ObjectSource(file.path, file.size, file.pin, start, stop)


@contextmanager
def open_columns(file: InputFile) -> Iterator[str | ColumnSource]:
    """Open a file of columns as what Arrow reads from: a path to map, or an object in ranges; raises as `open_input` does."""
    if file.pin is None:
        yield file.path
        return
    from spanmask.corpus.objects import ColumnSource, spooled

    if file.format is Format.ARROW:
        yield spooled(file.path, file.size, file.pin)
        return
    with closing(ColumnSource(file.path, file.size, file.pin)) as source:
        if file.watch is not None and file.size <= WHOLE_BYTES:
            source.fetch(file.watch)
        yield source


def read_all(source: Source, size: int) -> bytes:
    """Return so many bytes, fewer at the end only: an object may hand on less at once."""
    data = source.read(size)
    if len(data) == size or not data:
        return data
    pieces, left = [data], size - len(data)
    while left > 0 and (data := source.read(left)):
        pieces.append(data)
        left -= len(data)
    return b"".join(pieces)


class _Watched:
    """A file whose bytes somebody is told of as they are read."""

    def __init__(self, raw: Source, watch: Watch) -> None:
        self._raw, self._watch = raw, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def read(self, size: int, /) -> bytes:
        at, data = self._raw.tell(), self._raw.read(size)
        self._watch(at, data)
        return data
