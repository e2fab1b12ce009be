"""Cut streams of lines at document starts: `Chunk` flows in, `RawBlock` flows out.

Documents are joined into blocks by the window of decompressed bytes they start in, so the cuts do not depend on how
the bytes came.
"""

from __future__ import annotations

import weakref
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pickle import PickleBuffer
from typing import Any

import numpy as np

from spanmask.corpus.streams import CUT, Chunk, Whiteness, as_array, as_view, character_start
from spanmask.kernels.text import count_newlines, find_documents, first_document, last_line_is_blank
from spanmask.records import Bytes, Offsets

#: About how many bytes of text one `DocumentBlock` holds.
BLOCK_BYTES = 4 << 20

_NO_WINDOW = -1
#: What is cut short ends where a character does: at most so many bytes before.
_CHARACTER_BYTES = 4
#: Beyond the end of every file.
NEVER = 1 << 62
#: Bytes that there is room for in a window at first.
_AT_FIRST = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBlock:
    """The documents of a text or JSONL file that start in one window of its bytes.

    number: of the window. offset: decompressed offset of data[0]. data: whole documents, from the start of the first, but for the last one
    where it is too long.
    disk_offset: bytes of the file on disk that had been read by then.
    """

    number: int
    offset: int
    data: bytes | memoryview
    disk_offset: int = 0

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle with the data apart, for engines that hand it on without copying."""
        return _raw_block, (self.number, self.offset, PickleBuffer(self.data), self.disk_offset)


def _raw_block(number: int, offset: int, data: bytes | memoryview, disk_offset: int) -> RawBlock:
    return RawBlock(number=number, offset=offset, data=data, disk_offset=disk_offset)


class Rooms:
    """Memory that windows are held in, one after another: new memory the system would clear first, which takes as long as a copy."""

    def __init__(self) -> None:
        self._spare: list[Bytes] = []

    def take(self, size: int) -> Bytes:
        """Return (C,) bytes of anything, at least so many."""
        room = self._spare.pop() if self._spare else None
        return np.empty(size, np.uint8) if room is None or len(room) < size else room

    def lend(self, room: Bytes, size: int) -> memoryview:
        """Return the first bytes of a room, which is spare again when nobody looks at them any more; one such is kept."""
        lent = room[:size]
        weakref.finalize(lent, self._keep, room).atexit = False
        return as_view(lent).toreadonly()

    def _keep(self, room: Bytes) -> None:
        self._spare[:] = [room]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Which documents are wanted, and how they are joined.

    Those that start before `stop`, joined by windows of `width` bytes, but for windows in `skip`.
    sentences: documents are paragraphs between blank lines, rather than lines. whole: the first document goes on to the end.
    limit: of a longer document only so much is handed on, and `CUT`. patient: whether reading goes on behind one.
    """

    width: int
    sentences: bool
    limit: int
    patient: bool
    skip: Container[int] = ()
    stop: int = NEVER
    whole: bool = False

    @property
    def most(self) -> int:
        """The bytes of a line to hold: a longer one reaches so far beyond its window that it is too long wherever it begins."""
        return (0 if self.whole else self.width) + self.limit + 2 * _CHARACTER_BYTES


def document_starts(data: Bytes, sentences: bool, previous_blank: bool) -> tuple[Offsets, bool]:
    """Return the (D,) positions where documents start in whole lines, and whether the last line is blank."""
    starts = np.empty(count_newlines(data) + 1, np.int64)
    count, blank = find_documents(data, sentences, previous_blank, starts)
    return starts[:count], bool(blank)


class _Cutter:
    """Holds the documents of the window under way. end: where to look for the document that opens the next one.

    A document belongs to the window it starts in, however far it reaches: whoever reads a part of the file finds the same documents in it
    without having read what lies before.
    """

    def __init__(self, windows: Windows, rooms: Rooms) -> None:
        self._windows = windows
        self._rooms = rooms
        self._data: Bytes = np.empty(0, np.uint8)
        self._size = 0
        self._origin = 0
        self._room = 0
        self._rest = Whiteness()
        self.is_full = False
        self.number = _NO_WINDOW
        self.end = 0

    def open(self, place: int) -> None:
        """Go over to the window of the document that starts at a place; past the stop, to none."""
        windows, self._origin = self._windows, place
        if place < windows.stop:
            self.number = place // windows.width
            self.end = min((self.number + 1) * windows.width, windows.stop)
            # Every document begins before the end: one that is not too long lies within.
            self._room = (0 if windows.whole else self.end - place) + windows.limit + _CHARACTER_BYTES
            self._rest, self.is_full = Whiteness(), False
        else:
            self.number, self.end = _NO_WINDOW, NEVER

    def hold(self, data: memoryview) -> None:
        """Keep whole lines of the window under way. Those of a window to skip are passed over here, so that its place is still counted."""
        if self.number == _NO_WINDOW or self.number in self._windows.skip or self.is_full or not len(data):
            return
        end = character_start(data, self._room)
        self._add(data[:end])
        rest, self._room = data[end:], max(0, self._room - len(data))
        if rest and not self._rest.goes_on(rest):
            self.is_full = True
            self._add(memoryview(CUT))

    def _add(self, data: memoryview) -> None:
        """Copy bytes behind those held: NumPy asks for large pages, and a chunk that is let go at once is read into again."""
        end = self._size + len(data)
        if end > len(self._data):
            grown = self._rooms.take(max(end, 2 * self._size, min(self._windows.width, _AT_FIRST) * 9 // 8))
            grown[: self._size] = self._data[: self._size]
            self._data = grown
        self._data[self._size : end] = as_array(data)
        self._size = end

    def close(self) -> Iterator[RawBlock]:
        """Hand on the window under way, if any of it was held."""
        if self._size:
            data, self._data = self._rooms.lend(self._data, self._size), np.empty(0, np.uint8)
            self._size = 0
            yield RawBlock(number=self.number, offset=self._origin, data=data)
        self.is_full = False
        self.number, self.end = _NO_WINDOW, 0


def cut(
    chunks: Iterable[Chunk], windows: Windows, previous_blank: bool = True, rooms: Rooms | None = None
) -> Iterator[RawBlock]:
    """Cut lines into blocks of whole documents.

    Parameters
    ----------
    chunks
        Consecutive whole lines.
    windows
        Which documents are wanted, and how they are joined.
    previous_blank
        Whether a blank line, or the file's start, precedes the first chunk.
    rooms
        What windows are held in; by default their own.

    Yields
    ------
    RawBlock
        Ascending; windows without documents are left out.
    """
    cutter = _Cutter(windows, rooms or Rooms())
    for chunk in chunks:
        before = previous_blank
        if windows.sentences:
            # Whether a line starts a paragraph depends on the line before it, which may lie in the chunk before.
            previous_blank = last_line_is_blank(as_array(chunk.data), before)
        yield from _cut_chunk(cutter, chunk, before, windows)
        if cutter.is_full and not windows.patient:
            break
        # The last document may reach far beyond the stop: reading ends only when the one after it has begun.
        if chunk.offset + len(chunk.data) >= windows.stop and cutter.number == _NO_WINDOW:
            return
    yield from cutter.close()


def _cut_chunk(cutter: _Cutter, chunk: Chunk, previous_blank: bool, windows: Windows) -> Iterator[RawBlock]:
    """Hand on the windows that end in a chunk, and hold the rest of it; past the stop nothing is held."""
    data, array = memoryview(chunk.data), as_array(chunk.data)
    # data[:done] has been held or let go. Up to `at` no document can open the next window, so nothing is looked for before it.
    done, at = 0, max(0, cutter.end - chunk.offset)
    while at < len(data):
        start = int(first_document(array, at, windows.sentences, previous_blank))
        if start == len(data):
            if at == 0 and (previous_blank or not windows.sentences):
                yield from cutter.close()  # Blank lines without end, beyond the window, are not held.
            break
        cutter.hold(data[done:start])
        yield from cutter.close()
        cutter.open(chunk.offset + start)
        done, at = start, cutter.end - chunk.offset
    cutter.hold(data[done:])


def block_bounds(starts: Offsets) -> list[int]:
    """Divide documents into groups of about `BLOCK_BYTES`.

    Takes the (D,) positions of their first bytes; returns the first document of each group, and D.
    """
    groups = starts // BLOCK_BYTES
    return [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(starts)]
