"""What a reader tells apart, and what a reader without states says: how often each token comes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spanmask.records import Offsets

#: What is added to every token's count, as the share that chooses likes best: a token that was never met is not impossible.
_ADDED = tuple(2.0**-power for power in range(13))

Bits = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """K classes of V tokens: the most frequent, each by itself, and the rest as the last one.

    of: (V,) the class of each id. log_within: (V,) log2 of an id's share of its class, 0 of one by itself. log_shares: (K,) log2 of how
    often each class comes. likeliest: (K,) the id of each class that comes most often.
    """

    of: Offsets
    log_within: Bits
    log_shares: Bits
    likeliest: Offsets

    def __len__(self) -> int:
        return len(self.log_shares)

    def unigram_bits(self, targets: Offsets) -> Bits:
        """Return (n,) what each target costs a reader without states, in bits."""
        bits: Bits = -(self.log_shares[self.of[targets]] + self.log_within[targets])
        return bits


def classes_of(training: Offsets, choosing: Offsets, *, entries: int, most: int) -> Classes:
    """Return the classes of some targets.

    A token comes as often as it does in training, something added to each count: as much as makes the targets that choose cheapest.

    Parameters
    ----------
    training, choosing
        (n,) ids, one or more each.
    entries
        V: of the vocabulary.
    most
        Tokens that are classes by themselves, at most; only ones that come in training are.
    """
    counts = np.bincount(training, minlength=entries).astype(np.float64)
    log_shares = min((_log_shares(counts, added) for added in _ADDED), key=lambda logs: -float(logs[choosing].mean()))
    # Of equals the lower id.
    order = np.lexsort((np.arange(entries), -counts))
    own = order[: min(most, np.count_nonzero(counts), entries - 1)]
    rest = order[len(own) :]
    of = np.full(entries, len(own), np.int64)
    of[own] = np.arange(len(own))
    of_rest = float(np.log2(np.exp2(log_shares[rest]).sum()))
    log_within = np.zeros(entries)
    log_within[rest] = log_shares[rest] - of_rest
    return Classes(
        of=of,
        log_within=log_within,
        log_shares=np.append(log_shares[own], of_rest),
        likeliest=np.append(own, rest[0]),
    )


def _log_shares(counts: Bits, added: float) -> Bits:
    """Return (V,) log2 of how often each token comes, so much being added to each count."""
    logs: Bits = np.log2((counts + added) / (counts.sum() + added * len(counts)))
    return logs
