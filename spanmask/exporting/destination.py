"""Where an export goes: a folder that has its name only once it is whole, and what may be replaced by it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from spanmask.config import canonical_json
from spanmask.errors import ConfigError
from spanmask.storage import reporting, sync_folder

#: The file in an exported folder that says what it is, written last. Readers of data skip names that begin with an underscore.
MARKER = "_spanmask.json"


class Folder:
    """A folder being written under a temporary name; messages name the final one."""

    def __init__(self, out: Path, temporary: Path) -> None:
        self._out = out
        self._temporary = temporary

    def write(self, name: str, fill: Callable[[IO[bytes]], Any]) -> None:
        """Write a file of the folder, through to the disk. fill: called once with the open file.

        Raises
        ------
        StorageError
            The file system refused.
        """
        path = self._temporary / name
        with reporting(self._out / name, "write"):
            path.parent.mkdir(exist_ok=True)
            with path.open("xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as a file of canonical JSON; see `write`."""
        self.write(name, lambda file: file.write(canonical_json(value) + b"\n"))


@contextlib.contextmanager
def new_folder(out: Path, *, overwrite: bool) -> Iterator[Folder]:
    """Write a folder so that it appears under its name whole or not at all; what stood there is removed after that.

    A hidden folder beside it is filled and renamed. Only a kill leaves that folder behind.

    Raises
    ------
    ConfigError
        Something stands there, and is not to be replaced.
    StorageError
        The file system refused; nothing is left behind.
    """
    check_free(out, overwrite=overwrite)
    missing = [folder for folder in out.parents if not folder.exists()]
    temporary = _beside(out)
    try:
        with reporting(out, "create the folder"):
            temporary.mkdir(parents=True)
        yield Folder(out, temporary)
        with reporting(out, "write"):
            for folder in (temporary, *(path for path in temporary.iterdir() if path.is_dir())):
                sync_folder(folder)
            _put(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse a path where something stands, but for what an export wrote and an empty folder, with ``overwrite``.

    Raises
    ------
    ConfigError
        Something stands there.
    """
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise ConfigError(f"{out}: something stands there; choose another --out, or give --overwrite")
    with reporting(out, "read"):
        ours = not out.is_symlink() and out.is_dir() and ((out / MARKER).is_file() or not any(out.iterdir()))
    if not ours:
        raise ConfigError(f"{out}: --overwrite replaces an exported folder, which this is not; choose another --out")


def _beside(out: Path) -> Path:
    return out.with_name(f".tmp-{secrets.token_hex(8)}-{out.name}")


def _put(temporary: Path, out: Path) -> None:
    """Give a folder its final name; what had the name gets it back if that fails."""
    if not out.exists():
        temporary.rename(out)
        sync_folder(out.parent)
        return
    before = _beside(out)
    out.rename(before)
    try:
        temporary.rename(out)
    except BaseException:
        before.rename(out)
        raise
    sync_folder(out.parent)
    shutil.rmtree(before, ignore_errors=True)
