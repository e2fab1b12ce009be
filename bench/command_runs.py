"""Whole runs of the command, as a user starts them: seconds by the clock, processor seconds, and the largest process.

Nothing but the standard library is imported here: a process is counted as at least as large as the one that starts it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import protocol

COMMAND = [sys.executable, "-c", "from spanmask_cli.main import run; run()"]
JOBS = (1, 2)
#: What is run, by name: what `corpora.prepare` wrote, and options. Two documents show what starting takes, in shards so small that every
#: job has one to do.
INPUTS = {
    "one file": ("all.jsonl.zst",),
    "several files": ("parts",),
    "start": ("tiny.jsonl.zst", "--shard-bytes", "1KiB"),
}


def run(*, folder: str, rounds: int) -> dict[str, Any]:
    """Run ``spanmask preshard`` on the files that `corpora.prepare` wrote, not held to one processor.

    Returns
    -------
    dict
        By input and jobs (``one file, 2 jobs``): ``seconds`` of each round, ``processor_seconds`` of
        all its processes, and ``peak_bytes`` of the largest of them.
    """
    home = Path(folder)
    inputs = {name: [str(home / path), *options] for name, (path, *options) in INPUTS.items()}
    runs = {
        f"{name}, {jobs} job{'s' if jobs > 1 else ''}": _Run(arguments, home / "runs", jobs)
        for name, arguments in inputs.items()
        for jobs in JOBS
    }
    contestants: dict[str, Callable[[], object]] = {name: item.run for name, item in runs.items()}
    taken = protocol.interleave(contestants, rounds, {name: item.clear for name, item in runs.items()})
    return {name: {**taken[name], **item.used(rounds)} for name, item in runs.items()}


class _Run:
    """One input with so many jobs, as often as it is called."""

    def __init__(self, arguments: list[str], out: Path, jobs: int) -> None:
        self._out = out
        self._arguments = [*COMMAND, "preshard", *arguments, "--out", str(out), "--seed", "7", "--jobs", str(jobs)]
        self._used: list[tuple[float, int]] = []

    def clear(self) -> None:
        shutil.rmtree(self._out, ignore_errors=True)

    def run(self) -> None:
        self._used.append(spawn(self._arguments))

    def used(self, rounds: int) -> dict[str, list[float]]:
        """Return what the last rounds took, the warm-up left out."""
        last = self._used[-rounds:]
        return {"processor_seconds": [seconds for seconds, _ in last], "peak_bytes": [peak for _, peak in last]}


def spawn(arguments: Sequence[str]) -> tuple[float, int]:
    """Run a command to its end; return the processor seconds of all its processes, and the bytes of the largest.

    Raises
    ------
    RuntimeError
        It failed; what it said went to standard error.
    """
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"spanmask failed with exit code {process.returncode}; see above")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit
