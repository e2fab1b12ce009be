"""Tasks of a plan in, their units' receipts out, saved: what was done before is taken as it is."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from spanmask.engines.local import TRIES, run_local
from spanmask.presharding.destinations import State
from spanmask.presharding.locations import check_unchanged_since
from spanmask.presharding.planning import Plan, Task
from spanmask.presharding.progress import Teller
from spanmask.presharding.receipt import Receipt, unit_order
from spanmask.presharding.units import Pipeline, PipelineWork, Unit, all_units, useful_jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What became of so many tasks.

    done: units, by name. failed: those whose worker died on every try. before: of those done, how many an earlier run had done.
    stopped: whether who watched had it end before all were done.
    """

    tasks: int
    done: frozenset[str]
    failed: tuple[str, ...]
    before: int
    stopped: bool

    @property
    def told_failed(self) -> str:
        """What failed, and what to do."""
        return (
            f"{len(self.failed)} units failed after three tries ({', '.join(self.failed[:5])}): their worker died, perhaps for want of "
            "memory; the others are complete, run the same command again"
        )


def run_tasks(
    state: State,
    plan: Plan,
    tasks: Sequence[Task],
    jobs: int,
    teller: Teller,
    on_receipt: Callable[[Receipt], object] = lambda _: None,
) -> Ran:
    """Run what is not done yet of some tasks in this process, or in others of this machine, and save every unit's receipt.

    on_receipt: called with each unit's, also of those that were done before.

    Raises
    ------
    CorpusError
        Text that cannot be read.
    StorageError
        The file system refused, or an input changed while it was read.
    """
    done, failed = _Done(), list[str]()
    for known in state.receipts(_known(state, tasks), plan.key):
        teller.done(known, before=True)
        on_receipt(known)
        done.add(known)
    # A large file of which all is done is not even read again.
    before, left = len(done.units), [task for task in tasks if not done.has(task)]
    units, jobs = all_units(plan, frozenset(done.units), left), useful_jobs(left, jobs)
    work, stopping = _work(plan, str(state.root)), lambda: teller.stopping
    for outcome in run_local(work, units, jobs, teller.advance, teller.preparing, stopping=stopping):
        receipt: Receipt | None = outcome.result
        if receipt is None:
            failed.append(outcome.unit.name)
            state.save_failure(outcome.unit.name, f"its process died on {TRIES} tries")
            continue
        # Rows of a file that changed on the way belong to no text that exists.
        check_unchanged_since([part.file for part in plan.tasks[outcome.unit.task].parts])
        state.save_receipt(receipt)
        done.add(receipt)
        on_receipt(receipt)
        teller.done(receipt, before=False)
    stopped = teller.stopping and not all(map(done.has, left))
    return Ran(tasks=len(tasks), done=frozenset(done.units), failed=tuple(failed), before=before, stopped=stopped)


@dataclass(slots=True)
class _Done:
    """Units that are done, how many of each task, and of streamed ones whose end is done how many others they have."""

    units: set[str] = field(default_factory=set)
    counts: Counter[int] = field(default_factory=Counter)
    blocks: dict[int, int] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        """Take in a unit, once."""
        task = unit_order(receipt.unit)[0]
        self.units.add(receipt.unit)
        self.counts[task] += 1
        if receipt.blocks is not None:
            self.blocks[task] = receipt.blocks

    def has(self, task: Task) -> bool:
        """Say whether all of a task is done."""
        if task.streamed:
            return self.blocks.get(task.number) == self.counts[task.number] - 1
        return Unit(task=task.number).name in self.units


def _known(state: State, tasks: Sequence[Task]) -> list[str]:
    """Return the units of tasks that have receipts, or may have one."""
    if len(tasks) == 1:
        (task,) = tasks
        # Asked for by its name: where each of a million tasks listed the receipts of all, that would be all there is to do.
        return state.units(task.number) if task.streamed else [Unit(task=task.number).name]
    wanted = {task.number for task in tasks}
    return [name for name in state.units() if unit_order(name)[0] in wanted]


class _Last(threading.local):
    """The work that this thread ran last: a worker of a cluster may have several threads, each with its plan."""

    work: PipelineWork | None = None


_last = _Last()


def _work(plan: Plan, root: str) -> PipelineWork:
    """Return the work of a plan, whose tokenizer is made once a thread however often some of it is run."""
    work = _last.work
    if work is None or work.plan is not plan or work.root != root:
        work = _last.work = PipelineWork(plan=plan, root=root, run=Pipeline.run)
    return work
