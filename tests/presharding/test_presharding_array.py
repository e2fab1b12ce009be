"""Tasks of an array in any order, lost, doubled and killed, and whoever finishes them: the bytes are those of a run in one piece."""

from __future__ import annotations

import json
import pickle
import random
import re
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from spanmask_cli.main import run as run_main

import spanmask
from spanmask import ConfigError, IncompleteShards, MismatchError, finalize, preshard, verify
from spanmask.engines.array import choose
from spanmask.folders import sole_writer
from spanmask.presharding import finishing, plan, read_plan, run_unit
from spanmask.presharding import state as states
from spanmask.presharding.existing import check_out
from spanmask.presharding.plan_file import plan_to_json
from spanmask.presharding.planning import make_plan
from spanmask.presharding.running import Ran
from spanmask.presharding.state import FOLDER, joined
from spanmask.presharding.tasks import run_share


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "PATIENCE", 5.0)


#: Returns exit code and text of a command.
Told = Callable[..., tuple[int, str]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["spanmask", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            run_main()
        found = capsys.readouterr()
        return int(caught.value.code or 0), found.out + found.err

    return call


def _planned(whole: Any, out: str) -> Any:
    return plan(whole.inputs, whole.folder / out, whole.config(**whole.options))


def _share(whole: Any, out: str, text: str) -> None:
    made = _planned(whole, out)
    assert not run_share(made, choose(text, {}).numbers(len(made.tasks)), 1).failed


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_any_number_of_tasks_in_any_order_writes_the_bytes_of_one_run(count: int, whole: Any) -> None:
    out = f"of{count}"
    made = _planned(whole, out)
    for index in random.Random(count).sample(range(count), count):
        assert not run_share(made, choose(f"{index}/{count}", {}).numbers(len(made.tasks)), 1).failed
    manifest = finalize(whole.folder / out)
    assert whole.tree(out) == whole.wanted
    assert finalize(whole.folder / out).digest == manifest.digest
    assert whole.tree(out) == whole.wanted


def test_a_lost_task_is_named_with_the_command_that_runs_just_that(whole: Any, told: Told) -> None:
    for index in (0, 2):
        _share(whole, "lost", f"{index}/3")
    made = read_plan(whole.folder / "lost")
    lost = range(1, len(made.tasks), 3)
    with pytest.raises(IncompleteShards, match=f"{len(lost)} of {len(made.tasks)} tasks are missing") as caught:
        finalize(whole.folder / "lost")
    commands = re.findall("`(.*?)`", str(caught.value))
    assert commands[1] == f"spanmask finalize {whole.folder / 'lost'}"
    before = whole.tree("lost")
    assert told(*shlex.split(commands[0])[1:], "--jobs", 1)[0] == 0
    assert {name for name in whole.tree("lost") if name in before and whole.tree("lost")[name] != before[name]} == set()
    assert finalize(whole.folder / "lost").digest == json.loads(whole.wanted["manifest.json"])["digest"]
    assert whole.tree("lost") == whole.wanted


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["receipt", "shard", "end", "block", "cut"])
def test_what_was_damaged_since_is_named_and_made_again(damage: str, whole: Any) -> None:
    out = f"damaged-{damage}"
    _share(whole, out, "0/1")
    folder = whole.folder / out
    streamed = next(task.number for task in read_plan(folder).tasks if task.streamed)
    number = streamed if damage in ("end", "block") else 1
    receipts = sorted((folder / ".spanmask" / "receipts").glob(f"{number:05}-*.json"))
    if damage == "shard":
        next(folder.glob("train/shard-00001-*.arrow")).unlink()
    elif damage == "cut":
        shard = next(folder.glob("train/shard-00001-*.arrow"))
        shard.write_bytes(shard.read_bytes()[:-8])
    elif damage == "receipt":
        receipts[-1].write_bytes(receipts[-1].read_bytes().replace(b"1", b"2"))
    else:
        receipts[-1 if damage == "end" else 0].unlink()
    with pytest.raises(IncompleteShards, match=f"1 of .* are missing: {number}; run "):
        finalize(folder)
    run_unit(read_plan(folder), number)
    finalize(folder)
    assert whole.tree(out) == whole.wanted


def test_without_the_look_at_shards_a_lost_one_would_be_finished(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: receipts are believed without their shards. What the tests above rest on."""
    _share(whole, "mutant", "0/1")
    next((whole.folder / "mutant").glob("train/shard-00001-*.arrow")).unlink()
    monkeypatch.setattr(states.RunState, "_is_there", lambda *_: True)
    finalize(whole.folder / "mutant")
    assert not verify(whole.folder / "mutant").ok


def test_of_many_that_come_at_once_one_plans(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made, plans = [], []

    def slowly(*arguments: Any) -> Any:
        made.append(arguments)
        time.sleep(0.2)
        return make_plan(*arguments)

    monkeypatch.setattr("spanmask.presharding.request.make_plan", slowly)
    monkeypatch.setattr(states, "PATIENCE", 1.0)
    threads = [threading.Thread(target=lambda: plans.append(_planned(whole, "many"))) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (len(made), len(plans)) == (1, 6)
    assert len({str(plan_to_json(one)) for one in plans}) == 1


def test_a_run_that_begins_while_its_folder_is_looked_at_is_no_other_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir

    def begun(folder: Path) -> Any:
        (folder / FOLDER).mkdir()
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", begun)
    check_out(tmp_path)
    monkeypatch.undo()
    (tmp_path / FOLDER).rmdir()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="the folder is not empty, and no spanmask run began there"):
        check_out(tmp_path)


def test_two_at_once_on_one_number_write_the_same(whole: Any) -> None:
    made = _planned(whole, "twice")
    streamed = next(task.number for task in made.tasks if task.streamed)
    for number in range(len(made.tasks)):
        threads = [
            threading.Thread(target=run_unit, args=(made, number)) for _ in range(2 if number == streamed else 1)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    found = []
    finishing = [threading.Thread(target=lambda: found.append(finalize(whole.folder / "twice"))) for _ in range(3)]
    for one in finishing:
        one.start()
    for one in finishing:
        one.join()
    assert len({manifest.digest for manifest in found}) == 1
    assert len(found) == 3
    assert whole.tree("twice") == whole.wanted


def test_a_task_that_comes_once_another_run_was_planned_writes_nothing(lab: Any) -> None:
    text = lab.text()
    ours = plan(text, lab.folder / "out", lab.config())
    run_unit(ours, 0)
    theirs = plan(text, lab.folder / "out", lab.config(seed=8), overwrite=True)
    before = lab.tree("out")
    for late in (lambda: run_unit(ours, 1), lambda: run_share(ours, [1], 1)):
        with pytest.raises(MismatchError, match="another run was begun there meanwhile; nothing was written"):
            late()
    assert lab.tree("out") == before
    run_share(theirs, range(len(theirs.tasks)), 1)
    assert finalize(lab.folder / "out").config == theirs.config


@pytest.mark.parametrize("way", ["array", "local"])
def test_receipts_of_another_plan_are_none(way: str, lab: Any) -> None:
    """As a store leaves them, or a network's file system without locks, to a straggler: under the names of the new plan's units."""
    text = lab.text()
    for seed in (7, 8):
        made = plan(text, lab.folder / f"seed{seed}", lab.config(seed=seed))
        run_share(made, range(len(made.tasks)), 1)
    wanted = shutil.copytree(lab.folder / "seed7", lab.folder / "wanted")
    finalize(wanted)
    for path in ("train/shard-00001-00000.arrow", ".spanmask/receipts/00001-00000.json"):
        shutil.copy2(lab.folder / "seed8" / path, lab.folder / "seed7" / path)
    if way == "local":
        lab.run(text, "seed7")
    else:
        with pytest.raises(IncompleteShards, match=r"1 of .* tasks are missing: 1; run"):
            finalize(lab.folder / "seed7")
        run_unit(read_plan(lab.folder / "seed7"), 1)
        finalize(lab.folder / "seed7")
    assert lab.tree("seed7") == lab.tree(wanted)


def test_tasks_and_a_run_in_one_piece_go_on_with_each_others_work(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _share(whole, "mixed", "1/3")
    kept = shutil.copytree(whole.folder / "mixed", whole.folder / "kept")
    whole.run(whole.inputs, "mixed", **whole.options)
    assert whole.tree("mixed") == whole.wanted
    shutil.rmtree(whole.folder / "mixed")
    kept.rename(whole.folder / "mixed")
    # The other way round: a run in one piece that ended early, then an array.
    with monkeypatch.context() as patch:
        patch.setattr("spanmask.presharding.run.finish", lambda *_: None)
        whole.run(whole.inputs, "mixed", **whole.options)
    next((whole.folder / "mixed" / ".spanmask" / "receipts").iterdir()).unlink()
    _share(whole, "mixed", "0/2")
    _share(whole, "mixed", "1/2")
    finalize(whole.folder / "mixed")
    assert whole.tree("mixed") == whole.wanted


def test_a_large_file_of_which_all_is_done_is_not_read_again(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _share(whole, "unread", "0/1")
    made = read_plan(whole.folder / "unread")
    streamed = next(task.number for task in made.tasks if task.streamed)
    monkeypatch.setattr("spanmask.presharding.units.stream_blocks", lambda *_: pytest.fail("read again"))
    assert run_unit(made, streamed).blocks is not None


def test_a_dataset_is_finished_where_its_inputs_are_not(lab: Any) -> None:
    inputs = [*lab.corpus(), lab.folder / "rowless.parquet"]
    pyarrow.parquet.write_table(
        pa.table({"text": pa.array([], pa.string()), "id": pa.array([], pa.int64())}), inputs[-1]
    )
    wanted = lab.run(inputs, "local", keep=("id",), random_ids="unigram")
    _share_of(lab, inputs)
    for path in inputs:
        path.unlink()
    assert finalize(lab.folder / "out").digest == wanted.digest
    assert verify(lab.folder / "out").ok
    assert len(spanmask.open(lab.folder / "out"))


def _share_of(lab: Any, inputs: list[Path]) -> None:
    made = plan(inputs, lab.folder / "out", lab.config(keep=("id",), random_ids="unigram"))
    run_share(made, range(len(made.tasks)), 1)


def test_only_a_run_that_was_begun_is_finished(lab: Any) -> None:
    with pytest.raises(ConfigError, match="no run was begun there"):
        finalize(lab.folder / "nothing")
    assert not (lab.folder / "nothing").exists()
    made = plan(lab.text(), lab.folder / "out", lab.config())
    with pytest.raises(
        IncompleteShards, match=f"{len(made.tasks)} of {len(made.tasks)} tasks are missing: 0-{len(made.tasks) - 1}; "
    ):
        finalize(lab.folder / "out")
    assert read_plan(lab.folder / "out").tasks


def test_tasks_leave_out_what_a_list_names_wherever_they_run(lab: Any) -> None:
    path = lab.jsonl(
        [{"id": str(number), "text": "The cat sat on the mat all day long, and so on."} for number in range(99)]
    )
    (lab.folder / "out.txt").write_text("3\n4\n95\n")
    options = {"exclude": (f"id={lab.folder / 'out.txt'}",)}
    lab.run(path, "local", **options)
    made = plan(path, lab.folder / "array", lab.config(**options))
    for number in range(len(made.tasks)):
        run_unit(read_plan(lab.folder / "array"), number)
    assert finalize(lab.folder / "array").conservation["documents_excluded"] == 3
    assert lab.tree("array") == lab.tree("local")
    plan(path, lab.folder / "other", lab.config(**options))
    (lab.folder / "out.txt").write_text("3\n")
    with pytest.raises(MismatchError, match="not the list that the run was planned with"):
        read_plan(lab.folder / "other")


@pytest.fixture
def run_all(lab: Any) -> Any:
    """A lab with a run of which all tasks are done."""
    lab.path = lab.text()
    made = plan(lab.path, lab.folder / "out", lab.config())
    run_share(made, range(len(made.tasks)), 1)
    return lab


@pytest.mark.parametrize("step", ["_plan_of", "_require_all", "finishing", "finish"])
def test_whoever_comes_second_has_the_dataset_that_the_first_finished(
    step: str, run_all: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is through between any two steps of the second."""
    call, first = getattr(finishing, step), []

    def after_the_first(*arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(finishing, step, call)
            # As on a machine whose file system keeps no locks.
            patch.setattr(states, "sole_writer", lambda *_, **__: nullcontext(lambda: False))
            if not first:
                first.append(finalize(run_all.folder / "out"))
        return call(*arguments)

    monkeypatch.setattr(finishing, step, after_the_first)
    assert finalize(run_all.folder / "out").digest == first[0].digest
    assert verify(run_all.folder / "out").ok


def test_a_task_that_stands_still_keeps_nobody_from_finishing(run_all: Any) -> None:
    out = run_all.folder / "out"
    with joined(out, read_plan(out).key), joined(out, read_plan(out).key):
        finalize(out)
        # Whoever comes meets those that are at work.
        assert (out / ".spanmask" / "lock").exists()
        with pytest.raises(MismatchError, match="another spanmask process is writing it"):
            run_all.run(run_all.path, "out", seed=8, overwrite=True)
    assert not (out / ".spanmask").exists()
    assert verify(out).ok


def test_who_waits_for_one_that_finishes_waits_as_long_as_it_takes(
    run_all: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "PATIENCE", 0.1)
    out, found = run_all.folder / "out", list[Any]()
    with sole_writer(out, out / ".spanmask", shared=True), sole_writer(out, out / ".spanmask" / "finishing"):
        waiting = threading.Thread(target=lambda: found.append(finalize(out)))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join()
    assert len(found) == 1


@pytest.mark.parametrize("engine", ["array", "dask", "local", "finalize"])
def test_a_kill_before_all_has_its_place_is_made_good_by_the_same_command(
    engine: str, run_all: Any, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    out, flags = run_all.folder / "out", ("--seed", 7, "--shard-bytes", 4096, "--max-tokens", 64)

    def killed(_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(states.RunState, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            finalize(out)
    if engine == "finalize":
        code, _ = told("preshard", "--out", out, "--engine", "array", "--task", "0/2")
        assert code == 2
        code, _ = told("finalize", out)
    else:
        task = ("--task", "0/2") if engine == "array" else ()
        code, _ = told("preshard", run_all.path, "--out", out, *flags, "--engine", engine, *task)
    assert code == 0
    assert not (out / ".spanmask").exists()
    assert verify(out).ok


def test_a_finished_dataset_that_lost_its_table_is_damaged_and_not_to_be_run(run_all: Any, told: Told) -> None:
    finalize(run_all.folder / "out")
    (run_all.folder / "out" / "shards.arrow").unlink()
    code, text = told("finalize", run_all.folder / "out")
    assert code == 5
    assert re.search("shards.arrow.*`spanmask repair` makes it again", text)


@pytest.mark.parametrize("way", ["share", "in one piece"])
def test_a_run_that_is_to_end_when_all_is_done_has_not_been_stopped(way: str, lab: Any) -> None:
    path, ending = lab.text(), {"last": False}
    made = plan(path, lab.folder / "out", lab.config())
    total = len(lab.run(path, "whole").splits["train"].shards)

    def end(progress: Any, before: int) -> bool:
        ending["last"] = ending["last"] or progress.shards >= total - before
        return ending["last"]

    if way == "in one piece":
        preshard(path, lab.folder / "out", lab.config(), jobs=1, on_progress=lambda told: end(told, 0))
        assert lab.tree("out") == lab.tree("whole")
        return
    numbers = range(len(made.tasks))
    assert run_share(made, numbers, 1, lambda told: end(told, 3)).stopped
    assert ending == {"last": True}
    ending["last"] = False
    ran = run_share(made, numbers, 1, lambda told: end(told, 0))
    assert (ran.stopped, ending) == (False, {"last": True})


@pytest.mark.parametrize(("out", "wanted"), [("out", 4), ("s3://bucket/out", 5)])
def test_as_many_jobs_as_for_a_run_in_one_piece(
    out: str, wanted: int, lab: Any, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that send to a store each waits now and then, and there are some more."""
    from spanmask.presharding import planning, tasks

    made, jobs = plan(lab.text(), lab.folder / "out", lab.config()), list[int]()
    monkeypatch.setattr(planning, "default_jobs", lambda: 4)
    monkeypatch.setattr(tasks, "plan_request", lambda _: made)
    monkeypatch.setattr("spanmask.presharding.request.Request.of", lambda *_, **__: None)

    def share(_: Any, numbers: Any, count: int, __: Any) -> Any:
        jobs.append(count)
        return Ran(tasks=1, done=frozenset(), failed=(), before=0, stopped=False)

    monkeypatch.setattr(tasks, "run_share", share)
    place = lab.folder / out if out == "out" else out
    assert (
        told("preshard", lab.folder / "text.txt", "--seed", 7, "--out", place, "--engine", "array", "--task", "0/1")[0]
        == 0
    )
    assert jobs == [wanted]


def test_a_task_under_another_pyarrow_is_refused(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an array over nodes that are not alike: the dataset would be of bytes that no one of them writes."""
    text, out, config = lab.text(), lab.folder / "out", lab.config()
    made = plan(text, out, config)
    run_unit(made, 0)
    before = lab.tree("out")
    monkeypatch.setattr("pyarrow.__version__", "99.0")
    for ask in (
        lambda: run_unit(made, 1),
        lambda: run_share(made, [1], 1),
        lambda: run_unit(pickle.loads(pickle.dumps(made)), 1),
        lambda: plan(text, out, config),
        lambda: spanmask.preshard(text, out, config, jobs=1),
    ):
        with pytest.raises(MismatchError, match=r"a run under pyarrow \S+ is under way there, and here is 99\.0"):
            ask()
    for read in (lambda: read_plan(out), lambda: finalize(out)):
        with pytest.raises(MismatchError, match=r"planned with .*, and here are .*'pyarrow': '99\.0'"):
            read()
    assert lab.tree("out") == before
    monkeypatch.undo()
    for number in range(1, len(made.tasks)):
        run_unit(made, number)
    assert finalize(out).digest == lab.run(text, "whole").digest


# --- The command


def test_the_command_plans_runs_and_finishes(whole: Any, told: Told) -> None:
    """The first task that comes plans; what follows may go by the plan alone; and what is typed is what is told."""
    out = whole.folder / "command"
    code, text = told("preshard", *whole.inputs, "--out", out, *whole.flags(**whole.options), "--engine", "array")
    assert (code, text.splitlines()[-1]) == (0, f"when all have ended: spanmask finalize {out}")
    array = ("--engine", "array", "--jobs", 1, "--task")
    code, text = told("preshard", *whole.inputs, "--out", out, *whole.flags(**whole.options), *array, "0/2")
    assert code == 0
    assert text.startswith("share 0 of 2: ")
    code, text = told("finalize", out)
    assert code == 3
    assert "tasks are missing" in text
    code, text = told("preshard", "--out", out, *array, "1/2", "--json")
    assert code == 0
    assert json.loads(text)["failed"] == []
    code, text = told("finalize", out)
    assert (code, text.splitlines()[-1][:5]) == (0, "wrote")
    assert whole.tree("command") == whole.wanted
    code, text = told("finalize", out, "--json")
    assert (code, json.loads(text)["written"]) == (0, False)
    for given in ((*whole.inputs, *whole.flags(**whole.options)), ()):
        code, text = told("preshard", *given, "--out", out, *array, "1/2")
        assert (code, text) == (0, f"nothing to do, complete already: {out}\n")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("-", "--engine", "array", "--task", "0/2"), "standard input is read by one process alone"),
        (("x.txt", "--task", "0/2"), "--task is 0/2: it goes with --engine array"),
        (
            ("x.txt", "--engine", "array", "--scheduler", "tcp://x:1"),
            "--scheduler is tcp://x:1: it goes with --engine dask",
        ),
        (("x.txt", "--engine", "array", "--task", "2/2"), "--task is 2/2: expected a share"),
        (("x.txt", "--engine", "array", "--task", "env"), "--task is env: no scheduler's variables are there"),
        (("--engine", "array", "--task", "0/2"), "no run is under way there"),
        (("--engine", "array", "--dry-run", "3"), r"INPUT… is missing"),
        (("--engine", "array", "--seed", "3"), r"INPUT… is missing"),
        ((), r"INPUT… is missing: give one at least"),
    ],
)
def test_what_an_array_cannot_do_is_refused(arguments: tuple[str, ...], wanted: str, lab: Any, told: Told) -> None:
    (lab.folder / "x.txt").write_text("The cat sat on the mat.\n")
    inputs = [str(lab.folder / one) if one == "x.txt" else one for one in arguments]
    options = ["--seed", "1"] if "x.txt" in arguments or "-" in arguments else []
    code, text = told("preshard", *inputs, *options, "--out", lab.folder / "out")
    assert code == 2
    assert re.search(wanted, text)
    assert not (lab.folder / "out").exists()


def _wait(out: Path, process: Any) -> None:
    """Wait until one receipt more is there than were, or the process ended."""
    folder = out / ".spanmask" / "receipts"
    before = len(list(folder.glob("*")))
    while process.poll() is None and len(list(folder.glob("*"))) <= before:
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.faults
def test_a_task_that_was_killed_is_run_again_by_its_number(whole: Any) -> None:
    options = [*whole.flags(**whole.options), "--engine", "array"]
    out = whole.folder / "killed"
    killed = 0
    for index in (1, 0):
        for seconds in (0.0, None):
            process = whole.start(
                "preshard", *whole.inputs, "--out", out, *options, "--jobs", 2, "--task", f"{index}/2"
            )
            if seconds is not None:
                _wait(out, process)
                time.sleep(seconds)
                process.send_signal(signal.SIGKILL)
            _, error = process.communicate()
            killed += process.returncode == -signal.SIGKILL
            assert seconds is not None or (process.returncode, error) == (0, "")
    finalize(out)
    assert killed >= 1
    assert whole.tree("killed") == whole.wanted
