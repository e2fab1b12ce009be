"""Ask the `tokenizers` library what BERT does with each character: ``python -m spanmask.tokenization.derive`` writes the tables anew.

Every code point is asked about between letters. What cannot be seen there is asked apart: how marks that survive are sorted, which they are
in Unicode's canonical ordering, before accents are removed.
"""

from __future__ import annotations

import io
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import spanmask.data
from spanmask.kernels.characters import (
    COUNT_MASK,
    COUNT_SHIFT,
    ENDS_WORD,
    EXPAND,
    IS_WORD,
    ISOLATED,
    KEEP,
    NEWLINE,
    PLACE_SHIFT,
    RANK_MASK,
    RANK_SHIFT,
    REMOVE,
    REMOVED,
    SPACE,
    STOP,
    WIDE,
    WORD,
)
from spanmask.storage import publish_bytes
from spanmask.tokenization.characters import FIELDS, FILE

POINTS = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
_BLOCK = 128
# What stands between texts asked about at once: nothing that one character becomes.
_APART = "|<>|"
# Marks of the lowest and the highest class there are.
_LOWEST, _HIGHEST = "\u0334", "\u0345"


def derive() -> dict[str, npt.NDArray[Any]]:
    """Return the tables of both casings by name."""
    tables = {}
    for casing in ("cased", "uncased"):
        for field, table in zip(FIELDS, _Derivation(lower=casing == "uncased").tables(), strict=True):
            tables[f"{casing}_{field}"] = table
    return tables


def between(letter: str, change: Callable[[str], str], texts: Iterable[str]) -> list[str]:
    """Return what a change of the library makes of each text between two letters."""
    return [part[1:-1] for part in change(_APART.join(f"{letter}{text}{letter}" for text in texts)).split(_APART)]


def ranks_of_marks(decomposed: Callable[[Iterable[str]], list[str]]) -> dict[int, int]:
    """Return the rank, from 1, of each code point whose decomposition begins with a mark that is sorted among its neighbours.

    decomposed: what canonical decomposition makes of texts.
    """
    first = {point: text[0] for point, text in zip(POINTS, decomposed(map(chr, POINTS)), strict=True) if text}
    marks = sorted(_moving(decomposed, sorted(set(first.values()))))
    known = {unicodedata.combining(mark): mark for mark in marks}
    pairs = list(product(marks, known.values()))
    below = Counter(
        mark
        for (mark, other), text in zip(pairs, decomposed(map("".join, pairs)), strict=True)
        if mark != other and text == other + mark
    )
    sizes = sorted({below[mark] for mark in marks})
    if len(sizes) > RANK_MASK:
        raise ValueError(f"{len(sizes)} classes of marks: the tables hold {RANK_MASK}")
    ranks = {mark: sizes.index(below[mark]) + 1 for mark in marks}
    return {point: ranks[mark] for point, mark in first.items() if mark in ranks}


def _moving(decomposed: Callable[[Iterable[str]], list[str]], characters: Sequence[str]) -> set[str]:
    """Return the characters that change places with a mark of the lowest or the highest class."""
    after_high = decomposed(_HIGHEST + character for character in characters)
    before_low = decomposed(character + _LOWEST for character in characters)
    return {
        character
        for character, high, low in zip(characters, after_high, before_low, strict=True)
        if high == character + _HIGHEST or low == _LOWEST + character
    }


class _Derivation:
    """What the library does with each code point, under one casing."""

    def __init__(self, *, lower: bool) -> None:
        from tokenizers import normalizers, pre_tokenizers

        bert = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=lower, lowercase=lower
        )
        self._normalized = partial(between, "a", bert.normalize_str)
        self._split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
        self._becomes = dict(zip(POINTS, self._normalized(map(chr, POINTS)), strict=True))
        self._alone = self._isolated_points()
        self._ranks = ranks_of_marks(partial(between, "a", normalizers.NFD().normalize_str)) if lower else {}
        self._stops = self._stopping_points() if lower else set()
        self._expansions: dict[str, int] = {}
        self._size = 0

    def tables(self) -> tuple[npt.NDArray[Any], ...]:
        """Return kinds, blocks, entries and expansions."""
        entries = np.zeros(0x110000, np.int32)
        for point in POINTS:
            entries[point] = self._entry(point)
        unique, blocks = np.unique(entries.reshape(-1, _BLOCK), axis=0, return_inverse=True)
        expansions = np.array([ord(character) for text in self._expansions for character in text], np.int32)
        return self._kinds(entries), blocks.reshape(-1).astype(np.uint16), unique.reshape(-1), expansions

    def _entry(self, point: int) -> int:
        """Return the entry of a character, from what the library's normalizer makes of it between two letters.

        Raises
        ------
        ValueError
            It becomes something that the tables have no form for.
        """
        becomes = self._becomes[point]
        content = becomes.strip(" ")
        if not content:
            return (ENDS_WORD | REMOVE) if becomes else self._removed(point)
        alone = {becomes != content or character in self._alone for character in content}
        if len(alone) != 1 or (alone == {True} and len(content) != 1):
            raise ValueError(
                f"U+{point:04X} becomes {becomes!r}, words and what ends them mixed: the tables cannot say so"
            )
        entry = (ENDS_WORD | IS_WORD) if alone == {True} else 0
        if content == chr(point):
            return entry | KEEP | self._rank(point)
        if not len(content) <= min(COUNT_MASK, len(chr(point).encode())):
            raise ValueError(f"U+{point:04X} becomes {content!r}, more characters than it has bytes")
        return entry | EXPAND | len(content) << COUNT_SHIFT | self._place(content) << PLACE_SHIFT

    def _removed(self, point: int) -> int:
        """Return the entry of a character of which nothing is left; one of a rank is removed only after marks are sorted."""
        return STOP if point in self._stops else REMOVE | self._rank(point)

    def _rank(self, point: int) -> int:
        return self._ranks.get(point, 0) << RANK_SHIFT

    def _place(self, content: str) -> int:
        """Return where an expansion lies."""
        known = self._expansions.get(content)
        if known is None:
            known = self._expansions[content] = self._size
            self._size += len(content)
        return known

    def _isolated_points(self) -> set[str]:
        """Return the characters that the pre-tokenizer makes words of their own, after the normalizer."""
        words = self._split("".join(f"a{chr(point)}a" for point in POINTS))
        return {word for word, (start, end) in words if end - start == 1 and start % 3 == 1}

    def _stopping_points(self) -> set[int]:
        """Return the removed characters that keep the marks around them from being sorted."""
        kept = [point for point in self._ranks if self._becomes[point]]
        low, high = (chr(max(kept, key=lambda point: sign * self._ranks[point])) for sign in (-1, 1))
        removed = [point for point in POINTS if not self._becomes[point]]
        texts = self._normalized(f"{high}{chr(point)}{low}" for point in removed)
        return {point for point, text in zip(removed, texts, strict=True) if text == high + low}

    def _kinds(self, entries: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        kinds = np.full(256, WIDE, np.uint8)
        for byte in range(128):
            kinds[byte] = self._kind(byte, int(entries[byte]))
        return kinds

    def _kind(self, byte: int, entry: int) -> int:
        if entry & ENDS_WORD:
            return ISOLATED if entry & IS_WORD else NEWLINE if byte == ord("\n") else SPACE
        if entry & 3 == REMOVE:
            return REMOVED
        if not chr(byte).isalnum() or self._becomes[byte] not in (chr(byte), chr(byte | 0x20)):
            raise ValueError(
                f"{chr(byte)!r} becomes {self._becomes[byte]!r}: wide loads take ASCII words to be letters and digits"
            )
        return WORD


def write() -> None:
    """Write the tables that ship with the package."""
    file = io.BytesIO()
    tables: dict[str, Any] = derive()
    np.savez_compressed(file, **tables)
    publish_bytes(Path(spanmask.data.__file__).with_name(FILE), file.getvalue())


if __name__ == "__main__":
    write()
