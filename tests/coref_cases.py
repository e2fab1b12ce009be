"""Partitions small enough to score by hand: a letter is a mention, a word an entity.

The shapes are those that the literature argues with: mentions missing and spurious, merged and split entities, only singletons, only one
entity. Each figure is written as the fraction it is made of.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

F = Fraction


class Case(NamedTuple):
    """recall and precision by metric; of BLANC those of coreferent and of other links, None where the key has no such links."""

    key: str
    response: str
    figures: dict[str, tuple[F, F]]
    blanc: tuple[tuple[F, F] | None, tuple[F, F] | None] | None = None


_SIX = "a bc def"

CASES = {
    "all right": Case(
        _SIX,
        _SIX,
        dict.fromkeys(["muc", "bcub", "ceafm", "ceafe", "lea", "mentions"], (F(1), F(1))),
        ((F(1), F(1)), (F(1), F(1))),
    ),
    "mentions missing": Case(
        _SIX,
        "a de",
        {
            "muc": (F(0 + 0 + 1, 0 + 1 + 2), F(1, 1)),
            "bcub": ((1 + 2 * F(2, 3)) / 6, F(1 + 2, 3)),
            "ceafm": (F(1 + 2, 6), F(1 + 2, 3)),
            "ceafe": ((1 + F(2 * 2, 3 + 2)) / 3, (1 + F(2 * 2, 3 + 2)) / 2),
            "lea": ((1 * F(1, 1) + 3 * F(1, 3)) / 6, (1 + 2 * F(1, 1)) / 3),
            "mentions": (F(3, 6), F(3, 3)),
        },
        ((F(1, 4), F(1, 1)), (F(2, 11), F(2, 2))),
    ),
    "mentions spurious": Case(
        _SIX,
        "a bcx defy z",
        {
            "muc": (F(3, 3), F(0 + 1 + 2, 0 + 2 + 3)),
            "bcub": (F(6, 6), (1 + 2 * F(2, 3) + 3 * F(3, 4)) / 9),
            "ceafm": (F(6, 6), F(6, 9)),
            "ceafe": ((1 + F(4, 5) + F(6, 7)) / 3, (1 + F(4, 5) + F(6, 7)) / 4),
            "lea": (F(1), (1 + 3 * F(1, 3) + 4 * F(3, 6) + 0) / 9),
            "mentions": (F(6, 6), F(6, 9)),
        },
        ((F(4, 4), F(4, 3 + 6)), (F(11, 11), F(11, 36 - 9))),
    ),
    "both": Case(
        _SIX,
        "a bcx dy z",
        {
            "muc": (F(1, 3), F(1, 2 + 1)),
            "bcub": ((1 + 2 * F(2, 2) + 1 * F(1, 3)) / 6, (1 + 2 * F(2, 3) + 1 * F(1, 2)) / 7),
            "ceafm": (F(4, 6), F(4, 7)),
            "ceafe": ((1 + F(4, 5) + F(2, 5)) / 3, (1 + F(4, 5) + F(2, 5)) / 4),
            "lea": ((1 + 2) / F(6), (1 + 3 * F(1, 3)) / 7),
            "mentions": (F(4, 6), F(4, 7)),
        },
        ((F(1, 4), F(1, 4)), (F(5, 11), F(5, 17))),
    ),
    "a mention twice in one entity": Case(
        _SIX,
        "a bcxb dy z",
        {
            "muc": (F(1, 3), F(1, 3)),
            "bcub": ((3 + F(1, 3)) / 6, (1 + F(4, 3) + F(1, 2)) / 7),
            "ceafm": (F(4, 6), F(4, 7)),
        },
        ((F(1, 4), F(1, 4)), (F(5, 11), F(5, 17))),
    ),
    "a mention again in a later entity": Case(
        _SIX,
        "a bcx dy bz",
        {"muc": (F(1, 3), F(1, 3)), "ceafe": ((1 + F(4, 5) + F(2, 5)) / 3, (1 + F(4, 5) + F(2, 5)) / 4)},
        ((F(1, 4), F(1, 4)), (F(5, 11), F(5, 17))),
    ),
    "only singletons in the response": Case(
        _SIX,
        "a b c d e f",
        {
            "muc": (F(0), F(0)),
            "bcub": ((1 + 2 * F(1, 2) + 3 * F(1, 3)) / 6, F(6, 6)),
            "ceafm": (F(3, 6), F(3, 6)),
            "ceafe": ((1 + F(2, 3) + F(2, 4)) / 3, (1 + F(2, 3) + F(2, 4)) / 6),
            "lea": (F(1, 6), F(1, 6)),
        },
        ((F(0, 4), F(0)), (F(11, 11), F(11, 15))),
    ),
    "one entity in the response": Case(
        _SIX,
        "abcdef",
        {
            "muc": (F(3, 3), F(3, 5)),
            "bcub": (F(6, 6), (1 * F(1, 6) + 2 * F(2, 6) + 3 * F(3, 6)) / 6),
            "ceafm": (F(3, 6), F(3, 6)),
            "ceafe": (F(6, 9) / 3, F(6, 9) / 1),
            "lea": ((0 + 2 + 3) / F(6), 6 * F(1 + 3, 15) / 6),
        },
        ((F(4, 4), F(4, 15)), (F(0, 11), F(0))),
    ),
    "a link that the key denies": Case(
        "ab cde",
        "bcx de",
        {
            "muc": (F(0 + 1, 1 + 2), F(0 + 1, 2 + 1)),
            "lea": (3 * F(1, 3) / 5, 2 * F(1, 1) / 5),
            "mentions": (F(4, 5), F(4, 5)),
        },
        ((F(1, 4), F(1, 4)), (F(2, 6), F(2, 6))),
    ),
    "a small entity merged": Case(
        "12345 67 89ABC",
        "12345 6789ABC",
        {"muc": (F(9, 9), F(9, 10)), "bcub": (F(12, 12), (5 + 2 * F(2, 7) + 5 * F(5, 7)) / 12)},
    ),
    "two large entities merged": Case(
        "12345 67 89ABC",
        "1234589ABC 67",
        {"muc": (F(9, 9), F(9, 10)), "bcub": (F(12, 12), (5 * F(5, 10) + 2 + 5 * F(5, 10)) / 12)},
    ),
    "split in two": Case("ABCD", "AB CD", {"muc": (F(2, 3), F(2, 2)), "lea": (F(1 + 1, 6), F(1))}),
    "two joined": Case("AB CD", "ABCD", {"muc": (F(2, 2), F(2, 3)), "lea": (F(1), F(2, 6))}),
    "across three": Case("BCDEGHJ", "ABC DEF GHI", {"muc": (F(3, 6), F(1 + 1 + 1, 6))}),
    "mentions of the paper on LEA": Case(
        "abc defg",
        "ab cd fghi",
        {
            "muc": (F(1 + 1, 2 + 3), F(1 + 0 + 1, 1 + 1 + 3)),
            "lea": ((3 * F(1, 3) + 4 * F(1, 6)) / 7, (2 * F(1, 1) + 2 * F(0, 1) + 4 * F(1, 6)) / 8),
        },
    ),
    "an assignment that greed misses": Case(
        "abcd ef",
        "abef cd",
        # abcd-abef and abcd-cd share two each, ef-abef two: 2 + 2 at best, and 2 + 0 where abcd takes abef.
        {"ceafm": (F(2 + 2, 6), F(2 + 2, 6)), "ceafe": ((F(4, 6) + F(4, 6)) / 2, (F(4, 6) + F(4, 6)) / 2)},
    ),
    "one entity in the key, right": Case("abcdef", "abcdef", {"muc": (F(1), F(1))}, ((F(15, 15), F(15, 15)), None)),
    "one entity in the key, singletons": Case("abcdef", "a b c d e f", {"muc": (F(0), F(0))}, ((F(0, 15), F(0)), None)),
    "one entity in the key, three": Case(
        "abcdef", "ab cde f", {"lea": (F(1 + 3, 15), F(5, 6))}, ((F(4, 15), F(4, 4)), None)
    ),
    "one entity in the key, spurious": Case("abcdef", "ab cxy z", {}, ((F(1, 15), F(1, 4)), None)),
    "only singletons in the key, right": Case(
        "a b c d e f", "a b c d e f", {"muc": (F(0), F(0)), "lea": (F(1), F(1))}, (None, (F(1), F(1)))
    ),
    "only singletons in the key, one entity": Case(
        "a b c d e f", "abcdef", {"lea": (F(0), F(0))}, (None, (F(0, 15), F(0)))
    ),
    "only singletons in the key, three": Case(
        "a b c d e f", "ab cde f", {"lea": (F(1, 6), F(1, 6))}, (None, (F(11, 15), F(11, 11)))
    ),
    "only singletons in the key, spurious": Case("a b c d e f", "ab cxy z", {}, (None, (F(2, 15), F(2, 11)))),
    "a singleton alone": Case("a", "a", {"muc": (F(0), F(0)), "bcub": (F(1), F(1)), "lea": (F(1), F(1))}, (None, None)),
    "nothing predicted": Case(
        "ab c", "", dict.fromkeys(["muc", "bcub", "ceafm", "ceafe", "lea", "mentions"], (F(0), F(0)))
    ),
}
