"""Datasets in an object store, and a cache of copies of one's own for their shards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from object_store import ObjectStore

from spanmask.kernels.user_cache import user_cache_folder
from spanmask.owners import host_name


def own_cache(folder: Path) -> dict[str, str]:
    """Return the environment of an empty cache; compiled kernels stay where they are, or each process would compile them again."""
    kernels = user_cache_folder() / "kernels"
    kernels.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.mkdir()
    (folder / "kernels").symlink_to(kernels.resolve())
    return {"SPANMASK_CACHE_DIR": str(folder)}


@contextmanager
def cached_in(folder: Path) -> Iterator[Path]:
    """Have this process, and its children, keep copies in a folder, which is made; yield that of the copies."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own_cache(folder).items():
            patch.setenv(name, value)
        yield folder / "shard-copies" / host_name()


def upload(store: ObjectStore, folder: Path, prefix: str = "data/shards") -> str:
    """Copy a dataset to a store; return its URL."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        store.put(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())
    return store.url(prefix)


def copies_in(folder: Path) -> list[Path]:
    """Return the copies in a cache."""
    return sorted(folder.glob("??/*.arrow"))
