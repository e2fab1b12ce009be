"""The metrics of coreference as their papers define them, over sets: slow, literal, and without anything of ours.

A partition is a list of disjoint, non-empty sets of mentions. Each function returns (recall, precision, f1) of one document as exact
fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from fractions import Fraction
from itertools import combinations, permutations, product

Partition = list[set[Hashable]]
Figures = tuple[Fraction, Fraction, Fraction]


def _share(part: int | Fraction, whole: int | Fraction) -> Fraction:
    return Fraction(part) / whole if whole else Fraction(0)


def _f1(recall: Fraction, precision: Fraction) -> Figures:
    return recall, precision, _share(2 * precision * recall, precision + recall)


def _both(recall: Callable[[Partition, Partition], Fraction], key: Partition, response: Partition) -> Figures:
    return _f1(recall(key, response), recall(response, key))


def muc(key: Partition, response: Partition) -> Figures:
    """Vilain et al.: the parts that the other partition cuts an entity into; what is in none of its entities is a part alone."""

    def recall(one: Partition, other: Partition) -> Fraction:
        kept = needed = 0
        for entity in one:
            parts = [entity & others for others in other if entity & others]
            parts += [{mention} for mention in entity if not any(mention in others for others in other)]
            kept += len(entity) - len(parts)
            needed += len(entity) - 1
        return _share(kept, needed)

    return _both(recall, key, response)


def bcub(key: Partition, response: Partition) -> Figures:
    """Bagga and Baldwin: of each mention, the share of its entity that it is with in the other partition too."""

    def recall(one: Partition, other: Partition) -> Fraction:
        shares = [
            _share(sum(len(entity & others) for others in other if mention in others), len(entity))
            for entity in one
            for mention in entity
        ]
        return _share(sum(shares, Fraction(0)), len(shares))

    return _both(recall, key, response)


def _ceaf(key: Partition, response: Partition, like: Callable[[set[Hashable], set[Hashable]], Fraction]) -> Figures:
    """Luo: the best of all assignments, over what an entity is like itself."""
    few, many = sorted((key, response), key=len)
    best = max(
        sum((like(one, other) for one, other in zip(few, chosen, strict=True)), Fraction(0))
        for chosen in permutations(many, len(few))
    )
    return _f1(*(_share(best, sum((like(entity, entity) for entity in side), Fraction(0))) for side in (key, response)))


def ceafm(key: Partition, response: Partition) -> Figures:
    """Luo's φ3."""
    return _ceaf(key, response, lambda one, other: Fraction(len(one & other)))


def ceafe(key: Partition, response: Partition) -> Figures:
    """Luo's φ4."""
    return _ceaf(key, response, lambda one, other: Fraction(2 * len(one & other), len(one) + len(other)))


def links(partition: Partition) -> set[frozenset[Hashable]]:
    """Return the pairs of mentions of one entity."""
    return {frozenset(pair) for entity in partition for pair in combinations(entity, 2)}


def others(partition: Partition) -> set[frozenset[Hashable]]:
    """Return the pairs of mentions of two entities."""
    return {frozenset(pair) for one, other in combinations(partition, 2) for pair in product(one, other)}


def blanc(key: Partition, response: Partition) -> Figures:
    """Luo et al.: both kinds of links, or the one that the key has."""
    kinds = []
    for of in (links, others):
        wanted, given = of(key), of(response)
        if wanted:
            kinds.append(_f1(_share(len(wanted & given), len(wanted)), _share(len(wanted & given), len(given))))
    return _mean(kinds)


def _mean(kinds: list[Figures]) -> Figures:
    recall, precision, f1 = [
        _share(sum((kind[place] for kind in kinds), Fraction(0)), len(kinds)) for place in range(3)
    ]
    return recall, precision, f1


def lea(key: Partition, response: Partition) -> Figures:
    """Moosavi and Strube: of each entity, the share of its links that are links of the other partition, times its size."""

    def own(entity: set[Hashable]) -> set[frozenset[Hashable]]:
        return links([entity]) if len(entity) > 1 else {frozenset(entity)}

    def recall(one: Partition, other: Partition) -> Fraction:
        theirs = set().union(*map(own, other)) if other else set()
        resolved = (len(entity) * _share(len(own(entity) & theirs), len(own(entity))) for entity in one)
        return _share(sum(resolved, Fraction(0)), sum(map(len, one)))

    return _both(recall, key, response)


def mentions(key: Partition, response: Partition) -> Figures:
    """What is there on both sides."""

    def recall(one: Partition, other: Partition) -> Fraction:
        here, there = _all(one), _all(other)
        return _share(len(here & there), len(here))

    return _both(recall, key, response)


def _all(partition: Iterable[set[Hashable]]) -> set[Hashable]:
    return {mention for entity in partition for mention in entity}


METRICS = {
    "muc": muc,
    "bcub": bcub,
    "ceafm": ceafm,
    "ceafe": ceafe,
    "blanc": blanc,
    "lea": lea,
    "mentions": mentions,
}
