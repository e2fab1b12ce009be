"""Open input files as bytes: an `InputFile` flows in, a stream that can be sought flows out; who hashes it is told what is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from spanmask.storage import reporting

if TYPE_CHECKING:
    from spanmask.corpus.inputs import InputFile

#: Told of the bytes of a file as they are read: where they lie in it, and what they are.
Watch = Callable[[int, bytes], None]


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
def open_input(file: InputFile, start: int = 0) -> Iterator[Source]:
    """Open an input file at a byte.

    Raises
    ------
    ConfigError
        It is not there.
    StorageError
        The file system refused.
    """
    with reporting(file.path, "read"), open(file.path, "rb", buffering=0) as raw:
        raw.seek(start)
        yield cast(Source, raw) if file.watch is None else _Watched(raw, file.watch)


class _Watched:
    """A file whose bytes somebody is told of as they are read."""

    def __init__(self, raw: IO[bytes], watch: Watch) -> None:
        self._raw, self._watch = raw, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def read(self, size: int, /) -> bytes:
        at, data = self._raw.tell(), self._raw.read(size)
        self._watch(at, data)
        return data
