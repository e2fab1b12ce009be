"""What a task's figures stand on: what is reached without an encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from spanmask.probes.results import Figures


def floor_of(by: str, figures: Mapping[str, Figures]) -> dict[str, Any]:
    """Return a floor as a protocol has it under ``floor``: by what it is reached, and its figures by evaluation file."""
    return {"by": by, "figures": {name: dict(own) for name, own in figures.items()}}


def label_floor(
    training: Iterable[str],
    labels: Sequence[str],
    evaluations: Mapping[str, Sequence[str]],
    figures: Callable[[Sequence[str], Sequence[str]], Figures],
) -> dict[str, Any]:
    """Return what the most frequent label would score if all had it.

    Parameters
    ----------
    training
        The labels that are trained on.
    labels
        All there are; of equally frequent ones the first counts.
    evaluations
        True labels of each evaluation file.
    figures
        What predictions are worth, from true labels and predicted ones.
    """
    counts = Counter(training)
    label = max(labels, key=lambda one: counts[one])
    always = {name: figures(gold, [label] * len(gold)) for name, gold in evaluations.items()}
    return floor_of(f"the most frequent label, {label!r}", always)
