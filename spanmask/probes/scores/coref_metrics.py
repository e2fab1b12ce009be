"""What the metrics of coreference count in one document: how the entities of a key and predicted ones share mentions.

Each count is a pair of numerator and denominator, of recall; that of precision is the same with both exchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from spanmask._lazy import told_by_extra
from spanmask.probes.scores.conll import Entities, Mention

Count = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """How two partitions of one document's mentions share them.

    Parameters
    ----------
    key, response
        Mentions of each entity.
    shared
        By entity of the key and of the response: the mentions that are in both, where there are any.
    """

    key: Sequence[int]
    response: Sequence[int]
    shared: Mapping[tuple[int, int], int]

    @classmethod
    def of(cls, key: Entities, response: Entities) -> Meeting:
        """Return how entities meet in which every mention stands once."""
        home = {mention: number for number, mentions in enumerate(key) for mention in mentions}
        shared = Counter(
            (home[mention], number)
            for number, mentions in enumerate(response)
            for mention in mentions
            if mention in home
        )
        return cls(key=[*map(len, key)], response=[*map(len, response)], shared=shared)

    def swapped(self) -> Meeting:
        """Return the same seen from the other side."""
        shared = {(other, one): count for (one, other), count in self.shared.items()}
        return Meeting(key=self.response, response=self.key, shared=shared)


def distinct(entities: Entities, *, least: int = 1) -> list[list[Mention]]:
    """Return entities with every mention in the first one that has it, without those of fewer mentions than ``least``."""
    seen: set[Mention] = set()
    kept = []
    for mentions in entities:
        new = [mention for mention in dict.fromkeys(mentions) if mention not in seen]
        seen.update(new)
        if len(new) >= least:
            kept.append(new)
    return kept


def mentions(meeting: Meeting) -> Count:
    """Count mentions that the other side has too, whatever their entity."""
    return sum(meeting.shared.values()), sum(meeting.key)


def muc(meeting: Meeting) -> Count:
    """Count the fewest links that make up each entity (Vilain et al. 1995)."""
    return sum(count - 1 for count in meeting.shared.values()), sum(size - 1 for size in meeting.key)


def bcub(meeting: Meeting) -> Count:
    """Count for each mention the share of its entity that the other side's entity has too (Bagga and Baldwin 1998)."""
    return sum(count**2 / meeting.key[one] for (one, _), count in meeting.shared.items()), sum(meeting.key)


def ceafm(meeting: Meeting) -> Count:
    """Count shared mentions under the best assignment of entities one to one (Luo 2005, φ3)."""
    return _assigned({pair: float(count) for pair, count in meeting.shared.items()}), sum(meeting.key)


def ceafe(meeting: Meeting) -> Count:
    """Count likeness of entities, 2 |K ∩ R| / (|K| + |R|), under the best assignment (Luo 2005, φ4)."""
    likeness = {
        (one, other): 2 * count / (meeting.key[one] + meeting.response[other])
        for (one, other), count in meeting.shared.items()
    }
    return _assigned(likeness), len(meeting.key)


def coreferent(meeting: Meeting) -> Count:
    """Count pairs of mentions of one entity: BLANC's first half (Luo et al. 2014)."""
    return sum(comb(count, 2) for count in meeting.shared.values()), sum(comb(size, 2) for size in meeting.key)


def apart(meeting: Meeting) -> Count:
    """Count pairs of mentions of two entities: BLANC's other half."""
    one_side, other_side = Counter[int](), Counter[int]()
    for (one, other), count in meeting.shared.items():
        one_side[one] += count
        other_side[other] += count
    together = sum(comb(count, 2) for side in (one_side, other_side) for count in side.values())
    both = comb(sum(meeting.shared.values()), 2) - together + coreferent(meeting)[0]
    return both, comb(sum(meeting.key), 2) - coreferent(meeting)[1]


def lea(meeting: Meeting) -> Count:
    """Count for each entity the share of its links that the other side has too, times its mentions (Moosavi and Strube 2016).

    An entity of one mention has one link, to itself, which the other side has where that mention is alone too.
    """
    resolved = 0.0
    for (one, other), count in meeting.shared.items():
        size = meeting.key[one]
        resolved += size * comb(count, 2) / comb(size, 2) if size > 1 else float(meeting.response[other] == 1)
    return resolved, sum(meeting.key)


#: What is counted, by name; BLANC is made of two.
COUNTS: dict[str, Callable[[Meeting], Count]] = {
    "muc": muc,
    "bcub": bcub,
    "ceafm": ceafm,
    "ceafe": ceafe,
    "coreferent": coreferent,
    "apart": apart,
    "lea": lea,
    "mentions": mentions,
}


def _assigned(values: Mapping[tuple[int, int], float]) -> float:
    """Return the largest sum of values of which no two share a row or a column."""
    return sum(map(_best, _connected(values)))


def _connected(values: Mapping[tuple[int, int], float]) -> list[dict[tuple[int, int], float]]:
    """Return values in groups that share neither row nor column, so that no matrix spans a whole document."""
    rows: dict[int, list[tuple[int, int]]] = {}
    columns: dict[int, list[tuple[int, int]]] = {}
    for row, column in values:
        rows.setdefault(row, []).append((row, column))
        columns.setdefault(column, []).append((row, column))
    groups = []
    while rows:
        waiting, group = rows.popitem()[1], {}
        while waiting:
            row, column = waiting.pop()
            group[row, column] = values[row, column]
            waiting += rows.pop(row, []) + columns.pop(column, [])
        groups.append(group)
    return groups


def _best(values: Mapping[tuple[int, int], float]) -> float:
    rows = {row: place for place, row in enumerate(dict.fromkeys(row for row, _ in values))}
    columns = {column: place for place, column in enumerate(dict.fromkeys(column for _, column in values))}
    if min(len(rows), len(columns)) == 1:
        return max(values.values())
    try:
        from scipy.optimize import linear_sum_assignment
    except ModuleNotFoundError as error:
        raise told_by_extra("CEAF of coreference", error) from None
    import numpy as np

    matrix = np.zeros((len(rows), len(columns)))
    for (row, column), value in values.items():
        matrix[rows[row], columns[column]] = value
    return float(matrix[linear_sum_assignment(matrix, maximize=True)].sum())
