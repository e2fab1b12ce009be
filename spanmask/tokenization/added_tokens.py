"""Added tokens, which the `tokenizers` library finds in text before anything else: some in it as it is, some in it as normalized."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from spanmask.kernels.added_tokens import (
    LSTRIP,
    RSTRIP,
    SINGLE_WORD,
    Automaton,
    Contents,
    Found,
    build_automaton,
    find_added,
)
from spanmask.records import Bytes, Flags
from spanmask.tokenization.stretches import Stretches
from spanmask.tokenization.traits import WORD, having

#: Bytes of all contents that are searched for in one pass.
_LONGEST = 1 << 22
#: Last bytes of contents that a text is looked through for many at a time.
_LASTS = 3
#: Stretches for which there is room at least.
_ROOM = 1 << 12


class AddedTokens(NamedTuple):
    """What finds the added tokens in text as it is, and in normalized text; None where there are none."""

    raw: Finder | None
    normalized: Finder | None


def added_tokens_of(listed: Sequence[dict[str, Any]], normalize: Callable[[str], str]) -> AddedTokens | str:
    """Return what finds the added tokens of a tokenizer.json, or the reason why the library alone can.

    Parameters
    ----------
    listed
        The added tokens, as the library was given them.
    normalize
        What text is normalized by before the second search; the contents that are found there are normalized by it, too.
    """
    raw, normalized = ([token for token in listed if token["normalized"] is wanted] for wanted in (False, True))
    given, made = [token["content"] for token in raw], [normalize(token["content"]) for token in normalized]
    reason = _reason(listed, given, made)
    if reason is not None:
        return reason
    return AddedTokens(Finder(given, raw) if raw else None, Finder(made, normalized) if normalized else None)


def _reason(listed: Sequence[dict[str, Any]], given: list[str], made: list[str]) -> str | None:
    """Return what the added tokens have that the search here does not do as the library does, if anything."""
    if any(len(set(values)) < len(values) for values in ([token["id"] for token in listed], given, made)):
        return "two of its added tokens have one id or are one text"
    if "" in given + made:
        return "its normalizer leaves nothing of an added token"
    # The library finds added tokens in white space that an added token before them took, and fails on some.
    if any(token["rstrip"] for token in listed) and any(content[0].isspace() for content in given + made):
        return "an added token takes the white space behind it, and another begins with white space"
    size = max(sum(map(len, map(str.encode, contents))) for contents in (given, made))
    return f"its added tokens have {size:,} bytes" if size > _LONGEST else None


class Finder:
    """The search for some added tokens. contents: what each is found as, different ones and none of them empty."""

    def __init__(self, contents: Sequence[str], tokens: Sequence[dict[str, Any]]) -> None:
        data = [content.encode() for content in contents]
        order = sorted(range(len(data)), key=lambda number: -len(data[number]))
        data, tokens = [data[number] for number in order], [tokens[number] for number in order]
        flags = [
            SINGLE_WORD * token["single_word"] + LSTRIP * token["lstrip"] + RSTRIP * token["rstrip"] for token in tokens
        ]
        lengths = np.array([len(content) for content in data], np.int64)
        words = having(WORD) if any(token["single_word"] for token in tokens) else np.zeros(0, np.bool_)
        ids = np.array([token["id"] for token in tokens], np.int64)
        self._kinds = Contents(lengths, ids, np.array(flags, np.int64), words)
        self._automaton = _automaton(data, lengths)

    def find(self, stretches: Stretches) -> Stretches:
        """Return finer stretches: text is cut at added tokens."""
        text, starts, ends, ids, documents = stretches
        longest = int((ends - starts).max(initial=0))
        places, contents = np.empty(longest, np.int64), np.empty(longest, np.int64)
        found = Found(*(np.empty(max(longest, _ROOM) + 1, np.int64) for _ in Found._fields))
        parts, first = list[Any](), 0
        while first < len(starts):
            first, count = find_added(
                text, starts, ends, ids, first, self._automaton, self._kinds, places, contents, found
            )
            parts.append([field[:count].copy() for field in found])
        if not parts:
            return stretches
        begins, stops, numbers, sources = (np.concatenate(field) for field in zip(*parts, strict=True))
        return Stretches(text, begins, stops, numbers, documents[sources])


def _automaton(contents: Sequence[bytes], lengths: Any) -> Automaton:
    """Return the automaton of contents, the longest first."""
    size = int(lengths.sum())
    pairs = np.zeros((256, 256), np.bool_)
    for content in contents:
        if len(content) == 1:
            pairs[:, content[0]] = True
        else:
            pairs[content[-2], content[-1]] = True
    automaton = Automaton(
        edges=np.full(1 << size.bit_length() + 1, -1, np.int64),
        fallbacks=np.zeros(size + 1, np.int64),
        longest=np.full(size + 1, -1, np.int64),
        pairs=pairs.reshape(-1),
        ends=_ends(pairs),
    )
    starts = np.array([0, *accumulate(map(len, contents))][:-1], np.int64)
    build_automaton(np.frombuffer(b"".join(contents), np.uint8), starts, lengths, automaton)
    return automaton


def _ends(pairs: Flags) -> Bytes:
    """Return `Automaton.ends` of (256, 256) pairs."""
    lasts = np.flatnonzero(pairs.any(axis=0))
    if len(lasts) > _LASTS:
        return np.zeros(0, np.uint8)
    rows = [(last, pairs[:, last].argmax(), pairs[:, last].sum() > 1) for last in lasts]
    return np.resize(np.array(rows, np.uint8), 3 * _LASTS)
