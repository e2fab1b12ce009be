"""Where pre-tokens end, by the patterns that byte-level tokenizers publish: one state machine over classes of characters.

A pattern is tried at the end of the pre-token before, as a regular expression would be, but each character is looked at a bounded number of
times, whatever the text. Text must be valid UTF-8. `spanmask.tokenization.patterns` says which pattern is which splitter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, inlined, signed
from spanmask.kernels.text import read_code_point
from spanmask.kernels.wide import WIDTH, letter_length

#: Bits of a character's class: ``\\p{L}``, ``\\p{N}``, ``\\s``, ``[\\r\\n]``; ``[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]`` and
#: ``[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]``, in which words of small letters after capitals are written.
LETTER, NUMBER, WHITE, NEWLINE, CAPITAL, SMALL = 1, 2, 4, 8, 16, 32

#: Kinds of contractions (``'s``, ``'t``, ``'re``, ``'ve``, ``'m``, ``'ll``, ``'d``): none; of small letters; of either case, which ``'ſ``
#: is too; of either case, as the end of a word.
NONE, EXACT, FOLDED, ENDING = 0, 1, 2, 3

#: More numbers than any text has.
UNLIMITED = 1 << 62

_SPACE, _APOSTROPHE, _SLASH, FOLD = 0x20, 0x27, 0x2F, 0x20
_LONG_S = (0xC5, 0xBF)


class Splitter(NamedTuple):
    """A pattern.

    blocks: (8704,) which 128 classes hold a code point's, the first those of ASCII; classes: (128 · B,).
    contractions: one of the kinds above. any_prefix: whether any character but letters, numbers and newlines is taken with the letters
    after it, or the space alone. cased: whether a capital after a small letter begins a pre-token. numbers: the most taken together.
    spaced_numbers: whether they are taken with a space before them. apart: whether numbers are set apart first, so that they end white
    space as the end of text does. newlines, slashes: whether punctuation is taken with the newlines after it, and slashes among those.
    to_newline: whether white space is taken up to its last newline; whole_ending: but at the end of a stretch whole. adds_space: whether a
    stretch that does not begin with a space is taken as if it did.
    """

    blocks: npt.NDArray[np.uint16]
    classes: Bytes
    contractions: int = NONE
    any_prefix: bool = False
    cased: bool = False
    numbers: int = UNLIMITED
    spaced_numbers: bool = False
    apart: bool = False
    newlines: bool = False
    slashes: bool = False
    to_newline: bool = False
    whole_ending: bool = False
    adds_space: bool = False


@inlined
def _class_at(text: Bytes, at: int, splitter: Splitter) -> tuple[int, int]:
    """Return the class of the character at a position, and where it ends."""
    byte = signed(text[at])
    if byte < 0x80:
        return signed(splitter.classes[byte]), at + 1
    point, width = read_code_point(text, at)
    block = signed(splitter.blocks[point >> 7])
    return signed(splitter.classes[(block << 7) + (point & 127)]), at + width


@inlined
def _run_end(text: Bytes, at: int, end: int, splitter: Splitter, wanted: int) -> int:
    """Return where characters of a class end."""
    while at < end:
        kind, after = _class_at(text, at, splitter)
        if not kind & wanted:
            break
        at = after
    return at


@inlined
def contraction_end(text: Bytes, at: int, end: int, fold: int) -> int:
    """Return where the contraction whose apostrophe may stand at a position ends; the position, if none does."""
    if at + 1 >= end or text[at] != _APOSTROPHE:
        return at
    first = signed(text[at + 1]) | fold
    if first in (0x73, 0x74, 0x6D, 0x64):  # s, t, m, d
        return at + 2
    if at + 2 >= end:
        return at
    second = signed(text[at + 2])
    if fold and text[at + 1] == _LONG_S[0] and second == _LONG_S[1]:
        return at + 3
    second |= fold
    pair = (first in (0x72, 0x76) and second == 0x65) or (first == 0x6C and second == 0x6C)  # re, ve, ll
    return at + 3 if pair else at


@inlined
def _cased_end(text: Bytes, at: int, end: int, splitter: Splitter) -> int:
    """Return where a word of capitals and then small letters ends, with its contraction. Characters of no case are both."""
    last_small = at
    # Kept: text[at:stop] are capitals or both, and `last_small` is where the last one that is both ends.
    stop = at
    following = 0
    while stop < end:
        following, after = _class_at(text, stop, splitter)
        if not following & CAPITAL:
            break
        stop = after
        if following & SMALL:
            last_small = stop
    if stop < end and following & SMALL:
        stop = _run_end(text, stop, end, splitter, SMALL)
    elif last_small > at:
        stop = last_small
    return contraction_end(text, stop, end, FOLD) if splitter.contractions == ENDING else stop


@inlined
def _letters_end(text: Bytes, at: int, end: int, splitter: Splitter) -> int:
    return _cased_end(text, at, end, splitter) if splitter.cased else _run_end(text, at, end, splitter, LETTER)


@inlined
def _numbers_end(text: Bytes, at: int, end: int, splitter: Splitter) -> int:
    count = 0
    while at < end and count < splitter.numbers:
        kind, after = _class_at(text, at, splitter)
        if not kind & NUMBER:
            break
        at = after
        count += 1
    return at


@inlined
def _others_end(text: Bytes, at: int, end: int, splitter: Splitter) -> int:
    """Return where what is neither letter, number nor white space ends, with the newlines that belong to it."""
    while at < end:
        kind, after = _class_at(text, at, splitter)
        if kind & (LETTER | NUMBER | WHITE):
            break
        at = after
    if splitter.newlines:
        while at < end and (text[at] in (0x0A, 0x0D) or (splitter.slashes and text[at] == _SLASH)):
            at += 1
    return at


@inlined
def _white_end(text: Bytes, at: int, end: int, splitter: Splitter, spaced: bool) -> int:
    """Return where white space is cut: behind its last newline, if those count; else before its last character, if something follows it.

    spaced: there is one more character of white space before the first.
    """
    stop, last, newline = at, at, at
    kind = 0
    while stop < end:
        kind, after = _class_at(text, stop, splitter)
        if not kind & WHITE:
            break
        last, stop = stop, after
        if kind & NEWLINE:
            newline = stop
    ends = stop == end or (splitter.apart and kind & NUMBER != 0)
    if splitter.to_newline and newline > at and not (ends and splitter.whole_ending):
        return newline
    return stop if ends or (last == at and not spaced) else last


@inlined
def _plain_end(text: Bytes, at: int, end: int, splitter: Splitter) -> int:
    """Return where a pre-token of ASCII letters, with a space before them or without, ends; −1 where it is another, or near the end."""
    first = at + (text[at] == _SPACE)
    # Wide loads read WIDTH bytes from `first` or the place after it: never past the text.
    if first + WIDTH >= len(text):
        return -1
    if splitter.cased:
        begins = 0x61 <= signed(text[first]) | FOLD <= 0x7A
        size = 1 + letter_length(text, first + 1, 0) if begins else 0
    else:
        size = letter_length(text, first, FOLD)
    stop: int = first + size
    # A pre-token may not be judged by what lies beyond its stretch.
    if size == 0 or size >= WIDTH or stop > end:
        return -1
    if stop == end:
        return stop
    byte = signed(text[stop])
    if splitter.cased:
        capital = size == 1 and 0x61 <= byte | FOLD <= 0x7A
        return -1 if byte >= 0x80 or byte == _APOSTROPHE or capital else stop
    return stop if byte < 0x80 else _run_end(text, stop, end, splitter, LETTER)


@inlined
def pretoken_end(text: Bytes, at: int, start: int, end: int, splitter: Splitter) -> int:  # noqa: ARG001 - as other splitters
    """Return where the pre-token that begins at a position, start ≤ at < end, of the stretch ``text[start:end]`` ends: behind it.

    Nothing outside the stretch is judged by. The first pre-token of one in front of which a space is put is `spaced_end`'s.
    """
    stop = _plain_end(text, at, end, splitter)
    if stop >= 0:
        return stop
    kind, after = _class_at(text, at, splitter)
    letters = CAPITAL | SMALL if splitter.cased else LETTER
    if kind & letters:
        return _letters_end(text, at, end, splitter)
    if kind & NUMBER:
        return _numbers_end(text, at, end, splitter)
    if splitter.contractions in (EXACT, FOLDED):
        stop = contraction_end(text, at, end, FOLD if splitter.contractions == FOLDED else 0)
        if stop > at:
            return stop
    space = text[at] == _SPACE
    following = _class_at(text, after, splitter)[0] if after < end else WHITE
    if following & letters and (space or (splitter.any_prefix and not kind & NEWLINE)):
        return _letters_end(text, after, end, splitter)
    if space and following & NUMBER and splitter.spaced_numbers:
        return _numbers_end(text, after, end, splitter)
    if kind & WHITE and not (space and not following & (LETTER | NUMBER | WHITE)):
        return _white_end(text, at, end, splitter, False)
    return _others_end(text, after, end, splitter)


@inlined
def spaced_end(text: Bytes, start: int, end: int, splitter: Splitter) -> int:
    """Return where the first pre-token ends of a stretch in front of which a space is put: it is that space, and the stretch up to there.

    The space is a pre-token by itself, and the answer `start`, before a single character of white space that something follows.
    """
    kind, _ = _class_at(text, start, splitter)
    if kind & LETTER:
        return _letters_end(text, start, end, splitter)
    if kind & NUMBER:
        return _numbers_end(text, start, end, splitter)
    if kind & WHITE:
        return _white_end(text, start, end, splitter, True)
    return _others_end(text, start, end, splitter)
