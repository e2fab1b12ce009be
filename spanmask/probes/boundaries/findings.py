"""What readers said, as figures: bits a token, bits saved, accuracy, by the span's length; no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from spanmask.probes.intervals import over_paragraphs
from spanmask.records import Offsets

if TYPE_CHECKING:
    from spanmask.probes.boundaries.classes import Bits

#: Lengths of spans, in pieces, that are told of apart: from the first to the second.
LENGTHS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (7, 9), (10, 1 << 16))
#: Deviations of the mean that shuffled labels may be off by: of 15,000 checks of a sound probe one fails.
_SURE = 4.0
#: Bits that shuffled labels may always be off by: what is rounded costs about a thousandth of it.
_ROUNDED = 1e-4
#: Measured documents that tell a deviation, at least.
_FEW = 8


class Inside(StrEnum):
    """What stands inside the spans of what the encoder reads: mask tokens, or the original text."""

    MASKED = "masked"
    VISIBLE = "visible"


class Reader(StrEnum):
    """What is read: nothing, the model's states with shuffled labels, its table of words, an encoder of random weights, the model."""

    UNIGRAM = "unigram"
    SHUFFLED = "shuffled"
    STATIC = "static"
    RANDOM = "random"
    MODEL = "model"


class Said:
    """What a reader said of n targets. bits: (n,) what each costs. right: (n,) whether the likeliest token is it. chosen: of the reader."""

    def __init__(self, bits: Bits, right: Any, **chosen: float) -> None:
        self.bits, self.right, self.chosen = bits, right, chosen


def found_of(
    said: Mapping[Reader, Said], sizes: Offsets, documents: Any, *, choosing: int, seed: int
) -> dict[str, Any]:
    """Return the figures of a place in the span, as plain JSON values.

    Parameters
    ----------
    said
        What each reader said of the n measured targets; the one without states among them.
    sizes
        (n,) pieces of the spans.
    documents
        (n,) of which document each is.
    choosing
        How many targets chose.
    seed
        By which documents are drawn for the interval.

    Returns
    -------
    dict
        ``tokens``; ``readers``: bits, bits saved of the unigram's, accuracy in per cent, and what was chosen, by reader; of the model
        ``saved_interval``, 95 % over documents; ``shuffled_limit``: how many bits shuffled labels may be off by, None of too few
        documents to say; ``lengths``: the same by length.
    """
    unigram = said[Reader.UNIGRAM].bits
    readers: dict[str, dict[str, Any]] = {
        str(name): {**_figures(one, unigram), **one.chosen} for name, one in said.items()
    }
    if Reader.MODEL in said:
        saved = unigram - said[Reader.MODEL].bits
        readers[Reader.MODEL]["saved_interval"] = [*over_paragraphs(saved, documents, seed=seed)]
    found: dict[str, Any] = {"tokens": len(sizes), "readers": readers}
    if Reader.SHUFFLED in said:
        found["shuffled_limit"] = chance(said[Reader.SHUFFLED].bits - unigram, documents, choosing)
    return found | {"lengths": dict(_by_length(said, sizes))}


def chance(differences: Bits, documents: Any, choosing: int) -> float | None:
    """Return how far from 0 the mean of differences may be by chance, if a reader that is right to know nothing was chosen by others.

    Tokens of a document are alike, so that documents are what varies: of n differences in D documents, whose sums less n_d means are s_d,
    the mean has the variance v = D/(D-1)·Σs_d²/n² (Cochran 1977, Sampling Techniques, §6.3), and that is 4·√(v·(1 + n/m)): the m targets
    that choose may prefer by chance what costs a little, as much as their own mean is uncertain. Never less than what rounding explains.

    Parameters
    ----------
    differences
        (n,) bits.
    documents
        (n,) of which document each is.
    choosing
        m.

    Returns
    -------
    float or None
        Bits; None of fewer documents than tell how much they vary.
    """
    _, which = np.unique(documents, return_inverse=True)
    sums = np.bincount(which, differences - differences.mean())
    if len(sums) < _FEW:
        return None
    variance = len(sums) / (len(sums) - 1) * float(np.square(sums).sum()) / len(differences) ** 2
    return max(_SURE * math.sqrt(variance * (1 + len(differences) / choosing)), _ROUNDED)


def _figures(one: Said, unigram: Bits, which: Any = slice(None)) -> dict[str, float]:
    return {
        "bits": float(one.bits[which].mean()),
        "saved": float((unigram - one.bits)[which].mean()),
        "accuracy": 100 * float(one.right[which].mean()),
    }


def _by_length(said: Mapping[Reader, Said], sizes: Offsets) -> Iterator[tuple[str, dict[str, Any]]]:
    unigram = said[Reader.UNIGRAM].bits
    for low, high in LENGTHS:
        which = (sizes >= low) & (sizes <= high)
        if which.any():
            readers = {str(name): _figures(one, unigram, which) for name, one in said.items()}
            yield length_name(low, high), {"tokens": int(which.sum()), "readers": readers}


def length_name(low: int, high: int) -> str:
    """Return how lengths are told."""
    return f"{low}" if low == high else f"{low}+" if high == LENGTHS[-1][1] else f"{low}-{high}"


#: Figures of a reader that are compared between runs.
_COMPARED = ("bits", "saved", "accuracy")


def scores_of(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that runs are compared by, of what was found with one inside: of all tokens and of each place.

    ``bits``, ``saved`` and ``accuracy`` are the model's over the tokens of all places; ``first_saved`` and the like of one place;
    ``first_over_random`` what the model saves beyond random weights; ``first_total`` how many tokens were measured.
    """
    tokens = sum(one["tokens"] for one in found.values())
    of_model = {place: one["readers"][Reader.MODEL] for place, one in found.items()}
    scores: dict[str, float] = {
        name: math.fsum(of_model[place][name] * one["tokens"] for place, one in found.items()) / tokens
        for name in _COMPARED
    }
    for place, one in found.items():
        scores |= {f"{place}_{name}": of_model[place][name] for name in _COMPARED}
        scores[f"{place}_over_random"] = of_model[place]["saved"] - one["readers"][Reader.RANDOM]["saved"]
        scores[f"{place}_total"] = one["tokens"]
    return scores


def complaints(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return where shuffled labels were told better or worse than chance has it: the probe is then not to be believed.

    Nothing is said of what too few documents were measured of.
    """
    lines = []
    for inside, places in found.items():
        for place, one in places.items():
            saved, limit = one["readers"][Reader.SHUFFLED]["saved"], one["shuffled_limit"]
            if limit is not None and abs(saved) > limit:
                lines.append(
                    f"{inside}, {place}: shuffled labels save {saved:+.4f} bits, and chance explains {limit:.4f}: the figures are not to "
                    "be believed; give more spans, or a lower --lr"
                )
    return lines
