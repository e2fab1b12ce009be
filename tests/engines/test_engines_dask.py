"""Units on Dask clusters of real processes: whatever becomes of workers and scheduler, every unit is done or said not to be.

Each fault's test names the defence that was taken out to see it fail.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from children import run_child
from dask_cluster import DaskCluster, kill, wait_for
from engines.engine_works import Labours, Squares
from figures import figure

from spanmask.engines import dask, dask_cluster
from spanmask.engines.dask import WINDOW, run_dask
from spanmask.engines.local import TRIES
from spanmask.errors import ConfigError, CorpusError, MismatchError, SpanmaskError, StorageError

pytest.importorskip("distributed", reason="needs the dask extra")
pytestmark = pytest.mark.faults


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[DaskCluster]:
    """A scheduler, with what `environment` says, and no worker yet."""
    cluster = DaskCluster(tmp_path_factory.mktemp("cluster"), **getattr(request, "param", {}))
    yield cluster
    cluster.end()


def _run(work: Squares, units: Any, cluster: DaskCluster, **options: Any) -> Iterator[Any]:
    wait_for(cluster.file.exists)
    return run_dask(work, iter(units), lambda *_: None, key="test", scheduler=str(cluster.file), **options)


def _results(outcomes: Iterator[Any]) -> dict[int, int | None]:
    return {outcome.unit: outcome.result for outcome in outcomes}


def _squares(count: int) -> dict[int, int | None]:
    return {unit: unit * unit for unit in range(count)}


def _tries(folder: Path) -> dict[int, int]:
    return {int(path.name.split("-")[1]): path.stat().st_size for path in folder.glob("tries-*")}


def _ran(folder: Path, pid: int) -> int:
    return len([*folder.glob(f"ran-{pid}-*")])


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, figure(3, 20)))]
)
def test_a_worker_that_is_killed_costs_what_it_had_and_no_more(
    tmp_path: Path, cluster: DaskCluster, number: int
) -> None:
    """Seen to fail: with workers that are gone left in the list (`_bury`), the run never ends."""
    workers = [cluster.start_worker(), cluster.start_worker()]
    reports: list[tuple[int, ...]] = []
    wait_for(cluster.file.exists)
    work = Labours(str(tmp_path), seconds=0.05)
    outcomes = run_dask(work, iter(range(40)), lambda *c: reports.append(c), key="test", scheduler=str(cluster.file))
    results = {}
    for outcome in outcomes:
        results[outcome.unit] = outcome.result
        if len(results) == 10:
            wait_for(lambda: _ran(tmp_path, workers[0].pid) and _ran(tmp_path, workers[1].pid))
            kill(workers[0])
    assert results == _squares(40)
    assert sorted(reports) == [(unit, 1) for unit in range(40)]
    # Results that a dead worker kept are not made again, but for what was on its way.
    assert sum(_tries(tmp_path).values()) <= 40 + WINDOW
    assert len([*tmp_path.glob("prepared-*")]) == 2


_FAILURES = "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [*figure([], [{}]), {_FAILURES: "0"}, {_FAILURES: "9"}], ids=str, indirect=True)
def test_a_poison_unit_is_given_up_after_three_tries_and_no_other_with_it(tmp_path: Path, cluster: DaskCluster) -> None:
    """Seen to fail: without `workers=` in `Link.call`, Dask itself tries it as often as its owner configured."""
    for _ in range(2):
        cluster.start_worker("--nanny")
    results = _results(_run(Labours(str(tmp_path), poison=(0, 5)), range(24), cluster))
    assert results == {**_squares(24), 0: None, 5: None}
    tries = _tries(tmp_path)
    # One that waited beside the other when their worker died has its second try without a first.
    assert sorted((tries.pop(0), tries.pop(5))) in ([TRIES - 1, TRIES], [TRIES, TRIES])
    assert max(tries.values()) < TRIES


# Under its limit a worker may be slow for long; what is told of that then is no fault.
@pytest.mark.filterwarnings("ignore:worker .* has not answered")
@pytest.mark.slow
def test_a_worker_that_takes_too_much_memory_is_replaced(tmp_path: Path, cluster: DaskCluster) -> None:
    """Seen to fail: with `TRIES` so large that a unit is never given up, the run does not end."""
    # Far above what a worker has at its start: Dask begins nothing on one that has four fifths of its limit.
    cluster.start_worker("--nanny", "--memory-limit", "1GB")
    results = _results(_run(Labours(str(tmp_path), hungry=(1,)), range(4), cluster))
    assert results == {**_squares(4), 1: None}
    assert len([*tmp_path.glob("ran-*-1")]) == TRIES


@pytest.mark.slow
def test_a_worker_that_stands_still_holds_nothing_up(tmp_path: Path, cluster: DaskCluster) -> None:
    """Seen to fail: without `_look_for_stillness` the run waits for as long as the scheduler does, five minutes."""
    for _ in range(2):
        cluster.start_worker()
    with pytest.warns(UserWarning, match=r"has not answered for \d+ s.*once more elsewhere"):
        results = _results(_run(Squares(str(tmp_path), drowsy=(2,)), range(12), cluster, patience=1.0))
    assert results == _squares(12)
    assert sum(_tries(tmp_path).values()) <= 12 + WINDOW


@pytest.mark.slow
def test_a_long_unit_is_given_time_by_its_size(
    tmp_path: Path, cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail: with a limit that does not know sizes (`_limit`), it is run twice."""
    # Others may take five seconds on a machine that has other work, the long one eight.
    monkeypatch.setattr(dask, "LONGEST", 3.0)
    for _ in range(2):
        cluster.start_worker()
    work = Labours(str(tmp_path), seconds=0.4, long=(9,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcomes = _run(work, range(12), cluster, patience=5.0, size=lambda unit: 20.0 if unit == 9 else 1.0)
        assert _results(outcomes) == _squares(12)
    assert set(_tries(tmp_path).values()) == {1}


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_with_what_to_do(tmp_path: Path, cluster: DaskCluster) -> None:
    """Seen to fail: without `_follow` looking at the connection, its calls are taken for lost units, and the workers blamed."""
    cluster.start_worker()
    outcomes = _run(Labours(str(tmp_path), seconds=0.05), range(1000), cluster)
    next(outcomes)
    kill(cluster.scheduler)
    before = time.monotonic()
    with pytest.raises(StorageError, match=r"scheduler tcp://.* is gone .*run the same command again"):
        list(outcomes)
    assert time.monotonic() - before < 20


@pytest.mark.slow
def test_a_worker_that_joins_late_works_and_a_run_without_workers_says_so(
    tmp_path: Path, cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail: with the workers of the beginning only (`_meet`), nothing is ever run."""
    monkeypatch.setattr(dask, "_ALONE", 0.1)
    joined: list[subprocess.Popen[bytes]] = []

    def units() -> Iterator[int]:
        for unit in itertools.count():
            yield unit
            if len(joined) == 2 and _ran(tmp_path, joined[1].pid):
                return

    threading.Timer(1, lambda: joined.append(cluster.start_worker())).start()
    outcomes = _run(Labours(str(tmp_path), seconds=0.05), units(), cluster)
    with pytest.warns(UserWarning, match=r"no workers at tcp://.*waiting for some"):
        assert next(outcomes).result == 0
    joined.append(cluster.start_worker())
    assert all(outcome.result == outcome.unit**2 for outcome in outcomes)
    assert _ran(tmp_path, joined[0].pid)


def _of_another_version(folder: Path) -> dict[str, str]:
    """Return the environment of a worker that has another spanmask."""
    told = folder / "other" / "spanmask-9.9.dist-info" / "METADATA"
    told.parent.mkdir(parents=True)
    told.write_text("Metadata-Version: 2.1\nName: spanmask\nVersion: 9.9\n")
    return {"PYTHONPATH": str(folder / "other")}


@pytest.mark.slow
def test_workers_of_another_version_are_refused_before_any_unit_runs(tmp_path: Path, cluster: DaskCluster) -> None:
    """Seen to fail: without `_check_versions`, units of the right worker run before the other is met; without the comparison in
    `run_unit`, the one that comes late runs some.
    """
    other = _of_another_version(tmp_path)
    right, wrong = cluster.start_worker(), cluster.start_worker(**other)
    _wait_for_workers(cluster, 2)
    with pytest.raises(MismatchError, match=r"worker tcp://.* has spanmask 9\.9, and .* is here"):
        _results(_run(Labours(str(tmp_path)), range(4), cluster))
    assert not _tries(tmp_path)
    kill(wrong)
    outcomes = _run(Labours(str(tmp_path), seconds=0.02), range(250), cluster)
    next(outcomes)
    cluster.start_worker(**other)
    with pytest.warns(UserWarning, match=r"worker tcp://.* has spanmask 9\.9, and .* is here: it is given no work"):
        assert len([*outcomes]) == 249
    assert len(_tries(tmp_path)) == 250 == _ran(tmp_path, right.pid)


def _wait_for_workers(cluster: DaskCluster, count: int) -> None:
    with connected_to(cluster) as client:
        client.wait_for_workers(count, timeout=60)


@contextmanager
def connected_to(cluster: DaskCluster) -> Iterator[Any]:
    from distributed import Client

    wait_for(cluster.file.exists)
    with Client(scheduler_file=str(cluster.file)) as client:
        yield client


@pytest.mark.slow
def test_an_error_of_a_unit_ends_the_run_as_it_was_raised(tmp_path: Path, cluster: DaskCluster) -> None:
    """Seen to fail: raised on the worker, it would be tried again by whoever asks Dask for retries, and lose its place."""
    cluster.start_worker("--nthreads", "2")
    with pytest.raises(CorpusError) as caught:
        _results(_run(Squares(str(tmp_path), bad=(2,)), range(50), cluster))
    assert (str(caught.value), caught.value.line) == ("some.txt:2: the unit is bad", 2)
    with pytest.raises(SpanmaskError, match=r"(?s)not foreseen.*Traceback.*KeyError"):
        _results(_run(Squares(str(tmp_path), buggy=(1,)), range(4), cluster))
    # What was under way is taken back: the cluster has nothing of it.
    with connected_to(cluster) as client:
        wait_for(lambda: not any(client.processing().values()) and not any(client.has_what().values()))


@pytest.mark.slow
def test_a_run_that_is_to_stop_ends_what_is_under_way_and_begins_nothing(tmp_path: Path, cluster: DaskCluster) -> None:
    """Seen to fail: with what waits at a worker not taken back (`_stop`), that is begun."""
    cluster.start_worker()
    stop: list[bool] = []
    outcomes = _run(Labours(str(tmp_path), seconds=2.0), range(50), cluster, stopping=lambda: bool(stop))
    wait_for_first = threading.Thread(target=lambda: (wait_for(lambda: _workers(tmp_path)), stop.append(True)))
    wait_for_first.start()
    assert _results(outcomes) == {0: 0}
    wait_for_first.join()
    assert _tries(tmp_path) == {0: 1}


def test_no_units_start_no_cluster(tmp_path: Path) -> None:
    assert [
        *run_dask(Squares(str(tmp_path)), iter([]), lambda *_: None, key="test", scheduler="tcp://127.0.0.1:9")
    ] == []


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:9", "nowhere.json", "127.0.0.1:8786"])
def test_a_scheduler_that_is_not_there_is_told(tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_cluster, "ANSWER", 0.2)
    with pytest.raises(ConfigError, match=rf"scheduler is {scheduler}: (no Dask scheduler answers|neither an address)"):
        next(run_dask(Squares(str(tmp_path)), iter([1]), lambda *_: None, key="test", scheduler=scheduler))


def test_without_dask_the_extra_is_named(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["distributed"] = None
from engines.engine_works import Squares
from spanmask.engines.dask import run_dask
next(run_dask(Squares({str(tmp_path)!r}), iter([1]), print, key="test"))
"""
    ended = run_child("-c", code)
    assert (
        "the Dask engine needs Dask, which is not installed: pip install '.[dask]' in a checkout of spanmask"
        in ended.stderr
    )


@pytest.mark.slow
def test_a_cluster_of_this_machine_is_started_and_ends_with_its_run(tmp_path: Path) -> None:
    """Also where the run is killed."""
    script = tmp_path / "run.py"
    script.write_text(f"""
import sys, time
from engines.engine_works import Labours
from spanmask.engines.dask import run_dask
if __name__ == "__main__":
    work = Labours({str(tmp_path)!r}, seconds=0.02, weak=(5,))
    outcomes = run_dask(work, iter(range(10**6)), lambda *_: None, key="test", jobs=2)
    for outcome in outcomes:
        if outcome.unit == 5 and sys.argv[1] == "drop":
            break
    outcomes.close()
""")
    assert run_child(script, "drop").stderr == ""
    assert wait_for(lambda: not any(map(_is_alive, _workers(tmp_path))), 20)
    assert len(_workers(tmp_path)) >= 2
    assert _tries(tmp_path)[5] == 2
    process = subprocess.Popen([sys.executable, script, "stay"], env=_environment())
    wait_for(lambda: len([*filter(_is_alive, _workers(tmp_path))]) == 2)
    process.kill()
    process.wait()
    assert wait_for(lambda: not any(map(_is_alive, _workers(tmp_path))), 20)


@pytest.mark.slow
def test_workers_of_this_machine_keep_memory_from_block_to_block() -> None:
    """Seen to fail: with what Dask says of it."""
    # What multiprocessing starts for a cluster stays as long as the process.
    found = run_child(
        "-c",
        """
import os
from spanmask.engines.dask_cluster import connected
if __name__ == "__main__":
    with connected(None, 1) as client:
        print(*(client.submit(os.getenv, name).result() for name in ("MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS")))
""",
    )
    assert (found.stdout, found.stderr) == ("None 1\n", "")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _workers(folder: Path) -> list[int]:
    return [int(path.name.split("-")[1]) for path in folder.glob("prepared-*")]


def _is_alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] != "Z"


# --- The defences taken out


class _Cluster:
    """A link to workers that are not there: one that dies once it has units, and one that does what it is given at once.

    poison: units that whoever has them dies of. Twice no answer in a row: none would ever come.
    """

    address = "nowhere"

    def __init__(self, poison: tuple[int, ...] = ()) -> None:
        self.poison, self.calls, self.looked = poison, 0, False
        self.told: list[tuple[str, Any, Any]] = [("workers", None, {"dying": 1, "living": 1})]

    def call(self, flight: Any, key: str, worker: str, function: Any, work: Any, unit: int, versions: Any) -> None:
        self.calls += 1
        assert self.calls < 100, "a unit is tried for ever"
        if unit in self.poison:
            self.told += [("died", flight, None), ("workers", None, {"living": 1})]
        elif worker == "living":
            self.told.append(("ended", flight, ("done", unit * unit, ())))

    def next(self) -> tuple[str, Any, Any]:
        assert self.told or not self.looked, "what a worker had is waited for"
        self.looked = not self.told
        return self.told.pop(0) if self.told else ("workers", None, {"living": 1})

    def forget(self, futures: Any) -> None:
        pass

    def want_worker(self, key: str | None) -> None:
        pass


def _simulated(cluster: Any) -> dict[int, int | None]:
    items = iter([dask._Item(unit, str(unit), 1.0) for unit in range(6)])
    run = dask._Run(cluster, Squares(""), items, "test", 60.0, lambda: False)
    return _results(run.outcomes(lambda *_: None))


def test_units_of_a_dead_worker_that_nobody_takes_back_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _simulated(_Cluster()) == _squares(6)
    monkeypatch.setattr(dask._Run, "_bury", lambda *_: iter(()))
    with pytest.raises(AssertionError, match="what a worker had is waited for"):
        _simulated(_Cluster())


def test_a_poison_unit_that_is_never_given_up_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _simulated(_Cluster(poison=(2,))) == {**_squares(6), 2: None}
    monkeypatch.setattr(dask, "TRIES", 1 << 30)
    with pytest.raises(AssertionError, match="a unit is tried for ever"):
        _simulated(_Cluster(poison=(2,)))
