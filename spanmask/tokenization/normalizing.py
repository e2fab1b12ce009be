"""Normalizers: text that they provably leave alone is not given to them, and other text no more of than has to be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from spanmask.kernels.normalizing import Parts, find_parts
from spanmask.records import Bytes, Flags, Offsets
from spanmask.tokenization.library import normalize_batch, normalizer_of
from spanmask.tokenization.steps import UnknownStepError, behaviour_of
from spanmask.tokenization.stretches import Stretches
from spanmask.vocab import Vocabulary

#: What stands for a space where a tokenizer makes white space visible, and the step of a normalizer that does so.
_MARK = "▁"
_MARKING = {"type": "Replace", "pattern": {"String": " "}, "content": _MARK}
#: Parts looked up at a time; those remembered, and their bytes at most.
_LOOKUP, _REMEMBERED, _LONGEST = 1 << 15, 1 << 16, 64
#: Whether a part begins, and whether it ends a stretch.
_BEGINS, _ENDS = 1, 2


class Normalized(NamedTuple):
    """Normalized stretches, and the numbers of the documents that are not as they were, ascending."""

    stretches: Stretches
    changed: Offsets


def normalization_of(
    steps: Sequence[dict[str, Any]], vocabulary: Vocabulary, *, visible_spaces: bool
) -> Normalization | str:
    """Return what a normalizer does, or the reason why the library alone can.

    Parameters
    ----------
    steps
        The normalizer's in a tokenizer.json, sequences taken apart.
    vocabulary
        Whose normalizer it is, for errors.
    visible_spaces
        Whether the model takes a space and ▁ for one. Then neither is made of the other for it: spaces come out where the library has ▁.
    """
    kept = list(steps)
    if visible_spaces and kept and kept[-1] == _MARKING:
        kept.pop()
    prepends = bool(kept) and visible_spaces and kept[-1] == {"type": "Prepend", "prepend": _MARK}
    if prepends:
        kept.pop()
    seen = [*kept, {"type": "Replace", "pattern": {"String": _MARK}, "content": " "}] if visible_spaces else kept
    try:
        return Normalization(kept, seen, vocabulary, prepends=prepends, visible_spaces=visible_spaces)
    except UnknownStepError as error:
        return str(error)


class Normalization:
    """A normalizer, given the parts of text that it may change.

    prepends: whether it puts a space before each stretch, too, which is left to what comes next.

    Raises
    ------
    UnknownStepError
        A step may change nobody knows what.
    """

    def __init__(
        self,
        steps: Sequence[dict[str, Any]],
        seen: Sequence[dict[str, Any]],
        vocabulary: Vocabulary,
        *,
        prepends: bool,
        visible_spaces: bool,
    ) -> None:
        self.prepends = prepends
        self._vocabulary = vocabulary
        self._visible_spaces = visible_spaces
        self._behaviour = behaviour_of(seen) if seen else None
        # Only the first and the last part of a stretch have an end that is stripped.
        self._normalizers = [
            normalizer_of([step for step in map(partial(_within, edges), steps) if step]) if steps else None
            for edges in range((_BEGINS | _ENDS) + 1)
        ]
        self._known: list[dict[bytes, bytes]] = [{} for _ in self._normalizers]

    def apply(self, stretches: Stretches) -> Normalized:
        """Normalize the stretches that are text; one of which nothing is left goes."""
        none = np.zeros(0, np.int64)
        if self._behaviour is None:
            return Normalized(stretches, none)
        text, starts, ends, ids, documents = stretches
        given = (text, starts, ends, ids, self._behaviour)
        count = find_parts(*given, Parts(none, none, none))
        if count == 0:
            return Normalized(stretches, none)
        parts = Parts(*(np.empty(count, np.int64) for _ in Parts._fields))
        find_parts(*given, parts)
        made, lengths, changed = self._spliced(stretches, parts)
        # A bound moves by what the parts that end before or at it grew.
        grown = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths - (parts.ends - parts.starts))])
        starts, ends = (bounds + grown[np.searchsorted(parts.ends, bounds, "right")] for bounds in (starts, ends))
        left = starts < ends
        finer = Stretches(made, starts[left], ends[left], ids[left], documents[left])
        return Normalized(finer, np.unique(documents[parts.sources[changed]]))

    def _spliced(self, stretches: Stretches, parts: Parts) -> tuple[Bytes, Offsets, Flags]:
        """Return the text with parts normalized, (Q,) the bytes that they have then, and (Q,) whether they changed."""
        data = memoryview(stretches.text.data)
        made, lengths, changed, at = bytearray(), list[int](), list[bool](), 0
        edges = _BEGINS * (parts.starts == stretches.starts[parts.sources])
        edges += _ENDS * (parts.ends == stretches.ends[parts.sources])
        for first in range(0, len(edges), _LOOKUP):
            some = slice(first, first + _LOOKUP)
            bounds = list(zip(parts.starts[some].tolist(), parts.ends[some].tolist(), strict=True))
            before = [bytes(data[start:end]) for start, end in bounds]
            behind = self._look_up(before, edges[some].tolist())
            for (start, end), result in zip(bounds, behind, strict=True):
                made += data[at:start]
                made += result
                at = end
            lengths += map(len, behind)
            changed += [one != other for one, other in zip(before, behind, strict=True)]
        made += data[at:]
        return np.frombuffer(made, np.uint8), np.array(lengths, np.int64), np.array(changed, np.bool_)

    def _look_up(self, parts: list[bytes], edges: list[int]) -> list[bytes]:
        """Return what becomes of parts; the short ones are remembered."""
        found = dict[tuple[int, bytes], bytes]()
        for edge, known in enumerate(self._known):
            wanted = {part for part, where in zip(parts, edges, strict=True) if where == edge}
            lacking = wanted - known.keys()
            if len(known) + len(lacking) > _REMEMBERED:
                known.clear()
                lacking = wanted
            texts = [str(part, "utf-8") for part in lacking]
            made = self._normalized(edge, texts)
            results = dict(zip(lacking, made, strict=True))
            found |= {(edge, part): result for part, result in results.items() if len(part) > _LONGEST}
            known |= {part: result for part, result in results.items() if len(part) <= _LONGEST}
        return [
            self._known[edge][part] if len(part) <= _LONGEST else found[edge, part]
            for part, edge in zip(parts, edges, strict=True)
        ]

    def _normalized(self, edges: int, texts: list[str]) -> list[bytes]:
        normalizer = self._normalizers[edges]
        if normalizer is not None and texts:
            texts = normalize_batch(normalizer, texts, self._vocabulary)
        if self._visible_spaces:
            texts = [text.replace(_MARK, " ") for text in texts]
        return [text.encode() for text in texts]


def _within(edges: int, step: dict[str, Any]) -> dict[str, Any] | None:
    """Return a step as it is for a part of a stretch that begins or ends it, or neither."""
    if step["type"] != "Strip":
        return step
    sides = {"strip_left": step["strip_left"] and edges & _BEGINS, "strip_right": step["strip_right"] and edges & _ENDS}
    return {"type": "Strip", **{side: bool(wanted) for side, wanted in sides.items()}} if any(sides.values()) else None
