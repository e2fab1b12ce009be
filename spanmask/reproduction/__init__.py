"""The paper's comparisons as a grid: arms × seeds × probes, each cell a folder that resumes, and a page of paired differences.

::

    plan.toml ─read_plan▶ Plan ─reproduce▶ DIR/CELL/cell.json … ─collect▶ GridTold ─▶ DIR/report.html, report.json

Names are imported when first used; reading a plan needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.reproduction.plan import Plan, read_plan, shipped_plans
    from spanmask.reproduction.run import Finished, reproduce
    from spanmask.reproduction.watching import Watch

__all__ = ["Finished", "Plan", "Watch", "read_plan", "reproduce", "shipped_plans"]

_HOMES = {
    "Finished": "run",
    "Plan": "plan",
    "Watch": "watching",
    "read_plan": "plan",
    "reproduce": "run",
    "shipped_plans": "plan",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
