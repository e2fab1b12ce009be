"""Datasets of format 1, kept as bytes: their stored masks stay readable, whatever the format is by now.

``format-1/`` holds two, written by the last code that wrote format 1, their inputs, and ``expected.json``, what that code read of them:
``cased`` has one of BERT's vocabularies and no more, ``words`` supplied words, kept fields and a held-out split.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spanmask_cli.main import run as run_main

import spanmask
from spanmask import PreshardConfig, preshard
from spanmask.auditing import audit
from spanmask.config import canonical_json
from spanmask.errors import MismatchError, ShardError
from spanmask.exporting.config import ExportConfig
from spanmask.exporting.run import export
from spanmask.loading import ShardLoader
from spanmask.presharding.comparing import verify_source
from spanmask.shard.manifest import read_manifest
from spanmask.shard.verify import verify

FOLDER = Path(__file__).parent / "format-1"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text())
DATASETS = [(name, split) for name, known in EXPECTED.items() for split in known]


def digest_of(arrays: list[Any]) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).astype("<i8").tobytes())
    return found.hexdigest()


def rows_digest(folder: Path, split: str) -> str:
    """All that rows hold, kept fields as JSON."""
    rows = list(spanmask.open(folder, split))
    arrays = [
        array
        for row in rows
        for array in (row.document_id, row.segment, row.input_ids, row.span_starts, row.span_ends, row.labels)
    ]
    stored = [row.word_starts for row in rows if row.word_starts is not None]
    kept = json.dumps([row.kept for row in rows]).encode()
    return digest_of([*arrays, *stored, np.frombuffer(kept, np.uint8)])


def batches_digest(folder: Path, split: str, layout: str) -> str:
    """Tokens and dense labels of padded rows as stored; all tokens of packed bins, sorted: how bins are filled is no part of a format."""
    if layout == "packed":
        bins = ShardLoader(folder, split=split, layout=layout, batch_size=2, width=128)
        tokens = [np.asarray(batch["input_ids"])[np.asarray(batch["sequence_index"]) > 0] for batch in bins]
        return digest_of([np.sort(np.concatenate(tokens))])
    loader = ShardLoader(folder, split=split, batch_size=4, order="none")
    inside = ((batch, np.asarray(batch["attention_mask"]).astype(bool)) for batch in loader)
    return digest_of([np.asarray(batch[name])[mask] for batch, mask in inside for name in ("input_ids", "labels")])


def export_digest(folder: Path, split: str, out: Path) -> str:
    export(folder, out / "rows.jsonl", ExportConfig.of(target="jsonl", splits=(split,)))
    return hashlib.sha256((out / "rows.jsonl").read_bytes()).hexdigest()


def found_of(folder: Path, split: str, out: Path) -> dict[str, str]:
    return {
        "rows": rows_digest(folder, split),
        "padded": batches_digest(folder, split, "padded"),
        "packed": batches_digest(folder, split, "packed"),
        "jsonl": export_digest(folder, split, out),
    }


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize(("name", "split"), DATASETS)
def test_rows_batches_and_exports_are_those_that_were_read_before(name: str, split: str, tmp_path: Path) -> None:
    assert found_of(FOLDER / name, split, tmp_path) == EXPECTED[name][split]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_dataset_of_format_1_is_verified(name: str, tmp_path: Path) -> None:
    assert verify(FOLDER / name).findings == ()
    folder = tmp_path / "damaged"
    shutil.copytree(FOLDER / name, folder)
    path = next((folder / "train").glob("*.arrow"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert [finding.path for finding in verify(folder).findings] == [path.relative_to(folder).as_posix()]


# --- What format 1 is refused for


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process; returns its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["spanmask", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            run_main()
        return (int(caught.value.code or 0), *capsys.readouterr())

    return run


OLD = r"has format 1 and was masked by algorithm version 1; .* takes format 2 .*: preshard the text again"


def test_masks_of_format_1_are_neither_drawn_anew_nor_audited_nor_compared() -> None:
    folder = FOLDER / "cased"
    with pytest.raises(MismatchError, match=OLD):
        ShardLoader(folder, batch_size=2, masks="fresh")
    with pytest.raises(MismatchError, match=OLD):
        audit(folder)
    with pytest.raises(MismatchError, match=OLD):
        verify_source(folder, [FOLDER / "tales.txt"], jobs=1)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["audit"], ["verify", "--source"], ["train", "--seed", 1, "--masks", "fresh"]])
def test_commands_that_need_new_masks_end_with_2(command: list[Any], shell: Any) -> None:
    inputs = [FOLDER / "tales.txt"] if "--source" in command else ["--out", "run"] if "train" in command else []
    code, _, error = shell(command[0], FOLDER / "cased", *command[1:], *inputs)
    assert (code, "preshard the text again" in " ".join(error.split())) == (2, True)


@pytest.mark.parametrize("command", [["show"], ["verify"]])
def test_commands_that_read_what_is_stored_do(command: list[str], shell: Any) -> None:
    code, out, _ = shell(*command, FOLDER / "words")
    assert (code, bool(out)) == (0, True)


@pytest.mark.parametrize("target", ["parquet", "datasets", "t5"])
def test_other_exports_hold_the_same_rows(target: str, tmp_path: Path) -> None:
    for name, splits in EXPECTED.items():
        exported = export(FOLDER / name, tmp_path / name, ExportConfig.of(target=target))
        assert exported.rows == {split: len(spanmask.open(FOLDER / name, split)) for split in splits}


def test_nothing_is_presharded_on_top_of_format_1_unasked(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(FOLDER / "cased", folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    config = PreshardConfig.of(seed=5, max_tokens=64, vocab="cased", shard_bytes=1024)
    with pytest.raises(
        MismatchError, match=r"a dataset of format 1 stands there, which stays readable; .* --overwrite"
    ):
        preshard(FOLDER / "tales.txt", folder, config, jobs=1)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    preshard(FOLDER / "tales.txt", folder, config, jobs=1, overwrite=True)
    assert read_manifest(folder).format_version == 2
    assert verify(folder).ok


def test_a_dataset_of_format_1_with_a_made_up_format_is_refused(tmp_path: Path) -> None:
    """Its version is under its digest: neither a shard nor a manifest passes for one of the other format."""
    folder = tmp_path / "out"
    shutil.copytree(FOLDER / "cased", folder)
    content = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_bytes(canonical_json({**content, "format_version": 2}) + b"\n")
    with pytest.raises(ShardError, match="digest does not match"):
        read_manifest(folder)
