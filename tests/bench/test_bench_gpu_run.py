"""What is prepared for a GPU runs without one, at the smallest size, and its grid is what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from spanmask.reproduction.cells import cells_of
from spanmask.reproduction.plan import read_plan

BENCH = Path(__file__).resolve().parents[2] / "bench"


def _run(*arguments, **environment):
    script = [BENCH / "gpu_run.sh", *arguments]
    told = os.environ | {"PYTHON": sys.executable} | environment
    return subprocess.run(script, capture_output=True, text=True, check=False, env=told)


def test_the_grid_is_three_arms_of_six_seeds_and_whole_seeds_come_first():
    plan = read_plan(str(BENCH / "gpu_grid.toml"))
    cells = cells_of(plan)
    assert Counter(cell.work.value for cell in cells) == Counter(
        {"shards": 2, "tokens": 1, "training": 18, "held-out": 18, "probe": 18}
    )
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert {arm.name: arm.train["objective"] for arm in plan.arms} == {
        "token": "mlm", "span": "mlm", "span-sbo": "mlm+sbo"
    }  # fmt: skip


@pytest.mark.parametrize("arguments", [(), ("tests",), ("nonsense", "out")])
def test_what_the_script_does_not_know_is_told(tmp_path, arguments):
    done = _run(*(str(tmp_path / one) if one == "out" else one for one in arguments))
    assert done.returncode != 0
    assert "usage: bench/gpu_run.sh carry DATA | tests OUT | grid OUT" in done.stderr


def test_texts_that_are_not_there_are_told(tmp_path):
    done = _run("carry", str(tmp_path))
    assert done.returncode == 2
    assert f"expected the files {tmp_path}/prose/enwiki2018.000.jsonl.zst" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_grid_runs_without_a_gpu(tmp_path):
    done = _run("grid", str(tmp_path / "out"), TINY="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "codes.txt", "grid.lock", "report.html", "report.json", "reproduce.txt"
    }  # fmt: skip
    assert not json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["undone"]
