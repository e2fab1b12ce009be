"""Plan, write, finalize: a corpus in, a finished dataset out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.presharding.finishing import finalize
    from spanmask.presharding.planning import Plan
    from spanmask.presharding.receipt import Receipt
    from spanmask.presharding.tasks import plan, read_plan, run_unit

__all__ = ["Plan", "Receipt", "finalize", "plan", "read_plan", "run_unit"]

_HOMES = {
    "Plan": "planning",
    "Receipt": "receipt",
    "finalize": "finishing",
    "plan": "tasks",
    "read_plan": "tasks",
    "run_unit": "tasks",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
