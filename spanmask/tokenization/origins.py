"""Where normalized text comes from: which bytes of a text the bytes that a normalizer made of its parts stand for, as the library says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from spanmask.blocks import offsets_of
from spanmask.kernels.origins import Replaced, trace
from spanmask.records import Bytes, Offsets
from spanmask.tokenization.library import characters_of, encode_batch
from spanmask.tokenization.parts import BEGINS, EDGES, LONGEST, REMEMBERED, within
from spanmask.tokenization.whole_documents import byte_places, code_points
from spanmask.vocab import Vocabulary

#: What stands before a part that does not begin its stretch: to the library, a character that goes belongs to the one before it.
_BEFORE = "a"

#: A part's edges and bytes.
_Key = tuple[int, bytes]


class Splices(NamedTuple):
    """Q parts that a normalizer changed. starts, ends: bytes [start, end) of each; made: where what it became begins; lengths: its bytes.

    edges: as `spanmask.kernels.normalizing.Parts` has them. documents: which document each lies in.
    """

    starts: Offsets
    ends: Offsets
    made: Offsets
    lengths: Offsets
    edges: Offsets
    documents: Offsets


class Origins(NamedTuple):
    """The way back from a text with Q parts normalized. bytes: (N, 2) what each of theirs stands for; firsts: (Q,) the first of each."""

    splices: Splices
    bytes: Offsets
    firsts: Offsets

    def of(self, spots: Offsets) -> Offsets:
        """Return (T, 2) bytes [start, end) in the text as it was, of those in the normalized one, none of them empty."""
        found = np.empty_like(spots)
        trace(spots, Replaced(*self.splices[:4], self.bytes, self.firsts), found)
        return found


class PartOrigins:
    """The origins of what a normalizer makes of parts of stretches. steps, vocabulary: as `PartNormalizer` has them."""

    def __init__(self, steps: Sequence[dict[str, Any]], vocabulary: Vocabulary) -> None:
        self._steps = steps
        self._vocabulary = vocabulary
        self._known = dict[_Key, Offsets | None]()

    @cached_property
    def _libraries(self) -> list[Any]:
        """Tokenizers to which each character is a token, by the edges of a part."""
        return [characters_of(within(edges, self._steps)) for edges in range(EDGES)]

    def look_up(self, text: Bytes, normalized: Bytes, splices: Splices) -> tuple[Origins, Offsets]:
        """Return the origins of Q parts, and the numbers of the documents of which they are not known."""
        data, given = memoryview(text.data), memoryview(normalized.data)
        rows = zip(splices.edges.tolist(), splices.starts.tolist(), splices.ends.tolist(), strict=True)
        keys = [(edges, bytes(data[start:end])) for edges, start, end in rows]
        spans = zip(splices.made.tolist(), (splices.made + splices.lengths).tolist(), strict=True)
        lacking = {key: span for key, span in zip(keys, spans, strict=True) if key not in self._known}
        learned = dict[_Key, Offsets | None]()
        for edges in {edges for edges, _ in lacking}:
            parts = {part: str(given[slice(*span)], "utf-8") for (of, part), span in lacking.items() if of == edges}
            learned |= self._learn(edges, parts)
        known = self._known | learned if learned else self._known
        found = [known[key] for key in keys]
        self._remember(learned)
        unknown = np.array([one is None for one in found], np.bool_)
        sizes = np.where(unknown, 0, splices.lengths)
        joined = np.concatenate([np.zeros((0, 2), np.int64), *(one for one in found if one is not None)])
        return Origins(splices, joined, offsets_of(sizes)[:-1]), np.unique(splices.documents[unknown])

    def _remember(self, learned: dict[_Key, Offsets | None]) -> None:
        if len(self._known) > REMEMBERED:
            self._known.clear()
        self._known |= {key: origins for key, origins in learned.items() if len(key[1]) <= LONGEST}

    def _learn(self, edges: int, results: dict[bytes, str]) -> dict[_Key, Offsets | None]:
        """Return the origins of parts with these edges, given what they become."""
        texts = [str(part, "utf-8") for part in results]
        learned = self._spots(edges, _BEFORE, texts)
        # Where the first character of a stretch goes, the library has what is behind it elsewhere, in other parts, too.
        begins = edges & BEGINS != 0
        checks = self._spots(edges, "", texts) if begins else learned
        normalize = self._libraries[edges].normalizer.normalize_str
        found = dict[_Key, Offsets | None]()
        for (part, result), text, spots, others in zip(results.items(), texts, learned, checks, strict=True):
            widths = [len(character.encode()) for character in result]
            told = normalize(_BEFORE + text) == _BEFORE + result and len(spots) == len(widths)
            told = told and np.array_equal(spots, others) and bool(result or not begins)
            found[edges, part] = np.repeat(spots, widths, axis=0) if told else None
        return found

    def _spots(self, edges: int, before: str, texts: Sequence[str]) -> list[Offsets]:
        """Return the bytes that the characters which the library makes of texts stand for, given each behind another text."""
        encodings = encode_batch(self._libraries[edges], [before + text for text in texts], self._vocabulary)
        points = [code_points(encoding)[len(before) :] - len(before) for encoding in encodings]
        # What stands for a character before a text is none of this text's.
        return [byte_places(text)[one[one.min(axis=1) >= 0]] for text, one in zip(texts, points, strict=True)]
