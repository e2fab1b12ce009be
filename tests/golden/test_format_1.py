"""Datasets of format 1, kept as bytes: their stored masks stay readable, whatever the format is by now.

``format-1/`` holds two, written by the last code that wrote format 1, their inputs, and ``expected.json``, what that code read of them:
``cased`` has one of BERT's vocabularies and no more, ``words`` supplied words, kept fields and a held-out split.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spanmask
from spanmask.exporting.config import ExportConfig
from spanmask.exporting.run import export
from spanmask.loading import ShardLoader
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
