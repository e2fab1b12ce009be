"""What `spanmask preshard --engine array` does: plan the work, or run this task's share of it."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING

from spanmask.escaping import counted

from .commands import say
from .stopping import stoppable_display
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.config import PreshardConfig
    from spanmask.presharding import Plan


def run_task(
    inputs: tuple[str, ...],
    out: str,
    config: PreshardConfig | None,
    task: str | None,
    *,
    as_json: bool,
    jobs: int | None,
    overwrite: bool,
    rehash: bool,
) -> None:
    """Plan the work where it is not planned yet, and run what a task asks for, if one does; tell what comes next.

    config: None where the plan that is there says all.
    """
    from spanmask.engines.array import choose
    from spanmask.presharding.destinations import out_of, state_of
    from spanmask.presharding.planning import jobs_of
    from spanmask.presharding.request import Request
    from spanmask.presharding.tasks import plan_request, read_plan, run_share
    from spanmask.remote import is_url

    chosen = None if task is None else choose(task, os.environ)
    plan: Plan | None
    if config is None:
        plan = None if state_of(out_of(out)).is_finished else read_plan(out)
    else:
        plan = plan_request(Request.of(inputs, out, config, overwrite=overwrite, rehash=rehash))
    if plan is None:
        _tell(as_json, {"out": out, "finished": True}, f"nothing to do, complete already: {out}")
        return
    if chosen is None:
        _tell(as_json, {"out": out, "tasks": len(plan.tasks)}, _planned(out, plan))
        return
    with stoppable_display(sys.stderr) as (on_progress, request):
        ran = run_share(plan, chosen.numbers(len(plan.tasks)), jobs_of(jobs, waiting=is_url(out)), on_progress)
        if ran.stopped:
            request.unwind()
    told = {"out": out, "tasks": ran.tasks, "units": len(ran.done), "before": ran.before, "failed": list(ran.failed)}
    before = f", {ran.before:,} of them before" if ran.before else ""
    _tell(
        as_json,
        told,
        f"{chosen}: {counted(ran.tasks, 'task')} of {len(plan.tasks):,}, {counted(len(ran.done), 'unit')} done{before}\n"
        f"when all tasks have ended: spanmask finalize {shlex.quote(out)}",
    )
    if ran.failed:
        say(f"spanmask: {ran.told_failed} with fewer --jobs", err=True)
        sys.exit(3)


def _planned(out: str, plan: Plan) -> str:
    place = shlex.quote(out)
    return (
        f"planned {counted(len(plan.tasks), 'task')}\n"
        f"now, for every i from 0 to n - 1: spanmask preshard --out {place} --engine array --task i/n (in an array: --task env)\n"
        f"when all have ended: spanmask finalize {place}"
    )


def _tell(as_json: bool, told: dict[str, object], text: str) -> None:
    if as_json:
        print_json(told)
    else:
        say(text)
