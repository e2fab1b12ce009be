"""What a checkpoint is worth: encoders fine-tuned on tasks, and scored as the tasks' official programs score.

::

    files ─task▶ Examples ─finetune▶ a model ─task▶ predictions ─scores▶ figures

``scores`` knows neither torch nor a model. Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.probes import scores
    from spanmask.probes.examples import Examples
    from spanmask.probes.results import Questions, Results, read_questions, read_results

__all__ = ["Examples", "Questions", "Results", "read_questions", "read_results", "scores"]

_HOMES = {
    "Examples": "examples",
    "Questions": "results",
    "Results": "results",
    "read_questions": "results",
    "read_results": "results",
    "scores": "",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
