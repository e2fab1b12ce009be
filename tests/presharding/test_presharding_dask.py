"""Presharding by a Dask cluster: the bytes of a run on one machine, whatever becomes of workers, scheduler and command."""

from __future__ import annotations

import gzip
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask_cluster import DaskCluster, kill, wait_for
from object_store import ObjectStore

from spanmask.errors import ConfigError, MismatchError
from spanmask.presharding import plan
from spanmask.presharding.spread import TaskWork

pytest.importorskip("distributed", reason="needs the dask extra")
pytestmark = [pytest.mark.faults, pytest.mark.slow]

OPTIONS = {"holdout": 0.2, "random_ids": "unigram", "keep": ("id",)}


@pytest.fixture(scope="module")
def whole(make_lab: Any) -> Any:
    """Files of one task each, of several together, of several each, and one that is streamed; what a run of this machine makes of them."""
    lab = make_lab("whole")
    texts = lab.text(count=600).read_text().split("\n\n")
    rows = [{"text": text, "id": number} for number, text in enumerate(texts)]
    packed = lab.folder / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows[400:]).encode(), mtime=0))
    lab.inputs = [
        lab.jsonl(rows[:390], "large.jsonl"),
        packed,
        *(lab.jsonl([row], f"{row['id']}.jsonl") for row in rows[390:400]),
    ]
    lab.run(lab.inputs, "local", **OPTIONS)
    lab.wanted = lab.tree("local")
    return lab


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskCluster]:
    cluster = DaskCluster(tmp_path)
    yield cluster
    cluster.end()


def _command(whole: Any, out: Path, cluster: DaskCluster) -> list[Any]:
    wait_for(cluster.file.exists)
    return [
        "preshard",
        *whole.inputs,
        "--out",
        out,
        *whole.flags(**OPTIONS),
        "--engine",
        "dask",
        "--scheduler",
        cluster.file,
    ]


def _receipts(out: Path) -> int:
    return len([*(out / ".spanmask" / "receipts").glob("*.json")])


def test_a_cluster_of_this_machine_writes_the_bytes_of_a_run_without(whole: Any) -> None:
    command = [
        "preshard",
        *whole.inputs,
        "--out",
        whole.folder / "own",
        *whole.flags(**OPTIONS),
        "--engine",
        "dask",
        "--jobs",
        2,
    ]
    code, _, error = whole.finish(*command)
    assert (code, error) == (0, "")
    assert whole.tree("own") == whole.wanted
    code, out, _ = whole.finish(*command)
    assert code == 0
    assert "already" in out


def test_a_killed_worker_changes_no_byte(whole: Any, tmp_path: Path, cluster: DaskCluster) -> None:
    workers = [cluster.start_worker(), cluster.start_worker()]
    process = whole.start(*_command(whole, tmp_path / "out", cluster))
    wait_for(lambda: _receipts(tmp_path / "out") > 4)
    kill(workers[0])
    assert (process.communicate()[1], process.returncode) == ("", 0)
    assert whole.tree(tmp_path / "out") == whole.wanted


def test_when_the_scheduler_dies_the_same_command_goes_on_anywhere(
    whole: Any, tmp_path: Path, cluster: DaskCluster
) -> None:
    out = tmp_path / "out"
    cluster.start_worker()
    process = whole.start(*_command(whole, out, cluster))
    wait_for(lambda: _receipts(out) > 4)
    kill(cluster.scheduler)
    _, error = process.communicate()
    assert (process.returncode, error) == (4, error)
    assert "scheduler tcp://" in error
    assert "run the same command again, which goes on from there" in error
    before = _receipts(out)
    assert before > 4
    whole.run(whole.inputs, out, **OPTIONS)
    assert whole.tree(out) == whole.wanted


def test_a_task_that_kills_its_workers_is_told_and_the_others_are_done(
    whole: Any, tmp_path: Path, cluster: DaskCluster
) -> None:
    out, script = tmp_path / "out", tmp_path / "poisoned.py"
    script.write_text("""
import os
from spanmask.presharding.units import Pipeline
def poisoned(self, unit, report, run=Pipeline.run):
    return os.kill(os.getpid(), 9) if unit.task == 3 else run(self, unit, report)
Pipeline.run = poisoned
""")
    cluster.start_worker("--nanny", "--preload", str(script))
    code, _, error = whole.finish(*_command(whole, out, cluster))
    assert (code, error) == (3, error)
    assert "1 units failed after three tries (00003-00000)" in error
    assert "run the same command again with more memory a worker" in error
    assert (
        json.loads((out / ".spanmask" / "failed" / "00003-00000.json").read_bytes())["reason"]
        == "its worker died on 3 tries"
    )
    kill(cluster.workers[0])
    cluster.start_worker()
    assert whole.finish(*_command(whole, out, cluster))[0] == 0
    assert whole.tree(out) == whole.wanted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["interrupt", "terminate"])
def test_a_signal_ends_the_run_when_the_tasks_under_way_are_done(
    whole: Any, tmp_path: Path, cluster: DaskCluster, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    cluster.start_worker()
    process = whole.start(*_command(whole, out, cluster))
    wait_for(lambda: _receipts(out) > 2)
    os.killpg(process.pid, number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    ending = "ending when the shards under way are done, or after 10 seconds; once more ends it at once"
    assert error == f"spanmask: {ending}\nspanmask: stopped; the same command goes on from here\n"
    assert whole.finish(*_command(whole, out, cluster))[0] == 0
    assert whole.tree(out) == whole.wanted


def test_two_commands_on_one_folder_write_one_dataset(whole: Any, tmp_path: Path, cluster: DaskCluster) -> None:
    cluster.start_worker()
    both = [whole.start(*_command(whole, tmp_path / "out", cluster)) for _ in range(2)]
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0)] * 2
    assert whole.tree(tmp_path / "out") == whole.wanted


def test_workers_write_to_an_object_store_though_one_is_killed(
    whole: Any, tmp_path: Path, cluster: DaskCluster, object_store: ObjectStore
) -> None:
    workers = [cluster.start_worker(), cluster.start_worker()]
    command = _command(whole, tmp_path, cluster)
    command[command.index("--out") + 1] = object_store.url("data/set")
    process = whole.start(*command)
    wait_for(lambda: len(object_store.requests("PUT", "receipts")) > 4)
    kill(workers[0])
    assert (process.communicate()[1], process.returncode) == ("", 0)
    wanted = {name: data for name, data in whole.wanted.items() if not name.endswith("/")}
    assert object_store.tree("data/set") == wanted
    assert object_store.uploads() == []


def test_a_worker_where_the_folder_is_not_or_is_another_run_s_refuses(whole: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"nowhere: no such folder on .*, where a Dask worker runs; give one that all machines share"
    ):
        TaskWork(str(whole.folder / "nowhere"), "key").prepare()
    made = plan(whole.inputs, whole.folder / "planned", whole.config(**OPTIONS))
    with pytest.raises(MismatchError, match="another run was begun there"):
        TaskWork(made.out, "key").prepare()
