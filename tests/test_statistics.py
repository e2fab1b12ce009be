"""Counts equal literal counting, and the tests of counts equal scipy's."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import oracle
import pytest
import strategies as shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from small import VOCABULARY

from spanmask.blocks import as_stored, restore, row_of
from spanmask.config import MaskingConfig, Sampler, Scheme
from spanmask.kernels.rows import TOTALS, count_coverage
from spanmask.masking import mask
from spanmask.records import MaskedBlock, Ranges
from spanmask.statistics import (
    HISTOGRAM_LIMIT,
    RowStatistics,
    chi_square,
    merge_counts,
    upper_tail,
)

# --- Tests of counts


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 19, 20, 63, 200, 999, 10_000, 20_000])
def test_the_upper_tail_is_scipys(degrees):
    a = degrees / 2
    for x in [
        0,
        1e-12,
        1e-6,
        *(a * np.linspace(0.05, 3, 60)),
        *np.linspace(0.01, 60, 60),
        a + 1,
        np.nextafter(a + 1, 0),
        a + 40 * a**0.5,
    ]:
        assert upper_tail(degrees, 2 * float(x)) == pytest.approx(special.gammaincc(a, x), rel=1e-9, abs=1e-13), x


@pytest.mark.parametrize("degrees", [1, 2, 5, 9, 19, 200, 1023])
def test_small_p_values_are_scipys(degrees):
    for p in 10.0 ** -np.arange(0, 200, 7):
        statistic = float(stats.chi2.isf(p, degrees))
        assert upper_tail(degrees, statistic) == pytest.approx(stats.chi2.sf(statistic, degrees), rel=1e-8)


@given(
    weights=st.lists(st.floats(0.01, 1), min_size=1, max_size=30),
    total=st.integers(0, 10_000),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=80, deadline=None)
def test_chi_square_is_scipys_over_joined_cells(weights, total, seed):
    law = np.array(weights) / sum(weights)
    observed = np.random.default_rng(seed).multinomial(total, law)
    found = chi_square(observed, total * law)
    cells = joined(observed.tolist(), (total * law).tolist())
    assert found.degrees == len(cells) - 1
    if len(cells) == 1:
        assert found.p_value == 1
    else:
        seen, wanted = zip(*cells, strict=True)
        expected = stats.chisquare(seen, wanted, sum_check=False)
        assert found.statistic == pytest.approx(expected.statistic)
        assert found.p_value == pytest.approx(expected.pvalue, rel=1e-8, abs=1e-13)


def joined(observed, expected):
    """Neighbours joined from the left until five are expected; what is left over joins the last."""
    groups, held = [], []
    for k, wanted in enumerate(expected):
        held.append(k)
        if sum(expected[i] for i in held) >= 5 or wanted >= 5:
            groups.append(held)
            held = []
    if held:
        groups = [*groups[:-1], [*groups[-1], *held]] if groups else [held]
    return [(sum(observed[i] for i in group), sum(expected[i] for i in group)) for group in groups]


def test_what_the_law_says_is_impossible_is_rejected_outright():
    assert chi_square([1000, 1000, 1], [1000.5, 1000.5, 0]).p_value == 0
    assert chi_square([1000, 1000, 0], [1000, 1000, 0]).p_value == 1


@pytest.mark.parametrize("count", [10, 25, 50, 80, 150, 400, 1000])
def test_the_false_alarm_rate_at_one_in_a_million_is_below_two_in_a_hundred_thousand(count):
    """Exactly, over all outcomes of 80 / 10 / 10. Pearson's statistic is chi-square in the limit only: from 1,000 on it is below 2·10⁻⁶."""
    law = np.array([0.8, 0.1, 0.1])
    random, kept = np.meshgrid(np.arange(count + 1), np.arange(count + 1))
    possible = random + kept <= count
    outcomes = np.stack([count - random - kept, random, kept], axis=-1)[possible]
    probabilities = stats.multinomial.pmf(outcomes, count, law)
    likely = probabilities > 1e-14
    doubtful = outcomes[likely & (np.abs(outcomes - count * law).max(axis=1) > 2 * np.sqrt(count * 0.1))]
    weights = stats.multinomial.pmf(doubtful, count, law)
    alarm = sum(
        weight
        for outcome, weight in zip(doubtful, weights, strict=True)
        if chi_square(outcome, count * law).p_value < 1e-6
    )
    assert alarm < (2e-6 if count >= 1000 else 2e-5)


# --- Adding counts


numbers = st.integers(0, 1 << 40)
counts = st.fixed_dictionaries(
    {"rows": numbers, "histogram": st.lists(numbers, max_size=5)},
    optional={"failed": st.dictionaries(st.sampled_from("abc"), numbers, max_size=3)},
)


@given(one=counts, other=counts, third=counts)
def test_counts_are_added_in_any_order_and_grouping(one, other, third):
    assert merge_counts(one, other) == merge_counts(other, one)
    assert merge_counts(merge_counts(one, other), third) == merge_counts(one, merge_counts(other, third))
    assert merge_counts(one, {}) == merge_counts({}, one) == one
    added = merge_counts(one, other)
    assert added["rows"] == one["rows"] + other["rows"]
    assert sum(added["histogram"]) == sum(one["histogram"]) + sum(other["histogram"])
    assert len(added["histogram"]) == max(len(one["histogram"]), len(other["histogram"]))
    names = {*one.get("failed", {}), *other.get("failed", {})}
    assert added.get("failed", {}) == {
        k: one.get("failed", {}).get(k, 0) + other.get("failed", {}).get(k, 0) for k in names
    }


# --- Counts of rows


@st.composite
def masked_blocks(draw) -> tuple[MaskedBlock, list[list[bool]], Fraction]:
    """Masked rows, where words start in each, and the mask ratio. Words are at times stored, and then not the vocabulary's."""
    segments = draw(st.lists(shapes.segments(max_words=12), min_size=1, max_size=6))
    ratio = draw(st.sampled_from([0.15, 0.3, 0.5]))
    scheme, sampler = draw(st.sampled_from(shapes.SAMPLERS))
    stored = draw(st.booleans())
    flags = [list(segment.word_starts) for segment in segments]
    if stored:
        flags = [[bool(draw(st.integers(0, 1))) for _ in row] for row in flags]
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in flags])))
    counted = [draw(shapes.annotation_ranges(row)) for row in flags] if scheme == "annotated" else None
    ranges = None
    if counted is not None:
        pairs = np.array([pair for row in counted for pair in row], np.int64).reshape(-1, 2)
        bounds = np.concatenate(([0], np.cumsum([len(row) for row in counted])))
        ranges = Ranges(offsets=bounds, starts=pairs[:, 0], ends=pairs[:, 1])
    config = MaskingConfig(
        seed=draw(shapes.seeds()), scheme=Scheme(scheme), sampler=sampler and Sampler(sampler), mask_ratio=ratio
    )
    block = mask(
        np.array([token for segment in segments for token in segment.tokens]),
        offsets,
        config,
        VOCABULARY,
        word_starts=np.array([flag for row in flags for flag in row]) if stored else None,
        annotations=ranges,
        unigram=np.ones(80, np.int64) if sampler == "reference" else None,
    )
    flags = [[True, *row[1:]] for row in flags]
    if not stored:  # Every entry is ASCII: of the word rule, only the line of long words can act.
        flags = [oracle.words_by_rule([b"x"] * len(row), row, lambda character: "")[0] for row in flags]
    return block, flags, config.mask_fraction


def rows_of(block: MaskedBlock) -> list[dict[str, list[int]]]:
    rows = [row_of(block, number) for number in range(len(block))]
    return [
        {name: getattr(one, name).tolist() for name in ("input_ids", "span_starts", "span_ends", "labels")}
        for one in rows
    ]


def literal_counts(block: MaskedBlock, flags: list[list[bool]], ratio: Fraction) -> dict:
    """What `RowStatistics` counts, from the rows one by one. flags: word starts, without special tokens."""
    totals = dict.fromkeys(TOTALS._fields, 0)
    histograms = {name: Counter() for name in ("row_tokens", "row_masked", "row_spans", "span_tokens", "span_words")}
    for row, starts in zip(rows_of(block), flags, strict=True):
        originals = oracle.restore(row)
        n = len(originals) - 2
        spans = list(zip(row["span_starts"], row["span_ends"], strict=True))
        masked = sum(end - start for start, end in spans)
        budget = oracle.budget(ratio, n)
        is_start = [False, *starts, True]
        totals["tokens"] += n
        totals["words"] += sum(starts)
        totals["masked_tokens"] += masked
        totals["budget_tokens"] += budget
        totals["spans"] += len(spans)
        totals["rows_without_spans"] += not spans
        totals["rows_short_of_budget"] += masked < budget
        totals["tokens_short_of_budget"] += max(budget - masked, 0)
        totals["spans_at_first_word"] += sum(start == 1 for start, _ in spans)
        totals["spans_at_last_word"] += sum(end == n + 1 for _, end in spans)
        totals["words_cut_by_spans"] += sum((not is_start[start]) + (not is_start[end]) for start, end in spans)
        totals["unknown_tokens"] += originals.count(shapes.UNK_ID)
        histograms["row_tokens"][n + 2] += 1
        histograms["row_masked"][masked] += 1
        histograms["row_spans"][len(spans)] += 1
        for start, end in spans:
            histograms["span_tokens"][end - start] += 1
            histograms["span_words"][1 + sum(is_start[start + 1 : end])] += 1
            for position in range(start, end):
                found = row["input_ids"][position]
                if found == shapes.MASK_ID:
                    totals["replaced_by_mask"] += 1
                else:
                    totals["kept" if found == originals[position] else "replaced_by_random"] += 1
    lists = {
        name: [counter[k] for k in range(max(counter) + 1)] if counter else [] for name, counter in histograms.items()
    }
    return {"rows": len(block), **totals, "histograms": lists}


@given(made=masked_blocks())
@settings(max_examples=60, deadline=None)
def test_row_statistics_are_a_literal_count(made):
    block, flags, ratio = made
    statistics = RowStatistics()
    statistics.add(block, VOCABULARY, ratio)
    assert statistics.to_json() == literal_counts(block, flags, ratio)
    originals = [token for row in rows_of(block) for token in oracle.restore(row)]
    restored, found = restore(block, VOCABULARY)
    assert restored.tolist() == originals
    for start, end, row in zip(block.input_ids.offsets, block.input_ids.offsets[1:], flags, strict=False):
        assert found[start + 1 : end - 1].tolist() == row


@given(one=masked_blocks(), other=masked_blocks())
@settings(max_examples=30, deadline=None)
def test_counts_of_two_blocks_are_the_sum_of_their_counts(one, other):
    ratio = one[2]
    together, first, second = RowStatistics(), RowStatistics(), RowStatistics()
    for statistics, blocks in ((together, (one, other)), (first, (one,)), (second, (other,))):
        for block, *_ in blocks:
            statistics.add(block, VOCABULARY, ratio)
    assert together.to_json() == merge_counts(first.to_json(), second.to_json())


def test_a_histogram_ends_with_all_that_is_beyond_it():
    n = 3000
    block = mask(np.full(n, 11), np.array([0, n]), MaskingConfig(seed=1, mask_ratio=0.6), VOCABULARY)
    statistics = RowStatistics()
    statistics.add(block, VOCABULARY, Fraction(6, 10))
    histograms = statistics.to_json()["histograms"]
    assert len(histograms["row_tokens"]) == len(histograms["row_masked"]) == HISTOGRAM_LIMIT + 1
    assert histograms["row_tokens"][-1] == histograms["row_masked"][-1] == 1


@given(made=masked_blocks(), width=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_coverage_is_a_literal_count(made, width):
    block, flags, _ = made
    first, last = np.zeros((width, 2), np.int64), np.zeros((width, 2), np.int64)
    count_coverage(as_stored(block), restore(block, VOCABULARY)[1], first, last)
    wanted = np.zeros((2, width, 2), np.int64)
    for row, starts in zip(rows_of(block), flags, strict=True):
        inside = {p for span in zip(row["span_starts"], row["span_ends"], strict=True) for p in range(*span)}
        words = [token + 1 in inside for token, is_start in enumerate(starts) if is_start]
        for side, covered in enumerate((words, words[::-1])):
            for place, is_masked in enumerate(covered[:width]):
                wanted[side, place] += (1, is_masked)
    assert first.tolist() == wanted[0].tolist()
    assert last.tolist() == wanted[1].tolist()
