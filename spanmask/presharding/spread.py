"""The tasks of a plan, run by the workers of a Dask cluster, which find the plan where the dataset is written."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spanmask.config import fingerprint
from spanmask.engines.dask import run_dask
from spanmask.engines.local import TRIES
from spanmask.engines.workers import Report
from spanmask.errors import ConfigError, MismatchError
from spanmask.kernels.cache import has_compiled_kernels
from spanmask.presharding.destinations import State, out_of, shared
from spanmask.presharding.planning import Plan
from spanmask.presharding.progress import Teller
from spanmask.presharding.receipt import Receipt
from spanmask.presharding.running import Ran, run_tasks
from spanmask.presharding.tasks import read_plan
from spanmask.presharding.units import Pipeline, PipelineWork


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a worker tells of a task, whose receipts lie with the dataset: its units and shards; through_library as `Receipt` has it."""

    units: tuple[str, ...]
    shards: int
    through_library: str | None


@dataclass(frozen=True, slots=True)
class TaskWork:
    """The work that Dask's workers are given: where the dataset is written, and the `Plan.key` of its plan."""

    out: str
    key: str

    def prepare(self) -> Callable[[int, Report], Told]:
        """Read the plan; return the function that runs a task of some number.

        Raises
        ------
        ConfigError
            The folder is not to be found here.
        MismatchError
            The plan is not the one that this work was made for.
        """
        place = out_of(self.out)
        if isinstance(place, Path) and not place.is_dir():
            raise ConfigError(
                f"{self.out}: no such folder on {platform.node()}, where a Dask worker runs; give one that all machines share, inputs too"
            )
        plan = read_plan(self.out)
        if plan.key != self.key:
            raise MismatchError(f"{self.out}: another run was begun there; nothing was written")
        return partial(_run, plan)

    def warm_up(self) -> None:
        """See `spanmask.engines.workers.Work`."""
        PipelineWork(plan=read_plan(self.out), root=self.out, run=Pipeline.run).warm_up()


def _run(plan: Plan, number: int, report: Report) -> Told:
    """Run a task on a worker, and save its receipts."""
    receipts, teller = list[Receipt](), Teller(None, 0)
    with shared(out_of(plan.out), plan.key) as state:
        run_tasks(state, plan, plan.chosen([number]), 1, teller, receipts.append)
    counted = teller.progress
    report(counted.disk_bytes - counted.resumed_disk_bytes, counted.text_bytes, counted.tokens)
    return Told(
        units=tuple(receipt.unit for receipt in receipts),
        shards=counted.shards,
        through_library=counted.through_library,
    )


def run_spread(state: State, plan: Plan, scheduler: str | None, jobs: int, teller: Teller) -> Ran:
    """Run what is not done yet of a plan on a Dask cluster, one task a worker at a time; a streamed one is one worker's.

    scheduler, jobs: see `spanmask.engines.dask_cluster.connected`.

    Raises
    ------
    ConfigError
        The ``dask`` extra or the cluster is missing.
    MismatchError
        A worker has another release of spanmask or of what decides bytes.
    CorpusError
        Text that cannot be read.
    StorageError
        The file system refused, an input changed while it was read, or the scheduler is gone.
    """
    done, failed = set[str](), list[str]()
    for known in state.receipts(state.units(), plan.key):
        teller.done(known, before=True)
        done.add(known.unit)
    before = len(done)
    left = {task.number for task in plan.tasks if task.streamed or _first_unit(task.number) not in done}
    work = TaskWork(plan.out, plan.key)

    def stopping() -> bool:
        # Whoever watches says so when told of something, and workers tell of whole tasks.
        teller.advance()
        return teller.stopping

    # Else the workers of this machine would compile them all, at the same time.
    if scheduler is None and not has_compiled_kernels():
        with teller.preparing():
            work.warm_up()
    outcomes = run_dask(
        work,
        iter(sorted(left)),
        teller.advance,
        # Of a dataset that is written elsewhere, too, the scheduler may know.
        key=fingerprint([plan.key, plan.out])[:16],
        scheduler=scheduler,
        jobs=jobs,
        size=lambda number: max(plan.tasks[number].disk_bytes, 1),
        stopping=stopping,
    )
    for outcome in outcomes:
        left.remove(outcome.unit)
        told: Told | None = outcome.result
        if told is None:
            failed.append(_first_unit(outcome.unit))
            state.save_failure(failed[-1], f"its worker died on {TRIES} tries")
            continue
        done.update(told.units)
        teller.told(told.shards, told.through_library)
    stopped = teller.stopping and bool(left)
    return Ran(tasks=len(plan.tasks), done=frozenset(done), failed=tuple(failed), before=before, stopped=stopped)


def _first_unit(task: int) -> str:
    """Return the name of a task's first unit, or only one."""
    return f"{task:05}-00000"
