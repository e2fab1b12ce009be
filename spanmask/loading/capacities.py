"""What capacities suit a dataset: chosen from the histograms of its manifest, by packing rows of such lengths for trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.errors import ConfigError
from spanmask.loading.binning import Capacities, assign
from spanmask.loading.slots import MULTIPLE, round_up
from spanmask.loading.targets import SboRule
from spanmask.records import Offsets

#: Rows of the trial.
_TRIAL_ROWS = 4096
#: The share of bins that a capacity may cost.
_LOSS = 0.005

Histogram = npt.NDArray[np.int64]


def choose_capacities(statistics: Mapping[str, Any], rule: SboRule | None, *, tokens: int = 512) -> Capacities:
    """Choose what a bin of ``tokens`` slots holds: the smallest capacities that hardly cost a bin.

    P holds the most masked tokens that a row may have when it is masked anew: where rows go over their budget by whole words, as far
    above the most that was seen as that is above the budget, but below twice the budget, which no row reaches (FORMAT.md §6). From there it
    grows in steps of 8 until a trial takes at most 0.5 % more bins than without limits. A slot costs a row of the product with
    the vocabulary, used or not.

    Q is P, but what ``max_span_offset`` keeps out of reach: no more than a quarter above what the spans of the row with the most of them
    have, and than the share of masked tokens that are targets. 0 without a rule.

    K is the smallest that costs at most 0.5 % more bins again, and a quarter more, since windows differ. Every sequence that a
    bin may hold has its place in ``cu_seqlens`` and with it a launch of attention, whether it is there or not.

    The trial packs 4,096 rows whose lengths are quantiles of the histogram, the longer ones having the more masked tokens. A mean would
    not do: half full rows and half titles of 14 tokens fill bins only where a bin takes 36 titles.

    Parameters
    ----------
    statistics
        Of one split, as in the manifest: ``manifest.statistics[split]``.
    rule
        Which masked tokens are SBO targets.
    tokens
        L.

    Raises
    ------
    ConfigError
        The split has no rows, or longer ones than a bin.
    """
    seen = _Seen.of(statistics)
    if seen.rows == 0:
        raise ConfigError("the split has no rows: there is nothing to pack")
    longest = len(seen.row_tokens) - 1
    if longest > tokens:
        raise ConfigError(
            f"rows have up to {longest} tokens, a bin holds {tokens}: give bins of {longest} tokens or more"
        )
    trial = _Trial.of(seen, rule)
    free = Capacities(tokens=tokens, mlm=tokens, sbo=tokens if rule else 0, sequences=tokens)
    fewest = trial.bins(free)
    least = max(seen.most_masked(tokens), seen.masked_share * tokens)

    def with_mlm(mlm: int) -> Capacities:
        return replace(free, mlm=mlm, sbo=seen.sbo_slots(rule, mlm))

    mlm = round_up(least)
    while mlm < tokens and trial.bins(with_mlm(mlm)) > fewest * (1 + _LOSS):
        mlm += MULTIPLE
    chosen = with_mlm(mlm)
    allowed = trial.bins(chosen) * (1 + _LOSS)
    sequences = _smallest(lambda count: trial.bins(replace(chosen, sequences=count)) <= allowed, tokens)
    return replace(chosen, sequences=sequences + ceil(sequences / 4))


def _smallest(suffices: Callable[[int], bool], most: int) -> int:
    """Return the smallest number up to ``most`` that suffices; ``most`` does, and what is above one that does."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if suffices(middle):
            high = middle
        else:
            low = middle + 1
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What a manifest counts over the rows of a split; histograms are indexed by value."""

    rows: int
    tokens: int
    masked: int
    budget: int
    row_tokens: Histogram
    row_masked: Histogram
    row_spans: Histogram
    span_tokens: Histogram

    @classmethod
    def of(cls, statistics: Mapping[str, Any]) -> _Seen:
        names = ("row_tokens", "row_masked", "row_spans", "span_tokens")
        return cls(
            rows=statistics["rows"],
            tokens=statistics["tokens"] + 2 * statistics["rows"],
            masked=statistics["masked_tokens"],
            budget=statistics["budget_tokens"],
            **{name: np.array(statistics["histograms"][name], np.int64) for name in names},
        )

    @property
    def masked_share(self) -> float:
        """Masked tokens of every token, special ones included."""
        return self.masked / self.tokens

    def most_masked(self, tokens: int) -> int:
        """Return the most masked tokens that a row may have when it is masked anew.

        Where rows are longer than the histogram tells: the budget of a row that fills a bin, and an eighth more.
        """
        from spanmask.statistics import HISTOGRAM_LIMIT

        longest, most = len(self.row_tokens) - 1, len(self.row_masked) - 1
        exact = self.masked <= self.budget
        if longest == HISTOGRAM_LIMIT:
            budget = self.budget_of(tokens)
            return budget if exact else budget + budget // 8
        budget = self.budget_of(longest)
        return max(most, budget) if exact else max(most, min(2 * most - budget, 2 * budget - 1))

    def budget_of(self, tokens: int) -> int:
        """Return the mask budget of a row: ⌈ratio · n⌉ with the smallest ratio for which the budgets of all rows have the sum they have.

        The mean share would not do: of seven tokens two are masked, of 510 only 77.
        """
        sizes = np.maximum(_values(self.row_tokens, self.tokens) - 2, 0)
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            if np.ceil(middle * sizes) @ self.row_tokens < self.budget:
                low = middle
            else:
                high = middle
        return ceil(high * (tokens - 2))

    def sbo_slots(self, rule: SboRule | None, mlm: int) -> int:
        """Return Q for P."""
        if rule is None:
            return 0
        row = ceil(1.25 * (len(self.row_spans) - 1)) * rule.max_span_offset
        return min(mlm, round_up(max(row, self.sbo_share(rule) * mlm)))

    def sbo_share(self, rule: SboRule) -> float:
        """Return the share of masked tokens at an offset that the rule allows."""
        sizes = np.arange(len(self.span_tokens))
        masked = int(sizes @ self.span_tokens)
        return float(np.minimum(sizes, rule.max_span_offset) @ self.span_tokens / masked) if masked else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """Rows as typical of a split as quantiles are. tokens, mlm, sbo: (n,)."""

    tokens: Offsets
    mlm: Offsets
    sbo: Offsets

    @classmethod
    def of(cls, seen: _Seen, rule: SboRule | None) -> _Trial:
        size = min(seen.rows, _TRIAL_ROWS)
        mlm = _quantiles(seen.row_masked, seen.masked, size)
        sbo = (mlm * seen.sbo_share(rule)).astype(np.int64) if rule else np.zeros_like(mlm)
        return cls(tokens=_quantiles(seen.row_tokens, seen.tokens, size), mlm=mlm, sbo=sbo)

    def bins(self, capacities: Capacities) -> int:
        return len(assign(self.tokens, self.mlm, np.minimum(self.sbo, capacities.sbo), capacities))


def _quantiles(histogram: Histogram, total: int, size: int) -> Offsets:
    """Return (size,) values, ascending, each standing for as many of those counted. total: their sum."""
    ranks = (2 * np.arange(size) + 1) * int(histogram.sum()) // (2 * size)
    return _values(histogram, total)[np.searchsorted(np.cumsum(histogram), ranks, side="right")]


def _values(histogram: Histogram, total: int) -> Offsets:
    """Return the value of each count; of the last one, which may hold all beyond, the mean. total: the sum of all values counted."""
    values = np.arange(len(histogram))
    values[-1] = (total - int(values[:-1] @ histogram[:-1])) // int(histogram[-1])
    return values
