"""Which parts of a text a normalizer may change: everything else is left alone, whatever stands around it.

Each code point has an entry (`spanmask.tokenization.normalizing` makes them). A part holds what may change, and goes on both ways up to a
separator: a character that stays as it is and keeps what is before it from what is behind it, so that parts can be normalized alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Flags, Ints, copy, inlined, kernel, signed
from spanmask.kernels.text import read_code_point
from spanmask.kernels.wide import WIDTH, length_within

#: Layout of an entry. It may change though it stands alone; it separates, if it may be cut off on both sides; a text may be cut before it,
#: and behind it.
DOUBTFUL, SEPARATES, CUT_BEFORE, CUT_BEHIND = 1, 2, 4, 8
#: Bits 4 to 9: its rank among marks, which may change behind one of a higher rank; 0 for what has none.
RANK_SHIFT, RANK_MASK = 4, 63
#: Bits 10 to 15 and 16 to 21: it may change behind a character that has the same bit in the second six as it has in the first.
BEHIND_SHIFT, BEFORE_SHIFT, PAIRS = 10, 16, 6
#: The byte is the first of a longer character.
WIDE = 1 << 31

#: Bytes of a part that is remembered at most, and places that it may lie at.
SHORT, _TRIES = 7, 16

PAIR_MASK = (1 << PAIRS) - 1
#: The last byte that is seen, of ASCII's.
LAST_CALM = 0x7E


class Behaviour(NamedTuple):
    """What a normalizer does. entries: (0x110000,). of_bytes: (256,) those of ASCII, `WIDE` for other bytes.

    calm: the lowest byte from which on, up to 0x7E, none may change, alone or behind another. first, last: the entries that the start and
    the end of a stretch stand for.
    """

    entries: npt.NDArray[np.uint32]
    of_bytes: npt.NDArray[np.uint32]
    calm: int
    first: int
    last: int


class Parts(NamedTuple):
    """Room for parts: starts, ends, the stretch that each lies in; edges: 1 if it begins that, 2 if it ends it."""

    starts: Ints
    ends: Ints
    sources: Ints
    edges: Ints


class Remembered(NamedTuple):
    """What became of short parts. keys: (S,), 0 for none, S a power of two; numbers: (S,) of their results; edged: whether edges matter."""

    keys: Ints
    numbers: Ints
    edged: bool


@inlined
def _read(text: Bytes, at: int, behaviour: Behaviour) -> tuple[int, int]:
    """Return the entry of the character at a position, and its bytes."""
    byte = signed(text[at])
    if byte < 0x80:
        return signed(behaviour.of_bytes[byte]), 1
    point, width = read_code_point(text, at)
    return signed(behaviour.entries[point]), width


@inlined
def _before(text: Bytes, at: int) -> int:
    """Return where the character before a position begins."""
    at -= 1
    while text[at] & 0xC0 == 0x80:
        at -= 1
    return at


@inlined
def _changes(last: int, entry: int) -> bool:
    """Tell whether a character may change, alone or behind the one before it."""
    if entry & DOUBTFUL or (last >> BEFORE_SHIFT) & (entry >> BEHIND_SHIFT) & PAIR_MASK:
        return True
    rank = (entry >> RANK_SHIFT) & RANK_MASK
    return rank > 0 and (last >> RANK_SHIFT) & RANK_MASK > rank


@inlined
def _may_cut(last: int, entry: int) -> bool:
    return last & CUT_BEHIND != 0 and entry & CUT_BEFORE != 0


@inlined
def _separates(text: Bytes, at: int, start: int, end: int, behaviour: Behaviour) -> bool:
    """Tell whether the character at a position of a stretch is a separator."""
    entry, width = _read(text, at, behaviour)
    if entry & SEPARATES == 0:
        return False
    last = _read(text, _before(text, at), behaviour)[0] if at > start else behaviour.first
    following = _read(text, at + width, behaviour)[0] if at + width < end else behaviour.last
    return _may_cut(last, entry) and _may_cut(entry, following)


@inlined
def _is_left_alone(text: Bytes, at: int, calm: int, last: int, behaviour: Behaviour) -> bool:
    """Tell whether the bytes at a position are ASCII, which has no ranks, that stays as it is behind a character with an entry.

    calm: how many of them do before one that may not.
    """
    if signed(behaviour.of_bytes[text[at + calm]]) & (WIDE | DOUBTFUL):
        return False
    block, found, pairs = text[at : at + WIDTH], 0, 0
    for i in range(WIDTH):
        entry = signed(behaviour.of_bytes[block[i]])
        pairs |= (last >> BEFORE_SHIFT) & (entry >> BEHIND_SHIFT)
        found |= entry
        last = entry
    return found & (WIDE | DOUBTFUL) == 0 and pairs & PAIR_MASK == 0


@inlined
def _first_change(text: Bytes, at: int, end: int, last: int, behaviour: Behaviour) -> int:
    """Return the position of the first character that may change, ``end`` if the end may change what is before it, or −1.

    last: the entry of what is before the first.
    """
    while at < end:
        while at + WIDTH <= end:
            size = length_within(text, at, behaviour.calm, LAST_CALM)
            if size < WIDTH and _is_left_alone(text, at, size, last, behaviour):
                size = WIDTH
            if size > 0:
                last = signed(behaviour.of_bytes[text[at + size - 1]])
            at += size
            if size < WIDTH:
                break
        stop = min(at + WIDTH, end)
        while at < stop:
            entry, width = _read(text, at, behaviour)
            if _changes(last, entry):
                return at
            last = entry
            at += width
    return end if _changes(last, behaviour.last) else -1


@kernel
def find_parts(text: Bytes, starts: Ints, ends: Ints, ids: Ints, behaviour: Behaviour, parts: Parts) -> int:
    """Find the parts of stretches that have to be normalized.

    Parameters
    ----------
    text, starts, ends, ids
        P stretches of valid UTF-8, none of them empty; those with an id are not looked at.
    behaviour
        What the normalizer does.
    parts
        Output: parts that are not empty, ascending and apart, as many as there is room for.

    Returns
    -------
    int
        How many there are.
    """
    count = 0
    for source in range(len(starts)):
        start, end = starts[source], ends[source]
        at, last = start, behaviour.first
        while ids[source] < 0:
            change = _first_change(text, at, end, last, behaviour)
            if change < 0:
                break
            # Back to the separator before, which is not looked for twice: the next part begins behind the separator that ends this one.
            begin = change
            while begin > at:
                before = _before(text, begin)
                if _separates(text, before, start, end, behaviour):
                    break
                begin = before
            at = change
            while at < end and not _separates(text, at, start, end, behaviour):
                at += _read(text, at, behaviour)[1]
            if begin < at:
                if count < len(parts.starts):
                    parts.starts[count], parts.ends[count], parts.sources[count] = begin, at, source
                    parts.edges[count] = int(begin == start) | int(at == end) << 1
                count += 1
            if at == end:
                break
            last = CUT_BEFORE | CUT_BEHIND
    return count


@inlined
def _slot_of(remembered: Remembered, key: int) -> int:
    """Return where a key lies, or where it may be put, or −1 if there is no place for it."""
    mask = len(remembered.keys) - 1
    # Knuth's multiplier, for 31 bits, so that products fit in 63.
    slot = ((key ^ key >> 31) & 0x7FFFFFFF) * 2654435761 >> 16 & mask
    for _ in range(_TRIES):
        if remembered.keys[slot] in (key, 0):
            return slot
        slot = (slot + 1) & mask
    return -1


@inlined
def _key_of(text: Bytes, start: int, end: int, edges: int) -> int:
    """Return the key of a short part: its bytes, how many, and its edges."""
    key = (end - start) | edges << 3
    for at in range(end - 1, start - 1, -1):
        key = key << 8 | signed(text[at])
    return key


@kernel
def recall(text: Bytes, parts: Parts, remembered: Remembered, numbers: Ints) -> int:
    """Look up what became of parts. numbers: output, (Q,) which of the results, −1 for none; return how many of these there are."""
    lacking = 0
    for i in range(len(parts.starts)):
        start, end = parts.starts[i], parts.ends[i]
        number = -1
        if end - start <= SHORT:
            key = _key_of(text, start, end, parts.edges[i] if remembered.edged else 0)
            slot = _slot_of(remembered, key)
            if slot >= 0 and remembered.keys[slot] == key:
                number = remembered.numbers[slot]
        numbers[i] = number
        lacking += number < 0
    return lacking


@kernel
def remember(part: Bytes, edges: int, remembered: Remembered, number: int) -> None:
    """Note which of the results a short part became, if there is a place for it."""
    key = _key_of(part, 0, len(part), edges)
    slot = _slot_of(remembered, key)
    if slot >= 0:
        remembered.keys[slot] = key
        remembered.numbers[slot] = number


@kernel
def splice(
    text: Bytes, at: int, parts: Parts, numbers: Ints, results: Bytes, offsets: Ints, out: Bytes, changed: Flags
) -> None:
    """Write a text with parts replaced, from a position to the end of the last one.

    Parameters
    ----------
    text, at
        (C,), and from where.
    parts, numbers
        Q parts, and which of the results each becomes.
    results, offsets
        All results, one behind the other; (N + 1,) where each begins.
    out
        Output, as long as the text becomes.
    changed
        Output, (Q,): whether a part is not as it was.
    """
    size = 0
    for i in range(len(parts.starts)):
        start, end = parts.starts[i], parts.ends[i]
        first, last = offsets[numbers[i]], offsets[numbers[i] + 1]
        copy(text[at:start], out[size : size + start - at])
        size += start - at
        copy(results[first:last], out[size : size + last - first])
        size += last - first
        other = end - start != last - first
        for k in range(0 if other else end - start):
            other |= text[start + k] != results[first + k]
        changed[i] = other
        at = end
