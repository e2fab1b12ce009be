"""`shards.arrow`: many shards without an object each, and whatever stands in it is refused or read, never followed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from memory import traced
from resealed import records_of, reseal

from spanmask.errors import IncompleteShards, ShardError
from spanmask.shard import table
from spanmask.shard.listed import describe_file
from spanmask.shard.manifest import read_manifest, seal
from spanmask.shard.reader import ShardSet, open_shards
from spanmask.shard.table import SHARDS, ShardRecord, Shards, Split, table_bytes
from spanmask.shard.verify import verify

MANY = 300_000


def many(shards: int) -> dict[str, Split]:
    """A split of so many shards, none of which is there."""
    columns = {name: np.zeros(shards, column.dtype) for name, column in Shards.of("train", []).columns.items()}
    columns["task"][:] = np.arange(shards)
    columns["rows"][:], columns["tokens"][:], columns["bytes"][:] = 25_000, 12_500_000, 60 << 20
    digests = np.random.default_rng(7).integers(0, 256, (2, shards, 32), np.uint8)
    columns["sha256"], columns["content_sha256"] = digests.view("S32")[..., 0]
    columns["first_document_id"] = columns["last_document_id"] = np.arange(shards, dtype=np.uint64) << np.uint64(40)
    columns["last_segment"][:] = 7
    return {"train": Split(name="train", shards=Shards("train", columns))}


def give(folder: Path, splits: dict[str, Split], data: bytes | memoryview | None = None) -> None:
    """Put another table beside a manifest that agrees with it."""
    manifest = read_manifest(folder)
    data = table_bytes(splits) if data is None else data
    content = {key: value for key, value in manifest.content.items() if key != "digest"}
    content |= {
        "splits": {name: split.to_json() for name, split in splits.items()},
        "files": {SHARDS: describe_file(data)},
    }
    (folder / "manifest.json").write_bytes(seal(content, splits).to_bytes())
    (folder / SHARDS).write_bytes(data)


_OPEN = """
import resource, sys, time
import numpy, pyarrow, spanmask.shard.reader
def memory():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before, start = memory(), time.process_time()
shards = spanmask.shard.reader.open_shards(sys.argv[1])
print(time.process_time() - start, memory() - before, len(shards), len(shards.split.shards), shards.split.shards[-1].path)
"""


@pytest.mark.slow
def test_300_000_shards_open_in_a_second_and_50_megabytes(fresh: Callable[[str], Path]) -> None:
    folder = fresh("single")
    give(folder, many(MANY))
    done = subprocess.run([sys.executable, "-c", _OPEN, folder], capture_output=True, text=True, check=True)
    seconds, size, rows, shards, path = done.stdout.split()
    assert (int(rows), int(shards), path) == (MANY * 25_000, MANY, "train/shard-299999-00000.arrow")
    assert float(seconds) < 1
    assert int(size) <= 50_000_000
    assert (folder / SHARDS).stat().st_size < 40_000_000
    assert (folder / "manifest.json").stat().st_size < 10_000


def test_records_come_back_as_they_were_given(fresh: Callable[[str], Path]) -> None:
    records = [
        ShardRecord(
            path=f"train/shard-{task:05}-{block:05}{part}.arrow",
            rows=task % 1000 + 1,
            tokens=block + 3_000,
            bytes=(1 << 40) - 1,
            sha256=digest,
            content_sha256=digest[::-1],
            first=((1 << 64) - 1, (1 << 32) - 1),
            last=(0, block),
        )
        for task, block, part, digest in [
            (0, 0, "", "00" * 32),
            (0, 3, "_01", "ab" * 16 + "00" * 16),
            (0, 3, "_100", "ff" * 32),
            (123_456, 99_999, "", "0a" * 32),
        ]
    ]
    shards = Shards.of("train", records)
    assert list(shards) == records
    assert list(shards[1:3]) == records[1:3]
    assert shards[-1] == records[-1]
    folder = fresh("single")
    give(folder, {"train": Split(name="train", shards=shards)})
    split = read_manifest(folder).splits["train"]
    assert list(split.shards) == records
    assert (split.rows, split.tokens) == (460, 112_005)


def test_the_shards_of_a_unit_are_told_by_its_numbers() -> None:
    shards = many(30)["train"].shards
    shards.columns["task"][:] = np.arange(30) // 10
    shards.columns["block"][:] = np.arange(30) % 10
    assert shards.of_unit(1, None) == list(range(10, 20))
    assert shards.of_unit(2, 3) == [23]
    assert shards.of_unit(7, None) == []


# --- Hostile tables, every digest right


def change(name: str, value: int, place: int = 1) -> Callable[[Any], Any]:
    def apply(columns: Any) -> Any:
        columns[name][place] = value
        return columns

    return apply


WRONG = {
    "rows negative": change("rows", -1),
    "rows beyond memory": change("rows", 1 << 62),
    "tokens negative": change("tokens", -5),
    "bytes beyond any file": change("bytes", 1 << 40),
    "the same shard twice": change("task", 0),
    "out of order": change("task", 9, place=0),
    "no shard": lambda columns: {name: column[:0] for name, column in columns.items()},
}


@pytest.mark.parametrize("name", WRONG)
def test_figures_that_no_shards_have_are_refused(name: str, fresh: Callable[[str], Path]) -> None:
    folder = fresh("single")
    columns = WRONG[name](many(3)["train"].shards.columns)
    give(folder, {"train": Split(name="train", shards=Shards("train", columns))})
    with pytest.raises(ShardError, match=r"lacks or garbles|not the table|do not hold"):
        read_manifest(folder)
    assert not verify(folder).ok


@pytest.mark.parametrize("name", ["task", "block", "part"])
def test_an_order_that_is_none_is_refused_wherever_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the shards that are checked together begin and end, too."""
    monkeypatch.setattr(table, "_CHECKED", 2)
    for place in range(1, 6):
        columns = many(6)["train"].shards.columns
        columns["task"][:] = 1
        columns[name][:] = np.arange(6) + 1
        Split(name="train", shards=Shards("train", columns)).check()
        columns[name][place] = place
        with pytest.raises(ValueError, match="twice, or not in the order"):
            Split(name="train", shards=Shards("train", columns)).check()
        columns[name][place] = place + 1
        columns["tokens"][place] = 1
        with pytest.raises(ValueError, match="other bytes"):
            Split(name="train", shards=Shards("train", columns)).check()


def test_opening_takes_the_table_and_two_places_a_shard(fresh: Callable[[str], Path]) -> None:
    folder, shards = fresh("single"), 30_000
    give(folder, many(shards))
    open_shards(folder)
    with traced() as found:
        opened = open_shards(folder)
    assert opened.block_count() == shards * -(-25_000 // 1024)
    assert found.peak < (folder / SHARDS).stat().st_size + 16 * shards + 120_000


def recast(change: Callable[[pa.Table], pa.Table], **options: Any) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        table = change(pa.ipc.open_file(pa.BufferReader(data)).read_all())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
            for batch in table.to_batches():
                writer.write_batch(batch)
        return bytes(sink.getvalue().to_pybytes())

    return apply


def with_nulls(table: pa.Table) -> pa.Table:
    return table.set_column(3, table.schema.field(3), pa.array([None, *table.column(3).to_pylist()[1:]], pa.int64()))


NO_TABLE = {
    "empty": lambda _: b"",
    "no arrow": lambda data: bytes(len(data)),
    "cut": lambda data: data[:-100],
    "a column less": recast(lambda table: table.drop_columns(["bytes"])),
    "columns in another order": recast(lambda table: table.select(table.column_names[::-1])),
    "other types": recast(lambda table: table.set_column(0, "task", table.column(0).cast(pa.uint64()))),
    "other metadata": recast(lambda table: table.replace_schema_metadata({})),
    "nulls": recast(with_nulls),
    "two record batches": recast(lambda table: pa.concat_tables([table.slice(0, 5), table.slice(5)])),
    "a row less": recast(lambda table: table.slice(1).combine_chunks()),
    "zstd": recast(lambda table: table, compression="zstd"),
    "lz4": recast(lambda table: table, compression="lz4"),
}


@pytest.mark.parametrize("name", NO_TABLE)
def test_what_is_no_table_is_refused(name: str, fresh: Callable[[str], Path]) -> None:
    folder = fresh("paper")
    splits = read_manifest(folder).splits
    give(folder, splits, NO_TABLE[name]((folder / SHARDS).read_bytes()))
    with pytest.raises(ShardError, match=r"shards\.arrow"):
        open_shards(folder)
    assert not verify(folder).ok


def test_a_flipped_bit_of_the_table_is_found(fresh: Callable[[str], Path]) -> None:
    path = fresh("single") / SHARDS
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 17):
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(ShardError, match=r"sha256 is .* the manifest says"):
            read_manifest(path.parent)
        data[place] ^= 1 << place % 8


@pytest.mark.parametrize("kind", ["missing", "folder", "link", "pipe", "longer"])
def test_the_table_is_a_plain_file_of_its_size(kind: str, fresh: Callable[[str], Path]) -> None:
    folder = fresh("single")
    path = folder / SHARDS
    held = shutil.copy(path, folder.parent / "held")
    path.unlink()
    {
        "missing": lambda: None,
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(held),
        "pipe": lambda: os.mkfifo(path),
        "longer": lambda: path.write_bytes(Path(held).read_bytes() + b"\0"),
    }[kind]()
    with pytest.raises(IncompleteShards if kind == "missing" else ShardError, match=r"shards\.arrow"):
        open_shards(folder)
    (finding,) = verify(folder).findings
    assert finding.path == SHARDS


def test_rows_that_a_manifest_makes_up_are_refused_where_they_are_read(fresh: Callable[[str], Path]) -> None:
    folder = fresh("paper")
    first, *others = records_of(folder)
    reseal(folder, records={"train": [replace(first, rows=first.rows + 1), *others]})
    with pytest.raises(ShardError, match=f"{first.rows} rows, not {first.rows + 1}"):
        open_shards(folder)[0]
    reseal(folder, records={"train": [replace(first, rows=5_000, tokens=15_000), *others]})
    with pytest.raises(ShardError, match="other bytes than its rows and tokens take"):
        open_shards(folder)


def test_a_pickled_set_has_the_same_shards(fresh: Callable[[str], Path]) -> None:
    import pickle

    shards = open_shards(fresh("paper"))
    again: ShardSet = pickle.loads(pickle.dumps(shards))
    assert list(again.split.shards) == list(shards.split.shards)
    assert np.array_equal(again.row_offsets, shards.row_offsets)
