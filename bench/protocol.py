"""How everything is measured: one thread on one processor, contestants in turn, medians, ratios round by round.

A result is JSON: the question, what it ran on and with, seconds of every round, and figures made from them. It names no path, host or
account.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

#: Packages whose versions a result names.
PACKAGES = ("spanmask", "numpy", "numba", "pyarrow")
#: What is measured, for the flag that says whether it differs from the commit.
_MEASURED = ("spanmask", "bench", ":!bench/results", ":!bench/README.md")

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


@contextmanager
def _uncollected() -> Iterator[None]:
    """Switch the garbage collector off, as `timeit` does."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def seconds(function: Callable[[], object]) -> float:
    """Return how long a call takes by the clock on the wall."""
    start = time.perf_counter_ns()
    function()
    return (time.perf_counter_ns() - start) / 1e9


def interleave(contestants: Contestants, rounds: int) -> dict[str, dict[str, Any]]:
    """Measure contestants in turn, A B C A B C …, so that whatever else the machine does meets all alike.

    Returns
    -------
    dict
        By contestant: ``warm_up_seconds``, of one call of each before the first round, and ``seconds``, one a round.
    """
    with _uncollected():
        warm = {name: seconds(function) for name, function in contestants.items()}
        taken = [{name: seconds(function) for name, function in contestants.items()} for _ in range(rounds)]
    return {
        name: {"warm_up_seconds": warm[name], "seconds": [of_round[name] for of_round in taken]} for name in contestants
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, min and max."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def rates(tokens: int, rounds: Sequence[float]) -> list[float]:
    """Return tokens/s of each round."""
    return [tokens / taken for taken in rounds]


def ratio(of: Sequence[float], to: Sequence[float]) -> dict[str, Any]:
    """Return the ratio in each round, and the spread of those: what slows a whole round down falls out."""
    by_round = [a / b for a, b in zip(of, to, strict=True)]
    return {"rounds": by_round, **spread(by_round)}


def record(question: str, parameters: Mapping[str, Any], findings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result: what was asked, where and with what, and what was found."""
    return {
        "question": question,
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}},
        "machine": machine(),
        **revision(),
        "parameters": dict(parameters),
        **findings,
    }


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


def revision() -> dict[str, Any]:
    """Return the commit measured and whether files differ from it; None where this is no checkout of spanmask."""
    root = Path(__file__).resolve().parent.parent
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root:
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
