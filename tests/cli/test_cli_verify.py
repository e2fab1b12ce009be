"""`verify` ends with 1 where something is wrong, with the dataset alone or beside its inputs, and with 2 where it was asked wrongly."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from .conftest import TEXT


def test_verify_ends_with_1_where_something_is_wrong(shell: Any) -> None:
    shell.preshard(shell.write("a.txt"))
    out = shell.folder / "out"
    shard = next((out / "train").iterdir())
    whole = shard.read_bytes()
    for damage in (whole[:-1], whole[:900] + bytes([whole[900] ^ 1]) + whole[901:], b""):
        shard.write_bytes(damage)
        result = shell("verify", out)
        assert (result.code, result.error) == (1, "")
        assert result.out.startswith("train/shard-00000-00000.arrow: ")
    shard.write_bytes(whole)
    assert shell("verify", out).code == 0
    (out / "train" / "extra").write_bytes(b"")
    assert "train/extra: not in the manifest" in shell("verify", out).out


def test_verify_ends_with_1_without_a_whole_manifest(shell: Any) -> None:
    shell.preshard(shell.write("a.txt"))
    manifest = shell.folder / "out" / "manifest.json"
    data = manifest.read_bytes()
    for damage in (data[:-2], data.replace(b'"rows":2', b'"rows":3', 1), b"", b"[]\n", b"\xff"):
        manifest.write_bytes(damage)
        assert shell("verify", shell.folder / "out").code == 1
    manifest.unlink()
    result = shell("verify", shell.folder / "out", "--json")
    assert result.code == 1
    assert json.loads(result.out)["findings"][0]["message"].startswith("no manifest")


def test_verify_of_no_folder_ends_with_2(shell: Any, one_line: Callable[[str], str]) -> None:
    result = shell("verify", "nothing")
    assert result.code == 2
    assert "no such folder" in one_line(result.error)


def test_inputs_go_with_source_only(shell: Any) -> None:
    result = shell("verify", "out", "a.txt")
    assert result.code == 2
    assert "INPUT goes with --source" in result.error


# --- With the inputs


def _rewrite_token(folder: Path) -> None:
    """Change one unmasked token, and every digest and count that tells of it: what no check of the dataset alone can see."""
    from resealed import records_of, reseal

    from spanmask.shard.manifest import read_manifest
    from spanmask.shard.schema import from_record_batch
    from spanmask.shard.writer import write_shards
    from spanmask.statistics import RowStatistics

    manifest = read_manifest(folder)
    record = manifest.splits["train"].shards[0]
    path = folder / record.path
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    rows = table.column("input_ids").to_pylist()
    spans = set(range(table["span_starts"][0].as_py()[0], table["span_ends"][0].as_py()[0]))
    place = next(i for i in range(2, len(rows[0]) - 1) if i not in spans)
    rows[0][place] = manifest.vocabulary.ids["dog"]
    index = table.schema.get_field_index("input_ids")
    changed = table.set_column(
        index, table.schema.field("input_ids"), pa.array(rows, table.schema.field("input_ids").type)
    )
    batches = changed.combine_chunks().to_batches()
    path.unlink()
    (written,) = write_shards(folder, record.path.removesuffix(".arrow"), batches)
    statistics = RowStatistics()
    statistics.add(from_record_batch(batches[0]), manifest.vocabulary, manifest.config.masking.mask_fraction)
    others = records_of(folder)[1:]
    reseal(
        folder, lambda content: content["statistics"].update(train=statistics.to_json()), {"train": [written, *others]}
    )


@pytest.mark.parametrize("inputs", [["a.txt"]])
def test_verify_source_finds_a_token_that_was_changed_consistently(shell: Any, inputs: list[str]) -> None:
    shell.write("a.txt", TEXT.replace("nobody told it", "the dog told nobody of it"))
    assert shell.preshard("a.txt").code == 0
    assert shell("verify", "out", "--source", "--jobs", 1).code == 0
    _rewrite_token(shell.folder / "out")
    assert shell("verify", "out").code == 0
    result = shell("verify", "out", "--source", *inputs, "--jobs", 1)
    assert result.code == 1
    assert "put back is not what the inputs hold" in result.out


def test_verify_source_finds_changed_and_foreign_inputs(shell: Any) -> None:
    path = shell.write("a.txt")
    shell.preshard(path)
    path.write_text(TEXT.replace("cat", "dog"))
    result = shell("verify", "out", "--source", "--jobs", 1)
    assert (result.code, "SHA-256" in result.out) == (1, True)
    other = shell.write("b.txt")
    result = shell("verify", "out", "--source", other, "--jobs", 1)
    assert (result.code, "the inputs given are not its own: a.txt" in result.out) == (1, True)


def test_verify_source_takes_inputs_that_moved(shell: Any, one_line: Callable[[str], str]) -> None:
    path = shell.write("a.txt")
    shell.preshard(path, "--holdout", 0.5)
    (shell.folder / "moved").mkdir()
    moved = path.rename(shell.folder / "moved" / "a.txt")
    result = shell("verify", "out", "--source", "--jobs", 1)
    assert result.code == 2
    assert "a.txt" in one_line(result.error)
    result = shell("verify", "out", "--source", moved, "--jobs", 1)
    assert (result.code, result.error) == (0, "")
    assert "equals its inputs" in result.out


def test_verify_source_asks_for_the_inputs_where_they_are_not_known(
    shell: Any, one_line: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shell.write("a.txt")
    shell.preshard(path)
    monkeypatch.delenv("SPANMASK_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(shell.folder / "another"))
    result = shell("verify", "out", "--source", "--jobs", 1)
    assert result.code == 2
    assert "name them in order after --source: a.txt" in one_line(result.error)
    assert shell("verify", "out", "--source", path, "--jobs", 1).code == 0
    shutil.rmtree(shell.folder / "another", ignore_errors=True)
    assert sys.argv[0] == "spanmask"
