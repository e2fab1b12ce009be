"""Intervals of differences: over paired seeds by Student's t, over the paragraphs of an evaluation file by resampling. No scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.records import Offsets

#: How sure an interval is, and how often paragraphs are drawn.
CONFIDENCE, RESAMPLES = 0.95, 10_000
#: Draws of paragraphs held at once.
_HELD = 1 << 22


class Interval(NamedTuple):
    """From low to high."""

    low: float
    high: float


def t_within(t: float, freedom: int) -> float:
    """Return the probability that Student's t with so many degrees of freedom lies in [-t, t].

    Exact for whole degrees: Abramowitz & Stegun 1964, 26.7.3 and 26.7.4 (https://personal.math.ubc.ca/~cbm/aands/page_948.htm).
    """
    return _within(math.atan2(t, math.sqrt(freedom)), freedom)


def _within(angle: float, freedom: int) -> float:
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= math.cos(angle) ** 2 * k / (k + 1)
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def t_quantile(confidence: float, freedom: int) -> float:
    """Return the t such that Student's t with so many degrees of freedom, 1 or more, lies in [-t, t] with a probability in (0, 1)."""
    low, high = 0.0, math.pi / 2
    # By the angle, which is bounded: halving it so often leaves what a double can tell.
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def over_seeds(differences: Sequence[float]) -> Interval | None:
    """Return the t-interval of the mean of paired differences, one a seed; None for fewer than two."""
    if len(differences) < 2:
        return None
    half = t_quantile(CONFIDENCE, len(differences) - 1) * stdev(differences) / math.sqrt(len(differences))
    return Interval(fmean(differences) - half, fmean(differences) + half)


def p_value(differences: Sequence[float]) -> float | None:
    """Return the probability of a t at least as far from 0, by paired differences whose mean is 0; None for fewer than two."""
    if len(differences) < 2:
        return None
    mean, deviation = fmean(differences), stdev(differences)
    if not deviation:
        return float(not mean)
    return 1 - t_within(abs(mean) / deviation * math.sqrt(len(differences)), len(differences) - 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for all of them together (Holm 1979, https://www.jstor.org/stable/4615733), in order."""
    adjusted, most = [0.0] * len(p_values), 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda k: p_values[k])):
        most = max(most, min(1.0, (len(p_values) - place) * p_values[number]))
        adjusted[number] = most
    return adjusted


def over_paragraphs(differences: npt.NDArray[np.float64], paragraphs: Offsets, *, seed: int) -> Interval:
    """Return the interval of the mean difference over questions, paragraphs being drawn anew: percentiles of `RESAMPLES` means.

    A paragraph goes with all its questions, since they are alike (Efron & Tibshirani 1993, chapter 8).

    Parameters
    ----------
    differences
        (N,) of questions, one or more.
    paragraphs
        (N,) which paragraph each is about, by any numbers.
    seed
        Key of NumPy's Philox, by which paragraphs are drawn: the interval is a function of it and of the paragraphs as a set.
    """
    _, which = np.unique(paragraphs, return_inverse=True)
    sums, counts = np.bincount(which, differences), np.bincount(which)
    # In an order that does not depend on how paragraphs are numbered.
    order = np.lexsort((sums, counts))
    sums, counts = sums[order], counts[order]
    draw = np.random.Generator(np.random.Philox(key=seed))
    means = []
    step = max(_HELD // len(sums), 1)
    for start in range(0, RESAMPLES, step):
        drawn = draw.integers(len(sums), size=(min(step, RESAMPLES - start), len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(high))
