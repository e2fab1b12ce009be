"""Wide loads and stores do what their twins on plain arrays do, at every place that their callers may ask for."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from spanmask.kernels import wide

pytestmark = pytest.mark.skipif(wide.PLAIN, reason="wide loads are switched off: there is nothing to compare")

WIDE_LENGTH, WIDE_LETTERS, WIDE_KEY = wide._wide_word_length, wide._wide_letter_length, wide._wide_load_key
WIDE_COPY, WIDE_START = wide._wide_copy_ids, wide._wide_start_word

BYTES = st.binary(min_size=96, max_size=96).map(lambda data: np.frombuffer(data, np.uint8))
WORDS = st.text("azAZ09 -", min_size=96, max_size=96).map(lambda text: np.frombuffer(text.encode(), np.uint8))


@njit(error_model="numpy")
def wide_length(data, at):  # type: ignore[no-untyped-def]
    return WIDE_LENGTH(data, at)


@njit(error_model="numpy")
def wide_letters(data, at, fold):  # type: ignore[no-untyped-def]
    return WIDE_LETTERS(data, at, fold)


@njit(error_model="numpy")
def wide_key(data, at, length, fold):  # type: ignore[no-untyped-def]
    return WIDE_KEY(data, at, length, fold)


@njit(error_model="numpy")
def wide_copy(lines, base, ids, position):  # type: ignore[no-untyped-def]
    WIDE_COPY(lines, base, ids, position)


@njit(error_model="numpy")
def wide_start(flags, position):  # type: ignore[no-untyped-def]
    WIDE_START(flags, position)


@njit(error_model="numpy")
def prefetched(units, at):  # type: ignore[no-untyped-def]
    wide._wide_prefetch(units, at)
    wide._plain_prefetch(units, at)
    return units.sum()


@pytest.mark.parametrize("at", [-(1 << 40), -1, 0, 31, 32, 1 << 40])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_prefetching_changes_nothing_and_fails_nowhere(kind: type[np.unsignedinteger], at: int) -> None:
    units = np.arange(32, dtype=kind)
    assert prefetched(units, at) == 496
    assert units.tolist() == list(range(32))


def word_length(data: bytes) -> int:
    """Return how many bytes from the first on are ASCII letters and digits."""
    return next((n for n, byte in enumerate(data) if not (byte < 128 and chr(byte).isalnum())), len(data))


@settings(deadline=None, max_examples=200)
@given(BYTES | WORDS, st.integers(0, 64))
def test_word_lengths_are_those_of_python_and_of_the_twin(data: np.ndarray, at: int) -> None:
    expected = word_length(data[at : at + 32].tobytes())
    assert wide_length(data, at) == wide._plain_word_length(data, at) == expected


@settings(deadline=None, max_examples=200)
@given(BYTES | WORDS, st.integers(0, 64), st.sampled_from([0, 0x20]))
def test_letter_lengths_are_those_of_python_and_of_the_twin(data: np.ndarray, at: int, fold: int) -> None:
    letters = string.ascii_letters if fold else string.ascii_lowercase
    lanes = data[at : at + 32].tobytes()
    expected = next((n for n, byte in enumerate(lanes) if chr(byte) not in letters), len(lanes))
    assert wide_letters(data, at, fold) == wide._plain_letter_length(data, at, fold) == expected


@settings(deadline=None, max_examples=200)
@given(BYTES, st.integers(0, 64), st.integers(0, 32), st.sampled_from([0, 0x20]))
def test_keys_hold_the_bytes_asked_for_and_zeros(data: np.ndarray, at: int, length: int, fold: int) -> None:
    expected = (data[at : at + length] | np.uint8(fold)).tobytes().ljust(32, b"\0")
    for load in (wide_key, wide._plain_load_key):
        assert b"".join(int(word).to_bytes(8, "little") for word in load(data, at, length, fold)) == expected


@settings(deadline=None, max_examples=50)
@given(BYTES, st.sampled_from([np.uint16, np.uint32]), st.integers(0, 9))
def test_ids_are_copied_from_the_second_half_of_a_line(data: np.ndarray, dtype: type, position: int) -> None:
    lines = np.frombuffer(data.tobytes()[:64] * 2, np.uint64).copy()
    for copy in (wide_copy, wide._plain_copy_ids):
        ids = np.full(30, 7, dtype)
        copy(lines, 8, ids, position)
        expected = np.full(30, 7, dtype)
        half = data[32:64].view(dtype)
        expected[position : position + len(half)] = half
        np.testing.assert_array_equal(ids, expected)


@pytest.mark.parametrize("start", [wide_start, wide._plain_start_word])
def test_a_word_starts_once_in_sixteen_flags(start) -> None:  # type: ignore[no-untyped-def]
    flags = np.ones(20, np.bool_)
    start(flags, 2)
    assert flags.tolist() == [True] * 3 + [False] * 15 + [True] * 2
