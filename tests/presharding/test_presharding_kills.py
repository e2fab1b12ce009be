"""The command line killed with SIGKILL, worker processes included, and started again: the same bytes as if it never was."""

from __future__ import annotations

import itertools
import lzma
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from figures import figure
from rows import write_rows
from signals import wait_until_it_answers

from spanmask import verify
from spanmask.presharding.status import status

pytestmark = pytest.mark.faults

OPTIONS = ["--seed", 7, "--shard-bytes", "32KiB", "--max-tokens", 64, "--holdout", 0.2, "--random-ids", "unigram"]
UNITS = 16


@pytest.fixture(scope="module")
def reference(make_lab: Any) -> Any:
    """A text of 16 units, and the dataset of an uninterrupted run."""
    lab = make_lab("kills")
    lab.path = lab.text(count=3400)
    lab.run(lab.path, "reference", shard_bytes=32 << 10, holdout=0.2, random_ids="unigram")
    assert len(_shards(lab.folder / "reference")) >= UNITS
    return lab


def _shards(out: Path) -> list[Path]:
    return list((out / "train").glob("shard-*.arrow"))


def _kill_after(lab: Any, out: Path, shards: int, jobs: int) -> int | None:
    """Kill a run on the reference's text; see `_kill_started`."""
    return _kill_started(lab, ["preshard", lab.path, "--out", out, *OPTIONS], out, shards, jobs)


def _kill_started(lab: Any, arguments: list[Any], out: Path, shards: int, jobs: int) -> int | None:
    """Start the command line, kill its process group once so many shards are published; return how many were, None if it finished."""
    process = lab.start(*arguments, "--jobs", jobs)
    while process.poll() is None and len(_shards(out)) < shards:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if (out / "manifest.json").exists():
        return None
    assert process.returncode == -signal.SIGKILL
    return len(_shards(out))


ENDING = "spanmask: ending when the shards under way are done, or after 10 seconds; once more ends it at once"
STOPPED = "spanmask: stopped; the same command goes on from here"


def _assert_resumed(lab: Any, out: Path, jobs: int) -> None:
    code, _, error = lab.finish("preshard", lab.path, "--out", out, *OPTIONS, "--jobs", jobs)
    assert (code, error) == (0, "")
    assert lab.tree(out) == lab.tree("reference")


@pytest.mark.slow
@pytest.mark.parametrize("at", figure([1, 4, 8, 13], [1, 2, 4, 6, 8, 9, 11, 13]))
def test_a_killed_run_goes_on_to_the_same_bytes(reference: Any, at: int, tell: Callable[[str], None]) -> None:
    out = reference.folder / f"killed-{at}"
    complete = _kill_after(reference, out, at, jobs=1 + at % 2)
    tell(f"killed with {complete} of {UNITS} training shards complete")
    assert complete is not None
    assert complete >= at
    _assert_resumed(reference, out, jobs=2 - at % 2)


@pytest.mark.slow
def test_a_run_killed_again_while_it_goes_on_ends_in_the_same_bytes(
    reference: Any, tell: Callable[[str], None]
) -> None:
    """Twice; `test_chains_of_kills_at_random_end_in_the_same_bytes` kills more often in a row."""
    out = reference.folder / "again"
    complete = [_kill_after(reference, out, at, jobs=jobs) for at, jobs in ((2, 2), (6, 1))]
    tell(f"killed with {complete} of {UNITS} training shards complete")
    assert None not in complete
    reference.run(reference.path, out, shard_bytes=32 << 10, holdout=0.2, random_ids="unigram")
    assert reference.tree(out) == reference.tree("reference")


def _chain(lab: Any, number: int) -> int:
    """Start a run again and again, each killed after a while that a seed gives, until one is done; return how many were killed."""
    rng, out, killed = random.Random(number), lab.folder / f"chain-{number}", 0
    while not (out / "manifest.json").exists():
        process = lab.start("preshard", lab.path, "--out", out, *OPTIONS, "--jobs", 1 + number % 2)
        # Longer each time: a run does no unit within the time that it takes to start.
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.1, 1.0) * lab.seconds * (1 + killed / 10))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL)
    # The last may have been killed after the manifest was in its place.
    _assert_resumed(lab, out, jobs=1)
    return killed


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_chains_of_kills_at_random_end_in_the_same_bytes(
    reference: Any, tell: Callable[[str], None], count: Callable[[int], None]
) -> None:
    began = time.monotonic()
    reference.finish("preshard", reference.path, "--out", reference.folder / "timed", *OPTIONS, "--jobs", 2)
    reference.seconds, killed = time.monotonic() - began, 0
    chains = itertools.count()
    with ThreadPoolExecutor(2) as pool:
        while killed < figure(10, 200):
            killed += sum(pool.map(partial(_chain, reference), itertools.islice(chains, 4)))
    count(killed)
    tell(f"{killed} runs killed in {next(chains)} chains")


def _tables(folder: Path, documents: list[str]) -> None:
    """Write three files each of CSV, JSON arrays, and JSON lines under xz."""
    folder.mkdir()
    rows = [{"id": f"{number}", "text": text} for number, text in enumerate(documents)]
    for number in range(3):
        some = [rows[k::9] for k in (number, number + 3, number + 6)]
        write_rows(folder / f"{number}.csv", some[0])
        write_rows(folder / f"{number}.json", some[1])
        lines = write_rows(folder / f"{number}.jsonl", some[2])
        lines.with_suffix(".jsonl.xz").write_bytes(lzma.compress(lines.read_bytes()))
        lines.unlink()


@pytest.mark.slow
def test_tables_arrays_and_lists_of_what_is_left_out_go_on_after_kills_too(
    make_lab: Any, tell: Callable[[str], None]
) -> None:
    lab = make_lab("kinds")
    corpus, taken, out = (lab.folder / name for name in ("corpus", "taken.txt", "out"))
    _tables(corpus, lab.text(count=1800).read_text().rstrip("\n").split("\n\n"))
    taken.write_text("".join(f"{number}\n" for number in range(0, 1800, 7)))
    arguments = ["preshard", corpus, "--out", out, "--exclude", f"id={taken}", *OPTIONS]
    complete = [_kill_started(lab, arguments, out, at, jobs=2 - i) for i, at in enumerate((2, 5))]
    tell(f"killed with {complete} training shards complete")
    assert None not in complete
    options = {"shard_bytes": 32 << 10, "holdout": 0.2, "random_ids": "unigram", "exclude": (f"id={taken}",)}
    for name in ("out", "whole"):
        counts = lab.run(corpus, name, **options).conservation
        assert (counts["documents_in"], counts["documents_excluded"]) == (1800, 258)
    assert lab.tree("out") == lab.tree("whole")


@pytest.mark.slow
def test_a_parent_killed_alone_takes_its_workers_along(reference: Any) -> None:
    out = reference.folder / "orphans"
    process = reference.start("preshard", reference.path, "--out", out, *OPTIONS, "--jobs", 2)
    while process.poll() is None and len(_shards(out)) < 2:
        time.sleep(0.001)
    workers = children(process.pid)
    process.kill()
    process.wait()
    assert len(workers) == 2
    deadline = time.monotonic() + 5
    while any(_is_alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(_is_alive(worker) for worker in workers)
    process.communicate()
    _assert_resumed(reference, out, jobs=2)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "jobs"),
    [(signal.SIGINT, 130, 1), (signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 1), (signal.SIGTERM, 143, 2)],
)
def test_a_signal_ends_the_run_with_its_code_and_the_run_goes_on_later(
    reference: Any, number: int, code: int, jobs: int
) -> None:
    out = reference.folder / f"signal-{number}-{jobs}"
    process = reference.start("preshard", reference.path, "--out", out, *OPTIONS, "--jobs", jobs)
    while process.poll() is None and len(_shards(out)) < 3:
        time.sleep(0.001)
    os.killpg(process.pid, number)
    _, error = process.communicate()
    assert (process.returncode, error) == (code, f"{ENDING}\n{STOPPED}\n")
    assert not (out / "manifest.json").exists()
    # What was under way is done, and nothing is left half: every shard has its receipt.
    assert {path.stem for path in (out / ".spanmask" / "receipts").iterdir()} == {
        path.stem.removeprefix("shard-") for path in _shards(out)
    }
    assert not list(out.rglob(".tmp-*"))
    reference.run(reference.path, out, shard_bytes=32 << 10, holdout=0.2, random_ids="unigram")
    assert reference.tree(out) == reference.tree("reference")


@pytest.mark.slow
def test_a_terminal_that_goes_away_ends_the_run_and_it_goes_on_later(reference: Any) -> None:
    """SIGHUP, which nobody answers: as it ends any other command, and as SIGKILL it leaves nothing half."""
    out = reference.folder / "hangup"
    process = reference.start("preshard", reference.path, "--out", out, *OPTIONS, "--jobs", 2)
    while process.poll() is None and len(_shards(out)) < 3:
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGHUP)
    _, error = process.communicate()
    assert (process.returncode, error) == (-signal.SIGHUP, "")
    assert not (out / "manifest.json").exists()
    _assert_resumed(reference, out, jobs=2)


@pytest.mark.slow
def test_an_interrupt_at_any_moment_leaves_no_traceback(reference: Any, tell: Callable[[str], None]) -> None:
    """From the first moment that is the command's own until it is gone: it imports, starts workers, runs, ends, and is taken down.

    What is done is done: then the code is 0.
    """
    moments, codes = 16, []
    began = time.monotonic()
    reference.finish("preshard", reference.path, "--out", reference.folder / "whole", *OPTIONS, "--jobs", 2)
    step = 1.2 * (time.monotonic() - began) / (moments - 1)
    for moment in range(moments):
        out = reference.folder / f"moment-{moment}"
        process = reference.start("preshard", reference.path, "--out", out, *OPTIONS, "--jobs", 2)
        wait_until_it_answers(process)
        time.sleep(moment * step)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate()
        codes.append(process.returncode)
        assert process.returncode in (0, 130)
        assert error in ("", f"{STOPPED}\n", f"{ENDING}\n", f"{ENDING}\n{STOPPED}\n"), (moment, process.returncode)
        assert process.returncode or (out / "manifest.json").exists()
    tell(f"exit codes: {codes}")
    assert codes[: moments // 3] == [130] * (moments // 3)


@pytest.mark.slow
def test_workers_that_are_killed_are_replaced(reference: Any) -> None:
    out = reference.folder / "workers"
    process = reference.start("preshard", reference.path, "--out", out, *OPTIONS, "--jobs", 2)
    killed = 0
    for shards in (1, 5):
        while process.poll() is None and len(_shards(out)) < shards:
            time.sleep(0.001)
        for worker in children(process.pid)[:1]:
            os.kill(worker, signal.SIGKILL)
            killed += 1
    _, error = process.communicate()
    assert (process.returncode, error, killed) == (0, "", 2)
    assert reference.tree(out) == reference.tree("reference")


_POISON = """
import os, signal, sys
parent = 0 if any("engines.workers" in part for part in sys.orig_argv) else os.getpid()
def hook(event, arguments):
    if event == "open" and "shard-00003-" in str(arguments[0]) and ".tmp" in str(arguments[0]) and os.getpid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


@pytest.mark.slow
def test_a_unit_that_always_kills_its_worker_fails_alone(reference: Any, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_POISON)
    out = tmp_path / "out"
    arguments = ["preshard", reference.path, "--out", out, *OPTIONS, "--jobs", 2]
    code, _, error = reference.finish(*arguments, PYTHONPATH=str(tmp_path))
    assert code == 3
    assert "1 units failed after three tries (00003-00000)" in error
    assert "Traceback" not in error
    assert not (out / "manifest.json").exists()
    assert status(out).failed == {"00003-00000": "its process died on 3 tries"}
    assert (
        len(list((out / ".spanmask" / "receipts").glob("*.json"))) == len(_shards(reference.folder / "reference")) - 1
    )
    _assert_resumed(reference, out, jobs=2)
    assert verify(out).ok
