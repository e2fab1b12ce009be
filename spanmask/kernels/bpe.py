"""Pre-tokens to the ids of byte pair encoding (Sennrich et al. 2016). Oracle: ``pieces_of`` in ``tests/oracle.py``.

As the `tokenizers` library does it: the merge of the lowest rank comes first, the leftmost of equals. A pre-token of 32 bytes or less is
looked up in the word table; what is not there is merged, and kept. A short one is merged by looking for the lowest rank again and again, a
long one by a heap of all merges that may come, so that a pre-token of a megabyte takes near linear time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Ints, inlined, kernel, signed
from spanmask.kernels.patterns import Splitter, pretoken_end, spaced_end
from spanmask.kernels.tokens import Tokens, write_known
from spanmask.kernels.trie import FIRST, Trie, match
from spanmask.kernels.wide import BLOCK, WIDTH, Key, load_key, prefetch, trailing_zeros
from spanmask.kernels.windows import window_starts
from spanmask.kernels.wordtable import WordTable, find, find_in, home_of, keep

#: Symbols of a pre-token at most for which looking for the lowest rank again and again is faster than a heap.
SHORT = 64
#: What stands for no pair in a table of pairs.
EMPTY = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
#: Fibonacci hashing (Knuth, TAOCP 6.4).
SPREAD = np.uint64(0x9E3779B97F4A7C15)

_HALF = np.uint64(32)
_LOW = 0xFFFF_FFFF
_PLACE = 6
_NONE = 1 << 62


class Model(NamedTuple):
    """What merging needs to know.

    symbols: (256,) the id that a byte has at first, −1 for none. unknown: what a byte without one becomes, −1 for nothing; fused: whether
    several together become one. pairs: (S, 2) uint64, S a power of two: a pair's ids
    as left · 2³² + right, or `EMPTY`, and its rank · 2³² + the id of what it becomes; a pair lies at or behind ``pair · SPREAD >> shift``.
    whole: the entries that stand for a pre-token of their bytes whatever merges say; without edges where there are none.
    sizes: (V,) the bytes that an id stands for, unless it is the unknown one.
    """

    symbols: Ints
    unknown: int
    fused: bool
    pairs: npt.NDArray[np.uint64]
    shift: np.uint64
    whole: Trie
    sizes: Ints


class Scratch(NamedTuple):
    """Room for a pre-token of R symbols, R ≥ `SHORT`: ids, what merges with the next make, neighbours, (R,); heap (3 · R,).

    key: (32,) for a pre-token that ends near the text's end; lines: (64,) where those of a window lie in the word table.
    """

    ids: Ints
    merges: Ints
    before: Ints
    after: Ints
    heap: Ints
    key: Bytes
    lines: Ints


def scratch_for(symbols: int) -> Scratch:
    """Return room for a pre-token of so many symbols."""
    ids, merges, before, after = np.empty((4, symbols), np.int64)
    return Scratch(
        ids,
        merges,
        before,
        after,
        np.empty(3 * symbols, np.int64),
        np.zeros(WIDTH, np.uint8),
        np.empty(BLOCK, np.int64),
    )


@inlined
def _merge_of(model: Model, left: int, right: int) -> int:
    """Return the rank · 2³² + the id of what a pair becomes; −1 where it does not merge."""
    pairs, pair = model.pairs, (np.uint64(left) << _HALF) | np.uint64(right)
    slot = signed((pair * SPREAD) >> model.shift)
    # Linear probing ends: at least half of the slots are empty.
    while True:
        found = pairs[slot, 0]
        if found == pair:
            return signed(pairs[slot, 1])
        if found == EMPTY:
            return -1
        slot = (slot + 1) & (len(pairs) - 1)


@inlined
def _add(scratch: Scratch, count: int, symbol: int) -> int:
    scratch.ids[count] = symbol
    scratch.before[count] = count - 1
    scratch.after[count] = count + 1
    return count + 1


@inlined
def _take_symbols(text: Bytes, at: int, stop: int, spaced: int, model: Model, scratch: Scratch) -> int:
    """Write the symbols of a pre-token, each linked to its neighbours; return how many there are."""
    count, unknown = 0, False
    for i in range(at - spaced, stop):
        symbol = model.symbols[0x20 if i < at else text[i]]
        if symbol >= 0:
            count = _add(scratch, count, symbol)
        elif model.unknown >= 0 and not (unknown and model.fused):
            count = _add(scratch, count, model.unknown)
        unknown = symbol < 0
    return count


@inlined
def _join(scratch: Scratch, left: int, count: int) -> None:
    """Make a symbol and the one behind it one; `merges` says which."""
    right = scratch.after[left]
    scratch.ids[left] = scratch.merges[left] & _LOW
    scratch.after[left] = scratch.after[right]
    scratch.ids[right] = -1
    if scratch.after[left] < count:
        scratch.before[scratch.after[left]] = left


@inlined
def _rate(model: Model, scratch: Scratch, left: int, count: int) -> int:
    """Find what a symbol and the one behind it become; return their rank · 2⁶ + place, `_NONE` where they do not merge."""
    right = scratch.after[left]
    merge = _merge_of(model, scratch.ids[left], scratch.ids[right]) if right < count else -1
    scratch.merges[left] = merge
    return ((merge >> 32) << _PLACE) | left if merge >= 0 else _NONE


@inlined
def _merge_few(model: Model, scratch: Scratch, count: int) -> None:
    ranks = scratch.heap
    for i in range(count):
        ranks[i] = _rate(model, scratch, i, count)
    # Kept: ranks[i] is that of symbol i and the one behind it, `_NONE` for one that went into another. Each turn takes a symbol away.
    while True:
        lowest = _NONE
        for i in range(count):
            lowest = min(lowest, ranks[i])
        if lowest == _NONE:
            break
        left = lowest & ((1 << _PLACE) - 1)
        ranks[scratch.after[left]] = _NONE
        _join(scratch, left, count)
        ranks[left] = _rate(model, scratch, left, count)
        if left > 0:
            before = scratch.before[left]
            ranks[before] = _rate(model, scratch, before, count)


@inlined
def _push(heap: Ints, size: int, item: int) -> int:
    """Put an item into a heap of ``size``; return its new size."""
    at = size
    while at > 0 and heap[(at - 1) >> 1] > item:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = item
    return size + 1


@inlined
def _pop(heap: Ints, size: int) -> int:
    """Take the least item, ``heap[0]``, out of a heap of ``size``; return its new size."""
    size -= 1
    item, at = heap[size], 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= item:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = item
    return size


@inlined
def _await(model: Model, scratch: Scratch, left: int, count: int, size: int) -> int:
    """Put the merge of a symbol and the one behind it on the heap, as rank · 2³² + place; return the heap's size."""
    if _rate(model, scratch, left, count) == _NONE:
        return size
    return _push(scratch.heap, size, (scratch.merges[left] >> 32 << 32) | left)


@inlined
def _merge_many(model: Model, scratch: Scratch, count: int) -> None:
    size = 0
    for i in range(count - 1):
        size = _await(model, scratch, i, count, size)
    # Kept: the heap holds the merge of every pair of neighbours that has one, and others that were overtaken, whose rank is not that of the
    # pair now there. At most three are put there for each symbol: one at first, two when it goes into another.
    while size > 0:
        top = scratch.heap[0]
        size = _pop(scratch.heap, size)
        left = top & _LOW
        if scratch.ids[left] < 0 or scratch.merges[left] < 0 or scratch.merges[left] >> 32 != top >> 32:
            continue
        scratch.merges[scratch.after[left]] = -1
        _join(scratch, left, count)
        size = _await(model, scratch, left, count, size)
        if left > 0:
            size = _await(model, scratch, scratch.before[left], count, size)


@inlined
def _match(
    text: Bytes, at: int, stop: int, spaced: int, model: Model, scratch: Scratch, out: Tokens, position: int
) -> int:
    """Write the ids of a pre-token of at most R bytes; return where they end."""
    if len(model.whole.edges) > 0:
        entry, end = match(model.whole, text, at, stop, FIRST)
        if entry >= 0 and end == stop:
            out.ids[position] = entry
            return position + 1
    count = _take_symbols(text, at, stop, spaced, model, scratch)
    if count <= SHORT:
        _merge_few(model, scratch, count)
    else:
        _merge_many(model, scratch, count)
    symbol = 0
    while symbol < count:
        out.ids[position] = scratch.ids[symbol]
        position += 1
        symbol = scratch.after[symbol]
    return position


@inlined
def _key_of(text: Bytes, at: int, stop: int, spaced: int, scratch: Scratch) -> Key:
    if spaced == 0 and at + WIDTH <= len(text):
        return load_key(text, at, stop - at, 0)
    scratch.key[0] = 0x20
    for i in range(at, stop):
        scratch.key[spaced + i - at] = text[i]
    return load_key(scratch.key, 0, spaced + stop - at, 0)


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
    key = _key_of(text, at, stop if known else at, spaced, scratch)
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
def _continues(text: Bytes, at: int) -> bool:
    return signed(text[at]) & 0xC0 == 0x80


@inlined
def _place(
    text: Bytes, at: int, spaced: int, end: int, sizes: Ints, out: Tokens, position: int, token_end: int
) -> None:
    """Write which bytes the tokens of a pre-token stand for: those of whole characters. end: where its stretch does."""
    at -= spaced
    for i in range(position, token_end):
        # A space that the text lacks stands for the character behind it.
        start = at + spaced if i == position else at
        at += sizes[out.ids[i]]
        stop = max(at, start + 1)
        while _continues(text, start):
            start -= 1
        while stop < end and _continues(text, stop):
            stop += 1
        out.byte_offsets[i, 0], out.byte_offsets[i, 1] = start, stop


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
        out.offsets[stretch] = position
        at, end = starts[stretch], ends[stretch]
        if added[stretch] >= 0:
            out.ids[position] = added[stretch]
            out.word_starts[position] = True
            if len(out.byte_offsets) > 0:
                out.byte_offsets[position, 0], out.byte_offsets[position, 1] = at, end
            position += 1
            at = end
        spaced = int(splitter.adds_space and at < end and text[at] != 0x20)
        window, plain = 1, len(out.byte_offsets) == 0
        while at < end:
            if window == 1 and spaced == 0 and plain and at + BLOCK + WIDTH <= len(text):
                began, window = at, window_starts(text, at, end, splitter)
                at, window, position = _known_ones(text, at, window, table, scratch, out, position)
                if window == 1 and at > began:
                    continue
            stop, window = _next_end(text, at, starts[stretch], end, spaced, window, splitter)
            if spaced + stop - at > len(scratch.ids):
                return int(at - stop - spaced)
            token_end = _pretoken(text, at, stop, spaced, model, table, scratch, out, position)
            if len(out.byte_offsets) > 0:
                _place(text, at, spaced, end, model.sizes, out, position, token_end)
            at, position, spaced = stop, token_end, 0
    out.offsets[len(starts)] = position
    return position
