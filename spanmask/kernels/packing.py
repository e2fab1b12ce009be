"""Best-fit assignment of rows to bins. Where numba is missing it runs as it stands, interpreted."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spanmask.kernels._jit import inlined, kernel
from spanmask.kernels.spans import Ints

#: How many open bins a row is tried in. Bins that are out of another capacity than tokens could otherwise be tried by every row.
TRIES = 32


class Needs(NamedTuple):
    """What S rows take of a bin: tokens (from 1), MLM slots, SBO slots; (S,) each."""

    tokens: Ints
    mlm: Ints
    sbo: Ints


class Rooms(NamedTuple):
    """What a bin offers."""

    tokens: int
    mlm: int
    sbo: int
    sequences: int


@kernel
def sort_descending(values: Ints, largest: int, order: Ints) -> None:
    """Write the order of values from 0 to ``largest``, the largest first, equal ones as they come. order: (S,)."""
    places = np.zeros(largest + 2, np.int64)
    for value in values:
        places[largest - value + 1] += 1
    for k in range(largest):
        places[k + 1] += places[k]
    for i in range(len(values)):
        place = largest - values[i]
        order[places[place]] = i
        places[place] += 1


class Open(NamedTuple):
    """Bins that may take more.

    heads: (tokens of a bin + 1,), by tokens left, the bin used last of those with so many, or −1; following: (≥ n,) the one used before it.
    mlm, sbo, sequences: (≥ n,) what is left of the other capacities.
    """

    heads: Ints
    following: Ints
    mlm: Ints
    sbo: Ints
    sequences: Ints


@inlined
def _fits(needs: Needs, row: int, place: int, bins: Open) -> bool:
    return bool(needs.mlm[row] <= bins.mlm[place] and needs.sbo[row] <= bins.sbo[place])


@inlined
def _find(needs: Needs, row: int, most: int, bins: Open) -> Any:
    """Return the tokens left, the bin before it in its list or −1, and the bin itself, or −1 where no bin has room for a row.

    No open bin has more than ``most`` tokens left.
    """
    tried = 0
    left: Any = needs.tokens[row]
    while left <= most:
        before, place = -1, bins.heads[left]
        while place >= 0 and tried < TRIES:
            if _fits(needs, row, place, bins):
                return left, before, place
            before, place = place, bins.following[place]
            tried += 1
        if place >= 0:
            break
        left += 1
    emptiest: Any = most
    while emptiest > left and bins.heads[emptiest] < 0:
        emptiest -= 1
    if left <= emptiest and _fits(needs, row, bins.heads[emptiest], bins):
        return emptiest, -1, bins.heads[emptiest]
    return left, -1, -1


@kernel
def best_fit(needs: Needs, rooms: Rooms, order: Ints, bin_of: Ints, openers: Ints) -> int:
    """Assign S rows in the given order, each to the bin with the fewest tokens left that has room for all it needs; else to a new bin.

    Of bins with as many tokens left, the one used last comes first. At most `TRIES` bins are tried and, where more have tokens enough, the
    one with the most left. Every row alone must fit a bin. bin_of: (S,) the bin of each row; openers: (≥ bins,) the first row of each.
    Returns how many bins there are. Oracle: ``best_fit``.
    """
    size = len(order)
    heads = np.full(rooms.tokens + 1, -1, np.int64)
    bins = Open(
        heads, *(np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64))
    )
    count, most = 0, -1
    for row in order:
        left, before, place = _find(needs, row, most, bins)
        if place < 0:
            left, place = rooms.tokens, count
            bins.mlm[place], bins.sbo[place], bins.sequences[place] = rooms.mlm, rooms.sbo, rooms.sequences
            openers[place] = row
            count += 1
        elif before < 0:
            heads[left] = bins.following[place]
        else:
            bins.following[before] = bins.following[place]
        bin_of[row] = place
        bins.mlm[place] -= needs.mlm[row]
        bins.sbo[place] -= needs.sbo[row]
        bins.sequences[place] -= 1
        left -= needs.tokens[row]
        if bins.sequences[place] > 0 and left > 0:
            bins.following[place] = heads[left]
            heads[left] = place
            most = max(most, left)
    return count


@kernel
def list_members(bin_of: Ints, openers: Ints, offsets: Ints, members: Ints) -> None:
    """Write the rows of n bins, bin by bin, ascending in each; bins in the order of the rows that opened them.

    offsets: (n + 1,), zeros; members: (S,).
    """
    bins = len(offsets) - 1
    number = np.empty(bins, np.int64)
    count = 0
    for row in range(len(bin_of)):
        if openers[bin_of[row]] == row:
            number[bin_of[row]] = count
            count += 1
    for place in bin_of:
        offsets[number[place] + 1] += 1
    for k in range(bins):
        offsets[k + 1] += offsets[k]
    places = offsets[:bins].copy()
    for row in range(len(bin_of)):
        place = number[bin_of[row]]
        members[places[place]] = row
        places[place] += 1
