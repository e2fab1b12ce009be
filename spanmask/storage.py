"""Files that appear under their names whole or not at all, and what the file system refuses, as errors.

What flows in and out are bytes and paths; this module knows no format.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar

from spanmask.errors import ConfigError, StorageError
from spanmask.owners import Owner
from spanmask.urls import shown

TEMPORARY = ".tmp-"
#: Characters at the end of a file's name that its temporary one keeps: with whose it is, no more than a name may have.
_KEPT_CHARACTERS = 32
#: Bytes of a file that are hashed at once.
_PIECE_BYTES = 1 << 20

#: How one goes on once what the file system refused is mended.
AGAIN = "run the same command again"

#: With one slash where a `Path` was made of it.
_URL = re.compile(r"(?i:(?P<known>s3|gs|hf|https?|file):/|(?P<other>[a-z][a-z0-9+.-]*)://)")
#: What to do instead of giving a URL, by its scheme.
_INSTEAD = {
    "s3": "copy it here first (aws s3 cp --recursive), and results back",
    "gs": "copy it here first (gcloud storage cp --recursive), and results back",
    "hf": "fetch it first (hf download --repo-type dataset NAME --local-dir DIR), and give DIR",
    "http": "fetch it first (curl -LO), or pipe it: curl -L URL | spanmask preshard - --format FORMAT",
    "file": "give the path alone",
}
_INSTEAD["https"] = _INSTEAD["http"]

_T = TypeVar("_T")


def refuse_url(path: str | os.PathLike[str], option: str | None = None) -> None:
    """Refuse a URL where a path is wanted: a folder of that name would be a surprise. option: whose value it is, if that of one.

    Raises
    ------
    ConfigError
        It is one.
    """
    found = _URL.match(os.fspath(path))
    if found:
        instead = _INSTEAD.get((found["known"] or found["other"]).lower(), "copy it here first")
        raise ConfigError(
            f"{f'{option} is ' * bool(option)}{shown(os.fspath(path))}: a URL, and only files and folders of this machine are read or "
            f"written; {instead}",
            options=(option,) if option else (),
        )


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
        raise ConfigError(f"{path}: no such file or directory; check the path, folders included") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"{path}: could not {doing} ({reason}); {advice_for(error)}") from error


def advice_for(error: BaseException | None) -> str:
    """Return what to do about something that the file system refused."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"free some space and {AGAIN}"
    if number in (errno.EMFILE, errno.ENFILE):
        return f"raise the limit of open files (ulimit -n), then {AGAIN}"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "check the permissions, or choose another place"
    if number in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
        return "this file system does not keep locks, or not now: mount it with them (flock), or choose another place"
    return f"check the disk, then {AGAIN}"


def publish(path: Path, write: Callable[[IO[bytes]], _T], temporary: Path | None = None) -> _T:
    """Write a file so that it appears under its name whole or not at all, and stays after a power cut; return what ``write`` did.

    A temporary file is written, flushed to disk and renamed; then the folder is flushed.

    Parameters
    ----------
    path
        Final name; its folder exists.
    write
        Called once with the open temporary file.
    temporary
        Name to write under, in the same file system; by default a hidden one beside the final one.

    Raises
    ------
    StorageError
        The file system refused; nothing is left behind.
    """
    temporary = temporary or beside(path)
    with reporting(path, "write"):
        try:
            result = write_through(temporary, write)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    return result


def beside(path: Path) -> Path:
    """Return a hidden name in the same folder, so that a rename from it is one step; it says which process writes there."""
    return path.with_name(f"{TEMPORARY}{Owner.here()}-{secrets.token_hex(8)}-{path.name[-_KEPT_CHARACTERS:]}")


def write_through(path: Path, write: Callable[[IO[bytes]], _T]) -> _T:
    """Write a new file and flush it to disk; return what ``write`` did."""
    with path.open("xb") as file:
        result = write(file)
        file.flush()
        os.fsync(file.fileno())
    return result


def publish_bytes(path: Path, data: bytes | memoryview) -> None:
    """Publish a file with these bytes; see `publish`."""
    publish(path, lambda file: file.write(data))


def require_file(path: Path, limit: int | None = None) -> None:
    """Refuse what is no regular file, or has more bytes than a limit, before it is opened: a pipe would never end, nor a device.

    Raises
    ------
    ConfigError
        It is missing, something else, or too large.
    StorageError
        The file system refused.
    """
    with reporting(path, "read"):
        state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise ConfigError(f"{path}: a folder, pipe or device, expected a file; put the file in its place")
    if limit is not None and state.st_size > limit:
        raise ConfigError(f"{path}: {state.st_size:,} bytes, at most {limit:,} are read of such a file; copy it again")


def digest(path: str | os.PathLike[str], on_bytes: Callable[[int], object] = lambda _: None) -> str:
    """Return a file's SHA-256 in hexadecimal. on_bytes: called with how many bytes more were read.

    Raises
    ------
    StorageError
        It cannot be read.
    """
    content = hashlib.sha256()
    with reporting(path, "read"), open(path, "rb", buffering=0) as file:
        while data := file.read(_PIECE_BYTES):
            content.update(data)
            on_bytes(len(data))
    return content.hexdigest()


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
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def owner_of(path: Path) -> Owner | None:
    """Return the process that writes under a temporary name, None where the name does not say."""
    return Owner.of(path.name.removeprefix(TEMPORARY)) if path.name.startswith(TEMPORARY) else None


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left in a folder that nobody writes any more, or whose writers are not waited for."""
    for path in folder.glob(f"{TEMPORARY}*"):
        remove(path)
