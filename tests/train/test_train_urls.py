"""Training from an object store is training from a folder: by the command, on two ranks, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from copies import cached_in, copies_in, upload
from object_store import ACCESS_KEY, SECRET_KEY, SESSION_TOKEN, ObjectStore
from train.conftest import flags_of, lines_of, losses_of, weights_of

STEPS = 240
_RANK = """
import os, pathlib, torch
pathlib.Path(__file__).with_suffix("." + os.environ["RANK"]).write_text(str(os.getpid()))
torch.set_num_threads(1)
from spanmask_cli.main import run
run()
"""


def launched(program: Path, dataset: str | Path, run: Path, *more: str) -> subprocess.Popen[str]:
    """Begin `spanmask train` on two processes of torchrun, whose numbers come to files beside the program."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    flags = [*flags_of(steps=STEPS, batch_size=2, save_every=40), "--no-compile", "--eval", "--preset", "cpu"]
    line = [*launch, "train", dataset, "--out", run, *(more or flags)]
    return subprocess.Popen(list(map(str, line)), stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> None:
    told = process.communicate(timeout=200)[1]
    assert process.returncode == 0, told


def killed(process: subprocess.Popen[str], program: Path, run: Path, line: int) -> None:
    """Kill all processes of a run, after so many lines of metrics."""
    deadline = time.monotonic() + 200
    while not (run / "metrics.jsonl").exists() or len(lines_of(run)) < line:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    for number in (process.pid, *(int(program.with_suffix(f".{rank}").read_text()) for rank in (0, 1))):
        os.kill(number, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
@pytest.mark.faults
def test_two_ranks_that_train_from_an_object_store_are_killed_and_resumed_and_see_what_a_local_run_sees(
    shards: Path, object_store: ObjectStore, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    program = tmp_path / "rank.py"
    program.write_text(_RANK)
    url = upload(object_store, shards)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    ended(launched(program, shards, whole))
    with cached_in(tmp_path / "cache") as copies:
        killed(launched(program, url, parts), program, parts, 50)
        before = len(lines_of(parts))
        assert before < STEPS
        assert list((parts / "checkpoints").iterdir())
        ended(launched(program, url, parts, "--resume"))
        kept = len(copies_in(copies))
    fetched = [one.key for one in object_store.requests("GET", r"\d\.arrow$")]
    tell(f"killed after {before} of {STEPS} steps; {len(fetched)} requests for {len(set(fetched))} shards")
    assert kept == len(set(fetched)) == len(fetched)
    assert losses_of(parts) == losses_of(whole)
    assert weights_of(parts, STEPS) == weights_of(whole, STEPS)
    evaluations = [
        {
            name: value
            for name, value in lines_of(run, "evaluation.jsonl")[-1].items()
            if "second" not in name and name != "time"
        }
        for run in (parts, whole)
    ]
    assert evaluations[0] == evaluations[1]
    stated = json.loads((parts / "run.json").read_text())
    assert list(stated["names"].values()) == ["shards"]
    text = "".join(path.read_text("utf-8", "replace") for path in parts.rglob("*") if path.is_file())
    assert not any(secret in text for secret in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN))
