"""Manifests changed with every digest right again: what a hostile or careless program may hand to a reader."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from spanmask.shard.listed import describe_file
from spanmask.shard.manifest import Manifest, read_manifest, seal, write_manifest
from spanmask.shard.table import SHARDS, ShardRecord, Split, table_bytes

Change = Callable[[dict[str, Any]], Any]


def reseal(
    folder: Path, change: Change = lambda _: None, records: dict[str, Iterable[ShardRecord]] | None = None
) -> Manifest:
    """Change the content of a dataset's manifest, and the shards of some splits."""
    splits = read_manifest(folder).splits | {
        name: Split.of(name, of_split) for name, of_split in (records or {}).items()
    }
    content = json.loads((folder / "manifest.json").read_bytes())
    del content["digest"]
    if records is not None:
        content["splits"] = {name: split.to_json() for name, split in splits.items()}
        content["files"][SHARDS] = describe_file(table_bytes(splits))
    change(content)
    manifest = seal(content, splits)
    write_manifest(folder, manifest)
    return manifest


def records_of(folder: Path, split: str = "train") -> list[ShardRecord]:
    return list(read_manifest(folder).splits[split].shards)
