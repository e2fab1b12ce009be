"""Read objects of a store as files: ranges of their bytes, the next ones fetched while the last are used, all of what was pinned."""

from __future__ import annotations

import os
import tempfile
import weakref
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache
from threading import Thread

from spanmask.errors import StorageError
from spanmask.remote import download, read
from spanmask.urls import shown

#: Bytes that one request asks for of what is read in order, and how many such pieces are fetched ahead of the one in use.
PIECE_BYTES, _AHEAD = 8 << 20, 2
#: Of that, what is left of a span at most for which no request is made of its own.
_REST = 1 / 4
#: Bytes that one request asks for at least.
_LEAST_BYTES = 64 << 10
#: Bytes before what is wanted that come along: the line before tells whether it is blank.
_BEFORE_BYTES = 4 << 10


class ObjectSource:
    """An object of a store, open for reading; a read may return less than is asked for, nothing at the end only.

    Parameters
    ----------
    url, size, pin
        Which object, its bytes, and what tells that it is still that one.
    start, stop
        What will be read in order, as far as is known.
    """

    closed = False

    def __init__(self, url: str, size: int, pin: str, start: int, stop: int | None) -> None:
        self._url, self._size, self._pin = url, size, pin
        self._at, self._more = start, _LEAST_BYTES // 2
        self._spans: list[tuple[int, int]] = []
        self._pieces: dict[int, tuple[int, Future[bytes]]] = {}
        # A line that begins before the stop ends beyond it.
        self.expect([(max(0, start - _BEFORE_BYTES), size if stop is None else min(stop + _LEAST_BYTES, size))])

    def expect(self, spans: Sequence[tuple[int, int]], at_once: int = 1) -> None:
        """Say which bytes [start, stop) will be read, each in order and so many by turns; what else is read is fetched when it is."""
        self._spans = sorted(spans)
        # The last piece stays: who finds where a line begins goes back to it.
        self._most = 1 + (1 + _AHEAD) * at_once

    def tell(self) -> int:
        """Return at which byte the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a byte."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes.

        Raises
        ------
        StorageError
            The store refused, or the object changed.
        """
        if self._at >= self._size or size == 0:
            return b""
        start, future = self._piece(self._at, size)
        data = future.result()
        first = self._at - start
        data = data if first == 0 and len(data) <= size else data[first : first + size]
        self._at += len(data)
        return data

    def close(self) -> None:
        """Let go of what was fetched."""
        self.closed = True
        self._pieces.clear()

    def _piece(self, at: int, size: int) -> tuple[int, Future[bytes]]:
        """Return the piece that holds a byte, and have those after it fetched."""
        start = next((start for start, (stop, _) in self._pieces.items() if start <= at < stop), None)
        if start is None:
            start, span = at, self._span(at)
            if span is None:
                stop = min(self._next_span(at), at + self._unexpected(size))
            else:
                if at - span[0] <= _BEFORE_BYTES:
                    start = span[0]
                stop = _end_of_piece(start, span[1])
            self._fetch(start, stop)
        self._pieces[start] = stop, future = self._pieces.pop(start)
        for _ in range(_AHEAD):
            span = self._span(stop)
            if span is None:
                break
            if stop not in self._pieces:
                self._fetch(stop, _end_of_piece(stop, span[1]))
            stop = self._pieces[stop][0]
        while len(self._pieces) > self._most:
            del self._pieces[next(iter(self._pieces))]
        return start, future

    def _unexpected(self, _: int) -> int:
        """Return how much to fetch of what was not expected: more each time, as of a document that goes on and on."""
        self._more = min(2 * self._more, PIECE_BYTES)
        return self._more

    def _span(self, at: int) -> tuple[int, int] | None:
        number = bisect_right(self._spans, (at, self._size)) - 1
        return self._spans[number] if number >= 0 and at < self._spans[number][1] else None

    def _next_span(self, at: int) -> int:
        number = bisect_right(self._spans, (at, self._size))
        return self._spans[number][0] if number < len(self._spans) else self._size

    def _fetch(self, start: int, stop: int) -> None:
        future: Future[bytes] = Future()
        self._pieces[start] = stop, future
        # A thread that nobody waits for when the process ends.
        Thread(target=self._deliver, args=(start, stop, future), daemon=True).start()

    def _deliver(self, start: int, stop: int, future: Future[bytes]) -> None:
        try:
            data = read(self._url, start, stop, pin=self._pin)
            if len(data) != stop - start:
                raise StorageError(
                    f"{shown(self._url)}: {len(data):,} bytes came where {stop - start:,} were asked for; "
                    "check the store and the way to it, then run the same command again"
                )
            future.set_result(data)
        except BaseException as error:
            future.set_exception(error)


def _end_of_piece(start: int, stop: int) -> int:
    """Return where a piece ends that begins in a span which ends at ``stop``."""
    return stop if stop - start <= PIECE_BYTES * (1 + _REST) else start + PIECE_BYTES


class ColumnSource(ObjectSource):
    """An object of columns: a read returns all that is asked for, and columns are read by turns."""

    def __init__(self, url: str, size: int, pin: str) -> None:
        self._is_whole = False
        super().__init__(url, size, pin, 0, 0)
        self.expect([])

    def read(self, size: int, /) -> bytes:
        """Return so many bytes, fewer at the end only; raises as `ObjectSource.read` does."""
        pieces, left = [], size
        while left > 0 and (data := super().read(left)):
            pieces.append(data)
            left -= len(data)
        return b"".join(pieces)

    def expect(self, spans: Sequence[tuple[int, int]], at_once: int = 1) -> None:
        """Say what will be read, see `ObjectSource.expect`; where all is there, that is all."""
        if not self._is_whole:
            super().expect(spans, at_once)

    def _unexpected(self, size: int) -> int:
        return max(size, _LEAST_BYTES)

    def fetch(self, watch: Callable[[int, bytes], object]) -> None:
        """Fetch the whole object and hold it, telling somebody of its bytes in order."""
        super().expect([(0, self._size)], -(-self._size // PIECE_BYTES))
        self._is_whole = True
        while data := super().read(PIECE_BYTES):
            watch(self._at - len(data), data)


class _Spool:
    """A file without a name, for as long as somebody holds this."""

    def __init__(self) -> None:
        self.number, name = tempfile.mkstemp(prefix="spanmask-")
        os.unlink(name)
        weakref.finalize(self, os.close, self.number)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.number, view) :]


@lru_cache(maxsize=2)
def _spooled(url: str, size: int, pin: str) -> _Spool:
    spool = _Spool()
    try:
        found = download(url, spool, pin=pin)
    except OSError as error:
        raise StorageError(
            f"{shown(url)}: no room for it in {tempfile.gettempdir()} ({error.strerror}); free some, or name another folder by TMPDIR"
        ) from None
    if found != size:
        raise StorageError(f"{shown(url)}: {found:,} bytes came, and it has {size:,}; run the same command again")
    return spool


def spooled(url: str, size: int, pin: str) -> str:
    """Return a path by which an object can be opened that was fetched whole, once a process: for readers that map files into memory.

    Raises
    ------
    StorageError
        The store refused, the object changed, or there is no room for it.
    """
    return f"/dev/fd/{_spooled(url, size, pin).number}"
