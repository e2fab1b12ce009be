"""Best-fit assignment of rows to bins. Where numba is missing it runs as it stands, interpreted."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spanmask.kernels._jit import Ints, kernel


class Rooms(NamedTuple):
    """What a bin offers."""

    tokens: int
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


@kernel
def best_fit(tokens: Ints, rooms: Rooms, order: Ints, bin_of: Ints, openers: Ints) -> int:
    """Assign S rows in the given order, each to the bin with the fewest tokens left that has room for it; else to a new bin.

    Of bins with as many tokens left, the one used last comes first. tokens: (S,) of each row, from 1; every row alone must fit a bin.
    bin_of: (S,) the bin of each row; openers: (≥ bins,) the first row of each. Returns how many bins there are. Oracle: ``best_fit``.
    """
    # Bins that may take more, in one list for each number of tokens left: the bin used last, and before each the one used before it.
    heads = np.full(rooms.tokens + 1, -1, np.int64)
    before, sequences = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    count, most = 0, -1
    for row in order:
        left: Any = tokens[row]
        while left <= most and heads[left] < 0:
            left += 1
        if left <= most:
            place = heads[left]
            heads[left] = before[place]
        else:
            left, place = rooms.tokens, count
            sequences[place] = rooms.sequences
            openers[place] = row
            count += 1
        bin_of[row] = place
        sequences[place] -= 1
        left -= tokens[row]
        if sequences[place] > 0 and left > 0:
            before[place] = heads[left]
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
