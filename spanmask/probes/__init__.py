"""What a checkpoint is worth: encoders fine-tuned on tasks, and scored as the tasks' official programs score.

::

    files ─task▶ Examples ─finetune▶ a model ─task▶ predictions ─scores▶ figures

``scores`` knows neither torch nor a model. Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.probes import boundaries, classify, coref, glue, ner, qa, relation, scores
    from spanmask.probes.config import FinetuneConfig
    from spanmask.probes.examples import Examples
    from spanmask.probes.finetune import Finished, fine_tune
    from spanmask.probes.results import Questions, Results, read_questions, read_results
    from spanmask.probes.starting import Source
    from spanmask.probes.tasks import HeldOut, Judged, Task

__all__ = [
    "Examples",
    "FinetuneConfig",
    "Finished",
    "HeldOut",
    "Judged",
    "Questions",
    "Results",
    "Source",
    "Task",
    "boundaries",
    "classify",
    "coref",
    "fine_tune",
    "glue",
    "ner",
    "qa",
    "read_questions",
    "read_results",
    "relation",
    "scores",
]

_HOMES = {
    "Examples": "examples",
    "FinetuneConfig": "config",
    "Finished": "finetune",
    "HeldOut": "tasks",
    "Judged": "tasks",
    "Questions": "results",
    "Results": "results",
    "Source": "starting",
    "Task": "tasks",
    "boundaries": "",
    "classify": "",
    "coref": "",
    "fine_tune": "finetune",
    "glue": "",
    "ner": "",
    "qa": "",
    "read_questions": "results",
    "read_results": "results",
    "relation": "",
    "scores": "",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
