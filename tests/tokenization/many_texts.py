"""Texts by the hundred thousand: of every code point, and of short parts that the ways to split text tell apart."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from tokenization.unicode_texts import CODE_POINTS, random_texts

#: Parts of a text: what patterns, normalizers and added tokens look for, and what they look for beside it.
_PARTS = [
    *" " * 12,
    *"\n\n\n\t\r'''’\".,-/!(<▁▁ĠĊ²½1129٣Ⅷ①aabest",
    *(
        "  ",
        "   ",
        "\r\n",
        "\n\n",
        "\xa0",
        "\u3000",
        "\u2028",
        "\x85",
        "\x0b",
        "\x1c",
        "\u200b",
        "\ufeff",
        "\u180e",
        "\xad",
        "\0",
    ),
    *(
        "the",
        "raven",
        "of",
        "ravenous",
        "and",
        "I",
        "The",
        "THE",
        "don",
        "it",
        "un",
        "able",
        "x" * 17,
        "ing",
        "é",
        "ü",
        "ñ",
    ),
    *("s", "t", "re", "ve", "m", "ll", "d", "S", "LL", "ſ", "\u212a", "Ve"),
    *("<a>", "<b>", "<c d>", "|||IP_ADDRESS|||", "[unused0]", "<0x0A>", "<", "|"),
    *("\u0301", "\u0323", "\u093f", "\u200d", "\ufe0f", "\u20dd", "\U0001f3fd", "\u3099", "ﾞ", "\u11a8", "\u1161"),
    *(
        "漢",
        "字",
        "かな",
        "カ",
        "각",
        "\u1100",
        "Ж",
        "жа",
        "Σ",
        "ς",
        "ا",
        "لا",
        "ก",
        "ि",
        "न",
        "ǅ",
        "ʰ",
        "ª",
        "İ",
        "ß",
        "ﬁ",
        "ﷺ",
        "´",
        "™",
        "…",
    ),
    *("😀", "👩", "🇩", "❤", "\U000f0000", "\U0010ffff", "\u0378", "𝟙", "𠀀", "\ue000"),
]


def texts_of_parts(count: int, seed: int) -> list[str]:
    """Return texts of up to twelve parts, most of them short."""
    rng: Any = np.random.default_rng(seed)
    sizes = np.minimum(rng.geometric(0.2, count), 12)
    picks = iter(rng.integers(0, len(_PARTS), int(sizes.sum())).tolist())
    return ["".join([_PARTS[pick] for pick in islice(picks, size)]) for size in sizes.tolist()]


def strings(count: int, seed: int) -> Iterator[list[str]]:
    """Yield random strings, some thousand at a time: half of parts, half of runs of characters; each third lot joined by eights."""
    for lot, first in enumerate(range(0, count, 4_000)):
        size = min(4_000, count - first) // 2
        found = texts_of_parts(size, seed + lot) + random_texts(size, seed + lot)
        yield ["".join(found[k::8]) for k in range(8)] if lot % 3 == 2 else found


def code_points(*, each: int) -> list[int]:
    """Return every so-manieth code point, and all that are assigned but for letters without case beyond U+3400, which are much alike."""
    return [
        point
        for point in CODE_POINTS
        if point % each == 0
        or (category := unicodedata.category(chr(point))) not in ("Cn", "Co", "Lo")
        or (category == "Lo" and point < 0x3400)
    ]


def around(points: Sequence[int]) -> list[str]:
    """Return texts of each code point alone; and of each doubled, between letters, after an apostrophe and after a space, eight a text."""
    alone = [chr(point) for point in points]
    beside = [f"{char}{char}\n{char}a{char}b '{char} {char}" for char in alone]
    return alone + ["\n".join(beside[first : first + 8]) for first in range(0, len(beside), 8)]
