"""`status` tells from plan and receipts how far a run is, while it goes on anywhere, and by which command it goes on."""

from __future__ import annotations

import bz2
import json
import os
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from object_store import ObjectStore
from spanmask_cli.main import run as run_main

import spanmask.presharding.status as status_module
from spanmask import preshard
from spanmask.errors import ConfigError, IncompleteShards, MismatchError
from spanmask.places import LocalPlace
from spanmask.presharding import plan, run_unit
from spanmask.presharding.state import RunState, locked
from spanmask.presharding.status import Stage, status

from .conftest import Lab

pytestmark = pytest.mark.faults


def _command(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        run_main()
    return int(ended.value.code or 0)


def test_it_is_told_while_a_run_goes_on_until_it_is_finished(lab: Lab) -> None:
    out, seen = lab.folder / "out", []
    (lab.folder / "b.txt.bz2").write_bytes(bz2.compress(lab.text("b.txt", 120, seed=1).read_bytes()))
    inputs = [lab.text("a.txt"), lab.folder / "b.txt.bz2"]
    preshard(inputs, out, lab.config(), jobs=1, on_progress=lambda _: seen.append(status(out)))
    assert {one.stage for one in seen} == {Stage.RUNNING}
    assert all(one.tasks == seen[0].tasks > 3 for one in seen)
    for counts in ([one.done for one in seen], [one.disk_bytes for one in seen]):
        assert counts == sorted(counts)
    assert (seen[0].done, seen[0].disk_bytes, seen[0].idle) == (0, 0, None)
    assert (seen[-1].missing, seen[-1].disk_bytes) == ((), seen[-1].disk_total)
    whole = status(out)
    assert (whole.stage, whole.go_on) == (Stage.FINISHED, "")
    assert whole.manifest is not None


def test_a_run_that_stopped_goes_on_with_the_command_that_is_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"document number {i} of some words", "id": str(i), "at": i} for i in range(400)]
    taken = lab.folder / "taken.txt"
    taken.write_text("7\n11\n")
    options: dict[str, Any] = {"keep": ("id", "at"), "exclude": (f"id={taken}",), "vocab": "uncased", "cased": False}
    inputs = [lab.jsonl(rows[:200], "it's one.jsonl"), lab.jsonl(rows[200:], "two.jsonl")]
    lab.run(inputs, "whole", **options, holdout=0.3)
    out = lab.folder / "out"
    planned = plan(inputs, out, lab.config(**options, holdout=0.3))
    for number in (0, 2):
        run_unit(planned, number)
    RunState(out).save_failure("00003-00000", "its process died on 3 tries")
    found = status(out)
    assert (found.stage, found.tasks) == (Stage.OPEN, len(planned.tasks))
    assert found.missing == (1, *range(3, found.tasks))
    assert found.failed == {"00003-00000": "its process died on 3 tries"}
    assert found.disk_bytes == planned.tasks[0].disk_bytes + planned.tasks[2].disk_bytes
    assert _command(["spanmask", "status", str(out)], monkeypatch) == 0
    told = capsys.readouterr().out
    assert f"\nmissing: 1, 3-{found.tasks - 1}\nfailed: 00003-00000: its process died on 3 tries\n" in told
    assert f"\nwhere it is an array: submit that again, or what `spanmask finalize {out}` names\nno process" in told
    assert told.endswith(f"no process of this host is at it; it goes on with: {found.go_on}\n")
    assert _command([*shlex.split(found.go_on), "--jobs", "1"], monkeypatch) == 0
    assert lab.tree("out") == lab.tree("whole")


def test_rate_and_time_left_are_those_of_the_last_receipts(lab: Lab) -> None:
    out = lab.folder / "out"
    planned = plan(lab.text(), out, lab.config())
    assert status(out).rate is None
    now = time.time()
    for number in range(4):
        run_unit(planned, number)
        # The first long before the others, as before a kill.
        os.utime(
            out / ".spanmask" / "receipts" / f"{number:05}-00000.json", (now - 9000 * (number == 0) + 2 * number,) * 2
        )
    found = status(out)
    size = planned.tasks[2].disk_bytes + planned.tasks[3].disk_bytes
    assert found.rate == pytest.approx(size / 4, rel=1e-3)
    assert found.seconds_left == pytest.approx(
        sum(task.disk_bytes for task in planned.tasks[4:]) / (size / 4), rel=1e-3
    )
    for number in range(4, len(planned.tasks)):
        run_unit(planned, number)
    found = status(out)
    assert (found.stage, found.go_on) == (Stage.COMPLETE, f"spanmask finalize {out}")


def test_a_failure_of_a_task_that_is_done_since_is_told_no_more(lab: Lab) -> None:
    """It is not taken back in an object store, nor of a streamed task whose worker died after its first block."""
    (lab.folder / "b.txt.bz2").write_bytes(bz2.compress(lab.text("b.txt", 120, seed=1).read_bytes()))
    out = lab.folder / "out"
    planned = plan([lab.text("a.txt"), lab.folder / "b.txt.bz2"], out, lab.config())
    streamed = next(task.number for task in planned.tasks if task.streamed)
    for number in (0, 1, streamed):
        RunState(out).save_failure(f"{number:05}-00000", "its worker died on 3 tries")
    kept = (out / ".spanmask" / "failed").rename(lab.folder / "failed")
    for number in (0, streamed):
        run_unit(planned, number)
    kept.rename(out / ".spanmask" / "failed")
    assert status(out).failed == {"00001-00000": "its worker died on 3 tries"}


def test_of_many_receipts_few_are_opened(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of ten terabytes that is one task has a third of a million."""
    (lab.folder / "b.txt.bz2").write_bytes(bz2.compress(lab.text("b.txt", 400, seed=1).read_bytes()))
    out = lab.folder / "out"
    with pytest.raises(IncompleteShards):
        preshard(lab.folder / "b.txt.bz2", out, lab.config(), jobs=1, on_progress=lambda progress: progress.shards > 9)
    receipts = sorted((out / ".spanmask" / "receipts").iterdir())
    # Of so little text all is read at once, and counts for the first block.
    for path in receipts:
        path.write_text(json.dumps({**json.loads(path.read_bytes()), "disk_bytes": 100}))
    read, opened = LocalPlace.read, list[str]()
    monkeypatch.setattr(LocalPlace, "read", lambda *arguments: opened.append(arguments[1]) or read(*arguments))
    monkeypatch.setattr(status_module, "_MOST", 3)
    found = status(out)
    assert len([name for name in opened if "receipts" in name]) == 3
    assert found.disk_bytes == 100 * len(receipts) > 900
    run_unit(plan(lab.folder / "b.txt.bz2", out, lab.config()), 0)
    opened.clear()
    found = status(out)
    assert (found.stage, found.disk_bytes) == (Stage.COMPLETE, found.disk_total)
    assert len([name for name in opened if "receipts" in name]) == 1


def test_who_holds_the_lock_is_at_it_and_is_not_disturbed(lab: Lab) -> None:
    out = lab.folder / "out"
    run_unit(plan(lab.text(), out, lab.config()), 0)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert status(out).stage is Stage.OPEN
    with locked(out):
        assert status(out).stage is Stage.RUNNING
    assert status(out).stage is Stage.OPEN
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_finished_dataset_that_a_run_is_replacing_is_told_beside_the_run(lab: Lab) -> None:
    lab.run(lab.text(), "out")
    with pytest.raises(IncompleteShards, match="stopped with"):
        preshard(
            lab.folder / "text.txt", lab.folder / "out", lab.config(seed=8), overwrite=True, jobs=1,
            on_progress=lambda progress: progress.shards > 1,
        )  # fmt: skip
    found = status(lab.folder / "out")
    assert (found.stage, found.done, found.manifest is not None) == (Stage.OPEN, 2, True)


def test_what_is_no_dataset_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab.folder / "run").mkdir()
    (lab.folder / "run" / "run.json").write_text("{}")
    for name, told in (
        ("", "no dataset, and no run under way"),
        ("nowhere", "no such folder"),
        ("run", "spanmask train"),
    ):
        with pytest.raises(ConfigError, match=told):
            status(lab.folder / name)
        assert _command(["spanmask", "status", str(lab.folder / name)], monkeypatch) == 2
    plan(lab.text(), lab.folder / "out", lab.config())
    (lab.folder / "out" / ".spanmask" / "plan.json").write_text(json.dumps({"tasks": 7}))
    with pytest.raises(MismatchError, match="the plan of its run is damaged"):
        status(lab.folder / "out")


def test_a_program_is_told_in_json(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = lab.folder / "out"
    plan(lab.text(), out, lab.config())
    assert _command(["spanmask", "status", str(out), "--json"], monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["stage"], told["done"], told["missing"]) == ("open", 0, [f"0-{told['tasks'] - 1}"])
    lab.run(lab.folder / "text.txt", "out")
    assert _command(["spanmask", "status", str(out), "--json", "--watch", "60"], monkeypatch) == 0
    line = capsys.readouterr().out
    assert (json.loads(line)["stage"], line.count("\n")) == ("finished", 1)
    assert _command(["spanmask", "status", str(out)], monkeypatch) == 0
    assert Path(out).name in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_to_an_object_store_is_told_too(lab: Lab, object_store: ObjectStore) -> None:
    url, began = object_store.url("data/set"), time.time()
    planned = plan(lab.text(), url, lab.config())
    assert (status(url).stage, status(url).idle) == (Stage.OPEN, None)
    for number in (0, 1, 3):
        run_unit(planned, number)
    found = status(url)
    assert (found.stage, found.missing[:2], found.done) == (Stage.OPEN, (2, 4), 3)
    assert found.idle is not None
    assert found.idle <= time.time() - began + 1
    assert f"--out {url} " in found.go_on
    before = object_store.tree("data")
    status(url)
    assert object_store.tree("data") == before
    preshard(lab.folder / "text.txt", url, lab.config(), jobs=1)
    assert status(url).stage is Stage.FINISHED
    with pytest.raises(ConfigError, match="no dataset, and no run under way"):
        status(object_store.url("data"))
