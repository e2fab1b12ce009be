"""What predicted entities are worth: all figures of the scorer, in per cent, with singletons in both and in neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanmask.probes.scores.conll import Entities
from spanmask.probes.scores.coref import score_documents

#: What a figure is called that is taken without entities of one mention, in the key and in the predictions.
WITHOUT = "_without_singletons"
METRIC = "conll_f1"

#: Key and predictions of a document.
Pair = tuple[Entities, Entities]


def figures_of(pairs: Sequence[Pair], baseline: Sequence[Pair]) -> dict[str, float]:
    """Return figures by name: CoNLL F1 first, those of the baseline beside it, then all others.

    Parameters
    ----------
    pairs
        Of each document.
    baseline
        The same documents, with one entity for equal strings over the predicted mentions.
    """
    kept, dropped = (score_documents(pairs, singletons=policy) for policy in ("keep", "drop"))
    least = (score_documents(baseline, singletons=policy)[METRIC] for policy in ("keep", "drop"))
    first = {METRIC: kept.pop(METRIC), METRIC + WITHOUT: dropped.pop(METRIC)}
    first |= {f"equal_strings_{name}": value for name, value in zip(list(first), least, strict=True)}
    found = first | _flat(kept, "") | _flat(dropped, WITHOUT)
    return {name: 100.0 * value for name, value in found.items()}


def _flat(figures: dict[str, Any], suffix: str) -> dict[str, float]:
    return {f"{metric}_{name}{suffix}": value for metric, values in figures.items() for name, value in values.items()}
