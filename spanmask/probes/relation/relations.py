"""Pairs of entities and the relation between them as files have them, whichever layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from spanmask.records import Offsets


class Layout(StrEnum):
    """What a file is written as."""

    TACRED = "tacred"
    OPENNRE = "opennre"
    SEMEVAL = "semeval"


class Fault(StrEnum):
    """What is wrong with a pair that is left out."""

    FIELD = "field"
    ID_TWICE = "id_twice"
    OUTSIDE = "entity_outside_its_sentence"
    BLANK = "blank_entity"
    TAGS = "tags"
    LABEL = "label"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relations:
    """N pairs of entities, each in a sentence, in a file's order.

    sentences: N texts. spans: (N, 2, 2) int64, of subject (SemEval's e1, OpenNRE's head) and object the Unicode code points [start, end) in
    the sentence. types: of both the name, empty where the file has none. labels: N names of relations. ids: N, each once; those of the
    file, or, where it has none, the numbers of its entries from 1 on, those left out counted too.
    left_out: how many pairs were left out, by fault.
    """

    layout: Layout
    sentences: tuple[str, ...]
    spans: Offsets
    types: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    left_out: dict[Fault, int]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: Offsets) -> Relations:
        """Return some pairs, (n,) by their numbers, in that order; nothing is left out of these."""
        chosen = which.tolist()
        return Relations(
            layout=self.layout,
            sentences=tuple(self.sentences[number] for number in chosen),
            spans=self.spans[which],
            types=tuple(self.types[number] for number in chosen),
            labels=tuple(self.labels[number] for number in chosen),
            ids=tuple(self.ids[number] for number in chosen),
            left_out={},
        )


def joined(parts: Sequence[Relations]) -> Relations:
    """Return the pairs of several files, one or more, as one of the first one's layout; ids get the file's number in front."""
    return Relations(
        layout=parts[0].layout,
        sentences=tuple(sentence for part in parts for sentence in part.sentences),
        spans=np.concatenate([part.spans for part in parts]),
        types=tuple(pair for part in parts for pair in part.types),
        labels=tuple(label for part in parts for label in part.labels),
        ids=tuple(f"{number}:{name}" for number, part in enumerate(parts) for name in part.ids),
        left_out=dict(sum((Counter(part.left_out) for part in parts), Counter[Fault]())),
    )
