"""The best of all ways to spell a pre-token with pieces: that whose scores have the largest sum (Kudo 2018, §3.2), by Viterbi's algorithm.

Sums are made as the `tokenizers` library makes them: in order, a float64 each, and what is found later has to be larger to be taken.
Oracle: ``best_pieces`` in ``tests/oracle.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Ints, inlined, signed
from spanmask.kernels.characters import width_of
from spanmask.kernels.double_array import ROOT, follow, piece_of, place_of
from spanmask.kernels.wide import BLOCK, WIDTH


class Model(NamedTuple):
    """What spelling needs to know.

    units: the pieces as a double array, ▁ as a space where text is marked. scores: (V,). unknown: the id of what no piece spells;
    unknown_score: of one character of it; byte_ids: (256,) what stands for a byte of it, or −1. mark: the bytes of a mark.
    sizes: (V,) bytes that a piece spells, or `NO_SIZE`.
    """

    units: Ints
    scores: npt.NDArray[np.float64]
    unknown: int
    unknown_score: float
    byte_ids: Ints
    mark: Bytes
    sizes: Ints


class Scratch(NamedTuple):
    """Room for a pre-token of R bytes. bytes: (R + WIDTH,) as pieces spell it; sums, before, ids: (R + 1,) the best way to each place.

    lines: (64,) where those of a window lie in the word table.
    """

    bytes: Bytes
    sums: npt.NDArray[np.float64]
    before: Ints
    ids: Ints
    lines: Ints


def scratch_for(size: int) -> Scratch:
    """Return room for a pre-token that pieces spell in so many bytes."""
    return Scratch(
        np.zeros(size + WIDTH, np.uint8),
        np.empty(size + 1, np.float64),
        np.empty(size + 1, np.int64),
        np.empty(size + 1, np.int64),
        np.empty(BLOCK, np.int64),
    )


@inlined
def _offer(scratch: Scratch, place: int, before: int, total: float, token: int) -> None:
    """Take a way to a place if it is the first or the best one."""
    if scratch.before[place] < 0 or total > scratch.sums[place]:
        scratch.before[place], scratch.sums[place], scratch.ids[place] = before, total, token


@inlined
def find_ways(scratch: Scratch, size: int, model: Model) -> None:
    """Find the best way to every place of a pre-token."""
    for place in range(size + 1):
        scratch.before[place] = -1
    scratch.sums[0] = 0.0
    start = 0
    # Kept: the best way to `start` is found, since every way there has been offered. There is one: a character is a piece or unknown.
    while start < size:
        here, end = scratch.sums[start], start + width_of(scratch.bytes, start)
        place, alone = ROOT, False
        for at in range(start, size):
            unit = follow(model.units, place, signed(scratch.bytes[at]))
            if unit == 0:
                break
            place, piece = place_of(unit), piece_of(unit)
            if piece >= 0:
                _offer(scratch, at + 1, start, model.scores[piece] + here, piece)
                alone = alone or at + 1 == end
            if place == 0:
                break
        if not alone:
            _offer(scratch, end, start, model.unknown_score + here, model.unknown)
        start = end


@inlined
def turn(scratch: Scratch, size: int) -> None:
    """Turn the way from the end of a pre-token round: ``before`` of a place on it is then the place behind, the end its own."""
    place, behind = size, size
    while place > 0:
        before = scratch.before[place]
        scratch.before[place] = behind
        place, behind = before, place
    scratch.before[0] = behind


@inlined
def whole_piece(scratch: Scratch, start: int, stop: int, model: Model) -> int:
    """Return the piece that is all of a part of a pre-token, or −1."""
    place, unit = ROOT, 0
    for at in range(start, stop):
        unit = follow(model.units, place, signed(scratch.bytes[at]))
        if unit == 0:
            return -1
        place = place_of(unit)
    return piece_of(unit)
