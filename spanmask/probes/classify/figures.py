"""What predicted labels are worth beside true ones, and what is taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def confusion(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Return how often texts of a label, a row each, are told to have one, a column each."""
    counted = Counter(zip(gold, predicted, strict=True))
    return [[counted[label, guess] for guess in labels] for label in labels]


def root_mean_squared_error(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the root of the mean squared difference of numbers."""
    squares = [(float(label) - float(guess)) ** 2 for label, guess in zip(gold, predicted, strict=True)]
    return float((sum(squares) / len(squares)) ** 0.5)
