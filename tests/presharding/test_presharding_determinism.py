"""The bytes of a dataset are those of its inputs and configuration: not of jobs, order, or who finished it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from spanmask import verify
from spanmask.corpus.inputs import find_inputs
from spanmask.presharding.plan_file import plan_to_json
from spanmask.presharding.planning import make_plan
from spanmask.presharding.state import RunState
from spanmask.presharding.units import Pipeline, all_units
from spanmask.vocab import load_vocabulary


def _mixed(lab: Any) -> list[Path]:
    """Small and large files of every kind, one compressed and large enough to be streamed."""
    documents = [document for i in range(4) for document in lab.text(f"{i}.txt", 40, seed=i).read_text().split("\n\n")]
    packed = lab.folder / "packed.txt.gz"
    packed.write_bytes(gzip.compress("\n\n".join(documents).encode(), mtime=0))
    (lab.folder / "small.txt.xz").write_bytes(lzma.compress("\n\n".join(documents[:9]).encode()))
    (lab.folder / "large.txt.bz2").write_bytes(bz2.compress("\n\n".join(documents).encode()))
    table = pa.table({"id": range(len(documents)), "text": documents})
    pyarrow.csv.write_csv(table, lab.folder / "table.csv")
    rows = lab.jsonl([{"text": document} for document in documents[:60]])
    table = pa.table({"text": documents})
    pyarrow.parquet.write_table(table, lab.folder / "rows.parquet", row_group_size=40)
    with pa.ipc.new_file(lab.folder / "rows.arrow", table.schema) as writer:
        writer.write_table(table.slice(0, 50))
    return [
        lab.folder / "0.txt",
        packed,
        lab.folder / "1.txt",
        lab.folder / "small.txt.xz",
        lab.folder / "table.csv",
        lab.folder / "large.txt.bz2",
        rows,
        lab.folder / "rows.parquet",
        lab.folder / "rows.arrow",
    ]


@pytest.fixture(scope="module")
def mixed(make_lab: Any) -> tuple[Any, list[Path]]:
    lab = make_lab("mixed")
    inputs = _mixed(lab)
    lab.run(inputs, "jobs1", holdout=0.2, random_ids="unigram")
    return lab, inputs


def test_two_jobs_write_the_bytes_of_one(mixed: Any) -> None:
    lab, inputs = mixed
    lab.run(inputs, "jobs2", jobs=2, holdout=0.2, random_ids="unigram")
    assert lab.tree("jobs2") == lab.tree("jobs1")
    assert verify(lab.folder / "jobs2").ok
    assert len([name for name in lab.tree("jobs1") if name.startswith("train/shard")]) > 10


def test_any_order_of_units_writes_the_same_bytes(mixed: Any) -> None:
    """Units run backwards and at random, as workers would at their worst; then the run is finished by another call."""
    lab, inputs = mixed
    config = lab.config(holdout=0.2, random_ids="unigram")
    plan = make_plan(config, load_vocabulary(config.vocabulary), find_inputs(inputs, config.corpus.format).files)
    units = list(all_units(plan))
    assert len(units) > 10
    for name, order in (("backwards", units[::-1]), ("shuffled", random.Random(3).sample(units, len(units) - 3))):
        state = RunState(lab.folder / name)
        state.start(plan_to_json(plan))
        pipeline = Pipeline(replace(plan, key=str(state.plan_key)), state.root)
        for unit in order:
            state.save_receipt(pipeline.run(unit, lambda *_: None))
        lab.run(inputs, name, holdout=0.2, random_ids="unigram")
        assert lab.tree(name) == lab.tree("jobs1")


def test_a_folder_a_glob_and_a_list_of_the_same_files_are_the_same_inputs(lab: Any) -> None:
    for i in range(3):
        lab.text(f"{i}.txt", 20, seed=i)
    inputs = lab.folder / "in"
    inputs.mkdir()
    for i in range(3):
        os.link(lab.folder / f"{i}.txt", inputs / f"{i}.txt")
    lab.run(inputs, "folder")
    lab.run(f"{inputs}/*.txt", "glob")
    lab.run([inputs / f"{i}.txt" for i in range(3)], "list")
    assert lab.tree("folder") == lab.tree("glob") == lab.tree("list")


def test_files_added_last_change_no_identity_and_no_mask(lab: Any) -> None:
    files = [lab.text(f"{i}.txt", 20, seed=i) for i in range(3)]
    few, many = lab.run(files[:2], "few"), lab.run(files, "many")
    rows = [_rows(lab.folder / name) for name in ("few", "many")]
    assert list(rows[1].items())[: len(rows[0])] == list(rows[0].items())
    assert few.splits["train"].rows < many.splits["train"].rows


def _rows(folder: Path) -> dict[tuple[int, int], tuple[list[int], list[int]]]:
    import spanmask

    return {
        (row.document_id, row.segment): (row.input_ids.tolist(), row.span_starts.tolist())
        for row in spanmask.open(folder)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "1", "LC_ALL": "C"},
        {"TZ": "Asia/Kolkata", "PYTHONHASHSEED": "9"},
        {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    ],
    ids="-".join,
)
def test_the_environment_changes_no_byte(mixed: Any, environment: dict[str, str]) -> None:
    lab, inputs = mixed
    name = "-".join(environment)
    if "NUMBA_CPU_NAME" in environment:
        environment = {**environment, "SPANMASK_CACHE_DIR": str(lab.folder / "generic")}
    options = [
        "--seed",
        7,
        "--shard-bytes",
        4096,
        "--max-tokens",
        64,
        "--holdout",
        0.2,
        "--random-ids",
        "unigram",
        "--jobs",
        1,
    ]
    code, _, error = lab.finish("preshard", *inputs, "--out", lab.folder / name, *options, **environment)
    assert (code, error) == (0, "")
    assert lab.tree(name) == lab.tree("jobs1")


@pytest.mark.parametrize("unit", [1, 3])
def test_unigram_counts_do_not_depend_on_how_often_they_are_counted(mixed: Any, unit: int) -> None:
    lab, inputs = mixed
    config = lab.config(random_ids="unigram")
    files = find_inputs(inputs[:unit], config.corpus.format).files
    plans = [make_plan(config, load_vocabulary(config.vocabulary), files) for _ in range(2)]
    assert plans[0].unigram is not None
    assert plans[0].unigram.tolist() == plans[1].unigram.tolist()
    assert plans[0].unigram.sum() > 1000
    special = [number for role, number in plans[0].vocabulary.special.as_dict().items() if role != "unk"]
    assert not plans[0].unigram[special].any()
