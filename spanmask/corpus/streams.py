"""Bytes of text files: an `InputFile` flows in, chunks of whole lines flow out, decompressed on the way.

Also says on which line of a file a byte stands, for errors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

import numpy as np

from spanmask.corpus.compressed import open_compressed
from spanmask.corpus.inputs import InputFile
from spanmask.kernels.text import BLANK, UNDECIDED, count_newlines, line_before
from spanmask.records import Bytes
from spanmask.storage import reporting

#: Bytes read at once.
CHUNK_BYTES = 4 << 20
#: The mark that some editors put before UTF-8.
BOM = b"\xef\xbb\xbf"

_LOOK_BACK = 64


class ByteStream(Protocol):
    """What is read from: a file, or what decompresses one."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end only."""

    def tell(self) -> int:
        """Return how many bytes of the file on disk have been read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Whole lines of a file, all but the file's last ending in a newline. offset: decompressed offset of data[0]."""

    offset: int
    data: bytes


def as_array(data: bytes | memoryview) -> Bytes:
    """Return (C,) read-only bytes without copying them."""
    return np.frombuffer(data, np.uint8)


def as_view(data: Bytes) -> memoryview:
    """Return (C,) bytes as what Python's decoder takes, without copying them."""
    return memoryview(cast(Any, data))


@contextlib.contextmanager
def open_stream(file: InputFile, offset: int = 0) -> Iterator[ByteStream]:
    """Open a file for reading, decompressed; an uncompressed one from an offset on.

    Raises
    ------
    CorpusError
        The compressed stream is truncated or damaged.
    StorageError
        The file system refused.
    """
    with reporting(file.path, "read"):
        if file.compression is None:
            with open(file.path, "rb", buffering=0) as raw:
                raw.seek(offset)
                yield cast(ByteStream, raw)
            return
        with open_compressed(file) as stream:
            yield stream


def lines(stream: ByteStream, offset: int) -> Iterator[Chunk]:
    """Yield the rest of a stream as chunks of whole lines, without the file's byte order mark.

    Parameters
    ----------
    stream
        Stands at the start of a line.
    offset
        Decompressed offset where it stands.
    """
    for chunk in _whole_lines(stream, offset):
        marked = chunk.offset == 0 and chunk.data.startswith(BOM)
        yield Chunk(offset=len(BOM), data=chunk.data[len(BOM) :]) if marked else chunk


def _whole_lines(stream: ByteStream, offset: int) -> Iterator[Chunk]:
    """Yield chunks that end with a newline, the stream's last one aside; what follows a chunk's last newline begins the next chunk.

    A long line is held as the chunks it came in and joined once. A chunk is let go before the next is read, so that one is held at a time.
    """
    held: list[bytes] = []
    while data := stream.read(CHUNK_BYTES):
        end = data.rfind(b"\n") + 1
        if end == 0:
            held.append(data)
            continue
        whole = b"".join([*held, memoryview(data)[:end]]) if held or end < len(data) else data
        held = [data[end:]] if end < len(data) else []
        del data
        yield Chunk(offset=offset, data=whole)
        offset += len(whole)
        del whole
    if held:
        yield Chunk(offset=offset, data=b"".join(held))


def first_line(file: InputFile, start: int, stop: int) -> tuple[int, bool] | None:
    """Find the first line of an uncompressed file that starts in [start, stop), and what precedes it.

    The start of the file counts as following a blank line; positions inside its byte order mark count as the start.

    Returns
    -------
    tuple of int and bool, or None
        Offset of the line and whether a blank line precedes it; None where no line starts there.
    """
    if start <= len(BOM) and (start == 0 or _is_marked(file)):
        return 0, True
    with reporting(file.path, "read"), open(file.path, "rb") as source:
        source.seek(start - 1)
        at = start - 1
        while at < stop - 1 and (data := source.read(min(CHUNK_BYTES, stop - 1 - at))):
            found = data.find(b"\n")
            if found >= 0:
                return at + found + 1, _is_blank_before(source, at + found)
            at += len(data)
    return None


def _is_marked(file: InputFile) -> bool:
    with open_stream(file) as stream:
        return stream.read(len(BOM)) == BOM


def _is_blank_before(source: IO[bytes], end: int) -> bool:
    """Tell whether the line whose newline stands at a position is blank, reading little of it."""
    size = _LOOK_BACK
    while True:
        begin = max(0, end - size)
        source.seek(begin)
        data = source.read(end - begin)
        if begin == 0:
            data = b"\n" + data.removeprefix(BOM)
        answer = line_before(as_array(data))
        if answer != UNDECIDED:
            return answer == BLANK
        size *= 8


def line_number(file: InputFile, offset: int) -> int:
    """Return the 1-based line on which a decompressed offset stands, by reading the file up to there."""
    newlines = 0
    with open_stream(file) as stream:
        while offset > 0 and (data := stream.read(min(offset, CHUNK_BYTES))):
            newlines += count_newlines(as_array(data))
            offset -= len(data)
    return int(newlines) + 1
