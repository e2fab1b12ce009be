"""The question: is this checkout slower than another one? ``python -m spanmask_bench.revisions OTHER-CHECKOUT TEXT.jsonl --json FILE``.

For each kind of work two processes, one a checkout, take turns, A B B A …, in one environment, and are started anew every few turns; the
ratio of their speeds is made pair by pair. Its median has a distribution-free 95 % interval: two of the ordered ratios, as the binomial
law gives their places.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import markdown, protocol
from .child import ONE_THREAD
from .revision_host import WORK

QUESTION = "Is this checkout slower than another one?"
_HOST = Path(__file__).with_name("revision_host.py")
#: Turns of a process before it is started anew: where its memory happens to lie makes it a few per cent faster or slower for all its life.
_TURNS = 4
#: Work that may use every core.
_THREADED = ("training",)


def measure(other: str, text: str, *, rounds: int = 20, work: Sequence[str] = tuple(WORK)) -> dict[str, Any]:
    """Measure both checkouts.

    Parameters
    ----------
    other
        The other checkout's folder; kernels of both are compiled before anything counts.
    text
        A file of JSON lines.
    rounds
        Pairs of each kind of work.
    work
        Which kinds.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``other`` (its commit) and ``work``: by name, speeds of both and their ratio with
        ``interval``.
    """
    found = {name: _compare(name, other, text, rounds) for name in work}
    size = Path(text).stat().st_size
    return protocol.record(
        QUESTION, {"rounds": rounds, "text_bytes": size}, {"other": protocol.revision(Path(other)), "work": found}
    )


def _compare(name: str, other: str, text: str, rounds: int) -> dict[str, Any]:
    speeds: dict[str, list[float]] = {"here": [], "other": []}
    for first in range(0, rounds, _TURNS):
        with _contestant(name, protocol.ROOT, text) as here, _contestant(name, Path(other), text) as there:
            for number in range(first, min(first + _TURNS, rounds)):
                pair = {"here": here, "other": there}
                for side in sorted(pair, reverse=number % 2 == 1):
                    speeds[side].append(_turn(pair[side]))
    found = protocol.ratio(speeds["here"], speeds["other"])
    low, high = median_interval(found["rounds"])
    return {
        **{side: protocol.spread(values) for side, values in speeds.items()},
        "ratio": {**found, "interval": [low, high]},
    }


@contextmanager
def _contestant(name: str, checkout: Path, text: str) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that has done its work once, with the spanmask of a checkout."""
    threads = {} if name in _THREADED else ONE_THREAD
    with subprocess.Popen(
        [sys.executable, str(_HOST), name, text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **threads, "PYTHONPATH": str(checkout)},
        text=True,
    ) as process:
        _answer(process)
        yield process
        process.communicate()


def _turn(process: subprocess.Popen[str]) -> float:
    """Return the speed of one turn, in what it handles a second."""
    if process.stdin is None:
        raise AssertionError("it is a pipe")
    print(file=process.stdin, flush=True)
    told = json.loads(_answer(process))
    return float(told["amount"] / told["seconds"])


def _answer(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise RuntimeError(f"a contestant ended with exit code {process.wait()}; see above")
    return line


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the narrowest pair of ordered values, equally far from both ends, that holds the median with at least a confidence.

    With fewer than six values no pair has 95 %: the smallest and the largest are returned.
    """
    ordered, n = sorted(values), len(values)
    outside, place = 0.0, 0
    for k in range(n // 2):
        outside += 2 * math.comb(n, k) / 2**n
        if outside > 1 - confidence:
            break
        place = k + 1
    first = max(place - 1, 0)
    return ordered[first], ordered[n - 1 - first]


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    rows = [_row(name, found["ratio"]) for name, found in result["work"].items()]
    head = ["work", "this checkout / other: median", "95 % interval of the median", "min", "max"]
    return (
        f"{markdown.table(head, rows)}\n\nOther: commit {result['other']['commit']}. {markdown.measured_on(result)}\n"
    )


def _row(name: str, ratio: Mapping[str, Any]) -> list[str]:
    low, high = ratio["interval"]
    return [name, f"{ratio['median']:.3f}", f"{low:.3f} to {high:.3f}", f"{ratio['min']:.3f}", f"{ratio['max']:.3f}"]


def main() -> None:
    """Measure what the command line names, and print the table."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.revisions", description=__doc__)
    parser.add_argument("other", metavar="OTHER-CHECKOUT")
    parser.add_argument("text", metavar="TEXT.jsonl")
    parser.add_argument("--rounds", type=int, default=20, help="pairs of each kind of work (default: 20)")
    parser.add_argument(
        "--work", nargs="+", choices=list(WORK), default=list(WORK), help="kinds of work (default: all)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON as well")
    asked = parser.parse_args()
    result = measure(asked.other, asked.text, rounds=asked.rounds, work=asked.work)
    protocol.deliver(result, table(result), asked.json)


if __name__ == "__main__":
    main()
