"""What becomes of the parts of text that a normalizer may change: the library is asked once for each, and the short ones are remembered."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from spanmask.blocks import offsets_of
from spanmask.kernels.normalizing import SHORT, Parts, Remembered, recall, remember
from spanmask.records import Bytes, Offsets
from spanmask.tokenization.library import normalize_batch, normalizer_of
from spanmask.vocab import Vocabulary

#: Results remembered, the bytes of their parts at most, and places for those that kernels look up.
REMEMBERED, LONGEST, _SLOTS = 1 << 16, 64, 1 << 18
#: Edges of a part: it begins, it ends its stretch; how many sets of them there are.
BEGINS, _ENDS, EDGES = 1, 2, 4

#: A part's edges and bytes.
_Key = tuple[int, bytes]


class Results(NamedTuple):
    """What becomes of Q parts. numbers: (Q,) which of N results; data: all of these; offsets: (N + 1,) where each begins."""

    numbers: Offsets
    data: Bytes
    offsets: Offsets


class PartNormalizer:
    """A normalizer, given parts of stretches.

    Parameters
    ----------
    steps
        Its steps, as a tokenizer.json has them.
    vocabulary
        Whose it is, for errors.
    """

    def __init__(self, steps: Sequence[dict[str, Any]], vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        # Only the first and the last part of a stretch have an end that is stripped.
        edged = any(step["type"] == "Strip" for step in steps)
        self._normalizers = [normalizer_of(within(edges, steps)) for edges in range(EDGES if edged else 1)]
        self._forget()

    def _forget(self) -> None:
        edged = len(self._normalizers) > 1
        self._remembered = Remembered(np.zeros(_SLOTS, np.int64), np.zeros(_SLOTS, np.int64), edged)
        self._numbers = dict[_Key, int]()
        self._results = list[bytes]()
        self._joined = _joined([])

    def look_up(self, text: Bytes, parts: Parts) -> Results:
        """Return what becomes of Q parts."""
        if len(self._results) > REMEMBERED:
            self._forget()
        numbers = np.empty(len(parts.starts), np.int64)
        if recall(text, parts, self._remembered, numbers) == 0:
            return Results(numbers, *self._joined)
        lacking = np.flatnonzero(numbers < 0)
        data, several = memoryview(text.data), len(self._normalizers)
        rows = zip(*(field[lacking].tolist() for field in (parts.edges, parts.starts, parts.ends)), strict=True)
        keys = [(edges % several, bytes(data[start:end])) for edges, start, end in rows]
        new = sorted({*keys} - self._numbers.keys(), key=lambda key: (len(key[1]) > LONGEST, key))
        made = self._normalized(new)
        fresh = dict(zip(new, count(len(self._results)), strict=False))
        numbers[lacking] = [fresh[key] if key in fresh else self._numbers[key] for key in keys]
        everything = [*self._results, *made]
        self._remember({key: number for key, number in fresh.items() if len(key[1]) <= LONGEST}, everything)
        return Results(numbers, *(self._joined if len(self._results) == len(everything) else _joined(everything)))

    def _remember(self, fresh: dict[_Key, int], results: list[bytes]) -> None:
        """Remember results by number, the first of all."""
        if not fresh:
            return
        self._numbers |= fresh
        self._results = results[: len(self._results) + len(fresh)]
        self._joined = _joined(self._results)
        for (edges, part), number in fresh.items():
            if len(part) <= SHORT:
                remember(np.frombuffer(part, np.uint8), edges, self._remembered, number)

    def _normalized(self, keys: list[_Key]) -> list[bytes]:
        made = dict[_Key, str]()
        for edges, normalizer in enumerate(self._normalizers):
            some = [key for key in keys if key[0] == edges]
            if some:
                texts = [str(part, "utf-8") for _, part in some]
                made |= zip(some, normalize_batch(normalizer, texts, self._vocabulary), strict=True)
        return [made[key].encode() for key in keys]


def _joined(results: list[bytes]) -> tuple[Bytes, Offsets]:
    return np.frombuffer(b"".join(results), np.uint8), offsets_of(np.array(list(map(len, results)), np.int64))


def within(edges: int, steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return steps as they are for a part of a stretch that begins or ends it, or neither."""
    ends = {"strip_left": bool(edges & BEGINS), "strip_right": bool(edges & _ENDS)}
    return [
        step | {side: step[side] and wanted for side, wanted in ends.items()} if step["type"] == "Strip" else step
        for step in steps
    ]
