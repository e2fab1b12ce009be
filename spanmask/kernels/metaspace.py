"""Metaspace and white space as pre-tokenizers: where the pre-tokens of a stretch of text begin and end, and how pieces spell them.

Metaspace writes ▁ for a space, may put one in front, and splits before each. Text is not written anew for that: pieces spell their ▁ as a
space, and a *mark* of the text, a space or a ▁, is one space to them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spanmask.kernels._jit import Bytes, inlined
from spanmask.kernels.text import white_width
from spanmask.kernels.wide import BLOCK, WIDTH, byte_masks, leading_zeros, unbroken_length

#: Where Metaspace puts a ▁ that the text does not have: nowhere, where a document begins, where a stretch or a word begins; and where a
#: normalizer does that puts one in front of every stretch, also of one that begins with a ▁.
NEVER, FIRST, ALWAYS, ANYWAY = range(4)
#: What pieces spell a mark as.
SPACE = 0x20

#: The first byte of the first character of white space that has several bytes.
_WIDE_WHITE = 0xC2


class Metaspace(NamedTuple):
    """How text is split. marked: by Metaspace, with its ``prepend`` and ``split``; white: by white space, which goes, and first of all."""

    marked: bool
    prepend: int
    split: bool
    white: bool


@inlined
def mark_width(text: Bytes, at: int, splitter: Metaspace) -> int:
    """Return the bytes (1 or 3) of the mark that starts at a position, or 0."""
    first = text[at]
    if first == SPACE:
        return 1 if splitter.marked else 0
    # A character of several bytes is there whole.
    if first != 0xE2 or not splitter.marked:
        return 0
    return 3 if text[at + 1] == 0x96 and text[at + 2] == 0x81 else 0


@inlined
def gap_width(text: Bytes, at: int, splitter: Metaspace) -> int:
    """Return the bytes of the white space at a position that sets words apart and goes, or 0."""
    if not splitter.white or SPACE < text[at] < _WIDE_WHITE:
        return 0
    return 1 if text[at] == SPACE else white_width(text, at)


@inlined
def pretoken_end(text: Bytes, at: int, end: int, splitter: Metaspace) -> int:
    """Return where the pre-token that begins at a position ends, in a stretch that ends at ``end``; it is no white space that goes."""
    if not splitter.split and not splitter.white:
        return end
    stop = at + max(mark_width(text, at, splitter), 1)
    # Kept: text[at:stop] holds no place to split at. A step of one byte may end within a character, at whose other bytes nothing splits.
    while stop < end:
        if stop + WIDTH <= len(text):
            size = unbroken_length(text, stop)
            stop += size
            if size == WIDTH:
                continue
            if stop >= end:
                return end
        if gap_width(text, stop, splitter) > 0:
            return stop
        if splitter.split and mark_width(text, stop, splitter) > 0:
            return stop
        stop += 1
    return end


@inlined
def window_starts(text: Bytes, at: int, end: int, splitter: Metaspace) -> tuple[int, int, int]:
    """Return masks of 62 bytes from a position on: where pre-tokens start, and what they end before.

    Those are the spaces, and the white space that goes. They are whole up to the first byte above ASCII, or ``end``; of the last pre-token
    nothing is said, but where it starts, or white space does: the third result. The caller guarantees that at ``at`` a pre-token or white
    space starts, ``at + BLOCK <= len(text)``, and that the splitter splits.
    """
    _, _, _, spaces, tabs, newlines, _, wide = byte_masks(text, at)
    valid = (wide & -wide) - 1 & (1 << min(end - at, BLOCK - 2)) - 1
    breaks = (spaces | tabs | newlines if splitter.white else spaces) & valid
    sure = BLOCK - 1 - leading_zeros(np.uint64(breaks)) if breaks != 0 else 0
    starts = ~breaks & (breaks << 1 | 1) if splitter.white else breaks | 1
    return starts & (1 << sure) - 1, breaks, sure


@inlined
def is_marked(text: Bytes, at: int, start: int, head: bool, splitter: Metaspace) -> bool:
    """Tell whether a pre-token of a stretch that begins at ``start`` is spelled with a mark in front that the text lacks.

    head: whether a document begins there.
    """
    if splitter.prepend == ANYWAY:
        return at == start
    # Without a mark of its own it begins a stretch or a word.
    if splitter.prepend == NEVER or mark_width(text, at, splitter) > 0:
        return False
    return splitter.prepend == ALWAYS or (head and at == start)


@inlined
def part_end(text: Bytes, at: int, end: int, splitter: Metaspace) -> int:
    """Return where marks, and what is behind them up to the next one, end in a pre-token that ends at ``end``."""
    width = 1
    while at < end and width > 0 and splitter.marked:
        width = mark_width(text, at, splitter)
        at += width
    # What is left has no mark in front.
    return pretoken_end(text, at, end, Metaspace(splitter.marked, NEVER, splitter.marked, False)) if at < end else end
