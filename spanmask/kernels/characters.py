"""BERT's normalizer and pre-tokenizer on characters: the next word of a text, as WordPiece is given it.

Tables say what becomes of each character (`spanmask.tokenization.characters` makes them). Text must be valid UTF-8.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Ints, inlined, signed
from spanmask.kernels.text import read_code_point, write_code_point

#: Kinds of bytes, `Rules.kinds`: parts of a word; white space; newline; removed; a word by itself; the first of a longer character.
WORD, SPACE, NEWLINE, REMOVED, ISOLATED, WIDE = 0, 1, 2, 3, 4, 5

#: Layout of `Rules.entries`. Bits 0 and 1: what becomes of the character. `STOP`: removed, and marks before it are not sorted with those
#: after it.
KEEP, EXPAND, REMOVE, STOP = 0, 1, 2, 3
#: Bits 2 and 3: it ends a word before it; it is a word by itself (white space ends a word and is none).
ENDS_WORD, IS_WORD = 4, 8
#: Bits 4 to 9: its rank among marks, which are sorted; 0 for what is none.
RANK_SHIFT, RANK_MASK = 4, 63
#: Bits 10 to 12, and from 13: how many characters it expands to, and where they lie in `Rules.expansions`.
COUNT_SHIFT, COUNT_MASK, PLACE_SHIFT = 10, 7, 13

#: A word of more characters is unknown (BERT's own limit).
MAX_CHARACTERS = 100
#: Bytes of `Word.text`: the longest word, and room for a wide load at its end.
WORD_BYTES = 4 * MAX_CHARACTERS + 48

#: Layout of `Word.numbers`: bytes and characters of the word, marks held back, the source bytes [FROM, TO) of the word, and those
#: [LAST, LAST_END) of the last character that came from one of its own.
BYTES, CHARACTERS, HELD, FROM, TO, LAST, LAST_END = range(7)
NUMBERS = 7
#: Layout of a row of `Word.held`: rank, code point (−1: removed), whether it came of an expansion after another one, source bytes.
HELD_FIELDS = 5


class Rules(NamedTuple):
    """What becomes of characters.

    kinds: (256,) of first bytes. fold: 0x20 where ASCII letters are made small, else 0. blocks: (8704,) which 128 entries hold a code
    point's; entries: (128 · B,); expansions: code points.
    """

    kinds: Bytes
    fold: int
    blocks: npt.NDArray[np.uint16]
    entries: npt.NDArray[np.int32]
    expansions: npt.NDArray[np.int32]


class Word(NamedTuple):
    """The word at hand. text: (WORD_BYTES,) normalized UTF-8; starts, ends: (WORD_BYTES,) the source bytes that each byte stands for.

    numbers: (7,). held: (H, 5) marks that wait to be sorted. tracked: whether source bytes are wanted; then H is at least the text's marks,
    otherwise at least one more than the characters of the longest word.
    """

    text: Bytes
    starts: Ints
    ends: Ints
    numbers: Ints
    held: Ints
    tracked: bool


@inlined
def entry_of(rules: Rules, point: int) -> int:
    """Return the entry of a code point."""
    return signed(rules.entries[(signed(rules.blocks[point >> 7]) << 7) + (point & 127)])


@inlined
def _put(word: Word, point: int, start: int, end: int) -> None:
    """Add a code point in UTF-8; of those beyond the limit nothing but their number and place is kept."""
    if word.numbers[CHARACTERS] == 0:
        word.numbers[FROM] = start
    word.numbers[TO] = end
    word.numbers[CHARACTERS] += 1
    if word.numbers[CHARACTERS] > MAX_CHARACTERS:
        return
    size = word.numbers[BYTES]
    stop = write_code_point(point, word.text, size)
    if word.tracked:
        for place in range(size, stop):
            word.starts[place], word.ends[place] = start, end
    word.numbers[BYTES] = stop


@inlined
def _hold(word: Word, rank: int, point: int, expanded: bool, start: int, end: int) -> None:
    """Hold a mark back. There is no room for one more only where the word is too long already."""
    place = word.numbers[HELD]
    if place == len(word.held):
        return
    word.held[place, 0] = rank
    word.held[place, 1] = point
    word.held[place, 2] = expanded
    word.held[place, 3] = start
    word.held[place, 4] = end
    word.numbers[HELD] = place + 1


@inlined
def _release(word: Word) -> None:
    """Add the marks that were held back, by rank (Unicode's canonical ordering).

    As in the library, sources stay in order when marks are sorted: the first mark then stands for the first source.
    """
    count = word.numbers[HELD]
    source = 0
    for rank in range(1, RANK_MASK + 1 if count > 0 else 1):
        for i in range(count):
            if word.held[i, 0] != rank:
                continue
            if word.held[i, 2] == 0:
                while word.held[source, 2] != 0:
                    source += 1
                word.numbers[LAST] = word.held[source, 3]
                word.numbers[LAST_END] = word.held[source, 4]
                source += 1
            if word.held[i, 1] >= 0:
                _put(word, word.held[i, 1], word.numbers[LAST], word.numbers[LAST_END])
    word.numbers[HELD] = 0


@inlined
def _add(word: Word, rank: int, point: int, expanded: bool, start: int, end: int) -> None:
    """Add a character, or hold it back. point: −1 for one that is removed; expanded: it came of the same source as the one before."""
    if rank > 0:
        if point >= 0 or word.tracked:
            _hold(word, rank, point, expanded, start, end)
        return
    if word.numbers[HELD] > 0:
        _release(word)
    word.numbers[LAST] = start
    word.numbers[LAST_END] = end
    if point >= 0:
        _put(word, point, start, end)


@inlined
def _take(rules: Rules, word: Word, entry: int, point: int, start: int, end: int) -> None:
    """Do with a character above ASCII what its entry says."""
    action = entry & 3
    rank = entry >> RANK_SHIFT & RANK_MASK
    if action == KEEP:
        _add(word, rank, point, False, start, end)
    elif action == EXPAND:
        place = entry >> PLACE_SHIFT
        for i in range(entry >> COUNT_SHIFT & COUNT_MASK):
            part = signed(rules.expansions[place + i])
            _add(word, entry_of(rules, part) >> RANK_SHIFT & RANK_MASK, part, i > 0, start, end)
    elif action == STOP or rank > 0:
        _add(word, rank, -1, False, start, end)


@inlined
def take_word(text: Bytes, at: int, end: int, rules: Rules, word: Word) -> int:
    """Take the word that starts at or after a position, up to what ends it; return where that stands.

    ``text[at]`` must be neither white space nor a word by itself. The word is empty when all of its characters are removed.
    """
    word.numbers[:] = 0
    while at < end:
        byte = signed(text[at])
        if byte < 0x80:
            kind = signed(rules.kinds[byte])
            if kind == WORD:
                _add(word, 0, byte | rules.fold, False, at, at + 1)
            elif kind != REMOVED:
                break
            at += 1
        else:
            point, width = read_code_point(text, at)
            entry = entry_of(rules, point)
            if entry & ENDS_WORD:
                break
            _take(rules, word, entry, point, at, at + width)
            at += width
    _release(word)
    return at


@inlined
def take_isolated(text: Bytes, at: int, rules: Rules, word: Word) -> int:
    """Take the character above ASCII that is a word by itself at a position; return where it ends."""
    word.numbers[:] = 0
    point, width = read_code_point(text, at)
    _take(rules, word, entry_of(rules, point), point, at, at + width)
    return at + width


@inlined
def kept_width(text: Bytes, at: int, rules: Rules) -> int:
    """Return the bytes of a character above ASCII that stays as it is, wherever it stands; 0 where it may not."""
    point, width = read_code_point(text, at)
    entry = entry_of(rules, point)
    return width if entry & 3 == KEEP and entry >> RANK_SHIFT & RANK_MASK == 0 else 0


@inlined
def kind_of(text: Bytes, at: int, rules: Rules) -> int:
    """Return the kind of the character at a position: `WORD`, `SPACE`, `NEWLINE`, `REMOVED` or `ISOLATED`.

    A mark that is removed, but sorted before, may be the first of a word.
    """
    kind = signed(rules.kinds[text[at]])
    if kind != WIDE:
        return kind
    entry = entry_of(rules, read_code_point(text, at)[0])
    if entry & ENDS_WORD:
        return ISOLATED if entry & IS_WORD else SPACE
    return WORD if entry & 3 < REMOVE or entry >> RANK_SHIFT & RANK_MASK else REMOVED


@inlined
def width_of(text: Bytes, at: int) -> int:
    """Return the bytes of the character at a position."""
    first = signed(text[at])
    if first < 0x80:
        return 1
    return 2 if first < 0xE0 else 3 if first < 0xF0 else 4
