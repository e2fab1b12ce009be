"""One digest over 25 ways that a run may go: engines, jobs, kills and resumes, folders and object stores, and what surrounds a process.

Pairs of segments, which are drawn across documents, have one of their own over five of them.

Configurations of one process run here; those that need processes of their own are slow.
"""

from __future__ import annotations

import hashlib
import locale
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from figures import figure

from spanmask import IncompleteShards, finalize, preshard
from spanmask.engines.array import choose
from spanmask.presharding import plan, run_unit
from spanmask.presharding.tasks import run_share

#: A way to make the dataset: the whole corpus in, somewhere out.
Way = Callable[[Any, Any], object]


def digest(tree: dict[str, bytes]) -> str:
    """Return the digest of all files of a dataset, with their names."""
    content = hashlib.sha256()
    for name, data in sorted(tree.items()):
        if not name.endswith("/"):
            content.update(f"{len(name)} {name} {len(data)} ".encode() + data)
    return content.hexdigest()


def _local(whole: Any, out: Any, jobs: int = 1, **more: Any) -> None:
    preshard(whole.inputs, out, whole.config(**whole.options), jobs=jobs, **more)


def _array(count: int, jobs: int = 1, order: int = 1) -> Way:
    def run(whole: Any, out: Any) -> None:
        made = plan(whole.inputs, out, whole.config(**whole.options))
        for index in range(count)[::order]:
            run_share(made, choose(f"{index}/{count}", {}).numbers(len(made.tasks)), jobs)
        finalize(out)

    return run


def _units(whole: Any, out: Any) -> None:
    made = plan(whole.inputs, out, whole.config(**whole.options))
    for number in (*range(1, len(made.tasks), 2), *range(0, len(made.tasks), 2)):
        run_unit(made, number)
    finalize(out)


def _stopped(whole: Any, out: Any) -> None:
    """Begin a run that is stopped after some shards."""
    with pytest.raises(IncompleteShards):
        _local(whole, out, on_progress=lambda progress: progress.shards >= 5)


def _resumed(whole: Any, out: Any) -> None:
    _stopped(whole, out)
    _local(whole, out)


def _ended_by_an_array(whole: Any, out: Any) -> None:
    _stopped(whole, out)
    _array(2)(whole, out)


def _begun_by_an_array(whole: Any, out: Any) -> None:
    run_unit(plan(whole.inputs, out, whole.config(**whole.options)), 3)
    _local(whole, out)


@contextmanager
def _surrounded(monkeypatch: pytest.MonkeyPatch, mask: int, zone: str) -> Iterator[None]:
    before, known = os.umask(mask), locale.setlocale(locale.LC_ALL)
    try:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", zone)
            time.tzset()
            locale.setlocale(locale.LC_ALL, "C")
            yield
    finally:
        os.umask(before)
        locale.setlocale(locale.LC_ALL, known)
        time.tzset()


WAYS: dict[str, Way] = {
    "local": _local,
    "local, two jobs": lambda whole, out: _local(whole, out, 2),
    "array of 1": _array(1),
    "array of 7": _array(7),
    "array of 3, backwards": _array(3, order=-1),
    "array of 64": _array(64),
    "task by task, odd ones first": _units,
    "local, stopped and resumed": _resumed,
    "local, stopped, ended by an array": _ended_by_an_array,
    "array, ended by a local run": _begun_by_an_array,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_one_process_has_the_digest(way: str, whole: Any, tmp_path: Path) -> None:
    WAYS[way](whole, tmp_path / "out")
    assert digest(whole.tree(tmp_path / "out")) == digest(whole.wanted)


@pytest.mark.parametrize("way", ["array of 3, backwards", "local, stopped, ended by an array"])
def test_pairs_have_one_digest_too(way: str, paired: Any, tmp_path: Path) -> None:
    WAYS[way](paired, tmp_path / "out")
    assert digest(paired.tree(tmp_path / "out")) == digest(paired.wanted)


@pytest.mark.parametrize(("mask", "zone"), [(0o077, "Asia/Kolkata"), (0, "America/St_Johns")])
def test_no_mask_zone_or_locale_moves_the_digest(
    mask: int, zone: str, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _surrounded(monkeypatch, mask, zone):
        _array(2)(whole, tmp_path / "out")
    assert digest(whole.tree(tmp_path / "out")) == digest(whole.wanted)


def test_a_changed_byte_anywhere_moves_the_digest(whole: Any) -> None:
    """What the others rest on: all files count, with their names."""
    found = {digest(whole.wanted)}
    for name, data in whole.wanted.items():
        if not name.endswith("/"):
            found.add(digest({**whole.wanted, name: data[:-1] + bytes([data[-1] ^ 1])}))
            found.add(digest({key: value for key, value in whole.wanted.items() if key != name} | {f"{name}x": data}))
    assert len(found) == 1 + 2 * sum(not name.endswith("/") for name in whole.wanted)


# --- Object stores


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("way", ["local", "array of 3, backwards", "local, stopped and resumed"])
def test_an_object_store_has_the_digest(way: str, whole: Any, object_store: Any) -> None:
    WAYS[way](whole, object_store.url("data/set"))
    assert digest(object_store.tree("data/set")) == digest(whole.wanted)


# --- Processes of their own


def _command(whole: Any, out: Path, *more: object, **environment: str) -> None:
    code, _, error = whole.finish(
        "preshard", *whole.inputs, "--out", out, *whole.flags(**whole.options), *more, **environment
    )
    assert (code, error) == (0, "")


def _killed(whole: Any, out: Path, *more: object) -> None:
    """Kill a command and its workers once a receipt is there."""
    process = whole.start("preshard", *whole.inputs, "--out", out, *whole.flags(**whole.options), *more)
    while process.poll() is None and not any((out / ".spanmask" / "receipts").glob("*.json")):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


ENVIRONMENTS: dict[str, dict[str, str]] = {
    "hash seed 0": {"PYTHONHASHSEED": "0"},
    "hash seed 99, C": {"PYTHONHASHSEED": "99", "LC_ALL": "C", "LANG": "C"},
    "POSIX, east": {"LC_ALL": "POSIX", "TZ": "Pacific/Kiritimati"},
    "UTF-8, west": {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "TZ": "Pacific/Niue"},
}


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize(
    ("surroundings", "more"),
    [
        ("hash seed 0", ["--jobs", 1]),
        ("hash seed 99, C", ["--jobs", 2]),
        ("POSIX, east", ["--jobs", 4]),
        ("UTF-8, west", ["--engine", "array", "--jobs", 2, "--task", "0/1"]),
        ("hash seed 99, C", ["--engine", "array", "--jobs", 4, "--task", "0/1"]),
    ],
)
def test_every_command_has_the_digest(surroundings: str, more: list[object], whole: Any, tmp_path: Path) -> None:
    _command(whole, tmp_path / "out", *more, **ENVIRONMENTS[surroundings])
    finalize(tmp_path / "out")
    assert digest(whole.tree(tmp_path / "out")) == digest(whole.wanted)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize(
    ("dataset", "killed", "ending"),
    [
        ("whole", ["--jobs", 1], ["--jobs", 4]),
        ("whole", ["--jobs", 2], ["--engine", "array", "--jobs", 1, "--task", "0/1"]),
        ("whole", ["--engine", "array", "--jobs", 2, "--task", "0/2"], ["--jobs", 2]),
        ("paired", ["--jobs", 1], ["--jobs", 2]),
        ("paired", ["--engine", "array", "--jobs", 2, "--task", "1/2"], ["--engine", "array", "--task", "0/1"]),
    ],
)
def test_a_killed_command_has_the_digest_whoever_ends_it(
    dataset: str, killed: list[object], ending: list[object], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    whole = request.getfixturevalue(dataset)
    _killed(whole, tmp_path / "out", *killed)
    _command(whole, tmp_path / "out", *ending)
    finalize(tmp_path / "out")
    assert digest(whole.tree(tmp_path / "out")) == digest(whole.wanted)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize(
    ("dataset", "jobs", "killed"), [*figure([], [("whole", 1, False)]), ("whole", 2, True), ("paired", 2, True)]
)
def test_a_dask_cluster_has_the_digest(
    dataset: str, jobs: int, killed: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pytest.importorskip("distributed", reason="needs the dask extra")
    whole = request.getfixturevalue(dataset)
    if killed:
        _killed(whole, tmp_path / "out", "--jobs", 1)
    _command(whole, tmp_path / "out", "--engine", "dask", "--jobs", jobs, PYTHONHASHSEED=str(jobs))
    assert digest(whole.tree(tmp_path / "out")) == digest(whole.wanted)
