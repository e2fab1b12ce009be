"""Whole runs of the command, as a user starts them: seconds by the clock, processor seconds, and the largest process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import protocol, usage
from .usage import Usage

COMMAND = [sys.executable, "-c", "from spanmask_cli.main import run; run()"]
JOBS = (1, 2)
#: What is run, by name: what `corpora.prepare` wrote, and options. Two documents show what starting takes, in shards so small that every
#: job has one to do.
INPUTS = {
    "one file": ("all.jsonl.zst",),
    "several files": ("parts",),
    "start": ("tiny.jsonl.zst", "--shard-bytes", "1KiB"),
}


def run(*, folder: str, rounds: int, paths: list[str]) -> dict[str, Any]:
    """Run ``spanmask preshard`` on the files that `corpora.prepare` wrote and, whole, on those of a user, not held to one processor.

    Returns
    -------
    dict
        By input and jobs (``one file, 2 jobs``): ``seconds`` of each round, ``processor_seconds`` of
        all its processes, and ``peak_bytes`` of the largest of them.
    """
    home = Path(folder)
    inputs = {name: [str(home / path), *options] for name, (path, *options) in INPUTS.items()}
    if paths:
        inputs["inputs as given"] = paths
    runs = {
        f"{name}, {jobs} job{'s' if jobs > 1 else ''}": CommandRun([*arguments, "--jobs", str(jobs)], home / "runs")
        for name, arguments in inputs.items()
        for jobs in JOBS
    }
    contestants: dict[str, Callable[[], object]] = {name: item.run for name, item in runs.items()}
    taken = protocol.interleave(contestants, rounds, {name: item.clear for name, item in runs.items()})
    return {name: {**taken[name], **item.used(rounds)} for name, item in runs.items()}


class CommandRun:
    """``spanmask preshard`` of inputs and options, as often as it is called."""

    def __init__(self, arguments: list[str], out: Path) -> None:
        self._out = out
        self._arguments = [*COMMAND, "preshard", *arguments, "--out", str(out), "--seed", "7"]
        self._used: list[Usage] = []

    def clear(self) -> None:
        """Remove what the last run wrote."""
        shutil.rmtree(self._out, ignore_errors=True)

    def run(self) -> None:
        """Run the command once.

        Raises
        ------
        RuntimeError
            It failed; what it said went to standard error.
        """
        used = usage.measure(self._arguments, stdout=subprocess.DEVNULL)
        if used.code:
            raise RuntimeError(f"spanmask failed with exit code {used.code}; see above")
        self._used.append(used)

    def used(self, rounds: int) -> dict[str, list[float]]:
        """Return what the last rounds took, the warm-up left out."""
        last = self._used[-rounds:]
        return {
            "processor_seconds": [used.processor_seconds for used in last],
            "peak_bytes": [used.peak_bytes for used in last],
        }
