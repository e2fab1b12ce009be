"""The numbers that a manifest or a receipt states, held to what they can be: before they size an array, or a kernel is given them.

What is counted is compared by `verify`; here is only what no true counts can be (FORMAT.md §4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from operator import mul
from typing import Any

import numpy as np

from spanmask.config import PreshardConfig, RandomIds

#: Counts are below this: sums of some thousands of them, or with values up to 1,024, still fit 64 bits.
COUNT_LIMIT = 1 << 48
_ID_LIMIT = 1 << 31
_UNIGRAM_LIMIT = 1 << 32

#: What stands in each tree of counts: an object's parts, a list or an object of counts, a count. Other counts may stand in an object.
_OF_ROWS: dict[str, Any] = {
    **dict.fromkeys(("rows", "tokens", "masked_tokens", "spans", "spans_at_first_word", "spans_at_last_word"), int),
    "histograms": dict.fromkeys(("row_tokens", "row_masked", "row_spans", "span_tokens", "span_words"), list),
}
_OF_DRAWS: dict[str, Any] = {
    "lengths": list,
    "failed_trials": dict,
    "short_rows": dict,
    "ranges_too_long": int,
    "replacement_units": dict,
}
_CONSERVATION: dict[str, Any] = {
    "tokens": {"in": int, "kept": int, "dropped": dict},
    **dict.fromkeys(("documents_in", "documents_skipped", "documents_empty", "words_cut"), int),
}


def require(condition: bool, message: str) -> None:
    """Raise ValueError with a message unless a condition holds."""
    if not condition:
        raise ValueError(message)


def require_parts(value: Any, parts: Mapping[str, type]) -> None:
    """Refuse an object that lacks a part or has one of another type, and what is no object.

    Raises
    ------
    KeyError, TypeError, ValueError
        The message names the part.
    """
    for name, kind in parts.items():
        if type(value[name]) is not kind:
            raise ValueError(f"{name!r} is no {kind.__name__}")


def is_count(value: Any) -> bool:
    """Return whether a JSON value is a number of things."""
    return type(value) is int and 0 <= value < COUNT_LIMIT


def require_counts(conservation: Any, statistics: Any, sampling: Any, *, word_rule: bool = True) -> None:
    """Refuse what a receipt or a manifest counted, the last two by split, if something in it is no count or a part is missing.

    word_rule: whether it counts how often the rule of words acted.

    Raises
    ------
    ValueError
        The message names the part.
    """
    _require_tree(conservation, _CONSERVATION | ({"word_rule": dict} if word_rule else {}), "conservation")
    _require_tree(statistics, dict.fromkeys(statistics, _OF_ROWS), "statistics")
    _require_tree(sampling, dict.fromkeys(sampling, _OF_DRAWS), "sampling")


def _require_tree(value: Any, wanted: Any, where: str) -> None:
    # Messages are made of what is refused alone: a run at whose end a million receipts are held to this makes none.
    kind = dict if isinstance(wanted, dict) else wanted
    if type(value) is not kind:
        raise ValueError(f"{where} is {value!r:.40}")
    if kind is dict:
        parts = {} if wanted is dict else wanted
        if parts.keys() - value.keys():
            raise ValueError(f"{where} lacks {', '.join(sorted(parts.keys() - value.keys()))}")
        for name, part in value.items():
            _require_tree(part, parts.get(name, int), f"{where}.{name}")
        return
    values: Any = value if kind is list else [value]
    if not _are_counts(values):
        raise ValueError(f"{where} is no count, or not of counts")


def _are_counts(values: list[Any]) -> bool:
    return not values or (set(map(type, values)) == {int} and min(values) >= 0 and max(values) < COUNT_LIMIT)


def require_histograms(counts: Mapping[str, Any], where: str) -> None:
    """Refuse counts over rows whose histograms are not of as many rows, spans or tokens: others are divided by, or give lengths below 1.

    Raises
    ------
    ValueError
        The message names the histogram.
    """
    rows, masked, spans = (counts[name] for name in ("rows", "masked_tokens", "spans"))
    # The last count of a histogram may be of larger values, too, so that all values sum up to the total or less.
    wanted = {
        "row_tokens": (rows, counts["tokens"] + 2 * rows + counts.get("pairs", 0)),
        "row_masked": (rows, masked),
        "row_spans": (rows, spans),
        "span_tokens": (spans, masked),
        "span_words": (spans, masked),
    }
    for name, (things, total) in wanted.items():
        histogram = counts["histograms"][name]
        known = sum(map(mul, histogram, range(len(histogram))))
        if sum(histogram) != things or known > total or histogram[-1:] == [0]:
            raise ValueError(f"histogram {name} of {where} is of others than {things}, or of more than {total} in all")


def require_vocabulary(known: Mapping[str, Any]) -> None:
    """Refuse a vocabulary with an impossible size, or ids that it has no entry for.

    Raises
    ------
    ValueError
        The message names the part.
    """
    size, ids = known["size"], known["special_ids"]
    require(type(size) is int and 0 < size < _ID_LIMIT, f"the vocabulary's size is {size!r:.40}")
    require(
        "entries" not in known or len(known["entries"]) == size, "the vocabulary's entries are not as many as its size"
    )
    # An entry takes a character and more of a tokenizer's text.
    require(size <= len(known.get("tokenizer", "")) or "tokenizer" not in known, f"its tokenizer has no {size} entries")
    for role, number in ids.items():
        sound = type(number) is int and 0 <= number < size
        require(sound or (role == "unk" and number is None), f"the id of {role} is {number!r:.40}, of {size} entries")


def require_unigram(unigram: Any, config: PreshardConfig, size: int) -> None:
    """Refuse counts of ids that are none, or not those of the digest beside them; and any where none are used, or the reverse. size: V.

    Raises
    ------
    ValueError
        The message says what is wrong.
    """
    used = config.masking.random_ids is RandomIds.UNIGRAM
    require(used == (unigram is not None), "unigram counts and random_ids unigram do not go together")
    if used:
        counts = unigram["counts"]
        require(type(counts) is list and len(counts) == size, "unigram counts are not one an entry")
        require(all(map(is_count, counts)) and 0 < sum(counts) < _UNIGRAM_LIMIT, "unigram counts are no counts")
        digest = hashlib.sha256(np.array(counts, "<u8").tobytes()).hexdigest()
        require(unigram["sha256"] == digest, "unigram counts are not those of their digest")
