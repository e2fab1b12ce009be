"""Coreference: documents of CoNLL-2012 in, segments of them out, and of what a head finds in them the entities.

::

    files ─read_texts▶ Text ─cut_texts▶ Segments ─a model▶ rows ─entities_of▶ entities ─conll_bytes▶ a file that scorers read

`Coreference` is all of it as a task to fine-tune on, `CorefModel` what came of that. Names are imported when first used; only these two
need torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.probes.coref.config import CorefConfig
    from spanmask.probes.coref.decoding import entities_of, equal_strings
    from spanmask.probes.coref.documents import Text, fold, read_texts
    from spanmask.probes.coref.segments import Segments, cut_texts
    from spanmask.probes.coref.task import Coreference, CorefModel

__all__ = [
    "CorefConfig",
    "CorefModel",
    "Coreference",
    "Segments",
    "Text",
    "cut_texts",
    "entities_of",
    "equal_strings",
    "fold",
    "read_texts",
]

_HOMES = {
    "CorefConfig": "config",
    "CorefModel": "task",
    "Coreference": "task",
    "Segments": "segments",
    "Text": "documents",
    "cut_texts": "segments",
    "entities_of": "decoding",
    "equal_strings": "decoding",
    "fold": "documents",
    "read_texts": "documents",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
