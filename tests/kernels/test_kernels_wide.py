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

WIDE_CLASSES, WIDE_KEY, WIDE_HOLDS = wide._wide_classes, wide._wide_load_key, wide._wide_holds_key
WIDE_LETTERS = wide._wide_letter_length
WIDE_LOW, WIDE_HIGH = wide._wide_trailing_zeros, wide._wide_leading_zeros
WIDE_MASKS = wide._wide_byte_masks
WIDE_COPY, WIDE_START = wide._wide_copy_ids, wide._wide_start_word

BYTES = st.binary(min_size=96, max_size=96).map(lambda data: np.frombuffer(data, np.uint8))
WORDS = st.text("azAZ09 -", min_size=96, max_size=96).map(lambda text: np.frombuffer(text.encode(), np.uint8))


@njit(error_model="numpy")
def wide_classes(data, at, odd):  # type: ignore[no-untyped-def]
    return WIDE_CLASSES(data, at, odd)


@njit(error_model="numpy")
def wide_zeros(bits):  # type: ignore[no-untyped-def]
    return WIDE_LOW(bits), WIDE_HIGH(bits)


@njit(error_model="numpy")
def wide_holds(lines, at, key):  # type: ignore[no-untyped-def]
    return WIDE_HOLDS(lines, at, key)


@njit(error_model="numpy")
def wide_letters(data, at, fold):  # type: ignore[no-untyped-def]
    return WIDE_LETTERS(data, at, fold)


@njit(error_model="numpy")
def unbroken_length(data, at):  # type: ignore[no-untyped-def]
    return wide._wide_unbroken_length(data, at)


@njit(error_model="numpy")
def length_within(data, at, first, last):  # type: ignore[no-untyped-def]
    return wide._wide_length_within(data, at, first, last)


@njit(error_model="numpy")
def wide_masks(data, at):  # type: ignore[no-untyped-def]
    return WIDE_MASKS(data, at)


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


def bits_of(flags: list[bool]) -> int:
    """Return flags as bits, the first one lowest."""
    return sum(flag << place for place, flag in enumerate(flags))


@settings(deadline=None, max_examples=200)
@given(BYTES | WORDS, st.integers(0, 32), st.sampled_from([0, 0x0A, 0x5B]))
def test_bytes_are_classified_as_in_python_and_by_the_twin(data: np.ndarray, at: int, odd: int) -> None:
    characters = [chr(byte) for byte in data[at : at + 64].tolist()]
    words = [character.isascii() and character.isalnum() for character in characters]
    alone = ["!" <= character <= "~" and not word for character, word in zip(characters, words, strict=True)]
    white = [character in "\t\n\r " for character in characters]
    known = zip(characters, words, alone, white, strict=True)
    others = [ord(character) == odd or not any(of) for character, *of in known]
    expected = tuple(map(bits_of, (words, alone, others)))
    assert wide_classes(data, at, odd) == wide._plain_classes(data, at, odd) == expected


@pytest.mark.parametrize("bits", [0, 1, 2, 1 << 63, 3 << 40, (1 << 64) - 1, *(1 << place for place in range(64))])
def test_zeros_are_counted_from_both_ends(bits: int) -> None:
    value = np.uint64(bits)
    expected = (len(f"{bits:064b}") - len(f"{bits:064b}".rstrip("0")), 64 - bits.bit_length())
    assert wide_zeros(value) == (wide._plain_trailing_zeros(value), wide._plain_leading_zeros(value)) == expected


@settings(deadline=None, max_examples=100)
@given(BYTES, st.integers(0, 8), st.none() | st.integers(0, 255))
def test_a_line_holds_the_key_that_equals_all_of_its_bits(data: np.ndarray, at: int, bit: int | None) -> None:
    lines = data.view(np.uint64)
    words = [int(word) for word in lines[at : at + 4]]
    if bit is not None:
        words[bit // 64] ^= 1 << (bit % 64)
    key = tuple(map(np.uint64, words))
    assert wide_holds(lines, at, key) == wide._plain_holds_key(lines, at, key) == (bit is None)


#: What may begin white space or ▁: of ASCII every byte up to the space, which is more than White_Space has.
BREAKS = {*range(0x21), *("\x85\xa0\u1680\u2000\u2028\u205f\u3000▁"[k].encode()[0] for k in range(8)), 0xE2, 0xE3}
QUIET = st.lists(st.sampled_from([0x21, 0x7F, 0x80, 0xC1, 0xC3, 0xE0, 0xE4, 0xFF, 0x20]), min_size=96, max_size=96)


@settings(deadline=None, max_examples=200)
@given(BYTES | QUIET.map(lambda data: np.array(data, np.uint8)), st.integers(0, 64))
def test_unbroken_lengths_are_those_of_python_and_of_the_twin(data: np.ndarray, at: int) -> None:
    expected = next((n for n, byte in enumerate(data[at : at + 32].tolist()) if byte in BREAKS), 32)
    assert unbroken_length(data, at) == wide._plain_unbroken_length(data, at) == expected


@settings(deadline=None, max_examples=200)
@given(BYTES | WORDS, st.integers(0, 64), st.integers(0, 255), st.integers(0, 255))
def test_lengths_within_are_those_of_python_and_of_the_twin(data: np.ndarray, at: int, first: int, last: int) -> None:
    expected = next((n for n, byte in enumerate(data[at : at + 32].tolist()) if not first <= byte <= last), 32)
    assert length_within(data, at, first, last) == wide._plain_length_within(data, at, first, last) == expected


@settings(deadline=None, max_examples=200)
@given(BYTES | WORDS, st.integers(0, 64), st.sampled_from([0, 0x20]))
def test_letter_lengths_are_those_of_python_and_of_the_twin(data: np.ndarray, at: int, fold: int) -> None:
    letters = string.ascii_letters if fold else string.ascii_lowercase
    lanes = data[at : at + 32].tobytes()
    expected = next((n for n, byte in enumerate(lanes) if chr(byte) not in letters), len(lanes))
    assert wide_letters(data, at, fold) == wide._plain_letter_length(data, at, fold) == expected


#: Bytes of the classes that windows are sorted into, with their neighbours.
CLASSES = [
    *(string.ascii_letters, string.ascii_lowercase, string.digits, " ", "\t\v\f", "\n\r", "'"),
    "".join(map(chr, range(128, 256))),
]
WINDOWS = st.lists(st.sampled_from(b"\x08\t\n\v\f\r\x0e !'/09:@AMZ[`az{\x7f\x80\xff"), min_size=96, max_size=96)


@settings(deadline=None, max_examples=200)
@given(BYTES | WINDOWS.map(lambda data: np.frombuffer(bytes(data), np.uint8)), st.integers(0, 32))
def test_masks_of_bytes_are_those_of_python_and_of_the_twin(data: np.ndarray, at: int) -> None:
    window = [chr(byte) for byte in data[at : at + 63].tolist()]
    expected = tuple(sum((char in among) << i for i, char in enumerate(window)) for among in CLASSES)
    assert wide_masks(data, at) == wide._plain_byte_masks(data, at) == expected


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
