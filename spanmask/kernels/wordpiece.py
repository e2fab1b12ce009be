"""Texts to WordPiece ids in one pass over their bytes. Oracle: the `tokenizers` library, see ``tests/tokenization/reference.py``.

ASCII is classified 64 bytes at once, and its words and characters by themselves, nearly all there are in English, are looked up by wide
loads; every other word is put together character by character. Nothing is read outside the text: no wide load is made near its end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spanmask.kernels._jit import Bytes, Ints, inlined, kernel
from spanmask.kernels.characters import (
    BYTES,
    CHARACTERS,
    FROM,
    ISOLATED,
    MAX_CHARACTERS,
    NEWLINE,
    TO,
    WORD,
    Rules,
    Word,
    kept_width,
    kind_of,
    take_isolated,
    take_word,
    width_of,
)
from spanmask.kernels.tokens import Tokens, write_known
from spanmask.kernels.trie import CONTINUED, FIRST, Trie, match
from spanmask.kernels.wide import (
    BLOCK,
    WIDTH,
    Key,
    classes,
    leading_zeros,
    load_key,
    trailing_zeros,
)
from spanmask.kernels.wordtable import WordTable, find, keep

_FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
#: What begins a line after it, and every special token.
_NEWLINE, _BRACKET = 0x0A, 0x5B


class Model(NamedTuple):
    """What tokenizing needs to know. ascii_ids: (128,) of a character that is a word by itself; unknown: the id of words without pieces.

    specials: (5, 16) the bytes of special tokens, zeros after them; special_ids: (5,).
    """

    rules: Rules
    trie: Trie
    unknown: int
    ascii_ids: Ints
    specials: Bytes
    special_ids: Ints


class Wanted(NamedTuple):
    """What is asked for besides ids and word starts: line starts, byte offsets, special tokens read from the text."""

    lines: bool
    byte_offsets: bool
    parse: bool


@inlined
def _one_token(out: Tokens, position: int, token: int, base: int, start: int, end: int) -> int:
    out.ids[position] = token
    out.word_starts[position] = True
    if base >= 0:
        out.byte_offsets[position, 0] = start - base
        out.byte_offsets[position, 1] = end - base
    return position + 1


@inlined
def _match_word(model: Model, word: Word, out: Tokens, position: int, base: int) -> int:
    """Write the pieces of a word; return where they end. The whole word is unknown where a part of it is."""
    at, size, token_end = 0, word.numbers[BYTES], position
    # Kept: text[:at] is covered by the tokens from `position` to `token_end`. Where nothing matches they are given up, since the next
    # write goes to `position` again.
    while at < size:
        root = FIRST if at == 0 else CONTINUED
        found, stop = match(model.trie, word.text, at, size, root)
        if found < 0:
            return _one_token(out, position, model.unknown, base, word.numbers[FROM], word.numbers[TO])
        out.ids[token_end] = found
        out.word_starts[token_end] = at == 0
        if base >= 0:
            out.byte_offsets[token_end, 0] = word.starts[at] - base
            out.byte_offsets[token_end, 1] = word.ends[stop - 1] - base
        token_end += 1
        at = stop
    return token_end


@inlined
def _write_word(model: Model, table: WordTable, word: Word, out: Tokens, position: int, base: int) -> int:
    """Write the ids of the word at hand; return where they end."""
    size = word.numbers[BYTES]
    if word.numbers[CHARACTERS] > MAX_CHARACTERS:
        return _one_token(out, position, model.unknown, base, word.numbers[FROM], word.numbers[TO])
    # The table knows ids alone, and words that a key can hold.
    if base >= 0 or size > WIDTH:
        return _match_word(model, word, out, position, base)
    key = load_key(word.text, 0, size, 0)
    line = find(table, key)
    if line >= 0:
        return write_known(table, line, out, position)
    token_end = _match_word(model, word, out, position, base)
    keep(table, key, out.ids, position, token_end - position)
    return token_end


@inlined
def _spell(key: Key, size: int, word: Word) -> None:
    """Make the bytes of a key the word at hand."""
    for i in range(WIDTH):
        word.text[i] = (key[i // 8] >> np.uint64(8 * (i % 8))) & np.uint64(0xFF)
    word.numbers[BYTES] = size
    word.numbers[CHARACTERS] = size


@inlined
def _special_at(model: Model, text: Bytes, at: int, end: int) -> tuple[int, int]:
    """Return the special token that stands at a position, −1 for none, and where it ends."""
    for i in range(len(model.special_ids)):
        size = 0
        while size < model.specials.shape[1] and model.specials[i, size] != 0:
            if at + size >= end or text[at + size] != model.specials[i, size]:
                break
            size += 1
        if size == model.specials.shape[1] or model.specials[i, size] == 0:
            return model.special_ids[i], at + size
    return -1, at


@inlined
def _write_key(key: Key, size: int, model: Model, table: WordTable, word: Word, out: Tokens, position: int) -> int:
    """Write the ids of a word of ASCII; return where they end."""
    line = find(table, key)
    if line >= 0:
        return write_known(table, line, out, position)
    _spell(key, size, word)
    token_end = _match_word(model, word, out, position, -1)
    keep(table, key, out.ids, position, token_end - position)
    return token_end


@inlined
def _plain_block(text: Bytes, at: int, end: int, odd: int) -> tuple[np.uint64, np.uint64, int]:
    """Return which of the 64 bytes from a position on start a word, which are in one, and how many of them can be judged by themselves.

    Those lie before the first odd byte and the word that it may belong to, and before a word that goes on beyond the 64.
    """
    words, alone, others = classes(text, at, odd)
    # What lies beyond the document counts as white: nothing in it may be judged by that.
    inside = _FULL >> np.uint64(max(BLOCK - (end - at), 0))
    words, alone, others = words & inside, alone & inside, others & inside
    first = trailing_zeros(others)
    before = words << np.uint64(BLOCK - first) if first > 0 else np.uint64(0)
    sure = first - leading_zeros(~before)
    starts = alone | (words & ~(words << np.uint64(1)))
    return (starts & (_FULL >> np.uint64(BLOCK - sure)) if sure > 0 else np.uint64(0)), words, sure


@inlined
def _plain_words(
    text: Bytes, at: int, end: int, odd: int, model: Model, table: WordTable, word: Word, out: Tokens, position: int
) -> tuple[int, int]:
    """Write the ids of words of ASCII, and of characters by themselves, from a position on; return where they end, and where ids do.

    Every word is measured by bits, so that nothing waits for the word before it to be known.
    """
    # Wide loads read WIDTH bytes from a word's first: never past the text.
    while at < end and at + BLOCK + WIDTH <= len(text):
        starts, words, sure = _plain_block(text, at, end, odd)
        while starts != np.uint64(0):
            place = trailing_zeros(starts)
            starts &= starts - np.uint64(1)
            rest = words >> np.uint64(place)
            size = max(trailing_zeros(~rest), 1)
            if size >= WIDTH:
                return at + place, position
            key = load_key(text, at + place, size, model.rules.fold if rest & np.uint64(1) else 0)
            position = _write_key(key, size, model, table, word, out, position)
        at += sure
        # What comes next is odd, or a word too long for a key.
        if sure <= BLOCK - WIDTH:
            break
    return min(at, end), position


@inlined
def _word_at(
    text: Bytes, at: int, end: int, model: Model, table: WordTable, word: Word, out: Tokens, position: int, base: int
) -> tuple[int, int]:
    """Write the ids of the word at a position; return where the word ends, and where they do. base: −1 where no byte offsets are wanted."""
    stop = take_word(text, at, end, model.rules, word)
    if word.numbers[CHARACTERS] > 0:
        position = _write_word(model, table, word, out, position, base)
    return stop, position


@inlined
def _isolated_at(
    text: Bytes, at: int, model: Model, table: WordTable, word: Word, out: Tokens, position: int, base: int
) -> tuple[int, int]:
    """Write the id of the character at a position that is a word by itself; return where it ends, and where that does."""
    if text[at] < 0x80:
        return at + 1, _one_token(out, position, model.ascii_ids[text[at]], base, at, at + 1)
    width = kept_width(text, at, model.rules) if base < 0 and at + WIDTH <= len(text) else 0
    if width > 0:
        return at + width, _write_key(load_key(text, at, width, 0), width, model, table, word, out, position)
    stop = take_isolated(text, at, model.rules, word)
    return stop, _write_word(model, table, word, out, position, base)


@inlined
def _document(
    text: Bytes,
    start: int,
    end: int,
    model: Model,
    table: WordTable,
    word: Word,
    wanted: Wanted,
    out: Tokens,
    position: int,
) -> int:
    """Write the ids of ``text[start:end]``; return where they end."""
    base = start if wanted.byte_offsets else -1
    simple = base < 0 and not (wanted.lines and wanted.parse)
    odd = _NEWLINE if wanted.lines else _BRACKET if wanted.parse else 0
    fresh = wanted.lines
    at = start
    # Kept: text[start:at] is done, and its tokens end at `position`; `at` stands at a character's first byte and grows in every step. A
    # token is of at least one byte, so outputs of one place for each byte suffice. fresh: a line has begun and no token of it was written.
    while at < end:
        before = position
        kind = kind_of(text, at, model.rules)
        if kind == WORD:
            if simple and text[at] < 0x80:
                at, position = _plain_words(text, at, end, odd, model, table, word, out, position)
            if position == before:
                at, position = _word_at(text, at, end, model, table, word, out, position, base)
        elif kind == ISOLATED:
            token, stop = _special_at(model, text, at, end) if wanted.parse else (-1, at)
            if token >= 0:
                position = _one_token(out, position, token, base, at, stop)
                at = stop
            else:
                at, position = _isolated_at(text, at, model, table, word, out, position, base)
        else:
            fresh = fresh or (kind == NEWLINE and wanted.lines)
            at += width_of(text, at)
        if fresh and position > before:
            out.line_starts[before] = True
            fresh = False
    return position


@kernel
def tokenize(text: Bytes, bounds: Ints, model: Model, table: WordTable, word: Word, wanted: Wanted, out: Tokens) -> int:
    """Tokenize D documents.

    Parameters
    ----------
    text, bounds
        (C,) valid UTF-8, and (D + 1,) where documents begin in it, within [0, C].
    model, wanted
        What is known and what is asked for.
    table, word
        Words seen before, added to; room for the word at hand.
    out
        Outputs.

    Returns
    -------
    int
        Tokens written.
    """
    position = 0
    for document in range(len(bounds) - 1):
        out.offsets[document] = position
        position = _document(text, bounds[document], bounds[document + 1], model, table, word, wanted, out, position)
    out.offsets[len(bounds) - 1] = position
    return position
