"""Bytes of text files: an `InputFile` flows in, chunks of whole lines flow out, decompressed on the way.

Also says on which line of a file a byte stands, for errors.
"""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np

from spanmask.corpus.compressed import ByteStream, open_decompressed
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.sources import Source, read_all
from spanmask.errors import CorpusError
from spanmask.kernels.text import BLANK, UNDECIDED, count_newlines, line_before
from spanmask.records import Bytes

#: Bytes read at once.
CHUNK_BYTES = 4 << 20
#: The mark that some editors put before UTF-8.
BOM = b"\xef\xbb\xbf"

#: Stands for the rest of a document that is let go, being too long: no white space, so that what it ends is too long as well.
CUT = b".\n"

_LOOK_BACK, _LOOK_BACK_LIMIT = 64, 1 << 12
#: Bytes looked at together for what is not white space.
_LOOK_BYTES = 1 << 14
#: Bytes of a character after its first.
_REST = bytes(range(0x80, 0xC0))


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
def open_stream(file: InputFile, stop: int | None = None) -> Iterator[ByteStream]:
    """Open a file for reading, decompressed and in UTF-8. stop: as in `open_input`.

    Raises
    ------
    CorpusError
        The compressed stream is truncated or damaged.
    StorageError
        The file system refused.
    """
    with open_decompressed(file, stop=stop) as stream:
        yield stream if file.encoding is None else _Recoded(file, stream, file.encoding)


def _marked(error: UnicodeError) -> tuple[str | bytes, int]:
    """Put a byte that is never UTF-8 for what cannot be decoded, so that its document is found as any other that is not."""
    if isinstance(error, UnicodeDecodeError):
        return "\udcff", error.end
    if isinstance(error, UnicodeEncodeError):
        return b"\xff", error.end
    raise error


_MARK = "spanmask.mark"
codecs.register_error(_MARK, _marked)


class _Recoded:
    """A stream of another encoding as UTF-8, read in order."""

    def __init__(self, file: InputFile, stream: ByteStream, encoding: str) -> None:
        self._file, self._stream = file, stream
        self._decoder = codecs.getincrementaldecoder(encoding)(_MARK)
        self._held = b""
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes of UTF-8; a `CorpusError` where the encoding has no such text at all."""
        while not self._held and not self._ended:
            data = self._stream.read(CHUNK_BYTES)
            self._ended = not data
            try:
                self._held = self._decoder.decode(data, self._ended).encode("utf-8", _MARK)
            except UnicodeError as error:
                message = f"no text in {self._file.encoding} ({error}); name another --encoding"
                raise CorpusError(message, path=self._file.path) from None
        data, self._held = self._held[:size], self._held[size:]
        return data

    def tell(self) -> int:
        return self._stream.tell()


@cache
def _keep_freed_memory() -> None:
    """Have the process keep the memory of a chunk for the next one: else each would be of new pages."""
    # glibc does up to the size of the largest that was freed. Once: the second time all of it would be cleared.
    bytes(4 * CHUNK_BYTES)


def lines(stream: ByteStream, offset: int, most: int) -> Iterator[Chunk]:
    """Yield the rest of a stream as chunks of whole lines, without the file's byte order mark.

    Parameters
    ----------
    stream
        Stands at the start of a line.
    offset
        Decompressed offset where it stands.
    most
        Bytes of a line that are held. A line that goes on is handed on as its beginning and `CUT` as soon as that is known, and the rest of
        it read only when more is asked for; the chunk after it then stands further on than its bytes say.
    """
    _keep_freed_memory()
    pieces = iter(lambda: stream.read(CHUNK_BYTES), b"")
    head = b""
    if offset == 0:
        while len(head) < len(BOM) and (data := next(pieces, b"")):
            head += data
        if head.startswith(BOM):
            offset, head = len(BOM), head[len(BOM) :]
    yield from _whole_lines(pieces, head, offset, most)


def _whole_lines(pieces: Iterator[bytes], head: bytes, offset: int, most: int) -> Iterator[Chunk]:
    """Yield chunks that end with a newline, the stream's last one aside; what follows a chunk's last newline begins the next chunk.

    A long line is held as the chunks it came in and joined once. A chunk is let go before the next is read, so that one is held at a time.
    """
    held: list[bytes] = []
    while data := head or next(pieces, b""):
        head = b""
        end = data.rfind(b"\n") + 1
        if end == 0:
            held.append(data)
            if sum(map(len, held)) > most:
                del data
                offset, head = yield from _long_line(pieces, held, offset, most)
            continue
        whole = b"".join([*held, memoryview(data)[:end]]) if held or end < len(data) else data
        held = [data[end:]] if end < len(data) else []
        del data
        yield Chunk(offset=offset, data=whole)
        offset += len(whole)
        del whole
    if held:
        yield Chunk(offset=offset, data=b"".join(held))


def _long_line(
    pieces: Iterator[bytes], held: list[bytes], offset: int, most: int
) -> Generator[Chunk, None, tuple[int, bytes]]:
    """Yield the beginning of a line that is too long; return where the next one starts, and what was read of it.

    A blank line stays one, however long: its rest is looked at first. held: its beginning; emptied.
    """
    data, whiteness = b"".join(held), Whiteness()
    held.clear()
    begin, at = data[: character_start(data, most)], offset
    while data:
        end = data.find(b"\n") + 1
        at += end or len(data)
        filled = bool(begin) and not whiteness.goes_on(data[: end or None])
        data = data[end:] if end else b""
        if filled:
            # Let go before the next is read.
            chunk, begin = Chunk(offset=offset, data=begin + CUT), b""
            yield chunk
            del chunk
        if end:
            break
        data = next(pieces, b"")
    if begin:
        yield Chunk(offset=offset, data=begin + b"\n")
    return at, data


class Whiteness:
    """Tells whether bytes that come in pieces are white space (Unicode White_Space), characters cut in two included."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def goes_on(self, data: bytes | memoryview) -> bool:
        """Tell whether the next bytes are white too."""
        view = memoryview(data)
        pieces = (bytes(view[at : at + _LOOK_BYTES]) for at in range(0, len(view), _LOOK_BYTES))
        return all(_is_white(self._decoder.decode(piece)) for piece in pieces)


def _is_white(text: str) -> bool:
    # To Python four control characters are white space, too.
    return not text or (text.isspace() and not any(mark in text for mark in "\x1c\x1d\x1e\x1f"))


def character_start(data: bytes | memoryview, at: int) -> int:
    """Return where the character begins that a position lies in, as far as UTF-8 tells."""
    if at >= len(data):
        return at
    return next((k for k in range(at, max(at - 4, -1), -1) if data[k] & 0xC0 != 0x80), at)


def first_line(source: Source, start: int, stop: int) -> tuple[int, bool] | None:
    """Find the first line of an uncompressed file that starts in [start, stop), and what precedes it.

    The start of the file counts as following a blank line; positions inside its byte order mark count as the start.

    Returns
    -------
    tuple of int and bool, or None
        Offset of the line and whether a blank line precedes it; None where no line starts there.
    """
    if start <= len(BOM) and (start == 0 or _is_marked(source)):
        return 0, True
    at = start - 1
    source.seek(at)
    while at < stop - 1 and (data := source.read(min(CHUNK_BYTES, stop - 1 - at))):
        found = data.find(b"\n")
        if found >= 0:
            return at + found + 1, _is_blank_before(source, at + found)
        at += len(data)
    return None


def _is_marked(source: Source) -> bool:
    source.seek(0)
    return source.read(len(BOM)) == BOM


def _is_blank_before(source: Source, end: int) -> bool:
    """Tell whether the line whose newline stands at a position is blank, reading and holding little of it."""
    size = _LOOK_BACK
    while True:
        begin = max(0, end - size)
        source.seek(begin)
        data = read_all(source, end - begin)
        if begin == 0:
            data = b"\n" + data.removeprefix(BOM)
        # The rest of a character that is cut off in front is left to the next look.
        whole = len(data) - len(data[:3].lstrip(_REST) + data[3:])
        answer = line_before(as_array(data[whole:]))
        if answer != UNDECIDED:
            return answer == BLANK
        end = begin + whole
        size = min(size * 8, max(CHUNK_BYTES, _LOOK_BACK_LIMIT))


def fault_at(file: InputFile, offset: int, message: str) -> CorpusError:
    """Return the error of what stands at a decompressed offset: with its line or, far into an object that would be read again, its byte."""
    if file.pin is not None and offset > CHUNK_BYTES:
        return CorpusError(f"byte {offset:,}: {message}", path=file.path)
    return CorpusError(message, path=file.path, line=line_number(file, offset))


def line_number(file: InputFile, offset: int) -> int:
    """Return the 1-based line on which a decompressed offset stands, by reading the file up to there."""
    newlines = 0
    with open_stream(file, offset) as stream:
        while offset > 0 and (data := stream.read(min(offset, CHUNK_BYTES))):
            newlines += count_newlines(as_array(data))
            offset -= len(data)
    return int(newlines) + 1
