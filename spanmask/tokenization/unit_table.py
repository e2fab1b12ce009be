"""A bounded table of units of text and their tokens: each distinct unit is encoded once and looked up from then on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, repeat
from typing import Any

import numpy as np
import pyarrow as pa

from spanmask.blocks import offsets_of
from spanmask.records import Bytes, Offsets, TokenIds
from spanmask.tokenization.library import encode_batch
from spanmask.tokenization.whole_documents import Encoded, byte_places, code_points, starts_of_words
from spanmask.vocab import Vocabulary

#: Units, and tokens, that are kept at most, but for those of one lookup (about 100 MB).
UNIT_LIMIT, TOKEN_LIMIT = 1 << 18, 1 << 22
#: Units encoded in one text.
_PIECE = 256


class UnitTable:
    """Encodings of U units. offsets: (U + 1,) in ids, flags and spots, which are flat; spots are bytes [start, end) in the unit.

    lookups: (U,) in how many lookups each was found.
    """

    def __init__(self, library: Any, vocabulary: Vocabulary, *, separator: str) -> None:
        self._library = library
        self._separator = separator
        self._numbers: dict[str, int] = {}
        self._lookups = np.zeros(0, np.int32)
        self._offsets = np.zeros(1, np.int64)
        self._vocabulary = vocabulary
        self._dtype = vocabulary.dtype
        self._ids: TokenIds = np.zeros(0, self._dtype)
        self._flags = np.zeros(0, np.bool_)
        self._spots = np.zeros((0, 2), np.int32)

    def look_up(self, text: Bytes, bounds: Offsets, *, spots: bool) -> Encoded:
        """Return the tokens of U units of a text, (U + 1,) bounds; counts are by unit."""
        if len(self._numbers) > UNIT_LIMIT or len(self._ids) > TOKEN_LIMIT:
            self._forget()
        buffers = [None, pa.py_buffer(bounds), pa.py_buffer(text)]
        units = pa.Array.from_buffers(pa.large_string(), len(bounds) - 1, buffers).dictionary_encode()
        distinct = units.dictionary.to_pylist()
        known = np.fromiter(map(self._numbers.get, distinct, repeat(-1)), np.int64, len(distinct))
        fresh = np.flatnonzero(known < 0)
        known[fresh] = self._learn([distinct[place] for place in fresh.tolist()])
        self._lookups[known] += 1
        counts, places = self._tokens_of(known[units.indices.to_numpy()])
        found = self._spots[places] + np.repeat(bounds[:-1], counts)[:, None] if spots else None
        return Encoded(self._ids[places], self._flags[places], counts, found)

    def _tokens_of(self, numbers: Offsets) -> tuple[Offsets, Offsets]:
        """Return how many tokens units have, and the places of them all."""
        counts = np.diff(self._offsets)[numbers]
        shifts = self._offsets[numbers] - np.cumsum(counts) + counts
        return counts, np.repeat(shifts, counts) + np.arange(counts.sum())

    def _forget(self) -> None:
        """Keep the units that were found again since the last time; none if these are too many."""
        kept = np.flatnonzero(self._lookups > 1)
        if len(kept) > UNIT_LIMIT // 2 or self._tokens_of(kept)[0].sum() > TOKEN_LIMIT // 2:
            kept = kept[:0]
        units = list(self._numbers)
        self._numbers = {units[number]: place for place, number in enumerate(kept.tolist())}
        counts, places = self._tokens_of(kept)
        self._offsets = offsets_of(counts)
        self._ids, self._flags, self._spots = self._ids[places], self._flags[places], self._spots[places]
        self._lookups = np.zeros(len(kept), np.int32)

    def _learn(self, units: Sequence[str]) -> Offsets:
        """Encode U units that are not known; return their numbers, (U,)."""
        inner = [self._may_be_joined(unit) for unit in units]
        order = np.argsort(np.logical_not(inner), kind="stable")
        ordered, joined = [units[place] for place in order.tolist()], sum(inner)
        pieces = [ordered[first : min(first + _PIECE, joined)] for first in range(0, joined, _PIECE)]
        pieces += [[unit] for unit in ordered[joined:]]
        texts = [self._separator.join(piece) for piece in pieces]
        encodings = encode_batch(self._library, texts, self._vocabulary)
        known = len(self._numbers)
        numbers = range(known, known + len(units))
        self._numbers.update(zip(ordered, numbers, strict=True))
        self._append([self._by_unit(piece, encoding) for piece, encoding in zip(pieces, encodings, strict=True)])
        found = np.empty(len(units), np.int64)
        found[order] = numbers
        return found

    def _may_be_joined(self, unit: str) -> bool:
        """Tell whether a unit may be encoded in one text with others, which is faster: unless only a document begins or ends so."""
        if unit[-1].isspace():
            return False
        return unit[0] == " " and not unit[1].isspace() if unit[0].isspace() else bool(self._separator)

    def _append(self, encoded: Sequence[Encoded]) -> None:
        ids, flags, counts, spots = zip(*encoded, strict=True) if encoded else ((), (), (), ())
        sizes = np.concatenate((np.zeros(0, np.int64), *counts))
        self._lookups = np.concatenate((self._lookups, np.zeros(len(sizes), np.int32)))
        self._offsets = np.concatenate((self._offsets, self._offsets[-1] + np.cumsum(sizes)))
        self._ids, self._flags = np.concatenate((self._ids, *ids)), np.concatenate((self._flags, *flags))
        self._spots = np.concatenate((self._spots, *spots), dtype=np.int32)

    def _by_unit(self, units: Sequence[str], encoding: Any) -> Encoded:
        """Return the tokens of U units encoded in one text; counts are by unit, spots in it."""
        points, places = code_points(encoding), byte_places(self._separator.join(units))
        ends = np.array([*accumulate(map(len, units))], np.int64) + np.arange(len(units)) * len(self._separator)
        starts = np.concatenate(([0], ends[:-1] + len(self._separator)))
        owners = np.searchsorted(starts, points[:, 0], side="right") - 1
        inside = points[:, 0] < ends[owners]
        owners = owners[inside]
        return Encoded(
            np.array(encoding.ids, self._dtype)[inside],
            starts_of_words(encoding)[inside],
            np.bincount(owners, minlength=len(units)),
            places[points[inside]] - places[starts[owners]][:, None],
        )
