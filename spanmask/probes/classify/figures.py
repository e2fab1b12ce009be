"""What predicted labels are worth beside true ones, and what is taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the mean of the labels' F1 in [0, 1], over those that gold or predictions have, as scikit-learn's ``average="macro"``."""
    hits = Counter(label for label, guess in zip(gold, predicted, strict=True) if label == guess)
    wanted, found = Counter(gold), Counter(predicted)
    labels = wanted.keys() | found.keys()
    return sum(2 * hits[label] / (wanted[label] + found[label]) for label in sorted(labels)) / len(labels)


def confusion(gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """Return how often texts of a label, a row each, are told to have one, a column each."""
    counted = Counter(zip(gold, predicted, strict=True))
    return [[counted[label, guess] for guess in labels] for label in labels]


def root_mean_squared_error(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the root of the mean squared difference of numbers."""
    squares = [(float(label) - float(guess)) ** 2 for label, guess in zip(gold, predicted, strict=True)]
    return float((sum(squares) / len(squares)) ** 0.5)
