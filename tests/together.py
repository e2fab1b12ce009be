"""Cases in which each two values of several parameters meet, where all combinations take long and no three of them are of interest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

from figures import THOROUGH

Case = tuple[Any, ...]


def each_two_or_all(*values: Sequence[Any]) -> list[Case]:
    """Return what `each_two` does; in a long run all combinations."""
    return [*product(*values)] if THOROUGH else each_two(*values)


def each_two(*values: Sequence[Any]) -> list[Case]:
    """Return cases, a value of each parameter, that have any two values of any two parameters together; the same at each call."""
    all_cases = [tuple(zip(range(len(values)), case, strict=True)) for case in product(*map(range, map(len, values)))]
    missing = {pair for case in all_cases for pair in combinations(case, 2)}
    chosen = []
    while missing:
        best = max(all_cases, key=lambda case: len(missing.intersection(combinations(case, 2))))
        missing.difference_update(combinations(best, 2))
        chosen.append(best)
    return [tuple(values[parameter][number] for parameter, number in case) for case in chosen]
