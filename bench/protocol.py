"""How everything is measured: one thread on one processor, contestants in turn, medians, ratios round by round.

A result is JSON: the question, what it ran on and with, seconds of every round, and figures made from them. It names no path, host or
account.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from spanmask.collector import held_off
from spanmask.storage import publish_bytes

#: Packages whose versions a result names.
PACKAGES = ("spanmask", "numpy", "numba", "pyarrow")
MEGABYTE = 1_000_000
#: This checkout.
ROOT = Path(__file__).resolve().parent.parent
#: What is measured, for the flag that says whether it differs from the commit.
_MEASURED = ("spanmask", "bench", ":!bench/results", ":!bench/README.md")

P = ParamSpec("P")
T = TypeVar("T")

Contestants = Mapping[str, Callable[[], object]]


@contextmanager
def pinned() -> Iterator[bool]:
    """Hold this process to one processor, where the system can, and give the others back after; say whether it is held."""
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)


def seconds(function: Callable[[], object]) -> float:
    """Return how long a call takes by the clock on the wall."""
    start = time.perf_counter_ns()
    function()
    return (time.perf_counter_ns() - start) / 1e9


def interleave(contestants: Contestants, rounds: int, before: Contestants | None = None) -> dict[str, dict[str, Any]]:
    """Measure contestants in turn, A B C A B C …, so that whatever else the machine does meets all alike.

    Parameters
    ----------
    contestants
        What is measured, by name.
    rounds
        How often each runs, after one call to warm up.
    before
        What is called, unmeasured, before every call of the contestant of that name.

    Returns
    -------
    dict
        By contestant: ``warm_up_seconds``, of one call of each before the first round, and ``seconds``, one a round.
    """
    prepare = before or {}

    def measured(name: str, function: Callable[[], object]) -> float:
        prepare.get(name, _nothing)()
        return seconds(function)

    gc.collect()
    # As `timeit` does.
    with held_off():
        warm = {name: measured(name, function) for name, function in contestants.items()}
        taken = [{name: measured(name, function) for name, function in contestants.items()} for _ in range(rounds)]
    return {
        name: {"warm_up_seconds": warm[name], "seconds": [of_round[name] for of_round in taken]} for name in contestants
    }


def _nothing() -> None:
    return None


class Clock:
    """Counts the seconds of steps, by name."""

    def __init__(self, names: Iterable[str]) -> None:
        self.spent = dict.fromkeys(names, 0.0)

    def time(self, name: str, function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Return what a call returns; its time counts for a step."""
        start = time.perf_counter_ns()
        try:
            return function(*args, **options)
        finally:
            self.spent[name] += (time.perf_counter_ns() - start) / 1e9

    def each(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """Yield items; the time that each takes to come counts for a step."""
        with suppress(StopIteration):
            while True:
                yield self.time(name, next, items)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, min and max."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def rates(amount: int, rounds: Sequence[float]) -> list[float]:
    """Return tokens/s or bytes/s of each round."""
    return [amount / taken for taken in rounds]


def ratio(of: Sequence[float], to: Sequence[float]) -> dict[str, Any]:
    """Return the ratio in each round, and the spread of those: what slows a whole round down falls out."""
    by_round = [a / b for a, b in zip(of, to, strict=True)]
    return {"rounds": by_round, **spread(by_round)}


def goals(values: Mapping[str, float], asked: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Return which of the figures asked for, at least so much, were reached; those that were not measured are left out."""
    return {name: {"goal": goal, "reached": values[name] >= goal} for name, goal in asked.items() if name in values}


def limits(values: Mapping[str, float], asked: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Return which of the limits, less than so much, were kept; those that were not measured are left out."""
    return {name: {"limit": limit, "kept": values[name] < limit} for name, limit in asked.items() if name in values}


def record(
    question: str, parameters: Mapping[str, Any], findings: Mapping[str, Any], packages: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a result: what was asked, where and with what, and what was found. packages: what was measured beside `PACKAGES`."""
    versions = {name: metadata.version(name) for name in (*PACKAGES, *packages)}
    return {
        "question": question,
        "versions": {"python": platform.python_version(), **versions},
        "machine": machine(),
        **revision(),
        "parameters": dict(parameters),
        **findings,
    }


def as_json(result: Mapping[str, Any]) -> bytes:
    """Return a result as the bytes of its file; the order of its keys is that of its tables."""
    return f"{json.dumps(result, indent=2, ensure_ascii=False)}\n".encode()


def deliver(result: Mapping[str, Any], table: str, file: str | None) -> None:
    """Keep a result in a file, if one is named, and print its table."""
    if file:
        publish_bytes(Path(file), as_json(result))
    sys.stdout.write(table)


def machine() -> dict[str, Any]:
    """Return the processor's model, the cores this process may use, and the system's kind."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _processor(), "cores": usable, "system": f"{platform.system()} {platform.machine()}"}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def revision(root: Path = ROOT) -> dict[str, Any]:
    """Return the commit of a checkout of spanmask, by default this one, and whether files differ from it; None where it is none."""
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        return {"commit": None, "dirty": None}
    return {
        "commit": _git(root, "rev-parse", "--short", "HEAD"),
        "dirty": bool(_git(root, "status", "--porcelain", "--", *_MEASURED)),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where it is missing or refuses."""
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
