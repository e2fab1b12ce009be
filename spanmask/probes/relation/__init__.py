"""Relations between two entities of a sentence: files of pairs in, sentences with types or markers out, and of scores over them labels.

::

    files ─read_relations▶ Relations ─encode▶ Encoded ─a model▶ a score a label ─▶ labels ─figures▶ precision, recall, F1
              └types─mark▶ Marking ──────┘

`RelationExtraction` is all of it as a task to fine-tune on. Names are imported when first used; only that one needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.probes.relation.config import RelationConfig
    from spanmask.probes.relation.encoding import Encoded, encode
    from spanmask.probes.relation.marking import Marking, mark
    from spanmask.probes.relation.reading import read_relations
    from spanmask.probes.relation.relations import Relations
    from spanmask.probes.relation.task import RelationExtraction

__all__ = [
    "Encoded",
    "Marking",
    "RelationConfig",
    "RelationExtraction",
    "Relations",
    "encode",
    "mark",
    "read_relations",
]

_HOMES = {
    "Encoded": "encoding",
    "Marking": "marking",
    "RelationConfig": "config",
    "RelationExtraction": "task",
    "Relations": "relations",
    "encode": "encoding",
    "mark": "marking",
    "read_relations": "reading",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
