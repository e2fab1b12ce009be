"""The double array: a walk meets the pieces that a text begins with, and no others, however they crowd."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from spanmask.kernels import double_array
from spanmask.kernels.double_array import BLOCK, ROOT, double_array_of


@njit(error_model="numpy")
def walk(units, text, pieces):  # type: ignore[no-untyped-def]
    """Write the piece that ends at each place of a text, −1 for none; return how far the walk went."""
    place = ROOT
    for at in range(len(text)):
        unit = double_array.follow(units, place, np.int64(text[at]))
        if unit == 0:
            return at
        pieces[at] = double_array.piece_of(unit)
        place = double_array.place_of(unit)
    return len(text)


def assert_found(pieces: list[bytes], texts: list[bytes]) -> None:
    units = double_array_of(pieces)
    assert units is not None
    assert len(units) % BLOCK == 0
    numbers = {piece: number for number, piece in enumerate(pieces)}
    beginnings = {piece[:size] for piece in pieces for size in range(1, len(piece) + 1)}
    for text in texts:
        found = np.full(len(text), -1)
        size = walk(units, np.frombuffer(text, np.uint8), found)
        ends = range(1, len(text) + 1)
        assert size == next((end - 1 for end in ends if text[:end] not in beginnings), len(text))
        assert found.tolist() == [numbers.get(text[:end], -1) if end <= size else -1 for end in ends]


BYTES = st.lists(st.sampled_from([0, 1, 2, 3, 97, 98, 254, 255]), max_size=6).map(bytes) | st.binary(max_size=4)


@settings(deadline=None, max_examples=200)
@given(st.lists(BYTES, unique=True, max_size=30), st.lists(BYTES, max_size=8))
def test_a_walk_meets_the_pieces_that_a_text_begins_with(pieces: list[bytes], texts: list[bytes]) -> None:
    assert_found(pieces, [*texts, *pieces, *(piece + text for piece in pieces[:5] for text in texts)])


@pytest.mark.parametrize("size", [255, 256, 257, 5_000, 30_000])
def test_pieces_take_less_than_three_times_the_room_of_their_edges(size: int) -> None:
    draw = random.Random(size)
    pieces = list({draw.randbytes(draw.randrange(1, 4)) for _ in range(size)})
    assert_found(pieces, pieces[:200])
    units = double_array_of(pieces)
    assert units is not None
    edges = len({piece[:end] for piece in pieces for end in range(1, len(piece) + 1)})
    assert np.count_nonzero(units) == edges
    assert len(units) < 3 * edges + 4 * BLOCK


def test_every_byte_may_lead_on() -> None:
    assert_found([bytes([a, b]) for a in range(256) for b in range(256)], [bytes([7, b]) for b in range(256)])


def test_pieces_that_cannot_be_laid_out_are_refused() -> None:
    assert double_array_of([bytes(1 << 25), b"\1" * (1 << 24)]) is None
