"""Pre-tokens to the ids of byte pair encoding (Sennrich et al. 2016). Oracle: ``pieces_of`` in ``tests/oracle.py``.

A pre-token of 32 bytes or less is looked up in the word table; what is not there is merged, and kept. Those of ASCII are found, and asked
for, a window of text at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spanmask.kernels._jit import Bytes, Ints, inlined, kernel
from spanmask.kernels.entries import Entries, entry_of
from spanmask.kernels.merging import Merges, Symbols, add_symbol, merge_symbols, room_for, write_symbols
from spanmask.kernels.patterns import Splitter, pretoken_end, spaced_end
from spanmask.kernels.tokens import Tokens, begin_stretch, place_tokens, write_known
from spanmask.kernels.wide import BLOCK, WIDTH, load_key, prefetch, trailing_zeros
from spanmask.kernels.windows import window_starts
from spanmask.kernels.wordtable import WordTable, find, find_in, home_of, keep, key_of


class Model(NamedTuple):
    """What tokenizing needs to know.

    symbols: (256,) the id that a byte has at first, −1 for none. unknown: what a byte without one becomes, −1 for nothing; fused: whether
    several together become one. merges: those of symbols. whole: the entries that stand for a pre-token of their bytes whatever merges
    say, if any. sizes: (V,) the bytes that an id stands for, unless it is the unknown one.
    """

    symbols: Ints
    unknown: int
    fused: bool
    merges: Merges
    whole: Entries
    sizes: Ints


class Scratch(NamedTuple):
    """Room for what is at hand. symbols: a pre-token's; key: (32,) for one that ends near the text's end.

    lines: (64,) where those of a window lie in the word table.
    """

    symbols: Symbols
    key: Bytes
    lines: Ints


def scratch_for(symbols: int) -> Scratch:
    """Return room for a pre-token of so many symbols."""
    return Scratch(room_for(symbols), np.zeros(WIDTH, np.uint8), np.empty(BLOCK, np.int64))


@inlined
def _take_symbols(text: Bytes, at: int, stop: int, spaced: int, model: Model, scratch: Scratch) -> int:
    """Write the symbols of a pre-token, each linked to its neighbours; return how many there are."""
    count, unknown = 0, False
    for i in range(at - spaced, stop):
        symbol = model.symbols[0x20 if i < at else text[i]]
        if symbol >= 0:
            count = add_symbol(scratch.symbols, count, symbol)
        elif model.unknown >= 0 and not (unknown and model.fused):
            count = add_symbol(scratch.symbols, count, model.unknown)
        unknown = symbol < 0
    return count


@inlined
def _match(
    text: Bytes, at: int, stop: int, spaced: int, model: Model, scratch: Scratch, out: Tokens, position: int
) -> int:
    """Write the ids of a pre-token of at most R bytes; return where they end."""
    entry = entry_of(model.whole, text, at, stop)
    if entry >= 0:
        out.ids[position] = entry
        return position + 1
    count = _take_symbols(text, at, stop, spaced, model, scratch)
    merge_symbols(model.merges, scratch.symbols, count)
    return write_symbols(scratch.symbols, count, out.ids, position)


@inlined
def _pretoken(
    text: Bytes,
    at: int,
    stop: int,
    spaced: int,
    model: Model,
    table: WordTable,
    scratch: Scratch,
    out: Tokens,
    position: int,
) -> int:
    """Write the ids and word starts of a pre-token; return where they end. spaced: 1 if there is a space before it that the text lacks."""
    # Of two pre-tokens with one key, one has zeros behind what is the other.
    known = spaced + stop - at <= WIDTH and (stop == at or text[stop - 1] != 0)
    key = key_of(text, at, stop if known else at, spaced, scratch.key)
    if known:
        line = find(table, key)
        if line >= 0:
            return write_known(table, line, out, position)
    end = _match(text, at, stop, spaced, model, scratch, out, position)
    for i in range(position, end):
        out.word_starts[i] = i == position
    if known:
        keep(table, key, out.ids, position, end - position)
    return end


@inlined
def _next_end(
    text: Bytes, at: int, start: int, end: int, spaced: int, window: int, splitter: Splitter
) -> tuple[int, int]:
    """Return where the pre-token at a position ends, and what a window knows of those behind it, the first bit being that end."""
    if spaced:
        return spaced_end(text, at, end, splitter), 1
    if window == 1 and at + BLOCK <= len(text):
        window = window_starts(text, at, end, splitter)
    if window == 1:
        return pretoken_end(text, at, start, end, splitter), 1
    size = trailing_zeros(np.uint64(window - 1))
    return at + size, window >> size


@inlined
def _known_ones(
    text: Bytes, at: int, window: int, table: WordTable, scratch: Scratch, out: Tokens, position: int
) -> tuple[int, int, int]:
    """Write the ids of pre-tokens of a window up to one that the table has not; return where that begins, its window, and where ids end.

    All of their lines are asked for before the first is looked at. The caller guarantees ``at + BLOCK + WIDTH <= len(text)``.
    """
    ahead, place, count = window, at, 0
    while ahead != 1:
        size = trailing_zeros(np.uint64(ahead - 1))
        line = home_of(table, load_key(text, place, min(size, WIDTH), 0))
        prefetch(table.lines, line)
        scratch.lines[count] = line
        ahead, place, count = ahead >> size, place + size, count + 1
    for i in range(count):
        size = trailing_zeros(np.uint64(window - 1))
        if size > WIDTH or text[at + size - 1] == 0:
            break
        line = find_in(table, scratch.lines[i], load_key(text, at, size, 0))
        if line < 0:
            break
        position = write_known(table, line, out, position)
        at, window = at + size, window >> size
    return at, window, position


@kernel
def tokenize(
    text: Bytes,
    starts: Ints,
    ends: Ints,
    added: Ints,
    splitter: Splitter,
    model: Model,
    table: WordTable,
    scratch: Scratch,
    out: Tokens,
) -> int:
    """Tokenize P stretches.

    Parameters
    ----------
    text, starts, ends
        (C,) valid UTF-8, and (P,) where stretches start and end in it.
    added
        (P,) the id of an added token that a stretch is, or −1.
    splitter, model
        How stretches are split into pre-tokens, and these into tokens.
    table, scratch
        Pre-tokens seen before, added to; room for the one at hand.
    out
        Outputs; where its byte_offsets have room, each token's are bytes of ``text``, those of whole characters.

    Returns
    -------
    int
        Tokens written; −n where ``scratch`` has no room for a pre-token of n bytes.
    """
    position = 0
    for stretch in range(len(starts)):
        at, position = begin_stretch(stretch, starts, ends, added, out, position)
        end = ends[stretch]
        spaced = int(splitter.adds_space and at < end and text[at] != 0x20)
        window, plain = 1, len(out.byte_offsets) == 0
        while at < end:
            if window == 1 and spaced == 0 and plain and at + BLOCK + WIDTH <= len(text):
                began, window = at, window_starts(text, at, end, splitter)
                at, window, position = _known_ones(text, at, window, table, scratch, out, position)
                if window == 1 and at > began:
                    continue
            stop, window = _next_end(text, at, starts[stretch], end, spaced, window, splitter)
            if spaced + stop - at > len(scratch.symbols.ids):
                return int(at - stop - spaced)
            token_end = _pretoken(text, at, stop, spaced, model, table, scratch, out, position)
            if len(out.byte_offsets) > 0:
                place_tokens(text, at, spaced, end, model.sizes, out, position, token_end)
            at, position, spaced = stop, token_end, 0
    out.offsets[len(starts)] = position
    return position
