"""Tokens to segments: held against a literal twin."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmask import sequencing
from spanmask.config import Segmentation, SequenceConfig
from spanmask.errors import CorpusError
from spanmask.records import Ranges, SequenceBlock, TokenizedBlock
from spanmask.sequencing import select, sequence


@dataclass
class Document:
    """n tokens: whether each starts a word, and a line; ranges of tokens, ascending and apart."""

    words: list[bool]
    lines: list[bool]
    ranges: list[tuple[int, int]]


@dataclass
class Twin:
    """Segments as (document, number, start, end) in tokens of the document, and what was counted."""

    segments: list[tuple[int, int, int, int]]
    dropped: int
    words_cut: int


def twin(documents: list[Document], config: SequenceConfig) -> Twin:
    """Cut as `sequence` says it, one token at a time."""
    room = config.max_tokens - 2
    found = Twin([], 0, 0)
    for index, document in enumerate(documents):
        n, start, number = len(document.words), 0, 0
        while start < n:
            end = _end(document, config, start, min(start + room, n))
            in_word = end < n and not document.words[end]
            if in_word and (start == 0 or document.words[start]):
                found.words_cut += 1
            if end - start + 2 >= config.min_tokens:
                found.segments.append((index, number, start, end))
            else:
                found.dropped += end - start
            start, number = end, number + 1
    return found


def _end(document: Document, config: SequenceConfig, start: int, furthest: int) -> int:
    """Return the last place from start + 1 to the furthest where a line starts, else a word, else the furthest."""
    if furthest == len(document.words):
        return furthest
    for flags in (document.lines if config.segmentation is Segmentation.SENTENCE else [], document.words):
        for place in range(furthest, start, -1):
            if flags and flags[place]:
                return place
    return furthest


@st.composite
def documents(draw: Any) -> Document:
    n = draw(st.integers(0, 40))
    common = draw(st.integers(1, 6))
    words = [draw(st.integers(0, common)) == 0 for _ in range(n)]
    lines = [word and draw(st.integers(0, 3)) == 0 for word in words]
    edges = sorted(set(draw(st.lists(st.integers(0, n), max_size=6))))
    ranges = [pair for pair in pairwise(edges) if draw(st.booleans())]
    return Document(words, lines, ranges)


@st.composite
def configs(draw: Any) -> SequenceConfig:
    max_tokens = draw(st.integers(3, 16))
    return SequenceConfig(
        segmentation=draw(st.sampled_from([Segmentation.FILL, Segmentation.SENTENCE])),
        max_tokens=max_tokens,
        min_tokens=draw(st.integers(0, max_tokens)),
    )


def tokenized(items: list[Document]) -> TokenizedBlock:
    offsets = np.cumsum([0, *(len(item.words) for item in items)])
    pairs = [pair for item in items for pair in item.ranges]
    return TokenizedBlock(
        token_ids=np.arange(offsets[-1], dtype=np.uint16),
        word_starts=np.array([flag for item in items for flag in item.words], np.bool_),
        document_offsets=offsets,
        line_starts=np.array([flag for item in items for flag in item.lines], np.bool_),
        annotations=Ranges(
            offsets=np.cumsum([0, *(len(item.ranges) for item in items)]),
            starts=np.array([a for a, _ in pairs], np.int64),
            ends=np.array([b for _, b in pairs], np.int64),
        ),
    )


def run(items: list[Document], config: SequenceConfig) -> SequenceBlock:
    ids = np.arange(100, 100 + len(items), dtype=np.uint64)
    return sequence(tokenized(items), ids, config)


CASES = given(items=st.lists(documents(), max_size=5), config=configs())


@settings(max_examples=100, deadline=None)
@CASES
def test_segments_are_those_of_the_literal_twin(items: list[Document], config: SequenceConfig) -> None:
    block, expected = run(items, config), twin(items, config)
    offsets = np.cumsum([0, *(len(item.words) for item in items)])
    assert list(
        zip(
            block.document_index.tolist(),
            block.segments.tolist(),
            block.starts.tolist(),
            block.ends.tolist(),
            strict=True,
        )
    ) == [
        (index, number, offsets[index] + start, offsets[index] + end) for index, number, start, end in expected.segments
    ]
    assert block.document_ids.tolist() == [100 + index for index, *_ in expected.segments]
    assert (block.dropped, block.words_cut) == ({"short_segment": expected.dropped}, expected.words_cut)


@settings(max_examples=40, deadline=None)
@CASES
def test_every_token_is_kept_or_counted_as_dropped(items: list[Document], config: SequenceConfig) -> None:
    block = run(items, config)
    kept = int((block.ends - block.starts).sum())
    assert kept + sum(block.dropped.values()) == sum(len(item.words) for item in items)


@settings(max_examples=40, deadline=None)
@CASES
def test_no_segment_crosses_a_document_or_the_limits(items: list[Document], config: SequenceConfig) -> None:
    block = run(items, config)
    offsets = np.cumsum([0, *(len(item.words) for item in items)])
    assert (block.starts >= offsets[block.document_index]).all()
    assert (block.ends <= offsets[block.document_index + 1]).all()
    lengths = block.ends - block.starts + 2
    assert (lengths <= config.max_tokens).all()
    assert (lengths >= max(config.min_tokens, 3)).all()


@settings(max_examples=40, deadline=None)
@CASES
def test_a_segment_ends_inside_a_word_only_where_the_word_fills_it(
    items: list[Document], config: SequenceConfig
) -> None:
    block = run(items, config)
    source = tokenized(items)
    ends_of_documents = set(source.document_offsets.tolist())
    for start, end in zip(block.starts.tolist(), block.ends.tolist(), strict=True):
        if end not in ends_of_documents and not source.word_starts[end]:
            assert end - start == config.max_tokens - 2
            assert not source.word_starts[start + 1 : end].any()


@settings(max_examples=100, deadline=None)
@CASES
def test_ranges_are_cut_at_segment_ends(items: list[Document], config: SequenceConfig) -> None:
    block, expected = run(items, config), twin(items, config)
    assert block.annotations is not None
    found = [
        list(zip(block.annotations.starts[a:b].tolist(), block.annotations.ends[a:b].tolist(), strict=True))
        for a, b in pairwise(block.annotations.offsets.tolist())
    ]
    assert found == [
        [(max(a, start) - start, min(b, end) - start) for a, b in items[index].ranges if a < end and b > start]
        for index, _, start, end in expected.segments
    ]


@pytest.mark.parametrize("segmentation", [Segmentation.FILL, Segmentation.SENTENCE])
@pytest.mark.parametrize("room", [1, 2, 3, 4, 7])
def test_the_worst_patterns_fit_the_room_allocated(segmentation: Segmentation, room: int) -> None:
    """A line, then a word, then a word too long: the pattern with the most segments for its tokens."""
    config = SequenceConfig(segmentation=segmentation, max_tokens=room + 2, min_tokens=0)
    for gap in range(1, 2 * room + 3):
        words = ([True, True] + [False] * gap) * 60
        lines = ([True, False] + [False] * gap) * 60
        items = [Document(words, lines, [])] * 3
        capacity = 4 * sum(len(item.words) for item in items) // room + len(items) + 1
        block, expected = run(items, config), twin(items, config)
        assert len(block) == len(expected.segments) <= capacity


@settings(max_examples=100, deadline=None)
@CASES
def test_segments_never_outnumber_the_room_allocated(items: list[Document], config: SequenceConfig) -> None:
    tokens = sum(len(item.words) for item in items)
    everything = SequenceConfig(segmentation=config.segmentation, max_tokens=config.max_tokens, min_tokens=0)
    assert len(twin(items, everything).segments) <= 4 * tokens // (config.max_tokens - 2) + len(items) + 1


def test_numbers_count_segments_that_are_dropped() -> None:
    words = [True, True, False, False, True, True, True]
    block = run([Document(words, [False] * 7, [])], SequenceConfig(max_tokens=5, min_tokens=5))
    assert block.segments.tolist() == [1, 2]
    assert block.dropped == {"short_segment": 1}


def test_a_word_longer_than_a_sequence_is_split_and_counted_once() -> None:
    block = run(
        [Document([True] + [False] * 19, [True] + [False] * 19, [])], SequenceConfig(max_tokens=8, min_tokens=3)
    )
    assert (block.ends - block.starts).tolist() == [6, 6, 6, 2]
    assert block.words_cut == 1


def test_a_line_longer_than_a_sequence_is_cut_at_a_word() -> None:
    words = [True, False] * 6
    config = SequenceConfig(segmentation=Segmentation.SENTENCE, max_tokens=7, min_tokens=3)
    block = run([Document(words, [True] + [False] * 11, [])], config)
    assert (block.ends - block.starts).tolist() == [4, 4, 4]


def test_more_segments_than_an_identity_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencing, "SEGMENT_LIMIT", 4)
    with pytest.raises(CorpusError, match="more than 4 segments"):
        run([Document([True] * 5, [False] * 5, [])], SequenceConfig(max_tokens=3, min_tokens=3))


def test_the_wide_limits_of_a_sequence_hold() -> None:
    n = 70_000
    block = run([Document([True] * n, [False] * n, [])], SequenceConfig(max_tokens=65_535))
    assert (block.ends - block.starts).tolist() == [65_533, n - 65_533]


@settings(max_examples=40, deadline=None)
@given(items=st.lists(documents(), max_size=4), config=configs(), choice=st.integers(0, 1 << 30))
def test_selecting_segments_takes_their_ranges_along(
    items: list[Document], config: SequenceConfig, choice: int
) -> None:
    block = run(items, config)
    chosen = np.array([bool(choice >> (i % 30) & 1) for i in range(len(block))], np.bool_)
    part = select(block, chosen)
    assert block.annotations is not None
    assert part.annotations is not None
    assert len(part) == chosen.sum()
    for new, old in enumerate(np.flatnonzero(chosen).tolist()):
        assert (part.starts[new], part.ends[new], part.segments[new]) == (
            block.starts[old],
            block.ends[old],
            block.segments[old],
        )
        for name in ("starts", "ends"):
            mine = getattr(part.annotations, name)[part.annotations.offsets[new] : part.annotations.offsets[new + 1]]
            theirs = getattr(block.annotations, name)[
                block.annotations.offsets[old] : block.annotations.offsets[old + 1]
            ]
            assert mine.tolist() == theirs.tolist()
