"""Files of tasks, opened: plain, or compressed as their first bytes say. A path flows in, the bytes that it holds flow out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from spanmask.corpus.compressed import ByteStream, open_compressed
from spanmask.probes.scores.reading import decoded
from spanmask.storage import reporting, require_file

#: How compressed files begin.
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\xfd7zXZ": "xz"}
#: Bytes read at once.
_PIECE = 1 << 22
_HEAD_BYTES = max(map(len, _COMPRESSIONS))


@contextlib.contextmanager
def opened(path: str) -> Iterator[ByteStream]:
    """Open a file, decompressed where it begins as gzip, zstd, bz2 or xz, whatever its name.

    Raises
    ------
    CorpusError
        Its compressed stream is damaged; while it is read.
    OSError
        The file system refused.
    """
    with open(path, "rb", buffering=0) as raw:
        head = raw.read(_HEAD_BYTES)
        compression = next((name for mark, name in _COMPRESSIONS.items() if head.startswith(mark)), None)
        raw.seek(0)
        if compression is None:
            yield raw
            return
        with open_compressed(path, compression, raw) as stream:
            yield stream


def text_of(path: str) -> str:
    """Return a file's whole text, decompressed, without a byte order mark.

    Raises
    ------
    ConfigError
        There is no such file.
    CorpusError
        It is not UTF-8, or its compressed stream is damaged.
    StorageError
        It cannot be read.
    """
    require_file(Path(path))
    with reporting(path, "read"), opened(path) as stream:
        data = b"".join(iter(lambda: stream.read(_PIECE), b""))
    return decoded(data, path)
