"""Parquet, JSON lines and Hugging Face folders hold the rows of the dataset, to the last bit, and open where they should."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import duckdb
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import zstandard
from finished import RECIPES, make_dataset, splits_of, stored_rows

from spanmask.config import PreshardConfig
from spanmask.exporting.config import ExportConfig, Target
from spanmask.exporting.run import export
from spanmask.presharding.run import preshard

Finished = Callable[[str], Path]

each_recipe = pytest.mark.parametrize("recipe", RECIPES)


def exported(folder: Path, out: Path, target: str, *splits: str) -> Path:
    export(folder, out, ExportConfig(target=Target(target), splits=splits))
    return out


# --- Parquet


@each_recipe
def test_parquet_has_a_file_for_each_shard_with_its_rows_and_types(
    recipe: str, finished: Finished, tmp_path: Path
) -> None:
    folder = finished(recipe)
    out = exported(folder, tmp_path / "out", "parquet")
    shards = sorted(path.relative_to(folder).with_suffix("") for path in folder.glob("*/*.arrow"))
    assert sorted(path.relative_to(out).with_suffix("") for path in out.glob("*/*")) == shards
    for shard in shards:
        stored = pa.ipc.open_file(folder / shard.with_suffix(".arrow")).read_all()
        found = pq.read_table(out / shard.with_suffix(".parquet"), partitioning=None)
        assert found.schema.equals(stored.schema)
        assert found.schema.metadata[b"spanmask.format_version"] == b"2"
        assert found.to_pylist() == stored.to_pylist()
        metadata = pq.read_metadata(out / shard.with_suffix(".parquet"))
        codecs = {metadata.row_group(0).column(k).compression for k in range(metadata.num_columns)}
        assert codecs == {"ZSTD"}


@each_recipe
def test_parquet_opens_in_datasets_polars_and_duckdb(recipe: str, finished: Finished, tmp_path: Path) -> None:
    folder = finished(recipe)
    out = exported(folder, tmp_path / "out", "parquet")
    datasets.disable_progress_bars()
    found = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: part.to_list() for split, part in found.items()} == {
        split: stored_rows(folder, split) for split in splits_of(folder)
    }
    wanted = stored_rows(folder, "train")
    assert polars.read_parquet(out / "train" / "*.parquet").to_dicts() == wanted
    assert pyarrow.dataset.dataset(out / "train", format="parquet").to_table().to_pylist() == wanted
    with duckdb.connect() as connection:
        rows = connection.read_parquet(str(out / "train" / "*.parquet")).order("document_id, segment")
        assert [dict(zip(rows.columns, row, strict=True)) for row in rows.fetchall()] == wanted


def test_a_row_group_holds_at_most_16_record_batches(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat sat\n\n" * 17_000)
    preshard(tmp_path / "a.txt", tmp_path / "shards", PreshardConfig.of(seed=1, min_tokens=3), jobs=1)
    out = exported(tmp_path / "shards", tmp_path / "out", "parquet")
    metadata = pq.read_metadata(next(out.glob("train/*")))
    assert [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)] == [16 * 1024, 17_000 - 16 * 1024]


# --- JSON lines


@each_recipe
def test_jsonl_has_a_row_a_line_with_plain_lists(recipe: str, finished: Finished, tmp_path: Path) -> None:
    folder = finished(recipe)
    out = exported(folder, tmp_path / "out", "jsonl")
    for split in splits_of(folder):
        lines = (out / f"{split}.jsonl").read_text("utf-8").split("\n")
        assert lines.pop() == ""
        assert [json.loads(line) for line in lines] == stored_rows(folder, split)


@pytest.mark.parametrize(
    ("suffix", "decompress"),
    [
        (".jsonl", bytes),
        (".jsonl.gz", gzip.decompress),
        (".jsonl.zst", lambda data: zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()),
    ],
)
def test_a_split_fits_in_one_file_compressed_as_its_name_says(
    suffix: str, decompress: Callable[[bytes], bytes], finished: Finished, tmp_path: Path
) -> None:
    folder = finished("stored")
    plain = (exported(folder, tmp_path / "folder", "jsonl") / "validation.jsonl").read_bytes()
    out = exported(folder, tmp_path / f"rows{suffix}", "jsonl", "validation")
    assert decompress(out.read_bytes()) == plain
    assert {path.name for path in tmp_path.iterdir()} == {"folder", out.name}


def test_what_json_cannot_write_is_null(tmp_path: Path) -> None:
    scores = [1.5, math.nan, math.inf, -math.inf, 0.1]
    text = "some words of text that make one row"
    table = pa.table({"text": [text] * 5, "score": pa.array(scores), "half": pa.array(scores, pa.float32())})
    pq.write_table(table, tmp_path / "a.parquet")
    preshard(tmp_path / "a.parquet", tmp_path / "shards", PreshardConfig.of(seed=1, keep=("score", "half")), jobs=1)
    lines = (exported(tmp_path / "shards", tmp_path / "out", "jsonl") / "train.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["score"] for row in rows] == [1.5, None, None, None, 0.1]
    assert [row["half"] for row in rows] == [1.5, None, None, None, 0.10000000149011612]


def test_jsonl_opens_in_datasets(finished: Finished, tmp_path: Path) -> None:
    out = exported(finished("many"), tmp_path / "out", "jsonl")
    datasets.disable_progress_bars()
    found = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: part.to_list() for split, part in found.items()} == {
        split: stored_rows(finished("many"), split) for split in ("train", "validation")
    }


# --- Hugging Face folders


@each_recipe
def test_load_from_disk_opens_a_datasets_folder_without_a_copy(recipe: str, finished: Finished, tmp_path: Path) -> None:
    folder = finished(recipe)
    out = exported(folder, tmp_path / "out", "datasets")
    before = pa.total_allocated_bytes()
    found = datasets.load_from_disk(str(out))
    assert pa.total_allocated_bytes() == before
    assert isinstance(found, datasets.DatasetDict)
    assert {split: part.to_list() for split, part in found.items()} == {
        split: stored_rows(folder, split) for split in splits_of(folder)
    }


def test_a_datasets_folder_is_like_one_that_the_library_writes(finished: Finished, tmp_path: Path) -> None:
    out = exported(finished("many"), tmp_path / "out", "datasets")
    found = datasets.load_from_disk(str(out))
    datasets.disable_progress_bars()
    found.save_to_disk(str(tmp_path / "theirs"))
    state, theirs = (json.loads((root / "train" / "state.json").read_bytes()) for root in (out, tmp_path / "theirs"))
    assert state.keys() == theirs.keys()
    assert {key for key in state if state[key] != theirs[key]} == {"_data_files", "_fingerprint"}
    assert json.loads((out / "dataset_dict.json").read_bytes()) == {"splits": ["train", "validation"]}
    mapped = found["train"].map(lambda row: {"size": len(row["labels"])}, load_from_cache_file=False)
    assert mapped["size"] == [len(row["labels"]) for row in stored_rows(finished("many"), "train")]


def test_splits_of_different_datasets_have_different_fingerprints(finished: Finished, tmp_path: Path) -> None:
    found = set()
    for recipe in ("many", "stored"):
        out = exported(finished(recipe), tmp_path / recipe, "datasets")
        found |= {json.loads(path.read_bytes())["_fingerprint"] for path in out.glob("*/state.json")}
    assert len(found) == 4


# --- All of them


@pytest.mark.parametrize("target", Target)
def test_equal_exports_have_equal_bytes(target: Target, finished: Finished, tmp_path: Path, tree: Any) -> None:
    one, other = (exported(finished("stored"), tmp_path / name, target) for name in ("one", "other"))
    assert tree(one) == tree(other)


@pytest.mark.parametrize("target", Target)
def test_only_the_splits_named_are_written(target: Target, finished: Finished, tmp_path: Path) -> None:
    out = exported(finished("many"), tmp_path / "out", target, "validation")
    assert {path.name.split(".")[0] for path in out.iterdir()} - {"_spanmask", "dataset_dict"} == {"validation"}


def test_progress_counts_every_row_and_one_shard_is_open_at_a_time(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, "many")
    seen, opened = [], []

    def on_progress(done: int, total: int) -> None:
        seen.append((done, total))
        maps = Path("/proc/self/maps")
        opened.append(
            len({line for line in maps.read_text().splitlines() if str(folder) in line}) if maps.exists() else 1
        )

    export(folder, tmp_path / "out", ExportConfig(target=Target.PARQUET), on_progress=on_progress)
    total = sum(len(stored_rows(folder, split)) for split in ("train", "validation"))
    assert len(list(folder.glob("*/*.arrow"))) > 6
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert max(opened) <= 2
