"""Text in, the same text with ranges that a spaCy pipeline finds in it out, for masking scheme ``annotated``.

::

    DocumentBlock ─divide▶ unit of texts ─pipeline▶ ranges ─write▶ part ─join▶ FILE.jsonl.zst ─▶ preshard --scheme annotated

Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.annotating.config import AnnotateConfig
    from spanmask.annotating.record import Annotated
    from spanmask.annotating.run import annotate

__all__ = ["AnnotateConfig", "Annotated", "annotate"]

_HOMES = {"AnnotateConfig": "config", "Annotated": "record", "annotate": "run"}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
