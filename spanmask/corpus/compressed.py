"""Decompress while reading: a path and a compression flow in, its bytes flow out; damage is told as a `CorpusError`."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import pyarrow as pa

from spanmask.corpus.sources import Source, open_input
from spanmask.errors import CorpusError

if TYPE_CHECKING:
    from spanmask.corpus.inputs import InputFile

#: Compressed bytes read at once.
_PIECE_BYTES = 1 << 16
#: The largest window that Arrow's Zstandard takes.
_WINDOW_BITS = 27


class ByteStream(Protocol):
    """What is read from: a file, or what decompresses one."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end only."""

    def tell(self) -> int:
        """Return how many bytes of the file on disk have been read."""


@contextmanager
def open_compressed(path: str, compression: str, raw: Source) -> Iterator[_Decompressed]:
    """Decompress an open file while it is read. path: for errors.

    Raises
    ------
    CorpusError
        The compressed stream is truncated or damaged, or its window too large.
    OSError
        The file system refused.
    """
    if compression in _READERS:
        yield _Decompressed(path, compression, raw, _READERS[compression](raw))
    else:
        with pa.PythonFile(raw, mode="r") as arrow, pa.CompressedInputStream(arrow, compression) as stream:
            yield _Decompressed(path, compression, raw, stream)


@contextmanager
def open_decompressed(file: InputFile, start: int = 0, stop: int | None = None) -> Iterator[ByteStream]:
    """Open an input file as what it holds when decompressed; one that is not compressed from a byte on. stop: as in `open_input`.

    Raises
    ------
    CorpusError
        As `open_compressed` does.
    StorageError
        The file system refused.
    """
    with open_input(file, start if file.compression is None else 0, stop) as raw:
        if file.compression is None:
            yield raw
        else:
            with open_compressed(file.path, file.compression, raw) as stream:
                yield stream


class _Decompressed:
    """A decompressing stream that tells damaged data from a failing disk."""

    def __init__(self, path: str, compression: str, raw: Source, stream: Any) -> None:
        self._path, self._compression = path, compression
        self._raw = raw
        self._stream = stream

    def tell(self) -> int:
        return self._raw.tell()

    def read(self, size: int) -> bytes:
        """Return up to so many bytes; raises as `open_compressed` does."""
        try:
            return cast(bytes, self._stream.read(size))
        except (zlib.error, lzma.LZMAError) as error:
            raise self._damaged(error) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> CorpusError:
        if "too much memory" in str(error):
            return CorpusError(_window_refused(self._raw), path=self._path)
        if "emory usage limit" in str(error):
            return CorpusError(
                f"it takes more than {_XZ_MEMORY >> 20} MiB to decompress: compress it again with a smaller dictionary (xz -9 or less)",
                path=self._path,
            )
        return CorpusError(
            f"not a whole {self._compression} stream ({error}): truncated, damaged or misnamed; "
            "fetch or compress the file again",
            path=self._path,
        )


class _Gzip:
    """Members of a gzip file, one after another. Zeros after a member are padding, as gzip itself has it; Arrow takes them for damage."""

    def __init__(self, raw: Source) -> None:
        self._raw = raw
        self._held = b""
        self._member = zlib.decompressobj(wbits=31)
        self._begun = self._padded = False

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end only."""
        parts = []
        while size > 0 and self._fill():
            part = self._member.decompress(self._held, size)
            self._held = self._member.unconsumed_tail
            if self._member.eof:
                self._held, self._member = self._member.unused_data, zlib.decompressobj(wbits=31)
                self._begun, self._padded = False, True
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _fill(self) -> bool:
        """Have compressed bytes, of a member under way or a new one; tell whether there are any."""
        while True:
            self._held = self._held.lstrip(b"\0") if self._padded and not self._begun else self._held
            if self._held:
                self._begun = True
                return True
            self._held = self._raw.read(_PIECE_BYTES)
            if not self._held:
                break
        if self._begun:
            raise zlib.error("it ends in the middle")
        return False


class _Streams:
    """Streams of a bzip2 or xz file, one after another; zeros after one are padding."""

    def __init__(self, raw: Source, new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> None:
        self._raw, self._new = raw, new
        self._stream = new()
        self._begun = self._padded = False

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end only."""
        parts = []
        while size > 0:
            data = self._raw.read(_PIECE_BYTES) if self._stream.needs_input else b""
            if self._stream.needs_input and not data:
                if self._begun:
                    raise lzma.LZMAError("it ends in the middle")
                break
            part = self._feed(data, size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _feed(self, data: bytes, size: int) -> bytes:
        data = data.lstrip(b"\0") if self._padded and not self._begun else data
        self._begun = self._begun or bool(data)
        part = self._stream.decompress(data, size)
        while self._stream.eof:
            rest = self._stream.unused_data.lstrip(b"\0")
            self._stream, self._begun, self._padded = self._new(), bool(rest), True
            part += self._stream.decompress(rest, size - len(part)) if rest else b""
        return part


#: Memory that an xz file may ask for: xz -9 takes 65 MiB.
_XZ_MEMORY = 1 << 30
#: What Arrow does not read, or not all that the tools of its format do.
_READERS: dict[str, Callable[[Source], _Gzip | _Streams]] = {
    "gzip": _Gzip,
    "bz2": lambda raw: _Streams(raw, bz2.BZ2Decompressor),
    "xz": lambda raw: _Streams(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)),
}


def _window_refused(raw: Source) -> str:
    """Say which window a Zstandard file has, and the way round (RFC 8878 §3.1.1.1)."""
    raw.seek(0)
    head = raw.read(14)
    # A frame of a single segment has no window but its content's size.
    bits = 10 + (head[5] >> 3) if len(head) > 5 and not head[4] & 0x20 else 0
    size, option = (f"2^{bits} bytes", f"--long={bits}") if bits > _WINDOW_BITS else ("larger", "--long=31")
    return (
        f"its window is {size} (zstd {option}), and 2^{_WINDOW_BITS} is the most that is read; compress it again without: "
        f"zstd -dc {option} FILE | zstd > NEW.zst, or pass it on: zstd -dc {option} FILE | spanmask preshard - --format FORMAT"
    )
