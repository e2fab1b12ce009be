"""A run in pieces, for any scheduler: `plan` once, `run_unit` of every task's number wherever, in any order and as often as it takes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager

import pyarrow as pa

from spanmask.config import PreshardConfig
from spanmask.errors import ConfigError, MismatchError
from spanmask.presharding.destinations import State, out_of, shared, state_of, written
from spanmask.presharding.finding import STDIN, OnInputs, Paths
from spanmask.presharding.plan_file import another_writer, listed_exclusions, plan_from_json
from spanmask.presharding.planning import Plan
from spanmask.presharding.progress import OnProgress, Teller
from spanmask.presharding.receipt import Receipt, summed
from spanmask.presharding.request import Request
from spanmask.presharding.running import Ran, run_tasks
from spanmask.presharding.state import PATIENCE

#: How many times as long as for others is waited for one that plans.
_PLANNING = 10


def plan(
    inputs: Paths,
    out: str | os.PathLike[str],
    config: PreshardConfig,
    *,
    overwrite: bool = False,
    on_inputs: OnInputs | None = None,
) -> Plan:
    """Plan a run, and save the plan in the folder of its dataset; where the same run was planned there already, return that plan.

    The parameters are those of `preshard`, which goes on with what units of the plan have done, as they go on with what it did.

    Raises
    ------
    ConfigError
        An option, path or vocabulary cannot be used; standard input is among the inputs.
    MismatchError
        ``out`` holds another dataset, or this one, finished; or another process is writing it.
    CorpusError
        An input is not what it claims.
    StorageError
        The file system refused.
    """
    request = Request.of(inputs, out, config, overwrite=overwrite, on_inputs=on_inputs)
    planned = plan_request(request)
    if planned is None:
        raise MismatchError(f"{request.out}: this dataset is finished; nothing is left to run")
    return planned


def plan_request(request: Request) -> Plan | None:
    """Return the plan of what is asked for, or None where that is finished; raises as `plan` does otherwise."""
    if request.has_stdin:
        raise ConfigError(
            f"{STDIN}: standard input is read by one process alone; save it as a file where all tasks find it, and give that"
        )
    folder = request.out
    files, finished = request.look()
    # Looked at without the lock: those who run its units hold it. Of what only waits to take its place nothing is left to run.
    known = None if finished or state_of(folder).staged else request.saved(files)
    if known is None and finished is None:
        # Where no plan is yet, whoever is at work is making it, and that may take minutes.
        patience = PATIENCE if state_of(folder).is_under_way else _PLANNING * PATIENCE
        with written(folder, request.begun, patience=patience):
            if state_of(folder).staged:
                state_of(folder).commit()
            known = request.saved(files)
            if known is None:
                files, finished = request.look()
                known = None if finished else request.saved(files) or request.begin(files)
    return known


def read_plan(out: str | os.PathLike[str]) -> Plan:
    """Return the plan of the run that is under way in a folder; its inputs are read when a unit is run.

    Raises
    ------
    ConfigError
        No run is under way there, or a list of documents to exclude is missing.
    MismatchError
        The plan is damaged, or other releases of spanmask or of a library made it.
    """
    folder = out_of(out)
    content = state_of(folder).saved_plan()
    if content is None:
        raise ConfigError(
            f"{folder}: no run is under way there: it was finished, or was not planned; give INPUT to plan one"
        )
    return plan_from_json(content, os.fspath(folder), listed_exclusions(content, str(folder)))


def run_unit(plan: Plan, i: int) -> Receipt:
    """Run a task of a plan in this process, whoever else runs others, or the same one: the bytes are those of any other run.

    What was done of it before is taken as it is. A large compressed file is one task, whose blocks are saved one by one, so that a task
    that was killed goes on.

    Parameters
    ----------
    plan
        Of `plan` or `read_plan`; it pickles.
    i
        The task's number, from 0 to ``len(plan.tasks) - 1``.

    Returns
    -------
    Receipt
        Saved already, of a task of several units their sum.

    Raises
    ------
    ConfigError
        There is no such task.
    MismatchError
        No run is under way where the plan was made, or a process that runs alone is at work, or pyarrow is another than the plan's.
    CorpusError
        Text that cannot be read.
    StorageError
        The file system refused, or an input changed while it was read.
    """
    receipts = list[Receipt]()
    with _joined(plan) as state:
        run_tasks(state, plan, plan.chosen([i]), 1, Teller(None, 0), receipts.append)
    return summed(receipts)


def run_share(plan: Plan, numbers: Iterable[int], jobs: int, on_progress: OnProgress | None = None) -> Ran:
    """Run tasks of a plan as `run_unit` does one, in as many processes as there are jobs."""
    tasks = plan.chosen(numbers)
    with _joined(plan) as state:
        return run_tasks(state, plan, tasks, jobs, Teller(on_progress, sum(task.disk_bytes for task in tasks)))


def _joined(plan: Plan) -> AbstractContextManager[State]:
    if plan.writer != pa.__version__:
        raise another_writer(plan.out, plan.writer)
    return shared(out_of(plan.out), plan.key)
