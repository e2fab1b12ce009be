"""Rows as Parquet, as lines of JSON, and as the folders that `datasets.load_from_disk` opens."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from spanmask.config import canonical_json
from spanmask.exporting.verified import Shard, VerifiedRows
from spanmask.folders import NewFolder
from spanmask.shard.table import Split

#: Record batches of a Parquet row group.
_GROUP = 16
#: Rows turned into Python objects at once.
_JSON_ROWS = 64
#: How a file of JSON lines is compressed, by the end of its name.
JSONL_SUFFIXES = {".jsonl": None, ".jsonl.gz": "gzip", ".jsonl.zst": "zstd"}

#: A shard with other columns.
Convert = Callable[[Shard], Shard]


def write_parquet(rows: VerifiedRows, split: Split, written: NewFolder, convert: Convert = lambda shard: shard) -> None:
    """Write a Parquet file (zstd) for each shard of a split, under its name."""
    for shard in map(convert, rows.shards(split)):
        name = Path(shard.record.path).with_suffix(".parquet").as_posix()
        written.write(name, partial(_write_groups, shard))


def _write_groups(shard: Shard, file: IO[bytes]) -> None:
    with pq.ParquetWriter(file, shard.schema, compression="zstd") as writer:
        for first in shard.batches:
            group = [first, *islice(shard.batches, _GROUP - 1)]
            writer.write_table(pa.Table.from_batches(group, shard.schema))


def write_jsonl(rows: VerifiedRows, split: Split, file: IO[bytes], compression: str | None = None) -> None:
    """Write the rows of a split as objects, one a line; a number that JSON cannot write (NaN, an infinity) becomes null."""
    lines = chain.from_iterable(json_lines(batch) for shard in rows.shards(split) for batch in shard.batches)
    if compression is None:
        file.writelines(lines)
        return
    # The stream closes what it writes to, and the file is its owner's to close.
    with os.fdopen(os.dup(file.fileno()), "wb") as same, pa.CompressedOutputStream(same, compression) as stream:
        for line in lines:
            stream.write(line)


def json_lines(batch: pa.RecordBatch) -> Iterator[bytes]:
    """Yield rows as objects, one a line, some at a time, so that long ones do not all become Python objects at once.

    A number that JSON cannot write (NaN, an infinity) becomes null.
    """
    for start in range(0, batch.num_rows, _JSON_ROWS):
        rows = batch.slice(start, _JSON_ROWS)
        columns = [_finite(column) for column in rows.columns]
        for row in pa.RecordBatch.from_arrays(columns, rows.schema.names).to_pylist():
            yield json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _finite(column: pa.Array) -> pa.Array:
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))


def write_datasets(rows: VerifiedRows, split: Split, written: NewFolder) -> None:
    """Write a split as `datasets` 5.2 writes one to disk, without features, which it takes from the Arrow files."""
    count = len(split.shards)
    names = [f"data-{number:05}-of-{count:05}.arrow" for number in range(count)]
    for name, shard in zip(names, rows.shards(split), strict=True):
        written.write(f"{split.name}/{name}", partial(_write_stream, shard))
    identity = f"{rows.manifest.fingerprint} {split.name}".encode()
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": hashlib.sha256(identity).hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split.name,
    }
    _write_json(written, f"{split.name}/state.json", state)
    known = {"citation": "", "description": "", "homepage": "", "license": ""}
    _write_json(written, f"{split.name}/dataset_info.json", known)


def _write_stream(shard: Shard, file: IO[bytes]) -> None:
    with pa.ipc.new_stream(file, shard.schema) as writer:
        for batch in shard.batches:
            writer.write_batch(batch)


def write_splits(names: Iterable[str], written: NewFolder) -> None:
    """Write the file by which `datasets` knows a folder of splits."""
    _write_json(written, "dataset_dict.json", {"splits": list(names)})


def _write_json(written: NewFolder, name: str, value: Any) -> None:
    written.write_bytes(name, canonical_json(value) + b"\n")
