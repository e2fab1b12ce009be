"""Counts over stored rows, and the tests that hold counts against a law. Used by presharding, verify and audit alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.blocks import as_stored, borders_of, stored_word_flags
from spanmask.kernels import rows as kernels
from spanmask.records import MaskedBlock, Offsets
from spanmask.vocab import Vocabulary

#: Histograms keep values up to this one apart; the last bin holds all beyond.
HISTOGRAM_LIMIT = 1024
_PAIRS = ("pairs", "pairs_of_two_documents", "repeated_tokens")
_HISTOGRAMS = ("row_tokens", "row_masked", "row_spans", "span_tokens", "span_words")


@dataclass(slots=True)
class RowStatistics:
    """Counts over rows.

    totals: by name, `kernels.rows.TOTALS`. Histograms are indexed by value: tokens (special ones included), masked tokens and spans of a
    row, tokens and words of a span. pairs: of a dataset of pairs, rows of two segments, those whose second is from another document, and
    the tokens of these, which stand in their own document's rows, too.
    """

    rows: int = 0
    totals: Offsets = field(default_factory=lambda: np.zeros(len(kernels.TOTALS), np.int64))
    histograms: dict[str, Offsets] = field(
        default_factory=lambda: {name: np.zeros(HISTOGRAM_LIMIT + 1, np.int64) for name in _HISTOGRAMS}
    )

    pairs: Offsets | None = None

    def add(self, block: MaskedBlock, vocabulary: Vocabulary, ratio: Fraction) -> None:
        """Count the rows of a valid block whose budget is ``ratio`` of their tokens."""
        stored = np.zeros(0, np.bool_) if block.word_starts is None else stored_word_flags(block, block.word_starts)
        table = vocabulary.word_start_table if vocabulary.tells_words else np.zeros(0, np.bool_)
        words = kernels.Words(table, vocabulary.longest_word, stored)
        counts = kernels.Counts(self.totals, **self.histograms)
        ids = (vocabulary.special.mask, -1 if vocabulary.special.unk is None else vocabulary.special.unk)
        kernels.count_rows(as_stored(block), words, ratio.numerator, ratio.denominator, ids, counts)
        self.rows += len(block)
        if block.pairs is not None:
            borders = borders_of(block)
            other = (borders > 0) & (block.pairs.labels == 0)
            second = block.input_ids.lengths - 1 - borders
            found = np.array([np.count_nonzero(borders), np.count_nonzero(other), second[other].sum()])
            self.pairs = found if self.pairs is None else self.pairs + found

    @property
    def repeated(self) -> int | None:
        """Tokens of second segments from other documents; None where rows are no pairs."""
        return None if self.pairs is None else int(self.pairs[-1])

    @property
    def tokens(self) -> int:
        """Tokens of all rows, special ones left out."""
        return int(self.totals[kernels.TOTALS.tokens])

    def to_json(self) -> dict[str, Any]:
        """Return the counts as the manifest writes them; histograms end at their last count."""
        totals = dict(zip(kernels.TOTALS._fields, self.totals.tolist(), strict=True))
        trimmed = {name: np.trim_zeros(histogram, "b").tolist() for name, histogram in self.histograms.items()}
        pairs = {} if self.pairs is None else dict(zip(_PAIRS, self.pairs.tolist(), strict=True))
        return {"rows": self.rows, **totals, **pairs, "histograms": trimmed}


def merge_counts(one: Any, other: Any) -> Any:
    """Add two counts as JSON writes them: numbers are added, lists item by item, objects key by key; what one lacks counts as zero."""
    if isinstance(one, dict):
        return {
            key: merge_counts(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
            for key in [*one, *(key for key in other if key not in one)]
        }
    if isinstance(one, list):
        return [x + y for x, y in zip_longest(one, other, fillvalue=0)]
    return one + other


@dataclass(frozen=True, slots=True, kw_only=True)
class ChiSquare:
    """A chi-square test: the statistic, degrees of freedom, and the probability of at least this under the law."""

    statistic: float
    degrees: int
    p_value: float


def chi_square(observed: Sequence[float] | npt.NDArray[Any], expected: Sequence[float] | npt.NDArray[Any]) -> ChiSquare:
    """Test observed counts against expected ones; neighbouring cells are joined until each expects at least five.

    The p-value is that of Pearson's statistic with one degree of freedom less than there are cells (no parameter is fitted); it is 0
    when something was observed that the law says is impossible.
    """
    seen, law = np.asarray(observed, float), np.asarray(expected, float)
    cells = _joined(seen, law)
    # Before cells are joined: the impossible beside the likely would be lost in one cell with it.
    if (seen[law == 0] > 0).any():
        return ChiSquare(statistic=math.inf, degrees=max(len(cells) - 1, 1), p_value=0.0)
    statistic = sum((found - expects) ** 2 / expects for found, expects in cells if expects > 0)
    degrees = max(len(cells) - 1, 0)
    p_value = upper_tail(degrees, statistic) if degrees else 1.0
    return ChiSquare(statistic=statistic, degrees=degrees, p_value=p_value)


def _joined(observed: npt.NDArray[Any], expected: npt.NDArray[Any]) -> list[tuple[float, float]]:
    """Return cells (found, expected) that expect five or more each: with fewer, Pearson's statistic does not follow its law.

    Neighbours are joined from the first on, never by what was found in them; what is left at the end goes to the last cell.
    """
    cells: list[tuple[float, float]] = []
    found = expects = 0.0
    for seen, law in zip(observed.tolist(), expected.tolist(), strict=True):
        found, expects = found + seen, expects + law
        if expects >= 5:
            cells.append((found, expects))
            found = expects = 0.0
    if cells and (found or expects):
        last = cells.pop()
        return [*cells, (last[0] + found, last[1] + expects)]
    return cells or [(found, expects)]


def upper_tail(degrees: int, statistic: float) -> float:
    """Return how likely a chi-square variable of some degrees of freedom, 1 or more, exceeds a number of 0 or more.

    That is Q(degrees / 2, statistic / 2) of the incomplete gamma function: Q(a + 1, x) = Q(a, x) + x^a e^-x / Γ(a + 1), from
    Q(1/2, x) = erfc √x or Q(1, x) = e^-x on (DLMF 8.4.6, 8.4.10, 8.8.6). All terms are positive, so that no digits are lost.
    """
    x = statistic / 2
    if x <= 0:
        return 1.0
    first = 0.5 if degrees % 2 else 1.0
    powers = (first + k for k in range((degrees - 1) // 2))
    terms = (math.exp(a * math.log(x) - x - math.lgamma(a + 1)) for a in powers)
    begin = math.erfc(math.sqrt(x)) if degrees % 2 else math.exp(-x)
    return min(1.0, begin + math.fsum(terms))
