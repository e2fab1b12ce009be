"""Files that lie in a dataset's folder beside its manifest, which lists them by size and digest (FORMAT.md §4)."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spanmask.errors import IncompleteShards, ShardError
from spanmask.storage import reporting


def describe_file(data: bytes | memoryview) -> dict[str, Any]:
    """Return size and digest of a file as the manifest lists them."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def read_regular(path: Path, limit: int) -> bytes:
    """Return the bytes of a plain file of at most so many.

    Raises
    ------
    IncompleteShards
        The file is missing.
    ShardError
        It is a link or something else, or larger.
    StorageError
        It cannot be read.
    """
    with reporting(path, "read"):
        try:
            state = path.lstat()
        except FileNotFoundError:
            raise IncompleteShards("the file is missing; restore it, or run preshard again", path=path.name) from None
        if not stat.S_ISREG(state.st_mode) or state.st_size > limit:
            raise ShardError(f"not a regular file of at most {limit} bytes", path=path.name)
        return path.read_bytes()


def read_listed(path: Path, stated: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file, held against what the manifest says of it; errors as of `read_regular`.

    Raises
    ------
    ShardError
        It is another file.
    """
    data = read_regular(path, stated["bytes"])
    found = describe_file(data)
    for name in found:
        if found[name] != stated[name]:
            message = f"{name} is {found[name]}, the manifest says {stated[name]}; restore the file"
            raise ShardError(message, path=path.name)
    return data
