"""F1 averaged over labels, each weighing alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def macro_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the mean of the labels' F1 in [0, 1], over those that gold or predictions have, as scikit-learn's ``average="macro"``."""
    hits = Counter(label for label, guess in zip(gold, predicted, strict=True) if label == guess)
    wanted, found = Counter(gold), Counter(predicted)
    labels = wanted.keys() | found.keys()
    return sum(2 * hits[label] / (wanted[label] + found[label]) for label in sorted(labels)) / len(labels)
