"""The compiled samplers and replacement equal their literal twins, bit for bit."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import oracle
import pytest
import strategies as shapes
from figures import figure
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from small import VOCABULARY, config_of

from spanmask.config import MaskingConfig, RandomIds
from spanmask.errors import ConfigError
from spanmask.kernels.philox import philox_blocks
from spanmask.masking import Draws, Masker, length_law, length_thresholds, mask
from spanmask.records import MaskedBlock, Ranges, SequenceBlock


def masker_of(masking: oracle.Masking) -> Masker:
    unigram = None if masking.unigram is None else np.array(masking.unigram, np.int64)
    return Masker(config_of(masking), VOCABULARY, unigram)


def block_of(segments: list[shapes.Segment], identities: list[shapes.Identity], annotations=None) -> SequenceBlock:
    """Segments one after another, with a gap of three tokens before each."""
    tokens, flags, starts = [], [], []
    for segment in segments:
        tokens += [11, 11, 11]
        flags += [True, False, True]
        starts.append(len(tokens))
        tokens += segment.tokens
        flags += segment.word_starts
    ends = [start + len(segment.tokens) for start, segment in zip(starts, segments, strict=True)]
    ranges = None
    if annotations is not None:
        offsets = np.concatenate(([0], np.cumsum([len(item) for item in annotations]))).astype(np.int64)
        flat = [span for item in annotations for span in item]
        ranges = Ranges(
            offsets=offsets,
            starts=np.array([start for start, _ in flat], np.int64),
            ends=np.array([end for _, end in flat], np.int64),
        )
    return SequenceBlock(
        token_ids=np.array(tokens, np.uint16),
        word_starts=np.array(flags, np.bool_),
        starts=np.array(starts, np.int64),
        ends=np.array(ends, np.int64),
        document_index=np.arange(len(starts)),
        document_ids=np.array([identity.document_id for identity in identities], np.uint64),
        segments=np.array([identity.segment for identity in identities], np.uint32),
        annotations=ranges,
        dropped={},
    )


def row_of(block: MaskedBlock, i: int) -> dict[str, list[int]]:
    starts, ends = block.spans[i]
    cells = {"input_ids": block.input_ids[i], "span_starts": starts, "span_ends": ends, "labels": block.labels[i]}
    return {name: cell.tolist() for name, cell in cells.items()}


def assert_equals_oracle(rows: list[dict[str, list[int]]], draws: Draws, expected: list[oracle.Row]) -> None:
    for row, wanted in zip(rows, expected, strict=True):
        assert row == {name: wanted[name] for name in row}
    sampled = [row["sampled"] for row in expected]
    lengths = Counter(length for item in sampled for length in item.lengths)
    assert {k: n for k, n in enumerate(draws.lengths.tolist()) if n} == dict(lengths)
    assert draws.first_starts.tolist() == [item.first_start for item in sampled]
    for cause in oracle.CAUSES:
        assert draws.failed[cause] == sum(item.failed[cause] for item in sampled)
        assert draws.short[cause] == sum(item.shortfall == cause for item in sampled)
    assert draws.ranges_too_long == sum(item.ranges_too_long for item in sampled)
    kinds = ("masked", "random", "kept")
    assert draws.units.tolist() == [sum(row["replaced"][kind] for row in expected) for kind in kinds]


@given(case=shapes.cases())
@settings(max_examples=250, deadline=None)
def test_kernels_equal_the_oracle(case):
    block = block_of([case.segment], [case.identity], None if case.annotations is None else [case.annotations])
    masked, draws = masker_of(case.masking).mask(block)
    expected = oracle.mask_row(*case.segment, case.identity, case.masking, case.annotations)
    assert_equals_oracle([row_of(masked, 0)], draws, [expected])


@pytest.mark.slow
@given(case=shapes.cases(max_words=60))
@settings(max_examples=figure(1500, 4000), deadline=None)
def test_kernels_equal_the_oracle_at_length(case):
    test_kernels_equal_the_oracle.hypothesis.inner_test(case)


@given(
    masking=shapes.maskings(samplers=shapes.SAMPLERS[:4]),
    segments=st.lists(shapes.segments(), min_size=2, max_size=5),
    identities=st.lists(shapes.identities(), min_size=5, max_size=5),
)
@settings(max_examples=25, deadline=None)
def test_a_mask_depends_on_its_own_sequence_only(masking, segments, identities):
    identities = identities[: len(segments)]
    masker = masker_of(masking)
    together, _ = masker.mask(block_of(segments, identities))
    for i, (segment, identity) in enumerate(zip(segments, identities, strict=True)):
        alone, _ = masker.mask(block_of([segment], [identity]))
        assert row_of(alone, 0) == row_of(together, i)


@pytest.mark.parametrize(
    ("scheme", "sampler", "size"), [*((*pair, 2500) for pair in shapes.SAMPLERS), ("span", "paper", 8190)]
)
def test_long_segments_equal_the_oracle(scheme, sampler, size):
    rng = np.random.default_rng(11)
    starts = rng.random(size) < 0.8
    tokens = np.where(starts, rng.integers(11, 50, size), rng.integers(50, 80, size))
    segment = shapes.Segment(tokens.tolist(), starts.tolist())
    words = oracle.words_of(segment.word_starts)
    ranges = [(words[k][0], words[k + 2][1]) for k in range(0, len(words) - 3, 9)] if scheme == "annotated" else None
    masking = oracle.Masking(
        scheme=scheme, sampler=sampler, seed=3, ordinary=list(shapes.ORDINARY_IDS), mask_id=8, cls_id=6, sep_id=7,
        replacement_unit=shapes.REPLACEMENT_UNITS[scheme][0],
    )  # fmt: skip
    identity = shapes.Identity(5, 1)
    masked, draws = masker_of(masking).mask(block_of([segment], [identity], ranges and [ranges]))
    expected = oracle.mask_row(*segment, identity, masking, ranges)
    assert_equals_oracle([row_of(masked, 0)], draws, [expected])


@given(counter=st.tuples(*[st.integers(0, 2**32 - 1)] * 4), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=50, deadline=None)
def test_philox_blocks_count_up(counter, seed):
    out = np.empty(12, np.uint64)
    philox_blocks(*(np.uint64(word) for word in counter), np.uint64(seed), out)
    key = (seed & 0xFFFFFFFF, seed >> 32)
    for block in range(3):
        expected = oracle.philox4x32((*counter[:3], (counter[3] + block) & 0xFFFFFFFF), key)
        assert tuple(out[4 * block : 4 * block + 4].tolist()) == expected


@given(p=shapes.geometric_ps(), max_words=shapes.max_words_limits())
@settings(max_examples=50, deadline=None)
def test_thresholds_are_those_of_the_law(p, max_words):
    law = length_law(p, max_words)
    assert sum(law) == 1
    assert length_thresholds(law).tolist() == oracle.length_thresholds(p, max_words)


def test_the_law_is_truncated_and_renormalised():
    law = length_law(Fraction(1, 5), 10)
    assert float(sum(k * p for k, p in enumerate(law, 1))) == pytest.approx(3.797, abs=5e-4)
    assert float(law[9]) == pytest.approx(0.0301, abs=5e-5)


def patterns(words: int) -> list[tuple[int, ...]]:
    return [tuple(np.base_repr(code, 3).zfill(words)) for code in range(3**words)]


def all_word_length_patterns(limit: int) -> list[tuple[int, ...]]:
    return [tuple(1 + int(digit) for digit in pattern) for words in range(1, limit + 1) for pattern in patterns(words)]


def span_counts(pattern: tuple[int, ...], rows: int, seed: int, ratio: float) -> Counter[frozenset[tuple[int, int]]]:
    """Sets of spans that the kernel draws for one pattern under many identities."""
    flags = [place == 0 for length in pattern for place in range(length)]
    tokens = np.where(flags, 11, 50).astype(np.uint16)
    n = len(flags)
    block = SequenceBlock(
        token_ids=np.tile(tokens, rows),
        word_starts=np.tile(np.array(flags), rows),
        starts=np.arange(rows) * n,
        ends=np.arange(1, rows + 1) * n,
        document_index=np.arange(rows),
        document_ids=np.arange(rows, dtype=np.uint64),
        segments=np.zeros(rows, np.uint32),
        dropped={},
    )
    masked, _ = Masker(MaskingConfig(seed=seed, mask_ratio=ratio), VOCABULARY).mask(block)
    keys = np.zeros(rows, np.int64)
    starts, ends = (side.astype(np.int64) for side in (masked.spans.starts, masked.spans.ends))
    np.add.at(keys, masked.spans.owners, (1 << (2 * starts)) + (2 << (2 * ends)))
    found = Counter(keys.tolist())
    return Counter({_spans_of(key): count for key, count in found.items()})


def _spans_of(key: int) -> frozenset[tuple[int, int]]:
    starts = [k for k in range(31) if key >> (2 * k) & 1]
    ends = [k for k in range(31) if key >> (2 * k) & 2]
    return frozenset((start - 1, end - 1) for start, end in zip(starts, ends, strict=True))


def distribution_p_value(pattern: tuple[int, ...], rows: int, ratio: Fraction, law: dict) -> float:
    counts = span_counts(pattern, rows, 17, float(ratio))
    assert set(counts) <= set(law), "spans that the exact enumeration says are impossible"
    outcomes = [spans for spans, probability in law.items() if rows * probability >= 5]
    expected = [float(rows * law[spans]) for spans in outcomes]
    observed = [counts[spans] for spans in outcomes]
    rest, expected_rest = rows - sum(observed), rows - sum(expected)
    if expected_rest >= 5:
        observed.append(rest)
        expected.append(expected_rest)
    statistic = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    return float(chi2.sf(statistic, len(observed) - 1)) if len(observed) > 1 else 1.0


#: Probability that a sound sampler fails the whole of a test over many patterns.
FALSE_ALARM = 1e-6
RATIOS = [Fraction(3, 10), Fraction(1, 2), Fraction(15, 100)]


def test_the_distribution_is_the_exact_enumeration_for_short_patterns():
    tried, ratio = all_word_length_patterns(4), Fraction(3, 10)
    for pattern in tried:
        law = oracle.exact_paper_distribution(pattern, ratio, Fraction(1, 5), 10)
        assert distribution_p_value(pattern, 20_000, ratio, law) > FALSE_ALARM / len(tried), pattern


@pytest.mark.slow
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_distribution_is_the_exact_enumeration_for_all_patterns_of_six_words(ratio):
    """Of up to four words at each ratio, of more at one of them; at each in a long run."""
    share, short = figure(len(RATIOS), 1), all_word_length_patterns(4)
    longer = [pattern for pattern in all_word_length_patterns(6) if len(pattern) > 4]
    tried = [*short, *longer[RATIOS.index(ratio) % share :: share]]
    for pattern in tried:
        law = oracle.exact_paper_distribution(pattern, ratio, Fraction(1, 5), 10)
        assert sum(law.values()) == 1
        assert distribution_p_value(pattern, 40_000, ratio, law) > FALSE_ALARM / len(tried), pattern


def test_the_enumeration_test_rejects_a_nearby_law():
    pattern, ratio = (1, 2, 1, 3, 1, 1), Fraction(1, 2)
    wrong = oracle.exact_paper_distribution(pattern, ratio, Fraction(3, 10), 10)
    assert distribution_p_value(pattern, 40_000, ratio, wrong) < FALSE_ALARM


@pytest.mark.parametrize(
    "broken",
    [
        {"ends": np.array([999])},
        {"starts": np.array([-1])},
        {"starts": np.array([5])},
        {"segments": np.array([1 << 24], np.uint32)},
        {"word_starts": np.zeros(3, np.bool_)},
        {"token_ids": np.full(5, 80, np.uint16)},
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(broken):
    fields = {
        "token_ids": np.full(5, 11, np.uint16),
        "word_starts": np.ones(5, np.bool_),
        "starts": np.array([0]),
        "ends": np.array([5]),
        "document_index": np.array([0]),
        "document_ids": np.array([0], np.uint64),
        "segments": np.array([0], np.uint32),
        "dropped": {},
    }
    with pytest.raises(ConfigError):
        Masker(MaskingConfig(seed=1), VOCABULARY).mask(SequenceBlock(**{**fields, **broken}))


def test_unigram_counts_must_fit_the_vocabulary():
    config = MaskingConfig(seed=1, random_ids=RandomIds.UNIGRAM)
    for counts in (None, np.ones(3, np.int64), np.zeros(80, np.int64), np.full(80, 1 << 40, np.int64)):
        with pytest.raises(ConfigError, match="unigram"):
            Masker(config, VOCABULARY, counts)


@pytest.mark.parametrize(
    ("token_ids", "offsets"),
    [
        ([11, 12, 13], [0, 2]),
        ([11, 12, 13], [1, 3]),
        ([11.5, 12.5], [0, 2]),
        ([11, 80], [0, 2]),
        ([-1, 11], [0, 2]),
        ([11], []),
    ],
)
def test_arrays_in_memory_are_taken_whole_or_refused(token_ids, offsets):
    with pytest.raises(ConfigError):
        mask(token_ids, offsets, MaskingConfig(seed=1), VOCABULARY)


def test_arrays_in_memory_may_be_lists():
    rows = mask([11, 12, 50, 13], [0, 3, 4], MaskingConfig(seed=1), VOCABULARY)
    assert rows.input_ids.offsets.tolist() == [0, 5, 8]
    assert rows.input_ids.values.dtype == np.uint16
