"""Intervals of differences: equal to scipy's, and as often right as they say; nearby wrong ones are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from spanmask.probes import intervals
from spanmask.probes.intervals import holm, over_paragraphs, over_seeds, p_value, t_quantile, t_within


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 6, 9, 10, 29, 100, 999])
def test_students_t_is_that_of_scipy(freedom: int) -> None:
    for t in (0.0, 0.3, 1.0, 2.5, 12.0, 400.0):
        assert t_within(t, freedom) == pytest.approx(1 - 2 * stats.t.sf(t, freedom), abs=1e-12)
    for confidence in (0.5, 0.9, 0.95, 0.99, 0.999):
        assert t_quantile(confidence, freedom) == pytest.approx(stats.t.ppf((1 + confidence) / 2, freedom), rel=1e-9)


def test_the_interval_over_seeds_is_that_of_the_paired_test() -> None:
    draw = np.random.default_rng(1)
    for seeds in (2, 3, 6, 7, 20):
        first = draw.normal(80, 0.6, seeds)
        other = first + draw.normal(0.4, 0.5, seeds)
        expected = stats.ttest_rel(other, first).confidence_interval(0.95)
        assert over_seeds((other - first).tolist()) == pytest.approx(expected, rel=1e-9)
    assert over_seeds([1.0]) is None
    assert over_seeds([]) is None
    assert over_seeds([2.0, 2.0, 2.0]) == (2.0, 2.0)


def test_the_p_value_is_that_of_the_paired_test() -> None:
    draw = np.random.default_rng(4)
    for seeds in (2, 3, 6, 20):
        for shift in (0.0, 0.4, 30.0):
            differences = draw.normal(shift, 0.5, seeds)
            expected = stats.ttest_1samp(differences, 0).pvalue
            assert p_value(differences.tolist()) == pytest.approx(expected, rel=1e-6, abs=1e-14)
    assert p_value([1.0]) is None
    assert (p_value([0.0, 0.0]), p_value([2.0, 2.0])) == (1.0, 0.0)


def _holm_literally(p_values: list[float], alpha: float) -> list[bool]:
    """As Holm 1979 rejects: the smallest against alpha / m, the next against alpha / (m - 1), to the first that is not below."""
    rejected = [False] * len(p_values)
    for place, (p, number) in enumerate(sorted((p, number) for number, p in enumerate(p_values))):
        if not p < alpha / (len(p_values) - place):
            break
        rejected[number] = True
    return rejected


def test_holms_method_rejects_what_its_steps_do() -> None:
    draw = np.random.default_rng(5)
    for _ in range(300):
        p_values = (draw.random(draw.integers(1, 9)) ** 3).round(2).tolist()
        for alpha in (0.013, 0.052, 0.21):
            assert [p < alpha for p in holm(p_values)] == _holm_literally(p_values, alpha)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_nineteen_of_twenty_intervals_over_seeds_hold_the_truth() -> None:
    """20,000 times six seeds: within 4 standard errors (false alarm 6e-5); a normal's quantile would hold it less often."""
    times, seeds = 20_000, 6
    drawn = np.random.default_rng(2).normal(0.3, 0.5, (times, seeds))
    spread = drawn.std(axis=1, ddof=1) / math.sqrt(seeds)
    away = np.abs(drawn.mean(axis=1) - 0.3) / spread
    margin = 4 * math.sqrt(0.95 * 0.05 / times)
    assert abs((away < t_quantile(0.95, seeds - 1)).mean() - 0.95) < margin
    for wrong in (1.96, t_quantile(0.95, seeds), t_quantile(0.975, seeds - 1)):
        assert abs((away < wrong).mean() - 0.95) > margin


def _questions(draw: np.random.Generator, paragraphs: int) -> tuple[np.ndarray, np.ndarray]:
    """Differences as of two models, 1 to 10 questions a paragraph that are alike by half of their variance."""
    counts = draw.integers(1, 11, paragraphs)
    owners = np.repeat(np.arange(paragraphs), counts)
    return draw.normal(0, 0.3, paragraphs)[owners] + draw.normal(0.05, 0.3, len(owners)), owners


def test_the_interval_over_paragraphs_is_close_to_scipys_and_a_function_of_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    differences, owners = _questions(np.random.default_rng(3), 150)
    found = over_paragraphs(differences, owners, seed=5)
    assert found == over_paragraphs(differences, owners, seed=5)
    assert found != over_paragraphs(differences, owners, seed=6)
    sums, counts = np.bincount(owners, differences), np.bincount(owners)
    expected = stats.bootstrap(
        (sums, counts),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=10_000,
        method="percentile",
        rng=np.random.default_rng(4),
    ).confidence_interval
    # Ends of 10,000 resamples stray by about 0.025 standard errors each; 5 times both.
    error = stats.sem(sums / counts.mean() - differences.mean() * counts / counts.mean())
    assert found == pytest.approx(tuple(expected), abs=5 * math.sqrt(2) * 0.025 * error)
    # How paragraphs are numbered is nothing, nor how many draws are held at once.
    order = np.random.default_rng(8).permutation(150)
    assert over_paragraphs(differences, order[owners] * 7 - 300, seed=5) == pytest.approx(found, rel=1e-12)
    monkeypatch.setattr(intervals, "_HELD", 1000)
    assert over_paragraphs(differences, owners, seed=5) == found
    assert over_paragraphs(np.array([1.0]), np.array([3]), seed=0) == (1.0, 1.0)


def test_intervals_over_paragraphs_hold_the_truth_where_those_over_questions_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """400 files of 80 paragraphs: 0.90 to 0.98 of the intervals (0.95 less what 80 paragraphs cost, ± 3.6 standard errors, 3e-4)."""
    monkeypatch.setattr(intervals, "RESAMPLES", 400)
    draw = np.random.default_rng(9)
    held = {"paragraphs": 0, "questions": 0}
    for number in range(400):
        differences, owners = _questions(draw, 80)
        for what, of in (("paragraphs", owners), ("questions", np.arange(len(owners)))):
            low, high = over_paragraphs(differences, of, seed=number)
            held[what] += low <= 0.05 <= high
    assert 360 <= held["paragraphs"] <= 392
    assert held["questions"] < 320
