"""Folders that appear under their names whole or not at all, and the one process that writes a place.

Who writes a dataset, a run, an export or a model holds a lock in a folder of its own, which has what is not yet under its name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TypeVar

from spanmask.errors import ConfigError, MismatchError
from spanmask.storage import TEMPORARY, beside, refuse_url, remove, reporting, sync_folder, write_through

#: The file of a lock, in a folder that says what is being written.
LOCK = "lock"
#: In the folder of who writes a place: what takes its name, and what had it before.
_NEW, _OLD = "new", "old"

#: Seconds before the first look whether another process has ended, and between two looks in the end: a thousand may be waiting, each look
#: three requests of one server.
_FIRST_LOOK, _LOOK = 0.1, 2.0

_T = TypeVar("_T")


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
            return write_through(path, fill)

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file with these bytes; see `write`."""
        self.write(name, lambda file: file.write(data))


@contextlib.contextmanager
def sole_writer(out: Path, folder: Path, *, shared: bool = False, patience: float = 0) -> Iterator[Callable[[], bool]]:
    """Be the only process that writes a place, by a lock in a folder, which is made; the lock dies with the process.

    shared: with others that share it. patience: seconds to wait for others. What is yielded ends the sharing, and tells whether nobody
    else has the lock then, and nobody gets it either.

    Raises
    ------
    ConfigError
        The folder is a link.
    MismatchError
        Another process writes it.
    StorageError
        The file system refused.
    """
    refuse_links(folder)
    with reporting(folder, "write"):
        descriptor = _lock(folder / LOCK, out, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic() + patience)
    try:
        yield partial(_is_alone, descriptor)
    finally:
        os.close(descriptor)


def _is_alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock(path: Path, out: Path, kind: int, until: float) -> int:
    """Lock the file that stands under this name when the lock is had: a process that ends removes its own, and its folder."""
    pause = _FIRST_LOOK
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if _is_open_file(path, descriptor):
                return descriptor
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(descriptor)
                raise MismatchError(
                    f"{out}: another spanmask process is writing it; wait for it, or choose another --out"
                ) from None
            # Drawn, since they were all started at once.
            time.sleep(max(0, min(random.uniform(0.5, 1) * pause, until - time.monotonic())))
            pause = min(1.5 * pause, _LOOK)
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Tell whether a process of this machine holds the lock of a file, without touching it; none where the system does not tell."""
    with contextlib.suppress(OSError):
        inode = f":{path.stat().st_ino}"
        held = (line.split() for line in Path("/proc/locks").read_text().splitlines())
        return any("FLOCK" in fields and "->" not in fields and fields[5].endswith(inode) for fields in held)
    return False


def _is_open_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def refuse_links(*paths: Path) -> None:
    """Refuse what is a link where files are going to be written and removed: they would be behind it.

    Raises
    ------
    ConfigError
        One is.
    """
    for path in paths:
        if path.is_symlink():
            raise ConfigError(
                f"{path}: a link to {path.readlink()}, and files would be written and removed behind it: remove the link, "
                "or make the whole folder one"
            )


def refuse_file(folder: Path) -> None:
    """Refuse a file where a folder is to be written.

    Raises
    ------
    ConfigError
        One stands there.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: a file stands there; give another folder")


def refuse_occupied(folder: Path, known: Collection[str], whose: str, *, overwrite: bool) -> None:
    """Refuse a folder that holds anything, but with ``overwrite`` for what is to be replaced.

    Parameters
    ----------
    known
        Names of files that may be replaced.
    whose
        Whose they are, as in ``model's``.

    Raises
    ------
    ConfigError
        It does.
    StorageError
        It cannot be listed.
    """
    if not folder.is_dir():
        return
    with reporting(folder, "list"):
        found = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in found if name not in known]
    if foreign:
        raise ConfigError(f"{folder}: it holds {foreign[0]}, which is no {whose}; give another folder")
    if found and not overwrite:
        first = next(name for name in known if name in found)
        raise ConfigError(f"{folder}: it holds {first} already; give another folder, or --overwrite")


@contextlib.contextmanager
def claimed(out: Path, folder: Path | None = None) -> Iterator[Path]:
    """Be the only process that writes a place while the body runs; yield a folder for what is not yet under its name.

    That folder goes at the end, and with the next writer of the place if this one is killed. Folders around it that were missing stay
    only if the body ends well.

    Parameters
    ----------
    out
        The place: a file or a folder, there or not.
    folder
        The folder to make; by default a hidden one beside the place.

    Raises
    ------
    MismatchError
        Another process writes it.
    StorageError
        The file system refused.
    """
    refuse_url(out, "out")
    folder = folder or out.with_name(f"{TEMPORARY}{out.name}")
    with made_for(out, folder), sole_writer(out, folder):
        try:
            with reporting(out, "write"):
                _tidy(folder, out)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def made_for(out: Path, folder: Path) -> Iterator[None]:
    """Make a folder for what is to be at a place, and those around it; what was missing is gone if the body fails with nothing in it.

    Raises
    ------
    StorageError
        The file system refused.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with reporting(out, "create the folder"):
            folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for place in missing:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise


def _tidy(folder: Path, out: Path) -> None:
    """Remove what a killed writer left, and give what it had put aside its name again if nothing took it."""
    if (folder / _OLD).exists() and not out.exists():
        (folder / _OLD).rename(out)
    for path in folder.iterdir():
        if path.name != LOCK:
            remove(path)


@contextlib.contextmanager
def publish_folder(out: Path, check: Callable[[], None] = lambda: None) -> Iterator[NewFolder]:
    """Write a folder so that it appears under its name whole or not at all; a folder that had the name is removed after that.

    A folder in a hidden one beside it is filled, flushed to disk and renamed. Only a kill leaves that behind, until the next writer.

    Parameters
    ----------
    out
        Final name.
    check
        Called when no other process writes there; what it raises leaves all as it was.

    Raises
    ------
    MismatchError
        Another process writes it.
    StorageError
        The file system refused, or a file stands there; nothing is left behind.
    """
    refuse_url(out, "out")
    # A link is followed once and stays: what it leads to is replaced.
    place = Path(os.path.realpath(out))
    with claimed(place) as folder:
        check()
        new = folder / _NEW
        with reporting(out, "create the folder"):
            if place.is_file():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            new.mkdir()
        yield NewFolder(out, new)
        with reporting(out, "write"):
            # Entries of a folder are flushed apart from the files: else a power cut could leave the name and not what is in it.
            for part in (new, *(path for path in new.iterdir() if path.is_dir())):
                sync_folder(part)
            _put(new, place, folder / _OLD)


def _put(new: Path, out: Path, old: Path) -> None:
    """Give a folder its final name; what had the name is left as ``old``, and gets the name back if that fails."""
    if not out.exists():
        new.rename(out)
        sync_folder(out.parent)
        return
    # Renaming over a folder that is not empty is refused by the system, so the old one steps aside. A kill between the two renames leaves
    # both, and the next writer gives the old one its name back.
    out.rename(old)
    try:
        new.rename(out)
    except BaseException:
        old.rename(out)
        raise
    sync_folder(out.parent)


def retract_folder(folder: Path) -> None:
    """Remove a folder that `publish_folder` made; it is renamed first, so that no part of it is ever taken for the whole.

    Raises
    ------
    StorageError
        The file system refused.
    """
    with reporting(folder, "remove"):
        shutil.rmtree(folder.rename(beside(folder)))
