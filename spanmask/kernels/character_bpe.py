"""Pre-tokens to the ids of byte pair encoding, characters being what is merged at first and ▁ a space, as sentencepiece writes it.

No merge joins what a ▁ stands behind to it, so a pre-token is taken part by part: marks, and what is behind them up to the next one. A part
of 32 bytes or less is looked up in the word table; what is not there is merged (`spanmask.kernels.merging`), and kept. Oracle:
``pieces_of`` in ``tests/oracle.py``, which takes texts whole.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Flags, Ints, inlined, kernel, signed
from spanmask.kernels.merging import Merges, Symbols, add_symbol, merge_symbols, room_for, write_symbols
from spanmask.kernels.metaspace import SPACE, Metaspace, gap_width, is_marked, part_end, pretoken_end
from spanmask.kernels.text import read_code_point
from spanmask.kernels.tokens import Tokens, begin_stretch, place_known, place_token, write_known
from spanmask.kernels.wide import WIDTH
from spanmask.kernels.wordtable import WordTable, find, keep, key_of


class Model(NamedTuple):
    """What merging needs to know.

    symbols: (0x110000,) int32, the id that a character has at first, −1 for none; a space has that of a mark where text is marked.
    byte_ids: (256,) what stands for a byte of a character without one, or (0,). unknown: what stands for the character otherwise; fused:
    whether for several together. merges: which pairs merge. sizes: (V,) bytes that an id stands for, a mark being one, or `NO_SIZE`.
    """

    symbols: npt.NDArray[np.int32]
    byte_ids: Ints
    unknown: int
    fused: bool
    merges: Merges
    sizes: Ints


class Scratch(NamedTuple):
    """Room for a part of R symbols. symbols: theirs; starts: (R + 1,) where each begins in the text, and the end; key: (32,)."""

    symbols: Symbols
    starts: Ints
    key: Bytes


def scratch_for(symbols: int) -> Scratch:
    """Return room for a part of so many symbols."""
    return Scratch(room_for(symbols), np.empty(symbols + 1, np.int64), np.zeros(WIDTH, np.uint8))


@inlined
def _take_symbols(text: Bytes, at: int, stop: int, spaced: int, model: Model, scratch: Scratch) -> int:
    """Write the symbols of a part, each linked to its neighbours; return how many there are."""
    count, unknown = 0, False
    if spaced:
        scratch.starts[0] = at
        count = add_symbol(scratch.symbols, 0, signed(model.symbols[SPACE]))
    while at < stop:
        point, width = signed(text[at]), 1
        if point >= 0x80:
            point, width = read_code_point(text, at)
        symbol = signed(model.symbols[point])
        for i in range(width if symbol < 0 and len(model.byte_ids) > 0 else 1):
            if symbol >= 0 or len(model.byte_ids) > 0 or not (unknown and model.fused):
                scratch.starts[count] = at + i
                wanted = model.byte_ids[text[at + i]] if len(model.byte_ids) > 0 else model.unknown
                count = add_symbol(scratch.symbols, count, symbol if symbol >= 0 else wanted)
        unknown = symbol < 0
        at += width
    scratch.starts[count] = stop
    return count


@inlined
def _place(text: Bytes, scratch: Scratch, out: Tokens, position: int, token_end: int) -> None:
    """Write which bytes the tokens of a part that was merged stand for."""
    symbol = 0
    for i in range(position, token_end):
        after = scratch.symbols.after[symbol]
        # A mark that the text lacks stands for the character behind it, and each byte for all of its character.
        place_token(text, scratch.starts[symbol], scratch.starts[after], len(text), out, i)
        symbol = after


@inlined
def _part(
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
    """Write the ids and places of a part of a pre-token; return where they end. spaced: 1 if a mark goes in front."""
    # Of two parts with one key, one has zeros behind what is the other.
    known = spaced + stop - at <= WIDTH and text[stop - 1] != 0
    key = key_of(text, at, stop if known else at, spaced, scratch.key)
    if known:
        line = find(table, key)
        if line >= 0:
            end = write_known(table, line, out, position)
            if len(out.byte_offsets) == 0 or place_known(text, at, stop, spaced, model.sizes, out, position, end):
                return end
    count = _take_symbols(text, at, stop, spaced, model, scratch)
    merge_symbols(model.merges, scratch.symbols, count)
    end = write_symbols(scratch.symbols, count, out.ids, position)
    for i in range(position, end):
        out.word_starts[i] = i == position
    if len(out.byte_offsets) > 0:
        _place(text, scratch, out, position, end)
    if known:
        keep(table, key, out.ids, position, end - position)
    return end


@kernel
def tokenize(
    text: Bytes,
    starts: Ints,
    ends: Ints,
    heads: Flags,
    added: Ints,
    splitter: Metaspace,
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
    heads
        (P,) whether a stretch begins a document.
    added
        (P,) the id of an added token that a stretch is, or −1.
    splitter, model
        How stretches are split into pre-tokens, and these into tokens.
    table, scratch
        Parts seen before, added to; room for the one at hand.
    out
        Outputs; where its byte_offsets have room, each token's are bytes of ``text``, those of whole characters.

    Returns
    -------
    int
        Tokens written; −n where ``scratch`` has no room for a part of n symbols.
    """
    position = 0
    for stretch in range(len(starts)):
        at, position = begin_stretch(stretch, starts, ends, added, out, position)
        start, end, stop = starts[stretch], ends[stretch], at
        while at < end:
            gap = gap_width(text, at, splitter) if at == stop else 0
            if gap > 0:
                at, stop = at + gap, at + gap
                continue
            spaced, begins = 0, at == stop
            if begins:
                stop = pretoken_end(text, at, end, splitter)
                spaced = int(is_marked(text, at, start, heads[stretch], splitter))
            after = part_end(text, at, stop, splitter)
            size: int = spaced + after - at
            if size > len(scratch.symbols.ids):
                return -size
            first = position
            position = _part(text, at, after, spaced, model, table, scratch, out, position)
            out.word_starts[first] = begins
            at = after
    out.offsets[len(starts)] = position
    return position
