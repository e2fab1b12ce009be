"""Whole or not at all: what may be written where, what a failure leaves, and how the command ends."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from finished import stored_rows
from resealed import records_of, reseal

from spanmask.errors import ConfigError, IncompleteShards, MismatchError, ShardError
from spanmask.exporting.config import ExportConfig, Target
from spanmask.exporting.run import export
from spanmask.folders import _put
from spanmask.shard.writer import write_shard

Finished = Callable[[str], Path]
Run = Callable[..., subprocess.CompletedProcess[str]]

PARQUET = ExportConfig(target=Target.PARQUET)
each_target = pytest.mark.parametrize("target", Target)


@pytest.fixture
def dataset(finished: Finished, tmp_path: Path) -> Path:
    """A copy of a dataset, to be damaged."""
    return Path(shutil.copytree(finished("many"), tmp_path / "shards"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("spanmask: ")
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stdout == ""
    return result.stderr


# --- The command


def test_the_command_prints_what_it_wrote(dataset: Path, tmp_path: Path, run: Run) -> None:
    counts = {split: len(stored_rows(dataset, split)) for split in ("train", "validation")}
    result = run("shards", "--to", "t5", "--out", "out")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[:2] == [f"{split}: {count} sequences" for split, count in counts.items()]
    assert lines[2].startswith("sentinels: that of span k, from 0, has the id 28996 + k; the highest id is 29")
    assert lines[3] == "wrote out (t5)"
    result = run("shards", "--to", "t5", "--out", "down", "--first-sentinel", 32099, "--sentinels-descend", "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout)["rows"] == counts
    assert json.loads(result.stdout)["sentinels"]["step"] == -1
    assert names(tmp_path) == ["down", "out", "shards"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere", "--to", "parquet"], 2, "nowhere: no such folder; give the folder that `spanmask preshard --out`"),
        (["shards", "--to", "parquet", "--split", "test"], 2, "shards has no split 'test'; it has train, validation"),
        (["empty", "--to", "parquet"], 5, "no manifest: not a spanmask dataset, or its run did not finish"),
    ],
)
def test_a_dataset_or_split_that_is_not_there_ends_with_one_line(
    arguments: list[str], code: int, told: str, dataset: Path, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "empty").mkdir()
    result = run(*arguments, "--out", "out")
    assert result.returncode == code
    assert told in one_line(result)
    assert names(tmp_path) == ["empty", "shards"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "csv", "--out", "out"], "--to is 'csv': give --to parquet|jsonl|datasets|t5"),
        (["--to", "parquet"], "--out is missing: give --out PATH"),
        (["--to", "parquet", "--out", "out", "--keep-specials"], "--keep-specials go with --to t5"),
    ],
)
def test_a_wrong_option_ends_with_2(arguments: list[str], told: str, dataset: Path, run: Run) -> None:
    result = run("shards", *arguments)
    assert result.returncode == 2
    assert told in result.stderr


# --- Where it may write


@each_target
def test_what_stands_there_is_kept_unless_overwrite_is_given(
    target: Target, dataset: Path, tmp_path: Path, tree: Any
) -> None:
    out, config = tmp_path / "out", ExportConfig(target=target)
    export(dataset, out, ExportConfig(target=Target.JSONL, splits=("validation",)))
    before = tree(out)
    with pytest.raises(ConfigError, match="something stands there; choose another --out, or give --overwrite"):
        export(dataset, out, config)
    assert tree(out) == before
    export(dataset, out, config, overwrite=True)
    export(dataset, tmp_path / "fresh", config)
    assert tree(out) == tree(tmp_path / "fresh")
    assert names(tmp_path) == ["fresh", "out", "shards"]


def test_overwrite_replaces_nothing_but_exports_and_empty_folders(dataset: Path, tmp_path: Path, tree: Any) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    export(dataset, tmp_path / "real", PARQUET)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    shutil.copytree(dataset, tmp_path / "other" / "shards")
    before = tree(tmp_path)
    for name in ("mine", "file", "link", "broken", "other/shards"):
        with pytest.raises(ConfigError, match="--overwrite replaces an exported folder, which this is not"):
            export(dataset, tmp_path / name, PARQUET, overwrite=True)
    assert tree(tmp_path) == before
    (tmp_path / "empty").mkdir()
    export(dataset, tmp_path / "empty", PARQUET, overwrite=True)
    assert tree(tmp_path / "empty") == tree(tmp_path / "real")


@pytest.mark.parametrize("name", ["shards", "shards/out", "shards/train/out", ".", "link", "link/out"])
def test_nothing_is_written_in_or_around_the_dataset(name: str, dataset: Path, tmp_path: Path, tree: Any) -> None:
    (tmp_path / "link").symlink_to(dataset)
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match="it is, or holds, or lies in the dataset"):
        export(dataset, tmp_path / name, PARQUET, overwrite=True)
    assert tree(tmp_path) == before


def test_missing_folders_above_are_made_and_removed_again_on_failure(dataset: Path, tmp_path: Path) -> None:
    export(dataset, tmp_path / "a" / "b" / "out", PARQUET)
    assert names(tmp_path / "a" / "b") == ["out"]
    (dataset / "validation" / "shard-00000-00000.arrow").unlink()
    with pytest.raises(IncompleteShards):
        export(dataset, tmp_path / "c" / "d" / "out", PARQUET)
    assert names(tmp_path) == ["a", "shards"]


# --- One file of JSON lines


def test_one_file_holds_one_split(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"one file holds one split, not train, validation; name one with --split"):
        export(dataset, tmp_path / "rows.jsonl", ExportConfig(target=Target.JSONL))
    assert names(tmp_path) == ["shards"]


def test_a_file_is_replaced_with_overwrite_only_and_a_folder_never(dataset: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "rows.jsonl", ExportConfig(target=Target.JSONL, splits=("train",))
    out.write_text("mine")
    with pytest.raises(ConfigError, match="something stands there"):
        export(dataset, out, config)
    assert out.read_text() == "mine"
    export(dataset, out, config, overwrite=True)
    assert len(out.read_text().splitlines()) == len(stored_rows(dataset, "train"))
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ConfigError, match="something stands there"):
        export(dataset, tmp_path / "folder.jsonl", config, overwrite=True)
    assert names(tmp_path) == ["folder.jsonl", "rows.jsonl", "shards"]


# --- What a failure leaves


@each_target
def test_a_flipped_bit_ends_with_the_shards_name_and_nothing_left(
    target: Target, dataset: Path, tmp_path: Path
) -> None:
    path = max(dataset.glob("validation/*.arrow"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardError) as caught:
        export(dataset, tmp_path / "out", ExportConfig(target=target))
    assert caught.value.path == f"validation/{path.name}"
    assert names(tmp_path) == ["shards"]
    export(dataset, tmp_path / "out", ExportConfig(target=target, splits=("train",)))
    with pytest.raises(ShardError):
        export(dataset, tmp_path / "out", ExportConfig(target=target), overwrite=True)
    assert names(tmp_path) == ["out", "shards"]
    assert json.loads((tmp_path / "out" / "_spanmask.json").read_bytes())["rows"].keys() == {"train"}


def test_a_shard_whose_kept_columns_have_other_types_is_refused(finished: Finished, tmp_path: Path) -> None:
    """No run of ours writes one; its digests are right."""
    folder = Path(shutil.copytree(finished("stored"), tmp_path / "shards"))
    *records, last = records_of(folder)
    table = pa.ipc.open_file(folder / last.path).read_all()
    place = table.schema.get_field_index("number")
    field = pa.field("number", pa.int32())
    changed = table.set_column(place, field, table.column(place).cast(pa.int32()))
    reseal(folder, records={"train": [*records, write_shard(folder, last.path, changed)]})
    with pytest.raises(ShardError, match=rf"{last.path}: its kept columns have other types than {records[0].path}"):
        export(folder, tmp_path / "out", PARQUET)
    assert names(tmp_path) == ["shards"]


def test_a_missing_shard_ends_the_command_with_5(dataset: Path, tmp_path: Path, run: Run) -> None:
    next(dataset.glob("train/*.arrow")).unlink()
    result = run("shards", "--to", "parquet", "--out", "out")
    assert result.returncode == 5
    assert "the file is missing" in one_line(result)
    assert names(tmp_path) == ["shards"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "out"),
    [*((target, "out") for target in Target), *(("jsonl", f"out.jsonl{end}") for end in ("", ".gz", ".zst"))],
)
def test_a_file_that_may_not_grow_ends_with_4_and_nothing_left(
    target: str, out: str, dataset: Path, tmp_path: Path, run: Run
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    result = run("shards", "--to", target, "--out", out, "--split", "train", preexec_fn=limit)
    assert result.returncode == 4
    error = one_line(result)
    assert "could not write (File too large)" in error
    assert f"{tmp_path / out}" in error
    assert ".tmp-" not in error
    assert names(tmp_path) == ["shards"]


def test_a_place_below_a_file_ends_with_4(dataset: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("x")
    result = run("shards", "--to", "parquet", "--out", "file/out")
    assert result.returncode == 4
    assert f"{tmp_path / 'file' / 'out'}: could not create the folder (Not a directory)" in one_line(result)
    assert names(tmp_path) == ["file", "shards"]


def test_what_stood_there_comes_back_when_the_new_folder_cannot_take_its_name(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(FileNotFoundError):
        _put(tmp_path / "gone", tmp_path / "out", tmp_path / "aside")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["old"]


_SLOW = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
from spanmask.exporting.config import ExportConfig, Target
from spanmask.exporting.run import export
def wait(done, total):
    print(done, flush=True)
    time.sleep(0.2)
export(sys.argv[1], sys.argv[2], ExportConfig(target=Target(sys.argv[3])), on_progress=wait)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_leaves_nothing_under_the_final_name(number: signal.Signals, dataset: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, dataset, tmp_path / "out", "parquet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    assert process.returncode != 0
    left = names(tmp_path)
    if number is signal.SIGKILL:
        assert len(left) == 2
        assert left[0].startswith(".tmp-")
        export(dataset, tmp_path / "out", PARQUET)
        assert names(tmp_path) == ["out", "shards"]
    else:
        assert left == ["shards"]


@pytest.mark.parametrize("name", ["out", "out.jsonl", "out.jsonl.gz"])
def test_of_two_exports_at_one_place_one_is_refused(name: str, dataset: Path, tmp_path: Path) -> None:
    config = ExportConfig(target=Target.JSONL, splits=("train",))
    refused = []

    def again(done: int, total: int) -> None:
        with pytest.raises(MismatchError, match=rf"{name}: another spanmask process is writing it; wait for it"):
            export(dataset, tmp_path / name, config, overwrite=True)
        refused.append(done)

    export(dataset, tmp_path / name, config, on_progress=again)
    assert refused
    assert names(tmp_path) == sorted([name, "shards"])
    with pytest.raises(ConfigError, match="something stands there"):
        export(dataset, tmp_path / name, config)


@pytest.mark.parametrize("name", ["out", "out.jsonl"])
def test_an_export_that_was_killed_is_done_again_and_leaves_nothing(name: str, dataset: Path, tmp_path: Path) -> None:
    left = tmp_path / f".tmp-{name}"
    (left / "new").mkdir(parents=True)
    (left / name).write_text("half")
    export(dataset, tmp_path / name, ExportConfig(target=Target.JSONL, splits=("train",)))
    assert names(tmp_path) == sorted([name, "shards"])
