"""Extractive question answering: files of questions in, windows of passages out, and of logits over them the answers.

::

    files ─read_questions▶ Questions ─cut_windows▶ Windows ─a model▶ logits ─decode▶ Decoded ─prediction_files▶ official files

`QuestionAnswering` is all of it as a task to fine-tune on. Names are imported when first used; only that one needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.probes.qa.config import QaConfig
    from spanmask.probes.qa.decoding import Decoded, decode
    from spanmask.probes.qa.predictions import prediction_files
    from spanmask.probes.qa.questions import Questions
    from spanmask.probes.qa.reading import read_questions
    from spanmask.probes.qa.task import QuestionAnswering
    from spanmask.probes.qa.windows import Windows, cut_windows

__all__ = [
    "Decoded",
    "QaConfig",
    "QuestionAnswering",
    "Questions",
    "Windows",
    "cut_windows",
    "decode",
    "prediction_files",
    "read_questions",
]

_HOMES = {
    "Decoded": "decoding",
    "QaConfig": "config",
    "QuestionAnswering": "task",
    "Questions": "questions",
    "Windows": "windows",
    "cut_windows": "windows",
    "decode": "decoding",
    "prediction_files": "predictions",
    "read_questions": "reading",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
