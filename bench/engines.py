"""The question: what does an engine cost? ``python -m spanmask_bench.engines INPUT… --json FILE``.

Contestants, in turn: whole runs of the command on the same text with two processes of the local engine, and with a Dask cluster of two
processes that the command starts; and by the scheduler of a cluster that stands already, with one worker process and with two. What each
takes for the first of the text, of which every process has some, is its start, and left out of the ratios. Then a cluster runs units that
do nothing: what is left is what a task costs.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import child, markdown, peers, protocol
from .command_runs import CommandRun

QUESTION = "What does an engine cost?"
PACKAGE = "distributed"
#: Megabytes of text that show what starting takes: four units of the usual size, so that every process works. What an engine takes is a
#: unit's, so they have that size, and the text is run several times over to have many of them.
HEAD, COPIES = 128, 3
#: What is asked of median ratios, beyond the start: of seconds with one worker process and two; seconds of Dask for one of local.
GOALS = {"two workers / one": 1.6}
LIMITS = {"dask, 2 jobs / local, 2 jobs": 1.05}
#: Seconds that a process of the cluster is given to come up.
_PATIENCE = 60.0


@dataclass(frozen=True)
class Nothing:
    """A work whose units do nothing."""

    def prepare(self) -> Callable[[int, Callable[..., None]], int]:
        """Return what runs a unit."""
        return lambda unit, _: unit

    def warm_up(self) -> None:
        """There is nothing to load."""


def measure(*, paths: Sequence[str] = (), rounds: int = 5, megabytes: float = 256, tasks: int = 2000) -> dict[str, Any]:
    """Measure, in processes of their own.

    Parameters
    ----------
    paths
        Inputs of any format; by default the stories that ship with spanmask.
    rounds
        How often each contestant runs, after one call to warm up.
    megabytes
        Of text at most.
    tasks
        Units that do nothing.

    Returns
    -------
    dict
        The result as `protocol.record` lays it out, with ``input``, ``start``, ``contestants``, ``ratios``, ``a_task``, ``goals`` and
        ``limits``.

    Raises
    ------
    ConfigError
        The ``dask`` or ``bench`` extra is missing, or there is no text in the inputs.
    """
    peers.require([PACKAGE])
    with tempfile.TemporaryDirectory(prefix="spanmask-bench-") as folder:
        asked = {"paths": list(paths), "folder": folder, "megabytes": megabytes, "peer_megabytes": HEAD}
        prepared = child.call("corpora", "prepare", asked)
        contestants = _contestants(Path(folder), rounds)
        cost = child.call("engines", "time_tasks", {"folder": folder, "tasks": tasks})
    beyond = {
        name: [
            whole - protocol.spread(contestants[f"start: {name}"]["seconds"])["median"] for whole in found["seconds"]
        ]
        for name, found in contestants.items()
        if not name.startswith("start: ")
    }
    ratios = {
        "dask, 2 jobs / local, 2 jobs": protocol.ratio(beyond["dask, 2 jobs"], beyond["local, 2 jobs"]),
        "two workers / one": protocol.ratio(beyond["a cluster, 1 worker"], beyond["a cluster, 2 workers"]),
    }
    medians = {name: ratio["median"] for name, ratio in ratios.items()}
    findings = {
        "input": prepared["all"],
        "start": prepared["peer"],
        "contestants": contestants,
        "ratios": ratios,
        "a_task": cost,
        "goals": protocol.goals(medians, GOALS),
        "limits": protocol.limits(medians, LIMITS),
    }
    parameters = {"rounds": rounds, "megabytes": megabytes, "copies": COPIES, "tasks": tasks}
    return protocol.record(QUESTION, parameters, findings, [PACKAGE])


def _contestants(home: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Return what whole runs took, by engine."""
    whole = home / "whole"
    whole.mkdir()
    for number in range(COPIES):
        shutil.copy(home / "all.txt", whole / f"{number}.txt")
    with ExitStack() as stack:
        # Of one and of two workers, which wait while the other one works.
        clusters = {workers: stack.enter_context(_cluster(home / str(workers), workers)) for workers in (1, 2)}
        engines = {
            "local, 2 jobs": ["--jobs", "2"],
            "dask, 2 jobs": ["--engine", "dask", "--jobs", "2"],
            "a cluster, 1 worker": ["--engine", "dask", "--scheduler", clusters[1].file],
            "a cluster, 2 workers": ["--engine", "dask", "--scheduler", clusters[2].file],
        }
        runs = {
            f"{prefix}{name}": CommandRun([str(path), *engine], home / "runs")
            for prefix, path in (("", whole), ("start: ", home / "peer.txt"))
            for name, engine in engines.items()
        }
        return protocol.interleave(
            {name: run.run for name, run in runs.items()}, rounds, {name: run.clear for name, run in runs.items()}
        )


@dataclass(frozen=True, slots=True)
class _Cluster:
    """A cluster of processes of this machine: the file of its scheduler, and that one's process."""

    file: str
    scheduler: int


@contextmanager
def _cluster(folder: Path, workers: int) -> Iterator[_Cluster]:
    """Start a scheduler and workers of one thread each, and end them."""
    folder.mkdir()
    file = folder / "scheduler.json"
    here = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]
    with ExitStack() as stack:
        scheduler = stack.enter_context(_process("scheduler", *here, "--port", "0"))
        until = time.monotonic() + _PATIENCE
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.05)
        for _ in range(workers):
            alone = ["--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--local-directory", str(folder)]
            stack.enter_context(_process("worker", *here, *alone))
        yield _Cluster(str(file), scheduler.pid)


@contextmanager
def _process(kind: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def time_tasks(*, folder: str, tasks: int) -> dict[str, float]:
    """Return what a unit that does nothing takes, in milliseconds.

    Returns
    -------
    dict
        ``elapsed`` by the clock, and processor time of the ``scheduler`` and of who sends them (``command``).
    """
    from spanmask.engines.dask import run_dask

    with _cluster(Path(folder) / "nothing", 2) as cluster:

        def outcomes(count: int) -> Iterator[Any]:
            return run_dask(Nothing(), iter(range(count)), lambda *_: None, key=str(count), scheduler=cluster.file)

        def spent() -> list[float]:
            return [time.perf_counter(), _processor_seconds(cluster.scheduler), time.process_time()]

        for _ in outcomes(tasks // 10):
            pass
        timed = outcomes(tasks)
        # Connecting is the start's.
        next(timed)
        before = spent()
        for _ in itertools.islice(timed, tasks - 2):
            pass
        taken = [1000 * (after - start) / (tasks - 2) for after, start in zip(spent(), before, strict=True)]
        # The last ones wait for others than a task that does nothing.
        for _ in timed:
            pass
    return dict(zip(("elapsed", "scheduler", "command"), taken, strict=True))


def _processor_seconds(process: int) -> float:
    """Return the processor seconds of another process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    rows = []
    for name, found in result["contestants"].items():
        if not name.startswith("start: "):
            start = protocol.spread(result["contestants"][f"start: {name}"]["seconds"])["median"]
            taken = protocol.spread(found["seconds"])
            rows.append([name, *(f"{taken[key]:.2f}" for key in ("median", "min", "max")), f"{start:.2f}"])
    goals = {**result["goals"], **result["limits"]}
    ratios = [
        f"- {name}, beyond the start: {'; '.join([markdown.times(ratio), *_asked(goals[name])])}."
        for name, ratio in result["ratios"].items()
    ]
    cost, parameters, source = result["a_task"], result["parameters"], result["input"]
    return "\n\n".join(
        [
            markdown.table(["engine", "seconds: median", "min", "max", "of them the start"], rows),
            "\n".join(ratios),
            f"A task that does nothing, of {parameters['tasks']:,} on two workers: {cost['elapsed']:.2f} ms by the clock, "
            f"{cost['scheduler']:.2f} ms of the scheduler's processor, {cost['command']:.2f} ms of the command's.",
            f"Text: {source['bytes'] / protocol.MEGABYTE:,.1f} MB in {source['documents']:,} documents, {parameters['copies']} times; the "
            f"first {result['start']['bytes'] / protocol.MEGABYTE:,.1f} MB are the start; {parameters['rounds']} rounds.\n"
            f"{markdown.measured_on(result)}\n",
        ]
    )


def _asked(found: Mapping[str, Any]) -> list[str]:
    return markdown.asked(*((found, None) if "goal" in found else (None, found)))


def main() -> None:
    """Measure what the command line names, and print the table."""
    parser = argparse.ArgumentParser(prog="spanmask_bench.engines", description=__doc__)
    parser.add_argument("paths", nargs="*", metavar="INPUT")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contestant runs (default: 5)")
    parser.add_argument("--megabytes", type=float, default=256, help="of text at most (default: 256)")
    parser.add_argument("--tasks", type=int, default=2000, help="units that do nothing (default: 2000)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON as well")
    asked = parser.parse_args()
    result = measure(paths=asked.paths, rounds=asked.rounds, megabytes=asked.megabytes, tasks=asked.tasks)
    protocol.deliver(result, table(result), asked.json)


if __name__ == "__main__":
    main()
