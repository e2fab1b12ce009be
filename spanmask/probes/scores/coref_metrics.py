"""What the metrics of coreference count in one document: how the entities of a key and predicted ones share mentions.

Each count is numerator and denominator of recall, then of precision, which is the same with both sides exchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from spanmask._lazy import told_by_extra
from spanmask.probes.scores.conll import Entities, Mention

Count = tuple[float, float, float, float]


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
    return _over(meeting, sum(meeting.shared.values()), sum)


def muc(meeting: Meeting) -> Count:
    """Count the fewest links that make up each entity (Vilain et al. 1995)."""
    return _over(meeting, sum(count - 1 for count in meeting.shared.values()), lambda sizes: sum(sizes) - len(sizes))


def bcub(meeting: Meeting) -> Count:
    """Count for each mention the share of its entity that the other side's entity has too (Bagga and Baldwin 1998)."""

    def shares(side: Meeting) -> float:
        return sum(count**2 / side.key[one] for (one, _), count in side.shared.items())

    return shares(meeting), sum(meeting.key), shares(meeting.swapped()), sum(meeting.response)


def ceafm(meeting: Meeting) -> Count:
    """Count shared mentions under the best assignment of entities one to one (Luo 2005, φ3)."""
    return _over(meeting, _assigned({pair: float(count) for pair, count in meeting.shared.items()}), sum)


def ceafe(meeting: Meeting) -> Count:
    """Count likeness of entities, 2 |K ∩ R| / (|K| + |R|), under the best assignment (Luo 2005, φ4)."""
    likeness = {
        (one, other): 2 * count / (meeting.key[one] + meeting.response[other])
        for (one, other), count in meeting.shared.items()
    }
    return _over(meeting, _assigned(likeness), len)


def coreferent(meeting: Meeting) -> Count:
    """Count pairs of mentions of one entity: BLANC's first half (Luo et al. 2014)."""
    return _over(meeting, _pairs(meeting.shared.values()), _pairs)


def apart(meeting: Meeting) -> Count:
    """Count pairs of mentions of two entities: BLANC's other half."""
    one_side, other_side = Counter[int](), Counter[int]()
    for (one, other), count in meeting.shared.items():
        one_side[one] += count
        other_side[other] += count
    together = _pairs(one_side.values()) + _pairs(other_side.values()) - _pairs(meeting.shared.values())
    both = comb(sum(meeting.shared.values()), 2) - together
    return _over(meeting, both, lambda sizes: comb(sum(sizes), 2) - _pairs(sizes))


def lea(meeting: Meeting) -> Count:
    """Count for each entity the share of its links that the other side has too, times its mentions (Moosavi and Strube 2016).

    An entity of one mention has one link, to itself, which the other side has where that mention is alone too.
    """

    def resolved(side: Meeting) -> float:
        return sum(
            size * comb(count, 2) / comb(size, 2) if (size := side.key[one]) > 1 else float(side.response[other] == 1)
            for (one, other), count in side.shared.items()
        )

    return resolved(meeting), sum(meeting.key), resolved(meeting.swapped()), sum(meeting.response)


def _over(meeting: Meeting, common: float, whole: Callable[[Sequence[int]], float]) -> Count:
    """Return a count whose numerator is one for both sides. whole: the denominator, of the sizes of a side's entities."""
    return common, whole(meeting.key), common, whole(meeting.response)


def _pairs(sizes: Iterable[int]) -> int:
    return sum(comb(size, 2) for size in sizes)


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
