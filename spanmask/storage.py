"""Files as spanmask reads and writes them: whole reads, decompressed streams, and atomic publication.

What flows in and out are bytes and paths; this module knows no format.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from spanmask.errors import ConfigError, StorageError

_TEMPORARY = ".tmp-"


@contextlib.contextmanager
def reporting(path: str | os.PathLike[str], doing: str) -> Iterator[None]:
    """Turn what the file system refuses into a `StorageError` that names the file.

    Raises
    ------
    ConfigError
        The file does not exist.
    StorageError
        Anything else the file system refused.
    """
    try:
        yield
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file or directory") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{path}: could not {doing} ({reason}); {_advice(error)}") from error


def _advice(error: OSError) -> str:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free some space and run the same command again: it goes on where it stopped"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "check the permissions, or choose another place"
    return "check the disk, then run the same command again"


def publish(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file so that it appears under its name whole or not at all, and stays after a power cut.

    A temporary file beside it is written, flushed to disk and renamed; then the folder is flushed.

    Parameters
    ----------
    path
        Final name; its folder exists.
    write
        Called once with the open temporary file.

    Raises
    ------
    StorageError
        The file system refused; nothing is left behind.
    """
    temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}-{path.name}")
    with reporting(path, "write"):
        try:
            with temporary.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def publish_bytes(path: Path, data: bytes | memoryview) -> None:
    """Publish a file with these bytes; see `publish`."""
    publish(path, lambda file: file.write(data))


def digest(path: str | os.PathLike[str]) -> str:
    """Return a file's SHA-256 in hexadecimal.

    Raises
    ------
    StorageError
        It cannot be read.
    """
    with reporting(path, "read"), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents.

    Raises
    ------
    StorageError
        The file system refused, or a file stands there.
    """
    with reporting(folder, "create the folder"):
        folder.mkdir(parents=True, exist_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left in a folder."""
    with reporting(folder, "clean"):
        for path in folder.glob(f"{_TEMPORARY}*"):
            path.unlink(missing_ok=True)
