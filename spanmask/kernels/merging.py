"""Symbols to those that merges leave of them, in byte pair encoding (Sennrich et al. 2016). Oracle: ``pieces_of`` in ``tests/oracle.py``.

As the `tokenizers` library does it: the merge of the lowest rank comes first, the leftmost of equals. Few symbols are merged by looking
for the lowest rank again and again, many by a heap of all merges that may come, so that a million take near linear time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Ints, inlined, signed

#: Symbols at most for which looking for the lowest rank again and again is faster than a heap.
SHORT = 64
#: Ids below it, nearly all that bytes have, are those whose pairs have a table of their own.
NEAR = 512
#: What stands for no merge in the table of the other pairs.
EMPTY = 0xFFFF_FFFF
#: Fibonacci hashing (Knuth, TAOCP 6.4), and the bits of a hash that a slot can hold.
SPREAD, MIDDLE = np.uint64(0x9E3779B97F4A7C15), np.uint64(16)

_HALF = np.uint64(32)
_LOW = 0xFFFF_FFFF
_PLACE = 6
_NONE = 1 << 62


class Merges(NamedTuple):
    """Which pairs of symbols become one. A merge is told by its rank.

    near: (NEAR · NEAR,) int32 the merge of ids left and right at ``left · NEAR + right``, −1 for none. slots: (S,) uint32, S a power of
    two: a merge in the low bits of ``mask``, the others those of ``pair · SPREAD >> 16``, or `EMPTY`; a pair, left · 2³² + right, lies at
    or behind ``pair · SPREAD >> shift``. pairs, ids: (M,) the pair of each merge, and what that becomes.
    """

    near: npt.NDArray[np.int32]
    slots: npt.NDArray[np.uint32]
    shift: np.uint64
    mask: int
    pairs: npt.NDArray[np.uint64]
    ids: Ints


class Symbols(NamedTuple):
    """Room for R symbols, R ≥ `SHORT`: ids, the merge with the next one, neighbours, (R,); heap (3 · R,)."""

    ids: Ints
    merges: Ints
    before: Ints
    after: Ints
    heap: Ints


def room_for(symbols: int) -> Symbols:
    """Return room for so many symbols."""
    ids, merges, before, after = np.empty((4, symbols), np.int64)
    return Symbols(ids, merges, before, after, np.empty(3 * symbols, np.int64))


@inlined
def add_symbol(symbols: Symbols, count: int, symbol: int) -> int:
    """Put a symbol behind so many; return how many there are then."""
    symbols.ids[count] = symbol
    symbols.before[count] = count - 1
    symbols.after[count] = count + 1
    return count + 1


@inlined
def _merge_of(merges: Merges, left: int, right: int) -> int:
    """Return the merge of a pair, or −1."""
    if (left | right) < NEAR:
        return signed(merges.near[np.uint64(left * NEAR + right)])
    pair = (np.uint64(left) << _HALF) | np.uint64(right)
    spread = pair * SPREAD
    slot, wanted = spread >> merges.shift, signed(spread >> MIDDLE)
    # Linear probing ends: at least half of the slots are empty. A slot holds a part of the hash, so that few others are looked up.
    while True:
        found = signed(merges.slots[slot])
        if found == EMPTY:
            return -1
        if (found ^ wanted) & (EMPTY ^ merges.mask) == 0:
            merge = found & merges.mask
            if merges.pairs[np.uint64(merge)] == pair:
                return merge
        slot = (slot + np.uint64(1)) & np.uint64(len(merges.slots) - 1)


@inlined
def _join(merges: Merges, symbols: Symbols, left: int, count: int) -> None:
    """Make a symbol and the one behind it one."""
    right = symbols.after[left]
    symbols.ids[left] = merges.ids[np.uint64(symbols.merges[left])]
    symbols.after[left] = symbols.after[right]
    symbols.ids[right] = -1
    if symbols.after[left] < count:
        symbols.before[symbols.after[left]] = left


@inlined
def _rate(merges: Merges, symbols: Symbols, left: int, count: int) -> int:
    """Find the merge of a symbol and the one behind it; return that · 2⁶ + place, `_NONE` where they do not merge."""
    right = symbols.after[left]
    merge = _merge_of(merges, symbols.ids[left], symbols.ids[right]) if right < count else -1
    symbols.merges[left] = merge
    return merge << _PLACE | left if merge >= 0 else _NONE


@inlined
def _merge_few(merges: Merges, symbols: Symbols, count: int) -> None:
    ranks = symbols.heap
    for i in range(count):
        ranks[i] = _rate(merges, symbols, i, count)
    # Kept: ranks[i] is that of symbol i and the one behind it, `_NONE` for one that went into another. Each turn takes a symbol away.
    while True:
        lowest = _NONE
        for i in range(count):
            lowest = min(lowest, ranks[i])
        if lowest == _NONE:
            break
        left = lowest & ((1 << _PLACE) - 1)
        ranks[symbols.after[left]] = _NONE
        _join(merges, symbols, left, count)
        ranks[left] = _rate(merges, symbols, left, count)
        if left > 0:
            before = symbols.before[left]
            ranks[before] = _rate(merges, symbols, before, count)


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
def _await(merges: Merges, symbols: Symbols, left: int, count: int, size: int) -> int:
    """Put the merge of a symbol and the one behind it on the heap, as rank · 2³² + place; return the heap's size."""
    if _rate(merges, symbols, left, count) == _NONE:
        return size
    return _push(symbols.heap, size, (symbols.merges[left] << 32) | left)


@inlined
def _merge_many(merges: Merges, symbols: Symbols, count: int) -> None:
    size = 0
    for i in range(count - 1):
        size = _await(merges, symbols, i, count, size)
    # Kept: the heap holds the merge of every pair of neighbours that has one, and others that were overtaken, whose rank is not that of the
    # pair now there. At most three are put there for each symbol: one at first, two when it goes into another.
    while size > 0:
        top = symbols.heap[0]
        size = _pop(symbols.heap, size)
        left = top & _LOW
        if symbols.ids[left] < 0 or symbols.merges[left] != top >> 32:
            continue
        symbols.merges[symbols.after[left]] = -1
        _join(merges, symbols, left, count)
        size = _await(merges, symbols, left, count, size)
        if left > 0:
            size = _await(merges, symbols, symbols.before[left], count, size)


@inlined
def merge_symbols(merges: Merges, symbols: Symbols, count: int) -> None:
    """Merge so many symbols: from the first on, ``after`` leads over those that are left."""
    if count <= SHORT:
        _merge_few(merges, symbols, count)
    else:
        _merge_many(merges, symbols, count)


@inlined
def write_symbols(symbols: Symbols, count: int, ids: npt.NDArray[Any], position: int) -> int:
    """Write the ids of the symbols that are left, from a position on; return where they end."""
    symbol = 0
    while symbol < count:
        ids[position] = symbols.ids[symbol]
        position += 1
        symbol = symbols.after[symbol]
    return position
