"""The table of shards, made again from the shards themselves: the manifest says what its bytes must be."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from spanmask.buffers import to_numpy
from spanmask.errors import ShardError
from spanmask.shard.framing import has_compressed_batches
from spanmask.shard.listed import describe_file
from spanmask.shard.manifest import MANIFEST, MANIFEST_LIMIT, Manifest, checked
from spanmask.shard.root import read_file, regular_state
from spanmask.shard.schema import CONTENT_KEY
from spanmask.shard.shard_file import ARROW_ERRORS, expected_schema
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
    parts = checked(read_file(folder, MANIFEST, MANIFEST_LIMIT))
    stated = parts.get("files", {}).get(SHARDS)
    manifest = Manifest(parts=parts, splits={})
    try:
        splits = {
            name: Split.of(name, sorted(_records(folder, name, manifest), key=_place)) for name in parts["splits"]
        }
        data = table_bytes(splits)
    except (*ARROW_ERRORS, struct.error, ShardError, TypeError, AttributeError):
        return False
    if describe_file(data) != stated:
        return False
    publish_bytes(folder / SHARDS, data)
    return True


def _records(folder: Path, split: str, manifest: Manifest) -> Iterator[ShardRecord]:
    """Yield what the table says of each shard of a split, from its file."""
    for path in (folder / split).glob("shard-*.arrow"):
        # A link would be followed, and of a pipe nothing would come.
        size = regular_state(folder, f"{split}/{path.name}").st_size
        with pa.memory_map(str(path)) as source:
            yield _record(source.read_buffer(), f"{split}/{path.name}", size, digest(path), manifest)


def _record(file: pa.Buffer, path: str, size: int, sha256: str, manifest: Manifest) -> ShardRecord:
    """Return what the table says of a shard. file: its bytes, which may be anything: nothing is unpacked or followed unchecked."""
    reader = pa.ipc.open_file(file)
    if reader.schema != expected_schema(manifest, reader.schema) or has_compressed_batches(file):
        raise ShardError("not a shard of this dataset", path=path)
    rows, tokens, ends = 0, 0, list[tuple[int, int]]()
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number).select(["document_id", "segment", "input_ids"])
        batch.validate(full=True)
        rows, tokens = rows + len(batch), tokens + int(np.ptp(to_numpy(batch["input_ids"].offsets)))
        ends = [*ends[:1], *((batch["document_id"][k].as_py(), batch["segment"][k].as_py()) for k in (0, -1))]
    return ShardRecord(
        path=path,
        rows=rows,
        tokens=tokens,
        bytes=size,
        sha256=sha256,
        content_sha256=reader.schema.metadata[CONTENT_KEY].decode(),
        first=ends[0],
        last=ends[-1],
    )


def _place(record: ShardRecord) -> tuple[int, ...]:
    """Return what shards are sorted by: task, block and part."""
    numbers = Path(record.path).stem.removeprefix("shard-").replace("_", "-").split("-")
    return tuple(map(int, numbers))
