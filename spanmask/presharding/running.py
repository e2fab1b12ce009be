"""Tasks of a plan in, their units' receipts out, saved: what was done before is taken as it is."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spanmask.engines.local import TRIES, run_local
from spanmask.presharding.destinations import State
from spanmask.presharding.locations import check_unchanged_since
from spanmask.presharding.planning import Plan, Task
from spanmask.presharding.progress import Teller
from spanmask.presharding.receipt import Receipt, unit_order
from spanmask.presharding.units import Pipeline, PipelineWork, all_units, useful_jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What became of so many tasks.

    done: units, by name. failed: those whose worker died on every try. before: of those done, how many an earlier run had done.
    stopped: whether who watched had it end before all were begun.
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
    done, failed = set[str](), list[str]()
    ends: dict[int, int] = {}
    for known in state.receipts(_known(state, tasks), plan.key):
        teller.done(known, before=True)
        on_receipt(known)
        done.add(known.unit)
        if known.blocks is not None:
            ends[unit_order(known.unit)[0]] = known.blocks
    before, counts = len(done), Counter(unit_order(unit)[0] for unit in done)
    # A large file of which all is done is not even read again.
    left = [task for task in tasks if ends.get(task.number) != counts[task.number] - 1]
    units, jobs = all_units(plan, frozenset(done), left), useful_jobs(left, jobs)
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
        done.add(receipt.unit)
        on_receipt(receipt)
        teller.done(receipt, before=False)
    return Ran(tasks=len(tasks), done=frozenset(done), failed=tuple(failed), before=before, stopped=teller.stopping)


def _known(state: State, tasks: Sequence[Task]) -> list[str]:
    """Return the units of tasks that have receipts, or may have one."""
    if len(tasks) == 1:
        (task,) = tasks
        # Asked for by its name: where each of a million tasks listed the receipts of all, that would be all there is to do.
        return state.units(task.number) if task.streamed else [f"{task.number:05}-00000"]
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
