"""Files and folders that appear under their names whole or not at all, and what the file system refuses, as errors.

What flows in and out are bytes and paths; this module knows no format.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from spanmask.errors import ConfigError, StorageError

_TEMPORARY = ".tmp-"

_T = TypeVar("_T")


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
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free some space and run the same command again: it goes on where it stopped"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "raise the limit of open files (ulimit -n), then run the same command again"
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
    temporary = _beside(path)
    with reporting(path, "write"):
        try:
            _write_through(temporary, write)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def _beside(path: Path) -> Path:
    """Return a hidden name in the same folder, so that a rename from it is one step."""
    return path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}-{path.name}")


def _write_through(path: Path, write: Callable[[IO[bytes]], _T]) -> _T:
    """Write a new file and flush it to disk; return what ``write`` did."""
    with path.open("xb") as file:
        result = write(file)
        file.flush()
        os.fsync(file.fileno())
    return result


def publish_bytes(path: Path, data: bytes | memoryview) -> None:
    """Publish a file with these bytes; see `publish`."""
    publish(path, lambda file: file.write(data))


class NewFolder:
    """A folder being written under a temporary name; messages name the final one."""

    def __init__(self, out: Path, temporary: Path) -> None:
        self._out = out
        self._temporary = temporary

    def write(self, name: str, fill: Callable[[IO[bytes]], _T]) -> _T:
        """Write a file of the folder, through to the disk, and return what ``fill`` does, which is called once with the open file.

        Raises
        ------
        StorageError
            The file system refused.
        """
        path = self._temporary / name
        with reporting(self._out / name, "write"):
            path.parent.mkdir(exist_ok=True)
            return _write_through(path, fill)

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file with these bytes; see `write`."""
        self.write(name, lambda file: file.write(data))


@contextlib.contextmanager
def publish_folder(out: Path) -> Iterator[NewFolder]:
    """Write a folder so that it appears under its name whole or not at all; a folder that had the name is removed after that.

    A hidden folder beside it is filled, flushed to disk and renamed. Only a kill leaves that folder behind.

    Raises
    ------
    StorageError
        The file system refused, or a file stands there; nothing is left behind.
    """
    # A link is followed once and stays: what it leads to is replaced.
    place = Path(os.path.realpath(out))
    missing = [folder for folder in place.parents if not folder.exists()]
    temporary = _beside(place)
    try:
        with reporting(out, "create the folder"):
            if place.is_file():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            temporary.mkdir(parents=True)
        yield NewFolder(out, temporary)
        with reporting(out, "write"):
            # Entries of a folder are flushed apart from the files: else a power cut could leave the name and not what is in it.
            for folder in (temporary, *(path for path in temporary.iterdir() if path.is_dir())):
                sync_folder(folder)
            _put(temporary, place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _put(temporary: Path, out: Path) -> None:
    """Give a folder its final name; what had the name gets it back if that fails."""
    if not out.exists():
        temporary.rename(out)
        sync_folder(out.parent)
        return
    # Renaming over a folder that is not empty is refused by the system, so the old one steps aside. A kill between the two renames leaves
    # both under hidden names, and neither is lost.
    before = _beside(out)
    out.rename(before)
    try:
        temporary.rename(out)
    except BaseException:
        before.rename(out)
        raise
    sync_folder(out.parent)
    shutil.rmtree(before, ignore_errors=True)


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


def remove(path: Path) -> None:
    """Remove a file, or a folder with all it holds, if it is there.

    Raises
    ------
    StorageError
        The file system refused.
    """
    with reporting(path, "remove"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def retract_folder(folder: Path) -> None:
    """Remove a folder that `publish_folder` made; it is renamed first, so that no part of it is ever taken for the whole.

    Raises
    ------
    StorageError
        The file system refused.
    """
    with reporting(folder, "remove"):
        shutil.rmtree(folder.rename(_beside(folder)))


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left in a folder."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        remove(path)
