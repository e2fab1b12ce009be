"""Relations in, examples out: ``[CLS] sentence [SEP]`` with types or markers in it, cut so that both entities stay.

A sentence longer than the window loses its end, as in the paper's released code, while that holds no entity; else its window begins later,
as little as will do (`Cut.MOVED`); and where the two entities are further apart than a window, the middle of what lies from the first to
the last is left out, never a type or marker (`Cut.MIDDLE`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.blocks import offsets_of
from spanmask.errors import ConfigError
from spanmask.probes.examples import Examples
from spanmask.probes.relation.config import SPECIAL_TOKENS, Entities
from spanmask.probes.relation.marking import Marking
from spanmask.probes.relation.parsing import Span
from spanmask.probes.relation.relations import Relations
from spanmask.records import Flags, Ragged, TokenIds
from spanmask.tokenization import Tokenizer

#: Parts of a sentence that two entities' starts and ends make.
_PARTS = 5


class Cut(StrEnum):
    """What was left out of a sentence longer than the window."""

    END = "end"
    MOVED = "moved"
    MIDDLE = "middle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """N pairs as a model reads them.

    examples: their target is ``label``, (N,) int64, the label's number, -1 of one that training lacks; groups are numbers of pairs.
    cut: how many sentences were longer than the window, by what was left out. unknown_types: how many pairs have a type, or none, that
    training lacks, where types are seen. unknown_labels: how many have such a label.
    """

    examples: Examples
    cut: dict[Cut, int]
    unknown_types: int
    unknown_labels: int


class _Place(NamedTuple):
    """Where an entity begins or ends. point: in its sentence. role: whose. opens: whether it begins."""

    point: int
    role: int
    opens: bool


def encode(relations: Relations, tokenizer: Tokenizer, marking: Marking, labels: Sequence[str], window: int) -> Encoded:
    """Make an example of each pair.

    Parameters
    ----------
    relations
        N pairs.
    tokenizer
        The model's.
    marking
        What stands for entities.
    labels
        Those of the training files, in the order of a head's scores.
    window
        Longest example.

    Raises
    ------
    ConfigError
        What stands for two entities has no room in a window.
    """
    special, numbers = tokenizer.vocabulary.special, {name: number for number, name in enumerate(labels)}
    begin, end = (np.array([number], tokenizer.vocabulary.dtype) for number in (special.cls, special.sep))
    rows, cut = [], Counter[Cut]()
    for ids, marked in _marked(relations, tokenizer, marking):
        kept, how = _kept(marked, window - SPECIAL_TOKENS)
        rows.append(np.concatenate([begin, ids[kept], end]))
        cut.update([how] if how else [])
    lengths = [len(row) for row in rows]
    targets = np.array([numbers.get(label, -1) for label in relations.labels], np.int64)
    return Encoded(
        examples=Examples(
            input_ids=Ragged(offsets=offsets_of(lengths), values=np.concatenate(rows)),
            second_starts=np.array(lengths, np.int32),
            groups=np.arange(len(rows)),
            targets={"label": targets},
        ),
        cut=dict(cut),
        unknown_types=_unknown_types(relations, marking),
        unknown_labels=int((targets < 0).sum()),
    )


def _unknown_types(relations: Relations, marking: Marking) -> int:
    if marking.entities is not Entities.TYPES:
        return 0
    return sum(not all(marking.knows(role, name) for role, name in enumerate(pair)) for pair in relations.types)


def _marked(relations: Relations, tokenizer: Tokenizer, marking: Marking) -> Iterator[tuple[TokenIds, Flags]]:
    """Yield the tokens of each sentence with what stands for its entities, and which of them do."""
    placed = [_places(text, spans) for text, spans in zip(relations.sentences, relations.spans.tolist(), strict=True)]
    texts = [part for text, places in zip(relations.sentences, placed, strict=True) for part in _parts(text, places)]
    block = tokenizer.encode(texts)
    offsets = block.document_offsets.tolist()
    for number, (places, types) in enumerate(zip(placed, relations.types, strict=True)):
        bounds = offsets[_PARTS * number : _PARTS * (number + 1) + 1]
        parts = [block.token_ids[start:stop] for start, stop in pairwise(bounds)]
        yield _joined(parts, places, types, marking)


def _places(sentence: str, spans: Sequence[Span]) -> list[_Place]:
    """Return where entities begin and end, in order: at one place ends before starts, and of starts the longer entity's first.

    White space before such a place comes to lie behind it, since to tokenizers that know spaces it is part of the word that follows.
    """
    told = [[len(sentence[:point].rstrip()) for point in span] for span in spans]
    starts = [((start, 1, -end, role), _Place(start, role, True)) for role, (start, end) in enumerate(told)]
    ends = [((end, 0, -start, -role), _Place(end, role, False)) for role, (start, end) in enumerate(told)]
    return [place for _, place in sorted(starts + ends)]


def _parts(sentence: str, places: Sequence[_Place]) -> list[str]:
    bounds = [0, *(place.point for place in places), len(sentence)]
    return [sentence[start:stop] for start, stop in pairwise(bounds)]


def _joined(
    parts: Sequence[TokenIds], places: Sequence[_Place], types: tuple[str, str], marking: Marking
) -> tuple[TokenIds, Flags]:
    """Put types in the place of entities, or markers around them; those that overlap share what both cover."""
    typed, inside = marking.entities is Entities.TYPES, 0
    ids: list[npt.NDArray[Any]] = [parts[0]]
    flags = [np.zeros(len(parts[0]), np.bool_)]
    for part, place in zip(parts[1:], places, strict=True):
        inside += 1 if place.opens else -1
        added = np.array(_added(place, types, marking), part.dtype)
        kept = part[:0] if typed and inside else part
        ids += [added, kept]
        flags += [np.ones(len(added), np.bool_), np.zeros(len(kept), np.bool_)]
    return np.concatenate(ids), np.concatenate(flags)


def _added(place: _Place, types: tuple[str, str], marking: Marking) -> tuple[int, ...]:
    """Return what stands at a place."""
    if marking.entities is Entities.MARKERS:
        return marking.markers(place.role)[0 if place.opens else 1]
    return marking.of_type(place.role, types[place.role]) if place.opens else ()


def _kept(marked: Flags, room: int) -> tuple[npt.NDArray[np.int64], Cut | None]:
    """Return which tokens of a sentence a window has, and how it was cut. marked: (n,) which stand for entities. room: tokens."""
    count = len(marked)
    if count <= room:
        return np.arange(count), None
    standing = np.flatnonzero(marked)
    first, last = int(standing[0]), int(standing[-1]) + 1
    if last <= room:
        return np.arange(room), Cut.END
    if last - first <= room:
        return np.arange(last - room, last), Cut.MOVED
    left = room - len(standing)
    if left < 0:
        raise ConfigError(
            f"{len(standing)} tokens stand for two entities, and a window has room for {room}; give a wider one",
            options=("window",),
        )
    between = first + np.flatnonzero(~marked[first:last])
    before, behind = left - left // 2, left // 2
    kept = np.concatenate([standing, between[:before], between[len(between) - behind :]])
    return np.sort(kept), Cut.MIDDLE
