"""The table of shards, made again from the shards themselves: the manifest says what its bytes must be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from spanmask.buffers import to_numpy
from spanmask.errors import ShardError
from spanmask.shard.listed import describe_file
from spanmask.shard.manifest import MANIFEST, MANIFEST_LIMIT, checked
from spanmask.shard.root import read_file
from spanmask.shard.schema import CONTENT_KEY
from spanmask.shard.table import SHARDS, ShardRecord, Split, table_bytes
from spanmask.storage import digest, publish_bytes


def rebuild_table(folder: Path) -> bool:
    """Make `shards.arrow` of a dataset again, where all of its shards are there and whole; return False, having done nothing, where not.

    Raises
    ------
    ShardError
        The manifest is damaged.
    StorageError
        The file system refused.
    """
    content = checked(read_file(folder, MANIFEST, MANIFEST_LIMIT))
    stated = content.get("files", {}).get(SHARDS)
    try:
        splits = {name: Split.of(name, sorted(_records(folder, name), key=_place)) for name in content["splits"]}
        data = table_bytes(splits)
    except (pa.ArrowException, OSError, ShardError, ValueError, LookupError):
        return False
    if describe_file(data) != stated:
        return False
    publish_bytes(folder / SHARDS, data)
    return True


def _records(folder: Path, split: str) -> Iterator[ShardRecord]:
    """Yield what the table says of each shard of a split, from its file."""
    for path in (folder / split).glob("shard-*.arrow"):
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            rows = reader.read_all()
            identities = [(rows["document_id"][k].as_py(), rows["segment"][k].as_py()) for k in (0, -1)]
            yield ShardRecord(
                path=f"{split}/{path.name}",
                rows=rows.num_rows,
                tokens=sum(int(np.ptp(to_numpy(chunk.offsets))) for chunk in rows["input_ids"].chunks),
                bytes=path.stat().st_size,
                sha256=digest(path),
                content_sha256=reader.schema.metadata[CONTENT_KEY].decode(),
                first=identities[0],
                last=identities[1],
            )


def _place(record: ShardRecord) -> tuple[int, ...]:
    """Return what shards are sorted by: task, block and part."""
    numbers = Path(record.path).stem.removeprefix("shard-").replace("_", "-").split("-")
    return tuple(map(int, numbers))
