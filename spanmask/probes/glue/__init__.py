"""GLUE: official TSVs of its nine tasks in, figures as its scorer has them and files to submit out.

::

    train.tsv, dev.tsv, test.tsv ─read_glue▶ LabelledTexts ─sentence_examples▶ Examples ─a model▶ scores ─Glue▶ figures, CoLA.tsv

`Glue` is one of its tasks to fine-tune on. Names are imported when first used; only that one needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.probes.glue.config import GlueConfig
    from spanmask.probes.glue.files import GlueFiles, find_files
    from spanmask.probes.glue.reading import read_glue
    from spanmask.probes.glue.task import Glue

__all__ = [
    "Glue",
    "GlueConfig",
    "GlueFiles",
    "find_files",
    "read_glue",
]

_HOMES = {
    "Glue": "task",
    "GlueConfig": "config",
    "GlueFiles": "files",
    "find_files": "files",
    "read_glue": "reading",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
