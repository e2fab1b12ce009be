"""Files that lie in a dataset's folder beside its manifest, which lists them by size and digest (FORMAT.md §4)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from spanmask.errors import ShardError
from spanmask.shard.root import Root, read_file


def describe_file(data: bytes | memoryview) -> dict[str, Any]:
    """Return size and digest of a file as the manifest lists them."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def read_listed(root: Root, name: str, stated: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file, held against what the manifest says of it; errors as of `read_file`.

    Raises
    ------
    ShardError
        It is another file.
    """
    data = read_file(root, name, stated["bytes"])
    found = describe_file(data)
    for key in found:
        if found[key] != stated[key]:
            message = f"{key} is {found[key]}, the manifest says {stated[key]}; restore the file"
            raise ShardError(message, path=name)
    return data
