"""Workers in processes of their own: they may die, fail or be ended, and the run keeps its word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from children import run_child
from engines.engine_works import Cutting, Squares, Surroundings

from spanmask import processes
from spanmask.config import Format
from spanmask.corpus.inputs import Part, find_inputs
from spanmask.engines import local, workers
from spanmask.engines.local import TRIES, run_inline, run_processes
from spanmask.errors import CorpusError, SpanmaskError

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True, params=[True, False], ids=["forks", "interpreters"])
def forked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether workers are forks of this process; else they are interpreters of their own."""
    monkeypatch.setattr(workers, "may_fork", lambda: request.param)
    return bool(request.param)


def _run(work: Squares, units: Any, jobs: int = 2) -> tuple[dict[int, int | None], list[tuple[int, ...]]]:
    reports: list[tuple[int, ...]] = []
    outcomes = run_processes(work, iter(units), jobs, lambda *counts: reports.append(counts))
    return {outcome.unit: outcome.result for outcome in outcomes}, reports


def _tries(folder: Path, unit: int) -> int:
    return (folder / f"tries-{unit}").stat().st_size


def test_every_unit_runs_once_and_reports(tmp_path: Path) -> None:
    results, reports = _run(Squares(str(tmp_path)), range(20))
    assert results == {unit: unit * unit for unit in range(20)}
    assert sorted(reports) == [(unit, 1) for unit in range(20)]
    assert all(_tries(tmp_path, unit) == 1 for unit in range(20))


def test_units_in_this_process_run_in_order(tmp_path: Path) -> None:
    outcomes = run_inline(Squares(str(tmp_path)), iter(range(3)), lambda *_: None)
    assert [(outcome.unit, outcome.result) for outcome in outcomes] == [(0, 0), (1, 1), (2, 4)]


def test_a_worker_has_neither_the_files_nor_the_answers_to_signals_of_its_parent(tmp_path: Path) -> None:
    """Else a lock would be held by workers, too, the end of a parent go unseen, and a terminal be read by all of them."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with open(tmp_path / "file", "w") as file:
            outcomes = run_processes(Surroundings(file.fileno()), iter(range(4)), 2, lambda *_: None)
            assert [outcome.result for outcome in outcomes] == [(False, True, b"", True)] * 4
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_another_thread_may_hold_is_not_forked() -> None:
    code = """
import threading
from spanmask.engines.workers import may_fork
alone, done = may_fork(), threading.Event()
threading.Thread(target=done.wait).start()
print(alone, may_fork())
done.set()
"""
    assert _output(code) == "True False\n"


def test_a_process_that_imported_arrays_may_be_forked() -> None:
    """What numpy and Arrow start when they are imported does not stand in the way, where BLAS has one thread as in our commands."""
    code = "import numpy, pyarrow; from spanmask.engines.workers import may_fork; print(may_fork())"
    assert _output(code) == "True\n"


def _output(code: str) -> str:
    ended = run_child("-c", code, OPENBLAS_NUM_THREADS="1")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_no_units_start_no_process(tmp_path: Path) -> None:
    assert _run(Squares(str(tmp_path), dies_at_start=True), []) == ({}, [])


def test_no_unit_is_begun_after_a_stop_and_those_under_way_are_ended(tmp_path: Path) -> None:
    done: dict[int, Any] = {}
    for outcome in run_processes(
        Squares(str(tmp_path)), iter(range(40)), 2, lambda *_: None, stopping=lambda: len(done) > 3
    ):
        done[outcome.unit] = outcome.result
    # Both workers had a unit when the fourth was told.
    assert 4 <= len(done) <= 6
    assert done == {unit: unit**2 for unit in range(len(done))}
    assert len(list(tmp_path.glob("tries-*"))) == len(done)


def test_units_are_taken_as_workers_are_free(tmp_path: Path) -> None:
    """A long list, or a stream of large blocks, is never held at once."""
    taken: list[int] = []

    def units() -> Iterator[int]:
        for unit in range(12):
            taken.append(unit)
            yield unit

    ahead = []
    for done, _ in enumerate(run_processes(Squares(str(tmp_path)), units(), 2, lambda *_: None)):
        ahead.append(len(taken) - done)
    assert max(ahead) <= 3


def test_a_worker_goes_on_before_it_is_looked_at_what_it_did(tmp_path: Path) -> None:
    """Whoever takes outcomes writes them down, and waits for the disk."""
    outcomes = run_processes(Squares(str(tmp_path)), iter(range(3)), 1, lambda *_: None)
    assert next(outcomes).unit == 0
    until = time.monotonic() + 60
    while not (tmp_path / "tries-1").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert (tmp_path / "tries-1").exists()
    assert [outcome.unit for outcome in outcomes] == [1, 2]


@pytest.mark.slow
def test_a_unit_whose_worker_dies_is_tried_again_and_poison_is_given_up(tmp_path: Path) -> None:
    results, _ = _run(Squares(str(tmp_path), poison=(3,), weak=(1, 5)), range(8))
    assert results == {unit: None if unit == 3 else unit * unit for unit in range(8)}
    assert [_tries(tmp_path, unit) for unit in (1, 3, 5, 7)] == [2, TRIES, 2, 1]


@pytest.mark.slow
def test_a_worker_that_is_stopped_is_ended_and_its_unit_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hurry(monkeypatch)
    with pytest.warns(
        UserWarning, match=r"worker process \d+ was stopped and not continued for 60 s: it is ended, and"
    ) as told:
        results, _ = _run(Squares(str(tmp_path), stuck=(3,), drowsy=(1,)), range(6))
    assert results == {unit: None if unit == 3 else unit * unit for unit in range(6)}
    assert [_tries(tmp_path, unit) for unit in (1, 3, 5)] == [2, TRIES, 1]
    assert len(told) == 1 + TRIES


def test_a_worker_that_is_stopped_before_it_took_its_work_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def start(work: Squares) -> workers.Worker:
        worker = workers.start(work)
        started.append(worker.process.pid)
        if len(started) == 1:
            os.kill(started[0], signal.SIGSTOP)
        return worker

    monkeypatch.setattr(local, "start", start)
    _hurry(monkeypatch)
    with pytest.warns(UserWarning, match="was stopped and not continued"):
        results, _ = _run(Squares(str(tmp_path), ballast=bytes(8 << 20)), range(3))
    assert results == {0: 0, 1: 1, 2: 4}
    assert not Path(f"/proc/{started[0]}").exists()


def test_a_worker_that_is_stopped_and_continued_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LOOK", 0.05)
    monkeypatch.setattr(processes, "LOOK", 0.05)
    outcomes = run_processes(Squares(str(tmp_path), drowsy=(1,)), iter([1, 2]), 2, lambda *_: None)
    waker = threading.Thread(target=_wake)
    waker.start()
    assert {outcome.unit: outcome.result for outcome in outcomes} == {1: 1, 2: 4}
    waker.join()
    assert _tries(tmp_path, 1) == 1


def _wake() -> None:
    """Continue the first child that is found stopped."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for pid in map(int, _children()):
            if processes.is_stopped(pid):
                os.kill(pid, signal.SIGCONT)
                return
        time.sleep(0.02)


def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LOOK", 0.05)
    monkeypatch.setattr(processes, "LOOK", 0.05)
    monkeypatch.setattr(processes, "PATIENCE", 0.2)


@pytest.mark.slow
def test_all_units_poison_are_all_given_up(tmp_path: Path) -> None:
    results, _ = _run(Squares(str(tmp_path), poison=(0, 1, 2)), range(3))
    assert results == {0: None, 1: None, 2: None}
    assert [_tries(tmp_path, unit) for unit in range(3)] == [TRIES] * 3


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 8 << 20], ids=["small", "more than a pipe holds"])
def test_workers_that_die_as_they_start_count_as_tries(tmp_path: Path, size: int) -> None:
    results, _ = _run(Squares(str(tmp_path), dies_at_start=True, ballast=bytes(size)), range(2))
    assert results == {0: None, 1: None}


def test_an_error_of_a_unit_ends_the_run_as_it_was_raised(tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        _run(Squares(str(tmp_path), bad=(2,)), range(50))
    assert str(caught.value) == "some.txt:2: the unit is bad"
    assert not (tmp_path / "tries-49").exists()


def test_a_worker_that_a_cut_of_its_input_ends_is_tried_again_and_names_the_input(tmp_path: Path) -> None:
    """An Arrow input is mapped: what touches the part that is gone dies by SIGBUS, and the next try finds the file damaged."""
    path, table = tmp_path / "input.arrow", pa.table({"text": ["some text, and more of it " * 2_500] * 12})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    (file,) = find_inputs([path], Format.ARROW).files
    work = Cutting(Part(file=file, start=0, stop=12), str(tmp_path))
    with pytest.raises(CorpusError, match=f"^{path}: not an Arrow IPC file or stream, or a damaged one"):
        list(run_processes(work, iter([0]), 1, lambda *_: None))
    assert _tries(tmp_path, 0) == 2


@pytest.mark.slow
def test_an_error_that_was_not_foreseen_carries_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(SpanmaskError, match=r"(?s)not foreseen.*Traceback.*KeyError"):
        _run(Squares(str(tmp_path), buggy=(1,)), range(4))


def test_a_run_that_is_dropped_ends_its_workers(tmp_path: Path) -> None:
    before = {*_children()}
    outcomes = run_processes(Squares(str(tmp_path)), iter(range(1000)), 2, lambda *_: None)
    next(outcomes)
    assert len({*_children()} - before) == 2
    outcomes.close()  # type: ignore[attr-defined]
    assert {*_children()} <= before


def _children() -> list[str]:
    return [child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()]


@pytest.mark.slow
def test_workers_end_at_once_when_their_parent_is_killed(tmp_path: Path, forked: bool) -> None:
    code = f"""
import os, time
from spanmask.engines import workers
workers.may_fork = lambda: {forked}
from engines.engine_works import Squares
from spanmask.engines.local import run_processes
outcomes = run_processes(Squares({str(tmp_path)!r}), iter(range(10**9)), 2, lambda *_: None)
next(outcomes)
print(*[child for task in os.listdir("/proc/self/task") for child in open(f"/proc/self/task/{{task}}/children").read().split()], flush=True)
for outcome in outcomes:
    time.sleep(0.01)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    workers = process.stdout.readline().split()
    assert len(workers) == 2
    process.kill()
    process.communicate()
    time.sleep(0.1)
    for worker in workers:
        state = Path(f"/proc/{worker}/stat")
        assert not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"
