"""Pre-tokens to the ids of a Unigram model: those of the best way to spell one (`spanmask.kernels.viterbi`).

A pre-token of 31 bytes or less, a mark in front not counted, is looked up in the word table; what is not there is spelled, and kept. Those
of ASCII are found, and asked for, a window of text at a time. Oracle: ``best_pieces`` in ``tests/oracle.py``.
"""

from __future__ import annotations

import numpy as np

from spanmask.kernels._jit import Bytes, Flags, Ints, inlined, kernel
from spanmask.kernels.characters import width_of
from spanmask.kernels.metaspace import SPACE, Metaspace, gap_width, is_marked, mark_width, pretoken_end, window_starts
from spanmask.kernels.tokens import Tokens, begin_stretch, place_known, write_known
from spanmask.kernels.viterbi import Model, Scratch, find_ways, turn, whole_piece
from spanmask.kernels.wide import BLOCK, WIDTH, Key, load_key, prefetch, trailing_zeros
from spanmask.kernels.wordtable import WordTable, find_in, home_of, keep, key_of

#: Bytes of a pre-token that is looked up. Their number, and whether there is a mark, is the last byte of the key: zeros at its end count.
_KNOWN = WIDTH - 1
_LAST_BYTE = np.uint64(56)


@inlined
def _spell(text: Bytes, at: int, stop: int, marked: bool, splitter: Metaspace, scratch: Scratch) -> int:
    """Write ``text[at:stop]`` as pieces spell it; return its bytes. marked: whether a mark goes in front."""
    size = 0
    if marked:
        scratch.bytes[0] = SPACE
        size = 1
    while at < stop:
        width = mark_width(text, at, splitter)
        scratch.bytes[size] = SPACE if width > 0 else text[at]
        size += 1
        at += max(width, 1)
    return size


@inlined
def _write_bytes(scratch: Scratch, start: int, stop: int, model: Model, out: Tokens, position: int) -> int:
    """Write what stands for the bytes of a part of a pre-token; return where that ends, −1 where one of them has nothing."""
    for at in range(start, stop):
        byte = scratch.bytes[at]
        # A mark is more bytes than the one it is spelled as.
        for i in range(len(model.mark) if byte == SPACE else 1):
            token = model.byte_ids[model.mark[i] if byte == SPACE else byte]
            if token < 0:
                return -1
            out.ids[position] = token
            position += 1
    return position


@inlined
def _write_unknown(scratch: Scratch, start: int, stop: int, model: Model, out: Tokens, position: int) -> int:
    """Write what stands for an unknown part of a pre-token; return where that ends."""
    piece = whole_piece(scratch, start, stop, model)
    if piece < 0:
        end = _write_bytes(scratch, start, stop, model, out, position)
        if end >= 0:
            return end
    out.ids[position] = piece if piece >= 0 else model.unknown
    return position + 1


@inlined
def _advance(text: Bytes, at: int, size: int, splitter: Metaspace) -> int:
    """Return where ``size`` bytes as pieces spell them end in the text."""
    for _ in range(size):
        at += max(mark_width(text, at, splitter), 1)
    return at


@inlined
def _place(
    text: Bytes, at: int, start: int, stop: int, marked: bool, splitter: Metaspace, out: Tokens, first: int, end: int
) -> int:
    """Write which bytes the tokens of a part of a pre-token stand for: from ``at`` on; return where that ends.

    A mark that the text does not have stands for the character behind it, and takes nothing of it away.
    """
    size = stop - start
    after = _advance(text, at, size - 1 if marked and start == 0 else size, splitter)
    shown = at + width_of(text, at) if after == at else after
    for i in range(first, end):
        out.byte_offsets[i, 0], out.byte_offsets[i, 1] = at, shown
    return after


@inlined
def _match(
    text: Bytes,
    at: int,
    stop: int,
    marked: bool,
    splitter: Metaspace,
    model: Model,
    scratch: Scratch,
    out: Tokens,
    position: int,
) -> int:
    """Write the ids of the pre-token ``text[at:stop]``; return where they end."""
    size = _spell(text, at, stop, marked, splitter, scratch)
    find_ways(scratch, size, model)
    turn(scratch, size)
    start = 0
    # Kept: the tokens of the first `start` bytes are written, and stand for the text before `at`.
    while start < size:
        end, first = scratch.before[start], position
        token = scratch.ids[end]
        if token == model.unknown:
            while end < size and scratch.ids[scratch.before[end]] == token:
                end = scratch.before[end]
            position = _write_unknown(scratch, start, end, model, out, position)
        else:
            out.ids[position] = token
            position += 1
        if len(out.byte_offsets) > 0:
            at = _place(text, at, start, end, marked, splitter, out, first, position)
        start = end
    return position


@inlined
def _tagged(key: Key, size: int, spelled: bool) -> Key:
    """Return the key of a pre-token, given that of its bytes without a mark in front. Its first word is not 0, which an empty line has."""
    return key[0] + np.uint64(1), key[1], key[2], key[3] | np.uint64(2 * size + spelled) << _LAST_BYTE


@inlined
def _known_one(
    text: Bytes,
    at: int,
    stop: int,
    spelled: bool,
    line: int,
    key: Key,
    model: Model,
    table: WordTable,
    out: Tokens,
    position: int,
) -> int:
    """Write the ids of a pre-token whose home is given; return where they end, −1 where the table has not all that is wanted."""
    line = find_in(table, line, key)
    if line < 0:
        return -1
    end = write_known(table, line, out, position)
    if len(out.byte_offsets) == 0:
        return end
    # A mark of the text is one of the bytes that pieces spell.
    lacking = int(spelled and text[at] != SPACE)
    return end if place_known(text, at, stop, lacking, model.sizes, out, position, end) else -1


@inlined
def _pretoken(
    text: Bytes,
    at: int,
    stop: int,
    marked: bool,
    splitter: Metaspace,
    model: Model,
    table: WordTable,
    scratch: Scratch,
    out: Tokens,
    position: int,
) -> int:
    """Write the ids and word starts of the pre-token ``text[at:stop]``; return where they end."""
    # In a pre-token of a splitter that splits at marks there is one in front alone.
    width = mark_width(text, at, splitter)
    size, spelled = stop - at - width, marked or width > 0
    known = size <= _KNOWN and (splitter.split or splitter.white)
    if known:
        key = _tagged(key_of(text, at + width, stop, 0, scratch.bytes), size, spelled)
        end = _known_one(text, at, stop, spelled, home_of(table, key), key, model, table, out, position)
        if end >= 0:
            return end
    end = _match(text, at, stop, marked, splitter, model, scratch, out, position)
    for i in range(position, end):
        out.word_starts[i] = i == position
    if known:
        keep(table, key, out.ids, position, end - position)
    return end


@inlined
def _next_of(
    text: Bytes, at: int, starts: int, breaks: int, start: int, head: bool, splitter: Metaspace
) -> tuple[int, int, int, bool]:
    """Return where the first pre-token of a window starts, where what is behind its mark does, how much that is, and if it has a mark."""
    place = trailing_zeros(np.uint64(starts))
    width = breaks >> place & 1
    size = trailing_zeros(np.uint64(breaks >> place + 1)) + 1 - width
    first = at + place
    return first, first + width, size, width > 0 or is_marked(text, first, start, head, splitter)


@inlined
def _known_ones(
    text: Bytes,
    at: int,
    start: int,
    end: int,
    head: bool,
    splitter: Metaspace,
    model: Model,
    table: WordTable,
    scratch: Scratch,
    out: Tokens,
    position: int,
) -> tuple[int, int, bool]:
    """Write the ids of pre-tokens of a window up to one that is not known; return where that begins, where ids end, and if there is none.

    All of their lines are asked for before the first is looked at. The caller guarantees ``at + BLOCK + WIDTH <= len(text)``.
    """
    starts, breaks, sure = window_starts(text, at, end, splitter)
    ahead, count = starts, 0
    while ahead != 0:
        _, behind, size, spelled = _next_of(text, at, ahead, breaks, start, head, splitter)
        key = _tagged(load_key(text, behind, min(size, WIDTH), 0), size, spelled)
        scratch.lines[count] = home_of(table, key)
        prefetch(table.lines, scratch.lines[count])
        ahead, count = ahead & (ahead - 1), count + 1
    for i in range(count):
        first, behind, size, spelled = _next_of(text, at, starts, breaks, start, head, splitter)
        if size > _KNOWN:
            return first, position, False
        key = _tagged(load_key(text, behind, size, 0), size, spelled)
        after = _known_one(text, first, behind + size, spelled, scratch.lines[i], key, model, table, out, position)
        if after < 0:
            return first, position, False
        position, starts = after, starts & (starts - 1)
    return at + sure, position, sure > 0


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
        How stretches are split into pre-tokens, and these into pieces.
    table, scratch
        Pre-tokens seen before, added to; room for the one at hand.
    out
        Outputs; where its byte_offsets have room, each token's are bytes of ``text``.

    Returns
    -------
    int
        Tokens written; −n where ``scratch`` has no room for a pre-token that pieces spell in n bytes.
    """
    position = 0
    for stretch in range(len(starts)):
        at, position = begin_stretch(stretch, starts, ends, added, out, position)
        start, end = starts[stretch], ends[stretch]
        ahead = splitter.split or splitter.white
        while at < end:
            if ahead and at + BLOCK + WIDTH <= len(text):
                at, position, ahead = _known_ones(
                    text, at, start, end, heads[stretch], splitter, model, table, scratch, out, position
                )
                continue
            gap = gap_width(text, at, splitter)
            if gap > 0:
                at += gap
                continue
            stop = pretoken_end(text, at, end, splitter)
            size: int = stop - at + 1
            if size >= len(scratch.ids):
                return -size
            marked = is_marked(text, at, start, heads[stretch], splitter)
            position = _pretoken(text, at, stop, marked, splitter, model, table, scratch, out, position)
            at, ahead = stop, splitter.split or splitter.white
    out.offsets[len(starts)] = position
    return position
