"""Tokens to pairs of segments, and their masks: held against literal twins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
import strategies as shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from test_masking import assert_equals_oracle, masker_of, row_of

from spanmask import pairing
from spanmask.blocks import restore
from spanmask.config import Segmentation, SequenceConfig
from spanmask.errors import ConfigError, CorpusError
from spanmask.masking import segments_of
from spanmask.pairing import joined, pair_up
from spanmask.records import Pairs, Ranges, SequenceBlock, TokenizedBlock

SEP = 65_000


@st.composite
def texts(draw: Any) -> list[tuple[list[bool], list[bool]]]:
    """Documents: of each of their tokens, whether a word and a line start there."""
    documents = []
    for _ in range(draw(st.integers(0, 5))):
        size, common = draw(st.integers(0, 60)), draw(st.integers(1, 6))
        words = [choice % common == 0 for choice in draw(st.binary(min_size=size, max_size=size))]
        documents.append((words, [word and draw(st.integers(0, 5)) == 0 for word in words]))
    return documents


@st.composite
def configs(draw: Any) -> SequenceConfig:
    min_tokens = draw(st.integers(0, 12))
    max_tokens = draw(st.integers(max(min_tokens + 1, 5), 32))
    return SequenceConfig(segmentation=Segmentation.PAIRS, max_tokens=max_tokens, min_tokens=min_tokens)


def tokenized(documents: list[tuple[list[bool], list[bool]]]) -> TokenizedBlock:
    """Tokens that are their own numbers, all of them annotated, three at a time."""
    offsets = np.cumsum([0, *(len(words) for words, _ in documents)])
    thirds = [range(0, len(words), 3) for words, _ in documents]
    ranges = [
        (start, min(start + 3, len(words))) for (words, _), of in zip(documents, thirds, strict=True) for start in of
    ]
    return TokenizedBlock(
        token_ids=np.arange(offsets[-1], dtype=np.uint16),
        word_starts=np.array([flag for words, _ in documents for flag in words], np.bool_),
        document_offsets=offsets.astype(np.int64),
        line_starts=np.array([flag for _, lines in documents for flag in lines], np.bool_),
        annotations=Ranges(
            offsets=np.cumsum([0, *map(len, thirds)]).astype(np.int64),
            starts=np.array([start for start, _ in ranges], np.int64),
            ends=np.array([end for _, end in ranges], np.int64),
        ),
    )


def run(documents: Any, pools: list[int], config: SequenceConfig, seed: int) -> tuple[SequenceBlock, Pairs]:
    ids = np.arange(100, 100 + len(documents), dtype=np.uint64)
    return pair_up(tokenized(documents), ids, np.array(pools, np.int64), config, seed, SEP)


@given(
    documents=texts(), pools=st.lists(st.integers(0, 1), min_size=5, max_size=5), config=configs(), seed=shapes.seeds()
)
@settings(max_examples=60, deadline=None)
def test_pairs_are_those_of_the_literal_twin(documents, pools, config, seed):
    pools = pools[: len(documents)]
    parts, told = run(documents, pools, config, seed)
    block = joined(parts, told)
    offsets = np.cumsum([0, *(len(words) for words, _ in documents)]).tolist()
    room, least = config.max_tokens - 3, max(-(-(config.min_tokens - 3) // 2), 1)
    expected, dropped = [], 0
    for pool in (0, 1):
        members = [oracle.Text(100 + i, *document) for i, document in enumerate(documents) if pools[i] == pool]
        found, lost = oracle.pairs(members, seed, room, least)
        expected, dropped = [*expected, *found], dropped + lost
    rows = []
    for a, b, follows in sorted(expected):
        tokens = [
            list(range(offsets[one.document_id - 100] + one.start, offsets[one.document_id - 100] + one.end))
            for one in (a, b)
        ]
        identity = (a.document_id, a.segment, b.document_id, b.segment)
        rows.append((identity, [*tokens[0], SEP, *tokens[1]], len(tokens[0]) + 2, int(follows)))
    found = zip(
        zip(
            block.document_ids.tolist(),
            block.segments.tolist(),
            told.document_ids.tolist(),
            told.segments.tolist(),
            strict=True,
        ),
        [block.token_ids[start:end].tolist() for start, end in zip(block.starts, block.ends, strict=True)],
        told.borders.tolist(),
        told.labels.tolist(),
        strict=True,
    )
    assert list(found) == rows
    assert block.dropped == {"short_segment": dropped}
    # Every token of a document is in an A, in a B that follows, or dropped; and a range covers each token of a row that is not between.
    kept = sum(len(tokens) - 1 if follows else border - 2 for _, tokens, border, follows in rows)
    assert kept + dropped == offsets[-1]
    assert parts.annotations is not None
    assert (block.annotations.ends - block.annotations.starts).sum() == sum(len(tokens) - 1 for _, tokens, *_ in rows)
    for i, (_, tokens, border, _) in enumerate(rows):
        covered = [place for start, end in zip(*block.annotations[i], strict=True) for place in range(start, end)]
        assert covered == [place for place in range(len(tokens)) if place != border - 2]
        assert config.min_tokens <= len(tokens) + 2 <= config.max_tokens


@given(case=shapes.cases(allow_cut_first=False), other=shapes.segments(allow_cut_first=False), draw=st.data())
@settings(max_examples=80, deadline=None)
def test_masks_of_pairs_equal_the_oracle(case, other, draw):
    (tokens, words), border = case.segment, len(case.segment.tokens)
    ranges = case.annotations
    if ranges is not None:
        ranges = [
            *ranges,
            *((border + a, border + b) for a, b in draw.draw(shapes.annotation_ranges(other.word_starts))),
        ]
    expected = oracle.mask_row(
        [*tokens, *other.tokens], [*words, *other.word_starts], case.identity, case.masking, ranges, border
    )
    between = [*tokens, shapes.SEP_ID, *other.tokens]
    moved = ranges and [(a + (a >= border), b + (a >= border)) for a, b in ranges]
    block = SequenceBlock(
        token_ids=np.array([11, *between], np.uint16),
        word_starts=np.array([False, *words, True, *other.word_starts], np.bool_),
        starts=np.array([1]),
        ends=np.array([1 + len(between)]),
        document_index=np.zeros(1, np.int64),
        document_ids=np.array([case.identity.document_id], np.uint64),
        segments=np.array([case.identity.segment], np.uint32),
        annotations=None
        if moved is None
        else Ranges(
            offsets=np.array([0, len(moved)]),
            starts=np.array([a for a, _ in moved], np.int64),
            ends=np.array([b for _, b in moved], np.int64),
        ),
        dropped={},
        pairs=Pairs(
            borders=np.array([border + 2], np.uint16),
            labels=np.ones(1, np.uint8),
            document_ids=np.array([case.identity.document_id], np.uint64),
            segments=np.array([case.identity.segment + 1], np.uint32),
        ),
    )
    masker = masker_of(case.masking)
    masked, draws = masker.mask(block)
    assert_equals_oracle([row_of(masked, 0)], draws, [expected])
    # A row holds what masking it again needs: words of the vocabulary are those of the segments.
    restored = segments_of(masked, *restore(masked, masker.vocabulary))
    if restored.word_starts[1:-1].tolist() == block.word_starts[1:].tolist():
        assert row_of(masker.remask(masked), 0) == row_of(masked, 0)


def test_what_follows_stands_second_where_no_other_document_has_a_pair():
    words = ([True] * 200, [False] * 200)
    config = SequenceConfig(segmentation=Segmentation.PAIRS, max_tokens=16)
    _, told = run([words, ([True] * 5, [False] * 5)], [0, 0], config, 3)
    assert told.labels.all()
    _, told = run([words, ([True] * 6, [False] * 6)], [0, 0], config, 3)
    assert not told.labels.all()
    _, told = run([words, words], [0, 1], config, 3)
    assert told.labels.all()


def test_a_pair_begins_its_second_segment_at_a_line_where_there_is_one():
    lines = [place % 9 == 0 for place in range(400)]
    config = SequenceConfig(segmentation=Segmentation.PAIRS, max_tokens=64)
    parts, _ = run([([True] * 400, lines)] * 3, [0] * 3, config, 5)
    begins = parts.token_ids[parts.starts[1::2]].astype(int) % 400
    assert np.mean(begins % 9 == 0) > 0.9


def test_a_pair_needs_room_for_two_segments():
    with pytest.raises(ConfigError, match="9 or more for pairs of segments"):
        SequenceConfig(segmentation=Segmentation.PAIRS, max_tokens=8)


def test_more_segments_than_an_identity_numbers_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pairing, "SEGMENT_LIMIT", 10)
    with pytest.raises(CorpusError, match="more than 10 segments"):
        run(
            [([True] * 200, [False] * 200)],
            [0],
            replace(SequenceConfig(segmentation=Segmentation.PAIRS), max_tokens=16),
            1,
        )
