"""Classification of a user's texts, or pairs of texts: labelled TSVs and JSON lines in, labels or numbers of others out.

::

    files ─read_labelled▶ LabelledTexts ─sentence_examples▶ Examples ─a model▶ scores ─Classify▶ figures, predictions, confusion

`Classify` is all of it as a task to fine-tune on. Names are imported when first used; only that one needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.probes.classify.config import ClassifyConfig, Target
    from spanmask.probes.classify.figures import confusion
    from spanmask.probes.classify.reading import Columns, find_columns, read_labelled
    from spanmask.probes.classify.task import Classify

__all__ = [
    "Classify",
    "ClassifyConfig",
    "Columns",
    "Target",
    "confusion",
    "find_columns",
    "read_labelled",
]

_HOMES = {
    "Classify": "task",
    "ClassifyConfig": "config",
    "Columns": "reading",
    "Target": "config",
    "confusion": "figures",
    "find_columns": "reading",
    "read_labelled": "reading",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
