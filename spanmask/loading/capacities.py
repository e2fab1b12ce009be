"""What bins and batches suit a dataset: chosen from the histograms of its manifest, by packing rows of such lengths for trial.

All that is chosen is a function of manifests and options, so the same on every rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import ceil, floor, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.config import MaskingConfig, Sampler, Scheme
from spanmask.errors import ConfigError
from spanmask.loading.binning import Capacities, TargetSlots, assign
from spanmask.loading.slots import round_up
from spanmask.loading.targets import Edges, SboRule
from spanmask.records import Offsets

#: Rows of the trial.
_TRIAL_ROWS = 4096
#: The share of bins that a capacity may cost.
_LOSS = 0.005
#: Standard deviations above the mean that the usual slots hold.
_DEVIATIONS = 3

Histogram = npt.NDArray[np.int64]


def choose_capacities(statistics: Mapping[str, Any], *, tokens: int = 512) -> Capacities:
    """Choose what a bin of ``tokens`` slots holds: the fewest sequences that hardly cost a bin.

    K is the smallest that costs at most 0.5 % more bins than without a limit, and a quarter more, since windows differ. Every sequence that
    a bin may hold has its place in ``cu_seqlens`` and with it a launch of attention, whether it is there or not.

    The trial packs 4,096 rows whose lengths are quantiles of the histogram. A mean would not do: half full rows and half titles of 14
    tokens fill bins only where a bin takes 36 titles.

    Parameters
    ----------
    statistics
        Of one split, as in the manifest: ``manifest.statistics[split]``.
    tokens
        L.

    Raises
    ------
    ConfigError
        The split has no rows, or longer ones than a bin.
    """
    lengths = _trial(statistics, tokens)[0]

    def bins(sequences: int) -> int:
        return len(assign(lengths, Capacities(tokens=tokens, sequences=sequences)))

    allowed = bins(tokens) * (1 + _LOSS)
    sequences = _smallest(lambda count: bins(count) <= allowed, tokens)
    return Capacities(tokens=tokens, sequences=sequences + ceil(sequences / 4))


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


def choose_slots(
    statistics: Mapping[str, Any], rule: SboRule | None, capacities: Capacities, *, bins: int
) -> TargetSlots:
    """Choose the usual P and Q of a batch: its mean number of targets, and three standard deviations more, in steps of 8.

    A slot costs a row of the product with the vocabulary, used or not; a batch that has more targets takes the slots of `most_slots`.
    Mean and deviation of a bin are those of the trial's bins, whose longer rows have the more masked tokens. Those of B bins follow, since
    bins of shuffled rows are as good as independent. Q follows from P by the share ρ of masked tokens that are SBO targets; where that is
    not 1, the targets Y of spans of X tokens add (spans of a bin) · E(Y − ρX)² to its variance (renewal-reward theorem).

    Parameters
    ----------
    statistics, capacities
        As of `choose_capacities`, and what it returned.
    rule
        Which masked tokens are SBO targets.
    bins
        B.
    """
    lengths, masked = _trial(statistics, capacities.tokens)
    packed = assign(lengths, capacities)
    of_bins = np.add.reduceat(masked[packed.members], packed.offsets[:-1])
    mean, variance = float(of_bins.mean()), float(of_bins.var())

    def slots(mean: float, variance: float) -> int:
        return round_up(ceil(bins * mean + _DEVIATIONS * sqrt(bins * variance)))

    if rule is None:
        return TargetSlots(mlm=slots(mean, variance), sbo=0)
    share, of_token = _sbo_share(statistics, rule)
    sbo = slots(share * mean, share**2 * variance + of_token * mean)
    return TargetSlots(mlm=slots(mean, variance), sbo=sbo)


def _sbo_share(statistics: Mapping[str, Any], rule: SboRule) -> tuple[float, float]:
    """Return the share of masked tokens that are SBO targets, and what each masked token adds to the variance of their number."""
    counts = np.array(statistics["histograms"]["span_tokens"], np.int64)
    sizes = np.arange(len(counts))
    masked = int(sizes @ counts)
    if not masked:
        return 1.0, 0.0
    edges = statistics["spans_at_first_word"] + statistics["spans_at_last_word"] if rule.edges is Edges.DROP else 0
    inside = 1 - min(edges / int(counts.sum()), 1.0)
    kept = np.minimum(sizes, rule.max_span_offset)
    share = inside * float(kept @ counts) / masked
    squares = inside * (kept - share * sizes) ** 2 + (1 - inside) * (share * sizes) ** 2
    return share, float(squares @ counts) / masked


def most_slots(
    maskings: Sequence[MaskingConfig], rule: SboRule | None, capacities: Capacities, *, bins: int
) -> TargetSlots:
    """Return P and Q that no batch exceeds, whatever its masks.

    A row of n tokens, special ones left out, has a budget of ⌈r·n⌉ < r·n + 1, r the ratio of masked tokens. Samplers that draw whole units
    stop at the first that reaches the budget, and none is longer than it (FORMAT.md §6.2, 6.4, 6.5): below 2·⌈r·n⌉ tokens are masked, so
    below c·n + 1 with c = 2·r. Where masks keep to the budget (``reference``, §6.3; ``token``, §6.4), c = r. A batch of S rows has at most
    B·L − 2·S such tokens, therefore at most ⌊c·(B·L − 2·S)⌋ + S are masked; that is linear in S, from 0 to B·K rows, each of three tokens
    at least, so that one of the two ends is the most. SBO targets are masked tokens.

    Parameters
    ----------
    maskings
        How each dataset is masked; the largest c counts.
    rule
        Which masked tokens are SBO targets.
    capacities, bins
        L, K and B.
    """
    tokens = bins * capacities.tokens
    share = max(masked_share(masking) for masking in maskings)
    ends = (0, min(bins * capacities.sequences, tokens // 3))
    most = min(round_up(max(floor(share * (tokens - 2 * rows)) + rows for rows in ends)), tokens)
    return TargetSlots(mlm=most, sbo=0 if rule is None else most)


def masked_share(masking: MaskingConfig) -> Fraction:
    """Return c, for which fewer than c·n + 1 of a row's n tokens are masked; see `most_slots`."""
    exact = masking.sampler is Sampler.REFERENCE or masking.scheme is Scheme.TOKEN
    return masking.mask_fraction * (1 if exact else 2)


def _trial(statistics: Mapping[str, Any], tokens: int) -> tuple[Offsets, Offsets]:
    """Return lengths, and masked tokens, of some rows as typical of a split as quantiles are, (n,) each, ascending."""
    rows, histograms = statistics["rows"], statistics["histograms"]
    if rows == 0:
        raise ConfigError("the split has no rows: there is nothing to pack")
    longest = len(histograms["row_tokens"]) - 1
    if longest > tokens:
        raise ConfigError(
            f"rows have up to {longest} tokens, a bin holds {tokens}: give bins of {longest} tokens or more"
        )
    size = min(rows, _TRIAL_ROWS)
    total = statistics["tokens"] + 2 * rows + statistics.get("pairs", 0)
    lengths = _quantiles(histograms["row_tokens"], total, size, tokens, "the longest rows have {} tokens")
    masked = statistics["masked_tokens"]
    return lengths, _quantiles(
        histograms["row_masked"], masked, size, tokens, "the most masked rows have {} masked tokens"
    )


def _quantiles(counts: Sequence[int], total: int, size: int, most: int, what: str) -> Offsets:
    """Return (size,) values, ascending, each standing for as many of those counted.

    total: their sum. most: the largest there may be. what: says in an error that the largest are as many as ``{}`` is.
    """
    histogram = np.array(counts, np.int64)
    ranks = (2 * np.arange(size) + 1) * int(histogram.sum()) // (2 * size)
    values = np.searchsorted(np.cumsum(histogram), ranks, side="right")
    last = len(histogram) - 1
    mean = (total - int(np.arange(last) @ histogram[:-1])) / int(histogram[-1])
    if mean > most:
        raise ConfigError(
            f"{what.format(f'{mean:,.0f}')} on average, a bin holds {most:,}: give bins of more tokens; if no row is so long, "
            "the manifest's statistics are damaged: spanmask verify tells"
        )
    beyond = int((values == last).sum())
    # The last count may be of all values beyond, too, of which the mean is known.
    values[size - beyond :] = _spread(beyond, last, mean, most)
    return values


def _spread(count: int, least: int, mean: float, most: int) -> Offsets:
    """Return values from ``least`` to ``most`` of about this mean, ascending: as many of each; where that is less, the rest are the most.

    Rows of long documents are so: cut at the longest that is allowed, and what is left of any length.
    """
    top = min(2 * mean - least, most)
    even = (least + top) / 2
    whole = round(count * (mean - even) / (top - even)) if top > even else 0
    places = (np.arange(count - whole) + 0.5) / max(count - whole, 1)
    return np.append((least + places * (top - least)).astype(np.int64), np.full(whole, int(top)))
