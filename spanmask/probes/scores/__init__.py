"""Official scorers, one module a metric: files in, the figures of the task's own program out, under its own names.

Each has ``score(gold, predictions)``, which `spanmask score` calls; what an official program counts as wrong in silence, a warning tells.
Nothing here imports torch or a model. Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.probes.scores import coref, gap, glue, mrqa, ner, semeval, squad, squad2, tacred

__all__ = [
    "coref",
    "gap",
    "glue",
    "mrqa",
    "ner",
    "semeval",
    "squad",
    "squad2",
    "tacred",
]

_HOMES = dict.fromkeys(__all__, "")

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
