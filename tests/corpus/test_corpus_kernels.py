"""Compiled scanning equals a literal reading of the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmask.kernels import text as kernels

#: Unicode's White_Space property, as PropList.txt lists it.
WHITE = {chr(code) for code in (*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B))}
WHITE |= {chr(code) for code in (0x2028, 0x2029, 0x202F, 0x205F, 0x3000)}

fragments = st.sampled_from(
    [
        *(character.encode() for character in sorted(WHITE)),
        *("a", "{", "}", "é", "\u200b", "\u180e", "\ufeff", "\x1c", "\0", "\U0001f600"),
        *(b"\n", b"\n", b"\r\n", b" ", b"\xe3\x80", b"\xc2", b"\xe2", b"\x80", b"\x85", b"\xff"),
    ]
).map(lambda fragment: fragment.encode() if isinstance(fragment, str) else fragment)
raw_bytes = st.lists(fragments, max_size=40).map(b"".join)

untimed = settings(deadline=None)  # the first call compiles


def is_blank(line: bytes) -> bool:
    return set(line.decode(errors="replace")) <= WHITE


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def lines_of(data: bytes) -> list[tuple[int, bytes]]:
    """Return each line's offset and content; nothing follows a last newline."""
    found, at = [], 0
    for line in data.split(b"\n"):
        found.append((at, line))
        at += len(line) + 1
    return found[:-1] if found[-1][1] == b"" else found


def documents_twin(data: bytes, sentences: bool, previous_blank: bool) -> tuple[list[int], bool]:
    starts = []
    for at, line in lines_of(data):
        if not is_blank(line) and (previous_blank or not sentences):
            starts.append(at)
        previous_blank = is_blank(line)
    return starts, previous_blank


@untimed
@given(raw_bytes, st.booleans(), st.booleans())
def test_documents_start_where_a_literal_reading_says(data: bytes, sentences: bool, previous_blank: bool) -> None:
    starts = np.full(kernels.count_newlines(array(data)) + 1, -1, np.int64)
    count, blank = kernels.find_documents(array(data), sentences, previous_blank, starts)
    assert (starts[:count].tolist(), bool(blank)) == documents_twin(data, sentences, previous_blank)


@untimed
@given(raw_bytes)
def test_newlines_are_counted(data: bytes) -> None:
    assert kernels.count_newlines(array(data)) == data.count(b"\n")


@untimed
@given(raw_bytes)
def test_filled_lines_and_braces_are_found(data: bytes) -> None:
    most = data.count(b"\n") + 1
    starts, ends, braced = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.bool_)
    count = kernels.find_lines(array(data), starts, ends, braced)
    expected = [(at, at + len(line), line) for at, line in lines_of(data) if not is_blank(line)]
    assert list(zip(starts[:count].tolist(), ends[:count].tolist(), strict=True)) == [line[:2] for line in expected]
    stripped = [line.strip(b" \t\r") for _, _, line in expected]
    assert braced[:count].tolist() == [line.startswith(b"{") and line.endswith(b"}") for line in stripped]


@untimed
@given(raw_bytes, st.integers(0, 200))
def test_looking_back_agrees_with_reading_forward(data: bytes, cut: int) -> None:
    line = data.rpartition(b"\n")[2]
    whole = kernels.line_before(array(b"\n" + data))
    assert whole == (kernels.BLANK if is_blank(line) else kernels.FILLED)
    seen = kernels.line_before(array(data[min(cut, len(data)) :]))
    assert seen in (whole, kernels.UNDECIDED)
    if min(cut, len(data)) + len(line) < len(data):
        assert seen == whole


@pytest.mark.parametrize("character", sorted(WHITE - {"\n"}))
def test_every_white_space_character_makes_a_blank_line(character: str) -> None:
    data = f"a\n{character}\nb".encode()
    starts = np.empty(3, np.int64)
    assert kernels.find_documents(array(data), True, True, starts)[0] == 2


@untimed
@given(st.lists(st.text(max_size=9), max_size=9))
def test_code_points_are_counted(texts: list[str]) -> None:
    raw = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, raw)], dtype=np.int64)
    counts = np.empty(len(raw), np.int64)
    kernels.count_code_points(array(b"".join(raw)), offsets, counts)
    assert counts.tolist() == [len(text) for text in texts]


@untimed
@given(raw_bytes, st.integers(0, 200), st.booleans(), st.booleans())
def test_the_first_document_from_a_position_on_is_the_one_of_a_whole_reading(
    data: bytes, at: int, sentences: bool, previous_blank: bool
) -> None:
    at = min(at, len(data))
    starts, blank = documents_twin(data, sentences, previous_blank)
    found = kernels.first_document(array(data), at, sentences, previous_blank)
    assert found == min((start for start in starts if start >= at), default=len(data))
    assert kernels.last_line_is_blank(array(data), previous_blank) == blank


@untimed
@given(st.lists(st.integers(0, 300), max_size=6))
def test_lines_of_any_length_end_at_their_newline(lengths: list[int]) -> None:
    data = b"".join(b"a" * length + b"\n" for length in lengths)
    starts = np.empty(len(lengths) + 1, np.int64)
    count, _ = kernels.find_documents(array(data), False, True, starts)
    assert starts[:count].tolist() == documents_twin(data, False, True)[0]
