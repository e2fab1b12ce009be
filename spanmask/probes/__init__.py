"""What a checkpoint is worth: encoders fine-tuned on tasks, and scored as the tasks' official programs score.

::

    files ─task▶ Examples ─finetune▶ a model ─task▶ predictions ─scores▶ figures

``scores`` knows neither torch nor a model. Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.probes.examples import Examples

__all__ = ["Examples"]

_HOMES = {"Examples": "examples"}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
