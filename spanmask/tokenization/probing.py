"""Whether the installed library takes characters as the one that the tables were asked of: its steps and patterns are shown telling ones.

A later version of Unicode changes what had been no character, and, in graphemes, characters beside those that it knew.
"""

from __future__ import annotations

import base64
from functools import cache

import numpy as np

from spanmask.records import Flags
from spanmask.tokenization.charsmap import charsmap
from spanmask.tokenization.derive_classes import classes_of
from spanmask.tokenization.library import normalizer_of
from spanmask.tokenization.patterns import table_of_classes
from spanmask.tokenization.traits import FORMS, JOINS_BEFORE, STEPS, UNASSIGNED, attaches, changes, having

#: Marks of the highest and the lowest class: a mark that one of Unicode's forms sorts does not stay between them.
_HIGHEST, _LOWEST = "\u0345", "\u0334"


@cache
def is_as_probed(step: str) -> bool:
    """Tell whether a type of step leaves alone what it did; one that looks at no character's traits does."""
    if step in FORMS:
        # What a new pair is composed to is itself new, and taken apart.
        apart = step[:-1] + "D"
        if step != apart and not is_as_probed(apart):
            return False
        text = "".join(f"0{_HIGHEST}{character}{_LOWEST}0" for character in _telling(attaches(step) | changes(step)))
        return bool(normalizer_of([{"type": step}]).normalize_str(text) == text)
    if step in STEPS:
        text = "0".join(_telling(changes(step)))
        return bool(normalizer_of([{"type": step}]).normalize_str(text) == text)
    return step != "Precompiled" or _takes_graphemes_as_probed()


@cache
def are_classes_as_probed() -> bool:
    """Tell whether patterns count the first and the last of the characters of one class, side by side, to what they did."""
    table = table_of_classes()
    known = table["classes"].reshape(len(table["classes"]) >> 7, -1)[table["blocks"]].reshape(-1)
    change = np.flatnonzero(np.diff(known))
    points = np.union1d(change, change + 1)
    points = points[(points < 0xD800) | (points >= 0xE000)]
    return np.array_equal(classes_of("".join(map(chr, points.tolist()))), known[points])


def _takes_graphemes_as_probed() -> bool:
    """Tell whether characters stand apart from the letter before them, which would take them along to what it becomes."""
    table = base64.b64encode(charsmap(b"a", "X")).decode()
    normalizer = normalizer_of([{"type": "Precompiled", "precompiled_charsmap": table}])
    telling = [character for character in _telling(JOINS_BEFORE) if character not in "\na"]
    return bool(
        normalizer.normalize_str("".join(f"a{character}" for character in telling))
        == "".join(f"X{character}" for character in telling)
    )


def _telling(traits: int) -> list[str]:
    """Return the characters without some traits that had been none, or are beside one that has."""
    flags = having(traits)
    beside: Flags = np.zeros(len(flags), np.bool_)
    beside[:-1] |= flags[1:]
    beside[1:] |= flags[:-1]
    beside[0xD800:0xE000] = False
    return list(map(chr, np.flatnonzero((having(UNASSIGNED) | beside) & ~flags).tolist()))
