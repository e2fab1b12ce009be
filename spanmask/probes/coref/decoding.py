"""From a head's rows to entities, and to the files that scorers read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from spanmask.probes.scores.conll import Entities, Mention


def entities_of(rows: npt.NDArray[np.float32], *, singletons: bool) -> tuple[list[list[Mention]], int]:
    """Return the entities of one document that rows tell, in the order of their first mentions, and how many mentions were left out.

    Mentions are joined with their antecedents. Of mentions of one entity that cross, which brackets cannot tell, the one with the lower
    mention score is left out; an entity that then has one mention is left out too unless singletons are wanted.

    Parameters
    ----------
    rows
        (k, 5): first and last word, the row of the antecedent or -1, mention and antecedent score.
    singletons
        Whether a mention with a score above 0 that has no antecedent and is nobody's is an entity of its own.
    """
    clusters: list[list[int]] = []
    home: dict[int, int] = {}
    for row, antecedent in enumerate(rows[:, 2].astype(np.int64).tolist()):
        if antecedent < 0:
            continue
        if antecedent not in home:
            home[antecedent] = len(clusters)
            clusters.append([antecedent])
        home[row] = home[antecedent]
        clusters[home[row]].append(row)
    if singletons:
        clusters += [[row] for row, score in enumerate(rows[:, 3].tolist()) if score > 0 and row not in home]
    spans = [(start, end) for start, end in rows[:, :2].astype(np.int64).tolist()]
    kept = [without_crossing([(spans[row], float(rows[row, 3])) for row in cluster]) for cluster in clusters]
    told = [mentions for mentions in kept if len(mentions) > 1 or singletons]
    return sorted(told), sum(map(len, clusters)) - sum(map(len, told))


def without_crossing(scored: Sequence[tuple[Mention, float]]) -> list[Mention]:
    """Return mentions of one entity, ascending, without those that cross one with a higher score; of equals the earlier one stays."""
    kept: list[Mention] = []
    for run in _overlapping(sorted(scored)):
        stays: list[Mention] = []
        for mention, _ in sorted(run, key=lambda pair: (-pair[1], pair[0])):
            if not any(_cross(mention, other) for other in stays):
                stays.append(mention)
        kept += sorted(stays)
    return kept


def _overlapping(scored: Iterable[tuple[Mention, float]]) -> list[list[tuple[Mention, float]]]:
    """Return mentions, which are sorted, in runs that share no word."""
    runs: list[list[tuple[Mention, float]]] = []
    reached = -1
    for (start, end), score in scored:
        if start > reached:
            runs.append([])
        runs[-1].append(((start, end), score))
        reached = max(reached, end)
    return runs


def _cross(one: Mention, other: Mention) -> bool:
    """Tell whether brackets would pair otherwise: neither mention holds the other, and they share a word."""
    (start, end), (later, beyond) = sorted((one, other))
    return start < later <= end < beyond


def equal_strings(entities: Entities, words: Sequence[str], *, singletons: bool) -> list[list[Mention]]:
    """Return the same mentions, one entity for those of equal words in any case: what a model has to do better than.

    Parameters
    ----------
    entities
        Whose mentions are taken.
    words
        The document's.
    singletons
        Whether an entity of one mention stays.
    """
    texts: dict[str, list[Mention]] = {}
    for start, end in sorted(mention for mentions in entities for mention in mentions):
        texts.setdefault(" ".join(words[start : end + 1]).casefold(), []).append((start, end))
    return [mentions for mentions in texts.values() if len(mentions) > 1 or singletons]
