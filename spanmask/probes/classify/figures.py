"""What predicted labels are worth beside true ones, and what is taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, pstdev


def confusion(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Return how often texts of a label, a row each, are told to have one, a column each."""
    counted = Counter(zip(gold, predicted, strict=True))
    return [[counted[label, guess] for guess in labels] for label in labels]


def root_mean_squared_error(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the root of the mean squared difference of numbers."""
    squares = [(float(label) - float(guess)) ** 2 for label, guess in zip(gold, predicted, strict=True)]
    return float((sum(squares) / len(squares)) ** 0.5)


def mean_and_deviation(numbers: Sequence[str]) -> tuple[float, float]:
    """Return the mean of numbers and their standard deviation (n in the denominator), or 1 where there is none."""
    values = [*map(float, numbers)]
    return fmean(values), pstdev(values) or 1.0
