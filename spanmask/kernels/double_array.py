"""Pieces as a double array (Aoe 1989; its units joined by XOR, as Yata has them): one load for each byte of a walk, in little memory.

A node is a place. The unit at ``place ^ byte`` is that of the byte's edge if it says so: bits 0 to 8 hold the byte + 1 (0: nobody's), 9 to
35 the place of the node that the edge leads to (0: nothing follows), from 36 the number of the piece that ends there + 1. No two nodes have
one place, so the byte alone tells whose a unit is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spanmask.kernels._jit import Bytes, Flags, Ints, inlined, kernel, signed

#: Where walks start.
ROOT = 1
#: Units of a block, in which all edges of a node lie.
BLOCK = 256

_LABEL, _PLACE, _PIECE = 0x1FF, 9, 36
_PLACES = (1 << 27) - 1
#: Blocks that are searched for room; those before them stay as they are.
_OPEN = 2
#: Units for each edge at most, and blocks besides.
_SPARE, _MORE = 4, 16


@inlined
def follow(units: Ints, place: int, byte: int) -> int:
    """Return the unit of the edge by which a byte leaves a node, or 0."""
    unit = signed(units[place ^ byte])
    return unit if unit & _LABEL == byte + 1 else 0


@inlined
def place_of(unit: int) -> int:
    """Return the place of the node that an edge leads to."""
    return (unit >> _PLACE) & _PLACES


@inlined
def piece_of(unit: int) -> int:
    """Return the piece that ends at the node that an edge leads to, or −1."""
    return (unit >> _PIECE) - 1


class Room(NamedTuple):
    """What laying out needs. after, before: (U + 1,) the ring of free units, which begins and ends at U; taken: (U,) false.

    labels: (256,); queue: (more than the edges, 4) nodes, by depth: their pieces [first, last), alike in ``depth`` bytes, and their edge.
    """

    after: Ints
    before: Ints
    taken: Flags
    labels: Bytes
    queue: Ints


@inlined
def _open(room: Room, block: int) -> None:
    """Put a block's units at the end of the ring."""
    end = len(room.after) - 1
    for unit in range(block * BLOCK, (block + 1) * BLOCK):
        last = room.before[end]
        room.after[last], room.before[unit] = unit, last
        room.after[unit], room.before[end] = end, unit


@inlined
def _take(room: Room, unit: int) -> None:
    """Take a unit out of the ring."""
    before, after = room.before[unit], room.after[unit]
    room.after[before], room.before[after] = after, before


@inlined
def _close(units: Ints, room: Room, block: int) -> None:
    """Take what is left of a block out of the ring."""
    for unit in range(block * BLOCK, (block + 1) * BLOCK):
        if units[unit] == 0:
            _take(room, unit)


@inlined
def _find_place(units: Ints, room: Room, count: int) -> int:
    """Return a place whose units for the first ``count`` labels are in the ring, or 0."""
    end = len(room.after) - 1
    unit = room.after[end]
    while unit != end:
        place: int = unit ^ signed(room.labels[0])
        free = not room.taken[place]
        for k in range(1, count):
            free = free and units[place ^ signed(room.labels[k])] == 0
        if free:
            return place
        unit = room.after[unit]
    return 0


@inlined
def _label(text: Bytes, offsets: Ints, first: int, last: int, depth: int, room: Room) -> int:
    """Write the bytes that pieces go on with behind so many; return how many there are."""
    count = 0
    for piece in range(first, last):
        byte = text[offsets[piece] + depth]
        if count == 0 or room.labels[count - 1] != byte:
            room.labels[count] = byte
            count += 1
    return count


@inlined
def _put_edges(
    text: Bytes, offsets: Ints, node: int, place: int, units: Ints, room: Room, tail: int, count: int
) -> int:
    """Give a node its place and its edges, and queue the nodes that they lead to; return where the queue ends."""
    queue = room.queue
    first, last, depth, edge = queue[node, 0], queue[node, 1], queue[node, 2], queue[node, 3]
    room.taken[place] = True
    if edge >= 0:
        units[edge] |= place << _PLACE
    for k in range(count):
        unit, begin = place ^ signed(room.labels[k]), first
        units[unit] = signed(room.labels[k]) + 1
        _take(room, unit)
        while first < last and text[offsets[first] + depth] == room.labels[k]:
            first += 1
        queue[tail, 0], queue[tail, 1], queue[tail, 2], queue[tail, 3] = begin, first, depth + 1, unit
        tail += 1
    return tail


@kernel
def lay_out(text: Bytes, offsets: Ints, numbers: Ints, units: Ints, room: Room) -> int:
    """Lay out V different pieces, none of them empty.

    Parameters
    ----------
    text, offsets
        Their bytes, ascending, and (V + 1,) where each begins.
    numbers
        (V,) the number of each.
    units
        Output, (U,) zeros, U a multiple of `BLOCK`.
    room
        Room.

    Returns
    -------
    int
        Units used; −1 where there are too few.
    """
    end, queue = len(units), room.queue
    room.after[end], room.before[end] = end, end
    room.taken[0] = True
    queue[0, 0], queue[0, 1], queue[0, 2], queue[0, 3] = 0, len(numbers), 0, -1
    node, tail, blocks = 0, 1, 0
    # Kept: all nodes before `node` have their edges. By depth: what walks begin with lies close together.
    while node < tail:
        first = queue[node, 0]
        depth = queue[node, 2]
        if first < queue[node, 1] and offsets[first + 1] - offsets[first] == depth:
            units[queue[node, 3]] |= (numbers[first] + 1) << _PIECE
            queue[node, 0] += 1
        count = _label(text, offsets, queue[node, 0], queue[node, 1], depth, room)
        place = _find_place(units, room, count) if count > 0 else 0
        if count > 0 and place == 0:
            if (blocks + 1) * BLOCK > len(units):
                return -1
            _open(room, blocks)
            if blocks >= _OPEN:
                _close(units, room, blocks - _OPEN)
            # The first node with edges is the root.
            place = blocks * BLOCK if blocks > 0 else ROOT
            blocks += 1
        if count > 0:
            tail = _put_edges(text, offsets, node, place, units, room, tail, count)
        node += 1
    return max(blocks, 1) * BLOCK


def double_array_of(pieces: list[bytes]) -> Ints | None:
    """Return the units of different pieces, whose numbers are their places, empty ones left out; None where they cannot be laid out."""
    order = sorted((piece, number) for number, piece in enumerate(pieces) if piece)
    text = np.frombuffer(b"".join(piece for piece, _ in order), np.uint8)
    offsets = np.cumsum([0, *(len(piece) for piece, _ in order)])
    size = (len(text) * _SPARE // BLOCK + _MORE) * BLOCK
    if size > _PLACES:
        return None
    units = np.zeros(size, np.int64)
    after, before = np.empty((2, size + 1), np.int64)
    room = Room(
        after, before, np.zeros(size, np.bool_), np.empty(BLOCK, np.uint8), np.empty((len(text) + 2, 4), np.int64)
    )
    used = lay_out(text, offsets, np.array([number for _, number in order], np.int64), units, room)
    return units[:used].copy() if used > 0 else None
