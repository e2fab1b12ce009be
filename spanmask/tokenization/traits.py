"""What the steps of the `tokenizers` library look at in each code point: a table that ships with the package.

It was asked of the library (`spanmask.tokenization.derive_traits`). Whole numbers, one a code point; the bits are these.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from spanmask.records import Flags

FILE = "code_points.npz"
#: Code points that lie in one block of the file.
BLOCK = 128
#: Bits 0 to 5: the rank of a mark that canonical ordering sorts, from 1; 0 for every other code point.
RANK_MASK = 63
#: Steps that change some code points standing alone; the C forms too where one may be composed with what is before it. A bit each, from 6.
STEPS = ("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents")
#: Unicode's forms in which a code point may change places, or be composed, with what is before it. A bit each, from 13.
FORMS = STEPS[:4]
#: White space; part of a word for `single_word`; in one grapheme with what is before it, and with what is behind it, somewhere.
WHITE, WORD, JOINS_BEFORE, JOINS_BEHIND = 1 << 17, 1 << 18, 1 << 19, 1 << 20
#: Of the first two planes, no character in the library's version of Unicode; a later version may make it one.
UNASSIGNED = 1 << 21


def changes(step: str) -> int:
    """Return the bit of code points that a step changes."""
    return 1 << 6 + STEPS.index(step)


def attaches(form: str) -> int:
    """Return the bit of code points that one of Unicode's forms may move or compose with what is before them."""
    return 1 << 13 + FORMS.index(form)


@cache
def traits() -> npt.NDArray[np.uint32]:
    """Return the traits of every code point, (0x110000,)."""
    with resources.files("spanmask.data").joinpath(FILE).open("rb") as file, np.load(file) as tables:
        found: npt.NDArray[np.uint32] = tables["traits"].reshape(-1, BLOCK)[tables["blocks"]].reshape(-1)
    found.flags.writeable = False
    return found


def having(trait: int) -> Flags:
    """Return (0x110000,) whether a code point has one of the traits given."""
    flags: Flags = (traits() & np.uint32(trait)) != 0
    return flags
