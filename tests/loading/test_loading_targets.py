"""Which masked tokens are targets of the span boundary objective, against a literal count."""

from __future__ import annotations

import numpy as np
import pytest
import strategies as shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from small import VOCABULARY, config_of

from spanmask.config import MaskingConfig, Sampler, Scheme
from spanmask.errors import ConfigError
from spanmask.loading.targets import Edges, SboRule, count_targets, default_rule
from spanmask.masking import mask
from spanmask.records import MaskedBlock, Ragged, Ranges

SAMPLERS = [pair for pair in shapes.SAMPLERS if pair[0] != "annotated"]


def block_of(segments: list[shapes.Segment], masking) -> MaskedBlock:
    offsets = np.cumsum([0, *(len(segment.tokens) for segment in segments)])
    tokens = np.array([token for segment in segments for token in segment.tokens], np.int64)
    unigram = None if masking.unigram is None else np.array(masking.unigram, np.int64)
    return mask(tokens, offsets, config_of(masking), VOCABULARY, unigram=unigram)


def row_with(length: int, spans: list[tuple[int, int]]) -> MaskedBlock:
    """One row of a length, special tokens included, with spans at those positions."""
    masked = sum(end - start for start, end in spans)
    return MaskedBlock(
        document_ids=np.array([7], np.uint64),
        segments=np.array([3], np.uint32),
        input_ids=Ragged(values=np.full(length, 11, np.uint16), offsets=np.array([0, length])),
        spans=Ranges(
            starts=np.array([start for start, _ in spans], np.uint16),
            ends=np.array([end for _, end in spans], np.uint16),
            offsets=np.array([0, len(spans)]),
        ),
        labels=Ragged(values=np.arange(masked, dtype=np.uint16), offsets=np.array([0, masked])),
    )


def counted(length: int, spans: list[tuple[int, int]], rule: SboRule) -> tuple[int, int, int]:
    counts = count_targets(row_with(length, spans), rule)
    return int(counts.sbo[0]), counts.at_edge, counts.beyond


@pytest.mark.parametrize(
    ("scheme", "sampler", "edges"),
    [
        (Scheme.SPAN, Sampler.PAPER, Edges.USE),
        (Scheme.SPAN, Sampler.REFERENCE, Edges.DROP),
        (Scheme.ANNOTATED, None, Edges.USE),
        (Scheme.WORD, None, None),
        (Scheme.TOKEN, None, None),
    ],
)
def test_each_scheme_has_the_rule_of_the_table(scheme: Scheme, sampler: Sampler | None, edges: Edges | None) -> None:
    rule = default_rule(MaskingConfig(seed=1, scheme=scheme, sampler=sampler))
    assert rule == (edges and SboRule(edges=edges, max_span_offset=20))


@settings(deadline=None)
@given(
    segments=st.lists(shapes.segments(), max_size=4),
    masking=shapes.maskings(samplers=SAMPLERS),
    edges=st.sampled_from(Edges),
    limit=st.sampled_from([1, 2, 3, 20]),
)
def test_counts_equal_a_walk_over_every_masked_token(segments, masking, edges: Edges, limit: int) -> None:
    block = block_of(segments, masking)
    counts = count_targets(block, SboRule(edges=edges, max_span_offset=limit))
    wanted, at_edge, beyond = [], 0, 0
    for row in range(len(segments)):
        length = len(segments[row].tokens) + 2
        wanted.append(0)
        for start, end in np.transpose(block.spans[row]).tolist():
            for position in range(start, end):
                if edges == "drop" and (start == 1 or end == length - 1):
                    at_edge += 1
                elif position - start >= limit:
                    beyond += 1
                else:
                    wanted[-1] += 1
    assert counts.sbo.tolist() == wanted
    assert counts.sbo.dtype == np.int64
    assert (counts.at_edge, counts.beyond) == (at_edge, beyond)
    assert sum(wanted) + at_edge + beyond == len(block.labels.values)


def test_an_edge_is_a_span_next_to_a_special_token() -> None:
    drop, use = SboRule(edges=Edges.DROP), SboRule(edges=Edges.USE)
    assert counted(12, [(1, 3), (5, 6), (9, 11)], drop) == (1, 4, 0)
    assert counted(12, [(1, 3), (5, 6), (9, 11)], use) == (5, 0, 0)
    assert counted(12, [(2, 3), (9, 10)], drop) == (2, 0, 0)


def test_tokens_at_the_largest_offset_and_beyond_are_left_out() -> None:
    use = SboRule(edges=Edges.USE)
    assert counted(40, [(2, 22)], use) == (20, 0, 0)
    assert counted(40, [(2, 23), (25, 30)], use) == (25, 0, 1)
    assert counted(40, [(1, 30)], SboRule(edges=Edges.DROP)) == (0, 29, 0)


def test_without_a_rule_nothing_is_a_target_and_nothing_left_out() -> None:
    counts = count_targets(row_with(12, [(1, 3)]), None)
    assert (counts.sbo.tolist(), counts.at_edge, counts.beyond) == ([0], 0, 0)


def test_an_offset_limit_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_span_offset is 0: give 1 or more"):
        SboRule(edges=Edges.USE, max_span_offset=0)
