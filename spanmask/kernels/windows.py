"""Where pre-tokens start in a window of ASCII text, found together by arithmetic on masks, a bit each byte.

What `spanmask.kernels.patterns` does for one pre-token after the other, for a dozen at once, as far as no byte behind the window, behind
the stretch or above ASCII decides. In masks the byte behind another is the higher bit, so ``mask << 1`` is what stands behind it; a sum
carries through a run of ones, to the bit behind it.
"""

from __future__ import annotations

import numpy as np

from spanmask.kernels._jit import Bytes, inlined
from spanmask.kernels.patterns import ENDING, EXACT, FOLD, NONE, UNLIMITED, Splitter, contraction_end
from spanmask.kernels.wide import BLOCK, byte_masks, trailing_zeros

#: Bits that masks use: sums of them stay positive.
_BITS = BLOCK - 2


@inlined
def _below(mask: int) -> int:
    """Return the bits below the lowest one of a mask: all, where it has none."""
    return (mask & -mask) - 1


@inlined
def _up_to(mask: int) -> int:
    """Return the bits below the lowest one of a mask, and that: all, where it has none."""
    return mask ^ (mask - 1) if mask else -1


@inlined
def _number_starts(digits: int, spaces: int, splitter: Splitter) -> tuple[int, int]:
    """Return where numbers start, and the bits for which this is sure."""
    if splitter.numbers == 1:
        return digits, -1
    starts = digits & ~(digits << 1)
    if splitter.spaced_numbers:
        starts &= ~(spaces << 1)
    if splitter.numbers == UNLIMITED:
        return starts, -1
    excess = digits
    for _ in range(splitter.numbers):
        excess = digits & excess << 1
    # The first digit that is too many begins another number, from which on they are counted anew.
    return starts | (excess & -excess), _up_to(excess)


@inlined
def _white_starts(
    blanks: int, newlines: int, others: int, digits: int, valid: int, splitter: Splitter
) -> tuple[int, int]:
    """Return where white space starts, and the bits for which this is sure. blanks: what is no newline; valid: the bits in use."""
    white = blanks | newlines
    ended = digits if splitter.apart else 0
    # The last of a run stands before what is behind it. Nothing is sure of a run that goes up to the last valid bit.
    last = white & ~((white | ended) >> 1) & (valid >> 1)
    if not splitter.to_newline:
        return (white & ~(white << 1)) | last, -1
    behind_others = newlines & others << 1 if splitter.newlines else 0
    run_ends = (newlines + behind_others) & ~newlines
    taken = newlines & ~(newlines + behind_others)
    sure = _below(run_ends & others) if splitter.slashes else -1
    # Blanks behind a newline begin a pre-token, unless another newline comes behind them.
    indents = blanks & newlines << 1
    if (blanks + indents) & ~blanks & (newlines | ~valid):
        sure &= _up_to(newlines)
    return (white & ~(white << 1) & ~taken) | indents | (last & blanks), sure


@inlined
def _with_contractions(
    text: Bytes, at: int, apostrophes: int, starts: int, valid: int, splitter: Splitter
) -> tuple[int, int]:
    """Return where pre-tokens start, given where they would if there were no contractions, and the bits for which this is sure.

    apostrophes: those that begin a contraction if letters of one are behind them.
    """
    ends_word = int(splitter.contractions == ENDING)
    fold = 0 if splitter.contractions == EXACT else FOLD
    while apostrophes:
        i = trailing_zeros(np.uint64(apostrophes))
        if not valid >> i & 4:
            return starts, (2 - ends_word << i) - 1
        size = contraction_end(text, at + i, at + i + 3, fold) - at - i
        if size > 0:
            starts = starts & ~((1 << size) - 2 + ends_word << i) | 1 << i + size
            if ends_word and apostrophes >> i + size & 1:
                return starts, (2 << i + size) - 1
        apostrophes &= apostrophes - 1
    return starts, -1


@inlined
def window_starts(text: Bytes, at: int, end: int, splitter: Splitter) -> int:
    """Return a mask of where pre-tokens start in the 62 bytes from a position on, at which one does: bit 0 is set.

    Up to its highest bit the mask is whole: what starts there ends at the next bit. Where that is bit 0 alone, `pretoken_end` says more.
    The caller guarantees ``at + 64 <= len(text)``, and ``at < end`` of the stretch.
    """
    if text[at] >= 0x80 or text[at + 1] >= 0x80 or (splitter.newlines and not splitter.to_newline):
        return 1
    letters, small, digits, spaces, tabs, newlines, apostrophes, wide = byte_masks(text, at)
    valid = _below(wide) & ((1 << min(end - at, _BITS)) - 1)
    letters, digits, spaces, tabs, newlines = (
        letters & valid,
        digits & valid,
        spaces & valid,
        tabs & valid,
        newlines & valid,
    )
    blanks = spaces | tabs
    others = valid & ~(letters | digits | blanks | newlines)
    starts = others & ~(others << 1) & ~(spaces << 1)
    apostrophes &= valid & (letters << 1 if splitter.contractions == ENDING else starts)
    starts |= letters & ~(letters << 1) & ~(((blanks | starts) if splitter.any_prefix else spaces) << 1)
    if splitter.cased:
        starts |= letters & ~small & small << 1
    number_starts, sure = _number_starts(digits, spaces, splitter)
    white_starts, white_sure = _white_starts(blanks, newlines, others, digits, valid, splitter)
    starts |= number_starts | white_starts
    if apostrophes and splitter.contractions != NONE:
        starts, contractions_sure = _with_contractions(text, at, apostrophes, starts, valid, splitter)
        sure &= contractions_sure
    return 1 | (starts & valid & sure & white_sure)
