"""Spans of words with a type, such as names: columns of CoNLL in, windows of sentences out, and of logits over them the tags.

::

    files ─read_tagged▶ Tagged ─cut_sentences▶ Windows ─a model▶ logits ─▶ tags ─▶ predictions.conll

`NamedEntities` is all of it as a task to fine-tune on. Names are imported when first used; only that one needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.probes.ner.baseline import most_frequent_tags
    from spanmask.probes.ner.config import NerConfig, TagScheme
    from spanmask.probes.ner.reading import Tagged, read_tagged
    from spanmask.probes.ner.task import NamedEntities
    from spanmask.probes.ner.windows import Windows, cut_sentences

__all__ = [
    "NamedEntities",
    "NerConfig",
    "TagScheme",
    "Tagged",
    "Windows",
    "cut_sentences",
    "most_frequent_tags",
    "read_tagged",
]

_HOMES = {
    "NamedEntities": "task",
    "NerConfig": "config",
    "TagScheme": "config",
    "Tagged": "reading",
    "Windows": "windows",
    "cut_sentences": "windows",
    "most_frequent_tags": "baseline",
    "read_tagged": "reading",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
