"""Tests of the oracle itself: published vectors, the page's own consequences, and exact laws against simulation."""

from __future__ import annotations

import itertools
import json
import random
import statistics
from collections import Counter
from dataclasses import replace as changed
from fractions import Fraction
from pathlib import Path

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import LONG_WORD, OCCUPIED, PAST_END, Masking
from scipy.stats import chi2
from strategies import (
    CLS_ID,
    MASK_ID,
    ORDINARY_IDS,
    PAD_ID,
    PIECE_IDS,
    SEP_ID,
    UNK_ID,
    VOCABULARY_SIZE,
    Case,
    cases,
    word_length_patterns,
)

#: Chance of a false alarm of each statistical test, had its seed not been fixed.
FALSE_ALARM = 1e-6

#: Random123, tests/kat_vectors: rounds, counter, key, result.
PHILOX_VECTORS = """
7  00000000 00000000 00000000 00000000 00000000 00000000 5f6fb709 0d893f64 4f121f81 4f730a48
7  ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 5207ddc2 45165e59 4d8ee751 8c52f662
7  243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 4dfccaba 190a87f0 c47362ba b6b5242a
10 00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8
10 ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd
10 243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1
"""

#: SipHash's reference implementation, vectors.h (vectors_sip64): bytes in memory order, for inputs of 0, 1, … 63 bytes.
SIPHASH_VECTORS = """
310e0edd47db6f72 fd67dc93c539f874 5a4fa9d909806c0d 2d7efbd796666785 b7877127e09427cf 8da699cd64557618
cee3fe586e46c9cb 37d1018bf50002ab 6224939a79f5f593 b0e4a90bdf82009e f3b9dd94c5bb5d7a a7ad6b22462fb3f4
fbe50e86bc8f1e75 903d84c02756ea14 eef27a8e90ca23f7 e545be4961ca29a1 db9bc2577fcc2a3f 9447be2cf5e99a69
9cd38d96f0b3c14b bd6179a71dc96dbb 98eea21af25cd6be c7673b2eb0cbf2d0 883ea3e395675393 c8ce5ccd8c030ca8
94af49f6c650adb8 eab8858ade92e1bc f315bb5bb835d817 adcf6b0763612e2f a5c91da7acaa4dde 716595876650a2a6
28ef495c53a387ad 42c341d8fa92d832 ce7cf2722f512771 e37859f94623f3a7 381205bb1ab0e012 ae97a10fd434e015
b4a31508beff4d31 81396229f0907902 4d0cf49ee5d4dcca 5c73336a76d8bf9a d0a704536ba93e0e 925958fcd6420cad
a915c29bc8067318 952b79f3bc0aa6d4 f21df2e41d4535f9 87577519048f53a9 10a56cf5dfcd9adb eb75095ccd986cd0
51a9cb9ecba312e6 96afadfc2ce666c7 72fe52975a4364ee 5a1645b276d592a1 b274cb8ebf87870a 6f9bb4203de7b381
eaecb2a30b22a87f 9924a43cc1315724 bd838d3aafbf8db7 0b1a2a3265d51aea 135079a3231ce660 932b2846e4d70666
e1915f5cb1eca46c f325965ca16d629f 575ff28e60381be5 724506eb4c328a95
"""


def masking_of(**options: object) -> Masking:
    """Return the default masking over the vocabulary of `strategies`, seed 7, with some fields changed."""
    plain = Masking(seed=7, ordinary=list(ORDINARY_IDS), mask_id=MASK_ID, cls_id=CLS_ID, sep_id=SEP_ID)
    return changed(plain, **options)


def word_starts_of(word_lengths: list[int] | tuple[int, ...]) -> list[bool]:
    """Return (n,) word starts of (W,) word lengths."""
    return [place == 0 for length in word_lengths for place in range(length)]


# --- Draws


@pytest.mark.parametrize("line", PHILOX_VECTORS.strip().splitlines())
def test_philox_gives_the_published_words(line):
    rounds, *words = line.split()
    c0, c1, c2, c3, k0, k1, *expected = (int(word, 16) for word in words)
    assert list(oracle.philox4x32((c0, c1, c2, c3), (k0, k1), int(rounds))) == expected


def test_siphash_gives_the_64_published_values():
    key = bytes(range(16))
    expected = [int.from_bytes(bytes.fromhex(value), "little") for value in SIPHASH_VECTORS.split()]
    assert len(expected) == 64
    assert [oracle.siphash24(key, bytes(range(size))) for size in range(64)] == expected
    assert oracle.siphash24(key, b"") == 0x726FDB47DD0E0E31
    assert oracle.siphash24(key, bytes(range(15))) == 0xA129CA6149BE45E5


def test_a_stream_packs_its_counter_as_the_page_says():
    seed, document_id, segment, mask_epoch = 0x0123456789ABCDEF, 0xFEDCBA9876543210, 0xABCDEF, 0xBEEF
    stream = oracle.Stream(seed, document_id, segment, mask_epoch, oracle.RANDOM_IDS)
    words = [stream.next() for _ in range(12)]
    c2 = 0xABCDEF << 8 | 3 << 5 | 0xBEEF >> 11
    expected = [
        word
        for block in range(3)
        for word in oracle.philox4x32(
            (0x76543210, 0xFEDCBA98, c2, (0xBEEF & 0x7FF) << 21 | block), (0x89ABCDEF, 0x01234567)
        )
    ]
    assert words == expected


def test_streams_of_different_purposes_epochs_segments_documents_and_seeds_differ():
    streams = [
        oracle.Stream(*at)
        for at in itertools.product((0, 1, 1 << 32), (0, 1, 1 << 32), (0, 1, (1 << 24) - 1), (0, 1, 2048), range(4))
    ]
    firsts = {tuple(stream.next() for _ in range(4)) for stream in streams}
    assert len(firsts) == len(streams) == 324


class ScriptedStream(oracle.Stream):
    """A stream of given words."""

    def __init__(self, *words: int) -> None:
        self.left = list(words)

    def next(self) -> int:
        return self.left.pop(0)


def is_refused(x: int, k: int) -> bool:
    """Say whether a bounded draw below `k` refuses the word `x` and takes another (2³² − 1 is never refused)."""
    stream = ScriptedStream(x, (1 << 32) - 1)
    stream.below(k)
    return not stream.left


@pytest.mark.parametrize("k", [1, 2, 3, 10, 6_700_417, (1 << 31) - 1, (1 << 31) + 1, (1 << 32) - 1, 1 << 32])
def test_a_bounded_draw_gives_every_result_from_equally_many_words(k):
    """A result's words are low … high, of which low alone may be refused: ⌊2³² / k⌋ are left for each."""
    for result in {0, 1 % k, k // 3, k // 2, k - 1}:
        low, high = -(-(result << 32) // k), (((result + 1) << 32) - 1) // k
        assert high - low + 1 - is_refused(low, k) == (1 << 32) // k
        for x in {low, min(low + 1, high), high}:
            assert is_refused(x, k) <= (x == low)
            if not is_refused(x, k):
                assert ScriptedStream(x).below(k) == result


def test_a_draw_below_one_takes_one_word():
    stream, twin = (oracle.Stream(1, 2, 3, 4, oracle.STARTS) for _ in range(2))
    assert stream.below(1) == 0
    twin.next()
    assert stream.next() == twin.next()


def test_the_law_of_lengths_is_the_truncated_renormalised_geometric():
    law = oracle.length_law(Fraction(1, 5), 10)
    assert sum(law) == 1
    assert round(float(sum(k * share for k, share in enumerate(law, start=1))), 3) == 3.797
    assert round(float(law[9]), 4) == 0.0301
    assert [round(float(share), 4) for share in law[:3]] == [0.2241, 0.1792, 0.1434]


@given(percent=st.integers(1, 99), max_words=st.integers(1, 30))
def test_thresholds_follow_the_law_within_one_word(percent, max_words):
    p = Fraction(percent, 100)
    thresholds = oracle.length_thresholds(p, max_words)
    law = oracle.length_law(p, max_words)
    weights = [p * (1 - p) ** (k - 1) for k in range(1, max_words + 1)]
    assert law == [weight / sum(weights) for weight in weights]
    assert thresholds == [int(2**32 * share) for share in itertools.accumulate(law[:-1])]
    counts = [right - left for left, right in itertools.pairwise([0, *thresholds, 1 << 32])]
    assert len(thresholds) == max_words - 1
    assert all(0 < threshold < 1 << 32 for threshold in thresholds)
    assert all(abs(count - share * 2**32) < 1 for count, share in zip(counts, law, strict=True))


def test_budgets_are_rounded_up_exactly():
    assert [oracle.budget(Fraction("0.15"), n) for n in (1, 6, 7, 20, 21, 510)] == [1, 1, 2, 3, 4, 77]
    assert oracle.budget(Fraction("0.1"), 30) == 3  # ceil(0.1 * 30) of floats is 3, ceil(0.1 * 3 * 10) 4
    assert oracle.budget(Fraction("0.07"), 100) == 7  # ceil(0.07 * 100) of floats is 8


# --- Invariants


@given(case=cases())
@settings(max_examples=80, deadline=None)
def test_every_row_keeps_the_invariants_and_restores_its_original(case: Case):
    tokens, word_starts = case.segment
    row = oracle.mask_row(tokens, word_starts, case.identity, case.masking, case.annotations)
    oracle.check_invariants(row, case.masking, word_starts, VOCABULARY_SIZE)
    assert oracle.restore(row) == [CLS_ID, *tokens, SEP_ID]
    in_spans = {i for start, end in zip(row["span_starts"], row["span_ends"], strict=True) for i in range(start, end)}
    changed_at = {i for i, pair in enumerate(zip(row["input_ids"][1:-1], tokens, strict=True)) if pair[0] != pair[1]}
    assert {i + 1 for i in changed_at} <= in_spans


@given(case=cases())
@settings(max_examples=60, deadline=None)
def test_a_row_short_of_its_budget_has_a_cause_with_the_most_failures(case: Case):
    sampled = oracle.sample(case.segment.word_starts, case.identity, case.masking, case.annotations)
    masked = sum(end - start for start, end in sampled.spans)
    is_short = masked < oracle.budget(case.masking.ratio, len(case.segment.tokens))
    assert is_short == (sampled.shortfall is not None)
    if is_short and case.masking.scheme != "word":
        assert sampled.failed[sampled.shortfall] > oracle.TRIALS // 3
    assert sampled.first_start >= 0


@given(case=cases(), other=cases())
@settings(max_examples=50, deadline=None)
def test_replacement_never_moves_a_span(case: Case, other: Case):
    policy = other.masking
    moved = changed(
        case.masking,
        replacement_unit=policy.replacement_unit,
        random_ids=policy.random_ids,
        unigram=policy.unigram,
    )
    before = oracle.mask_row(*case.segment, case.identity, case.masking, case.annotations)
    after = oracle.mask_row(*case.segment, case.identity, moved, case.annotations)
    assert before["sampled"] == after["sampled"]
    assert sum(after["replaced"].values()) == len(
        oracle.replacement_units(case.segment.word_starts, after["sampled"].spans, moved.replacement_unit)
    )


PLANTED = [
    ("I1", {"input_ids": [CLS_ID, SEP_ID], "span_starts": [], "span_ends": [], "labels": []}, {}),
    ("I1", {}, {"max_tokens": 9}),
    ("I1", {}, {"min_tokens": 11}),
    ("I2", {"input_ids": [SEP_ID, 11, 50, MASK_ID, MASK_ID, 51, 13, 14, 15, SEP_ID]}, {}),
    ("I2", {"input_ids": [CLS_ID, 11, 50, MASK_ID, MASK_ID, 51, 13, 14, 15, CLS_ID]}, {}),
    ("I2", {"input_ids": [CLS_ID, 11, 50, MASK_ID, MASK_ID, MASK_ID, 13, VOCABULARY_SIZE, 15, SEP_ID]}, {}),
    ("I3", {"span_starts": [3, 7]}, {}),
    ("I3", {"span_starts": [0]}, {}),
    ("I3", {"span_starts": [6]}, {}),
    ("I3", {"span_ends": [10]}, {}),
    ("I4", {"span_starts": [3, 4], "span_ends": [4, 6]}, {}),
    ("I4", {"span_starts": [4, 3], "span_ends": [6, 4]}, {}),
    ("I5", {"labels": [12, 51]}, {}),
    ("I6", {"labels": [12, 51, VOCABULARY_SIZE]}, {}),
    ("I9", {"input_ids": [CLS_ID, 11, 50, MASK_ID, 52, 53, 13, 14, 15, SEP_ID]}, {}),
    ("I10", {"span_starts": [1], "span_ends": [7], "labels": [11, 50, 12, 51, 52, 13], "input_ids": None}, {}),
    ("I11", {"word_starts": [2, 3, 6]}, {}),
    ("I11", {"word_starts": [1, 3, 3]}, {}),
    ("I11", {"word_starts": [1, 3, 9]}, {}),
    ("I11", {"word_starts": []}, {}),
    ("I12", {"annotation_starts": [1], "annotation_ends": [2, 3]}, {}),
    ("I12", {"annotation_starts": [3], "annotation_ends": [3]}, {}),
    ("I12", {"annotation_starts": [3], "annotation_ends": [10]}, {}),
    ("I12", {"annotation_starts": [1, 2], "annotation_ends": [3, 4]}, {}),
    ("I13", {"span_starts": [2], "span_ends": [3], "labels": [50]}, {}),
    ("I13", {"span_starts": [3], "span_ends": [5], "labels": [12, 51]}, {}),
]


@pytest.mark.parametrize(("number", "planted", "limits"), PLANTED)
def test_each_invariant_catches_a_planted_violation(number, planted, limits):
    word_starts = word_starts_of([2, 3, 1, 1, 1])
    good = {
        "input_ids": [CLS_ID, 11, 50, MASK_ID, MASK_ID, MASK_ID, 13, 14, 15, SEP_ID],
        "span_starts": [3],
        "span_ends": [6],
        "labels": [12, 51, 52],
        "word_starts": [1, 3, 6, 7, 8],
        "annotation_starts": [1, 3],
        "annotation_ends": [3, 6],
    }
    masking = masking_of(ratio=Fraction(3, 10))
    oracle.check_invariants(good, masking, word_starts, VOCABULARY_SIZE)
    bad = {**good, **planted}
    bad["input_ids"] = bad["input_ids"] or [CLS_ID, *[MASK_ID] * 6, 14, 15, SEP_ID]
    with pytest.raises(AssertionError, match=rf"^{number}: "):
        oracle.check_invariants(bad, masking, word_starts, VOCABULARY_SIZE, **limits)


@pytest.mark.parametrize("options", [{"sampler": "reference"}, {"scheme": "token", "sampler": None}])
def test_exact_budgets_catch_a_row_one_token_short(options):
    row = {"input_ids": [CLS_ID, 11, MASK_ID, 12, 13, SEP_ID], "span_starts": [2], "span_ends": [3], "labels": [14]}
    word_starts = [True] * 4
    oracle.check_invariants(row, masking_of(ratio=Fraction(1, 4), **options), word_starts, VOCABULARY_SIZE)
    with pytest.raises(AssertionError, match=r"^I10: "):
        oracle.check_invariants(row, masking_of(ratio=Fraction(1, 2), **options), word_starts, VOCABULARY_SIZE)


# --- The page's example


def test_the_page_shows_the_row_of_its_example():
    page = (Path(__file__).parents[1] / "spanmask" / "shard" / "FORMAT.md").read_text(encoding="utf-8")
    example = json.loads(page.split("## 7. Example")[1].split("```json")[1].split("```")[0])
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sat", "down"]
    tokens = [entries.index(entry) for entry in ["the", "cat", "##s", "sat", "down"] * 2]
    word_starts = [not entries[token].startswith("##") for token in tokens]
    masking = masking_of(ratio=Fraction("0.3"), ordinary=[5, 6, 7, 8, 9], mask_id=4, cls_id=2, sep_id=3)
    row = oracle.mask_row(tokens, word_starts, (0, 0), masking)
    oracle.check_invariants(row, masking, word_starts, len(entries))
    columns = {name: row[name] for name in ("input_ids", "span_starts", "span_ends", "labels")}
    assert example == {"original": oracle.restore(row), **columns}


# --- Schemes


def test_a_segment_of_long_words_ends_short_for_long_words():
    sampled = oracle.sample(word_starts_of([5, 5, 5]), (0, 0), masking_of())
    assert (sampled.spans, sampled.shortfall) == ([], LONG_WORD)
    assert sampled.failed == {LONG_WORD: 100, PAST_END: 0, OCCUPIED: 0}
    assert len(sampled.lengths) == 1


def test_the_first_token_counts_as_a_word_start():
    inside, at_start = [False, False, True, True], [True, False, True, True]
    for scheme, sampler in (("span", "paper"), ("span", "reference"), ("word", None), ("annotated", None)):
        masking = masking_of(scheme=scheme, sampler=sampler, ratio=Fraction(1, 2))
        for segment in range(20):
            expected = oracle.sample(at_start, (0, segment), masking)
            assert oracle.sample(inside, (0, segment), masking) == expected


def test_ties_between_causes_go_to_the_first():
    """Of 100 failed trials with one cause each, the most frequent names the shortfall, a tie the earlier one."""
    for causes, expected in [
        ((PAST_END, OCCUPIED), PAST_END),
        ((OCCUPIED, LONG_WORD), LONG_WORD),
        ((OCCUPIED, OCCUPIED, PAST_END, OCCUPIED), OCCUPIED),
    ]:
        draft = oracle._Draft([True] * 4, (0, 0), masking_of())
        endless = itertools.cycle(causes)
        assert not draft.place(lambda word, endless=endless: next(endless))
        assert draft.sampled.shortfall == expected
        assert sum(draft.sampled.failed.values()) == 100


def test_annotated_takes_every_range_that_fits_before_words_alone():
    """With words too long to be drawn, only ranges can be spans; the longer range is left out and counted."""
    word_starts = word_starts_of([1, 1, *[9] * 8, 3, 9, 1, 2])
    n = len(word_starts)
    ranges = [(0, 2), (74, 77), (2, 11), (n - 3, n)]
    masking = masking_of(scheme="annotated", sampler=None, ratio=Fraction(6, 100))
    assert oracle.budget(masking.ratio, n) == 6
    taken = Counter()
    for segment in range(200):
        sampled = oracle.sample(word_starts, (0, segment), masking, ranges)
        assert sampled.ranges_too_long == 1
        assert sampled.lengths == []
        taken.update(sampled.spans)
    assert min(taken[span] for span in ((0, 2), (74, 77), (n - 3, n))) > 50
    assert (2, 11) not in taken


def test_ranges_that_touch_are_never_both_spans():
    masking = masking_of(scheme="annotated", sampler=None, ratio=Fraction(1, 2))
    ranges, words = [(0, 3), (3, 6)], word_starts_of([3, 3, 3, 3])
    for segment in range(100):
        sampled = oracle.sample(words, (0, segment), masking, ranges)
        assert all(end - start == 3 for start, end in sampled.spans)


def test_the_last_range_takes_the_place_of_the_one_drawn():
    """Ranges 0 1 2 3, first of the pool each time: 0, then 3 in its place, then 2 in that."""
    draft = oracle._Draft([True] * 20, (0, 0), masking_of(ratio=Fraction(3, 20)))
    small = 1 << 20
    draft.lengths, draft.starts = ScriptedStream(small, small, small), ScriptedStream(small, small, small)
    oracle._sample_annotated(draft, [(0, 1), (4, 5), (8, 9), (12, 13)])
    assert oracle.runs_of(draft.is_masked) == [(0, 1), (8, 9), (12, 13)]


def test_a_unit_is_a_range_half_the_time():
    """40 words of one token, B = 2, one range of two: a binomial of known chance, two-sided at 1e-6."""
    masking, draws = masking_of(scheme="annotated", sampler=None, ratio=Fraction(2, 40)), 2_000
    hits = sum((10, 12) in oracle.sample([True] * 40, (0, i), masking, [(10, 12)]).spans for i in range(draws))
    # First the range; or first a word, then the range, which fits unless that word was one of 9 to 12.
    chance = 1 / 2 + 1 / 2 * 1 / 2 * 36 / 40
    assert abs(hits / draws - chance) < 4.9 * (chance * (1 - chance) / draws) ** 0.5


def test_word_and_token_spread_evenly_over_units():
    """Each unit of 12 is masked equally often: chi-square over counts, whose variance is that of drawing 3 of 12."""
    for scheme in ("word", "token"):
        masking = masking_of(scheme=scheme, sampler=None, ratio=Fraction(1, 4), replacement_unit="token")
        draws, counts = 4_000, Counter()
        for i in range(draws):
            for start, end in oracle.sample([True] * 12, (i, 0), masking).spans:
                counts.update(range(start, end))
        variance = draws * 0.25 * 0.75 * 12 / 11
        statistic = sum((counts[unit] - draws / 4) ** 2 / variance for unit in range(12))
        assert statistic < chi2.isf(FALSE_ALARM, 11)


# --- Replacement


def test_units_are_spans_words_parts_of_words_or_tokens():
    word_starts = word_starts_of([1, 3, 2])
    spans = [(0, 1), (2, 5)]
    assert oracle.replacement_units(word_starts, spans, "span") == spans
    assert oracle.replacement_units(word_starts, spans, "word") == [(0, 1), (2, 4), (4, 5)]
    assert oracle.replacement_units(word_starts, spans, "token") == [(0, 1), (2, 3), (3, 4), (4, 5)]


def test_replacement_is_80_10_10_and_random_ids_are_drawn_from_their_law():
    """Chi-square of 20,000 units, and of the random ids: unigram counts 1 : 2 : 5, none else."""
    n = 20_000
    unigram = [0] * VOCABULARY_SIZE
    unigram[20], unigram[30], unigram[79] = 1, 2, 5
    masking = masking_of(replacement_unit="token", random_ids="unigram", unigram=unigram)
    corrupted, counts = oracle.replace([11] * n, [True] * n, [(0, n)], (0, 0), masking)
    expected = {"masked": 0.8 * n, "random": 0.1 * n, "kept": 0.1 * n}
    assert sum((counts[k] - expected[k]) ** 2 / expected[k] for k in expected) < chi2.isf(FALSE_ALARM, 2)
    ids = Counter(corrupted)
    assert ids[MASK_ID] == counts["masked"]
    assert ids[11] == counts["kept"]
    shares = {20: 1 / 8, 30: 2 / 8, 79: 5 / 8}
    assert sum(ids[i] for i in shares) == counts["random"]
    statistic = sum(
        (ids[i] - counts["random"] * share) ** 2 / (counts["random"] * share) for i, share in shares.items()
    )
    assert statistic < chi2.isf(FALSE_ALARM, 2)


def test_uniform_random_ids_cover_the_ordinary_ids_and_no_others():
    n = 20_000
    masking = masking_of(replacement_unit="token")
    corrupted, _ = oracle.replace([UNK_ID] * n, [True] * n, [(0, n)], (0, 0), masking)
    assert set(corrupted) == {*ORDINARY_IDS, MASK_ID, UNK_ID}
    assert PAD_ID not in corrupted


# --- §6.2 exactly


ALL_SHORT_PATTERNS = [pattern for count in range(1, 5) for pattern in itertools.product((1, 2, 3), repeat=count)]


@pytest.mark.parametrize("ratio", [Fraction("0.15"), Fraction("0.3"), Fraction("0.6")])
def test_exact_distributions_sum_to_one_over_all_patterns_of_four_words(ratio):
    for pattern in ALL_SHORT_PATTERNS:
        distribution = oracle.exact_paper_distribution(pattern, ratio, Fraction(1, 5), 10)
        assert sum(distribution.values()) == 1
        assert all(probability > 0 for probability in distribution.values())


@given(lengths=word_length_patterns(max_words=6), percent=st.integers(1, 90))
@settings(max_examples=50, deadline=None)
def test_every_sample_is_among_the_exact_outcomes(lengths, percent):
    masking = masking_of(ratio=Fraction(percent, 100))
    outcomes = oracle.exact_paper_distribution(tuple(lengths[:7]), masking.ratio, masking.p, masking.max_words)
    for segment in range(5):
        sampled = oracle.sample(word_starts_of(lengths[:7]), (0, segment), masking)
        assert frozenset(sampled.spans) in outcomes


def test_two_words_by_hand():
    """Words of one token, B = 1: any length is placed on either word, since the budget stops the walk."""
    half = Fraction(1, 2)
    exact = oracle.exact_paper_distribution((1, 1), half, Fraction(1, 5), 10)
    assert exact == {frozenset({(0, 1)}): half, frozenset({(1, 2)}): half}


def test_three_words_by_hand():
    """Words of one token, B = 2, lengths 1 and 2 with ⅔ and ⅓ (p = ½): every path, summed by hand."""
    exact = oracle.exact_paper_distribution((1, 1, 1), Fraction(1, 2), Fraction(1, 2), 2)
    third, two_thirds = Fraction(1, 3), Fraction(2, 3)
    pair = third * (1 - third**100) / 2
    # From an end word the other end is the only place: one start of three, for either length, the budget being one off.
    fails = two_thirds**100
    both_ends = two_thirds * two_thirds * (1 - fails)
    assert exact == {
        frozenset({(0, 2)}): pair,
        frozenset({(1, 3)}): pair,
        frozenset({(0, 1), (2, 3)}): both_ends,
        frozenset({(0, 1)}): two_thirds * third * fails,
        frozenset({(2, 3)}): two_thirds * third * fails,
        frozenset({(1, 2)}): two_thirds * third,
        frozenset(): third * third**100,
    }


def chi_square(observed: Counter, expected: oracle.Distribution, draws: int) -> tuple[float, int]:
    """Return Pearson's statistic and its degrees of freedom, cells expected below 5 taken together."""
    assert observed.keys() <= expected.keys()
    cells = {outcome: float(draws * probability) for outcome, probability in expected.items()}
    large = [outcome for outcome, mean in cells.items() if mean >= 5]
    statistic = sum((observed[outcome] - cells[outcome]) ** 2 / cells[outcome] for outcome in large)
    rest = draws - sum(cells[outcome] for outcome in large)
    if rest > 1e-9:
        seen = draws - sum(observed[outcome] for outcome in large)
        statistic += (seen - rest) ** 2 / rest
    return statistic, len(large) - (rest <= 1e-9)


def simulated(pattern, masking, draws):
    word_starts = word_starts_of(pattern)
    return Counter(frozenset(oracle.sample(word_starts, (i, 0), masking).spans) for i in range(draws))


SIMULATED_PATTERNS = [
    ((1, 1, 1, 1, 1, 1), Fraction("0.5")),
    ((1, 2, 1, 3, 1, 1), Fraction("0.3")),
    ((2, 1, 1, 1, 2, 3, 1), Fraction("0.4")),
    ((3, 1, 1, 3), Fraction("0.15")),
    ((1, 3, 1, 1, 1, 2, 1, 1), Fraction("0.6")),
]


@pytest.mark.parametrize(("pattern", "ratio"), SIMULATED_PATTERNS)
def test_simulation_agrees_with_the_exact_distribution(pattern, ratio):
    """Chi-square of 3,000 sequences at seed 7: a false alarm once in 10⁶."""
    masking, draws = masking_of(ratio=ratio), 3_000
    exact = oracle.exact_paper_distribution(pattern, ratio, masking.p, masking.max_words)
    statistic, freedom = chi_square(simulated(pattern, masking, draws), exact, draws)
    assert statistic < chi2.isf(FALSE_ALARM, freedom)


P = Fraction(1, 5)
NEIGHBOURS = {
    "p = 0.3": (8, 10, oracle.length_law(Fraction(3, 10), 10)),
    "max_words = 4": (6, 3, oracle.length_law(P, 4)),
    "clipped, min(length, max_words)": (6, 3, [P, P * (1 - P), (1 - P) ** 2]),
}


@pytest.mark.parametrize(("words", "max_words", "wrong"), NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_simulation_tells_the_law_from_its_neighbours(words, max_words, wrong):
    """Power: the same chi-square, at the same false-alarm rate, takes the right law and refuses a nearby one."""
    masking, draws, pattern = masking_of(ratio=Fraction(1, 2), max_words=max_words), 4_000, (1,) * words
    observed = simulated(pattern, masking, draws)
    exact = oracle.exact_paper_distribution(pattern, masking.ratio, masking.p, max_words)
    right, freedom = chi_square(observed, exact, draws)
    assert right < chi2.isf(FALSE_ALARM, freedom)
    other, freedom = chi_square(observed, oracle.exact_law_distribution(pattern, masking.ratio, wrong), draws)
    assert other > chi2.isf(FALSE_ALARM, freedom)


# --- §6.3 against what the released implementation shows (facts/spanbert.md §1.4)


def synthetic_segment(rng: random.Random, n: int = 510) -> list[bool]:
    """Return (n,) word starts with 17 % of the words in several pieces."""
    word_starts: list[bool] = []
    while len(word_starts) < n:
        length = rng.choices((1, 2, 3, 4, 5), (83, 9, 5, 2, 1))[0]
        word_starts += word_starts_of([length])
    return word_starts[:n]


def measured(sampler: str, segments: int) -> list[dict]:
    """Sample synthetic segments: for each the Sampled, masked tokens, cut words and masked share by word length."""
    rng, masking, rows = random.Random(1), masking_of(sampler=sampler), []
    for document_id in range(segments):
        word_starts = synthetic_segment(rng)
        sampled = oracle.sample(word_starts, (document_id, 0), masking)
        masked = {token for start, end in sampled.spans for token in range(start, end)}
        words = oracle.words_of(word_starts)
        hits = [len(masked & set(range(start, end))) for start, end in words]
        tokens, total = Counter(), Counter()
        for (start, end), hit in zip(words, hits, strict=True):
            tokens[min(end - start, 3)] += hit
            total[min(end - start, 3)] += end - start
        cut = sum(0 < hit < end - start for (start, end), hit in zip(words, hits, strict=True))
        shares = {size: tokens[size] / total[size] for size in total}
        rows.append({"sampled": sampled, "masked": len(masked), "cut": cut, "shares": shares})
    return rows


@pytest.fixture(scope="module")
def reference_rows():
    return measured("reference", 400)


def test_the_reference_sampler_masks_exactly_the_budget_and_cuts_at_most_one_word(reference_rows):
    assert {row["masked"] for row in reference_rows} == {77}
    assert max(row["cut"] for row in reference_rows) == 1
    assert all(row["sampled"].shortfall is None for row in reference_rows)


def excess_of_long_words(rows):
    """Return the standardised mean excess of words of three pieces and more over those of one, by segment."""
    excess = [row["shares"][3] - row["shares"][1] for row in rows]
    return statistics.mean(excess) / (statistics.stdev(excess) / len(excess) ** 0.5)


def test_the_reference_sampler_favours_long_words_and_the_paper_sampler_does_not(reference_rows):
    """One-sided and two-sided z at 1e-6; the facts' shares are .132, .158 and .203 for 1, 2 and 3 or more pieces."""
    assert excess_of_long_words(reference_rows) > 4.9
    shares = {size: statistics.mean(row["shares"][size] for row in reference_rows) for size in (1, 2, 3)}
    assert shares[1] < shares[2] < shares[3]
    assert all(abs(shares[size] - fact) < 0.012 for size, fact in {1: 0.132, 2: 0.158, 3: 0.203}.items())
    assert abs(excess_of_long_words(measured("paper", 200))) < 4.9


def test_the_reference_sampler_merges_spans(reference_rows):
    """The facts' figures are 14.4 merged spans a segment of 5.4 pieces, 1.8 % of them cut; a z of 4.9 around each."""
    spans = [len(row["sampled"].spans) for row in reference_rows]
    spread = statistics.stdev(spans) / len(spans) ** 0.5
    assert abs(statistics.mean(spans) - 14.4) < 4.9 * spread
    cuts = sum(row["cut"] for row in reference_rows)
    assert abs(cuts / sum(spans) - 0.018) < 4.9 * (0.018 / sum(spans)) ** 0.5
    assert statistics.mean(len(row["sampled"].lengths) for row in reference_rows) > statistics.mean(spans) + 1


def test_long_samples_keep_the_invariants_too(reference_rows):
    """Each scheme on one 510-token segment, with word starts stored."""
    word_starts = synthetic_segment(random.Random(2))
    tokens = [11 if is_start else PIECE_IDS[0] for is_start in word_starts]
    ranges = oracle.words_of(word_starts)[::7]
    for scheme, sampler in (
        ("span", "paper"),
        ("span", "reference"),
        ("word", None),
        ("token", None),
        ("annotated", None),
    ):
        masking = masking_of(scheme=scheme, sampler=sampler)
        row = oracle.mask_row(tokens, word_starts, (5, 6), masking, ranges if scheme == "annotated" else None)
        stored = [start + 1 for start, _ in oracle.words_of(word_starts)]
        oracle.check_invariants({**row, "word_starts": stored}, masking, word_starts, VOCABULARY_SIZE)
        assert oracle.restore(row)[1:-1] == tokens
