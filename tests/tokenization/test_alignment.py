"""Word starts and annotated ranges that users supply in code points become tokens: held against literal twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.reference import CASINGS, block_of, reference_of, tokenizer_of, whole_documents
from tokenization.unicode_texts import ODD_TEXTS

from spanmask.records import Ragged, Ranges
from spanmask.words import settle_words

Case = tuple[str, list[tuple[int, int]], list[int]]


def words_twin(spots: list[tuple[int, int]], supplied: list[int]) -> list[bool]:
    """A token starts a word where a supplied start lies behind the first code point of the token before it, up to its own."""
    return [
        token == 0 or any(spots[token - 1][0] < start <= spots[token][0] for start in supplied)
        for token in range(len(spots))
    ]


def ranges_twin(
    spots: list[tuple[int, int]], is_start: list[bool], ranges: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Mark the tokens that each range touches, then the whole words of those; join ranges that share a token."""
    n = len(spots)
    grown: list[tuple[int, int]] = []
    for a, b in ranges:
        touched = [t for t, (start, end) in enumerate(spots) if end > a and start < b]
        if not touched:
            continue
        first, last = touched[0], touched[-1] + 1
        while first > 0 and not is_start[first]:
            first -= 1
        while last < n and not is_start[last]:
            last += 1
        if grown and first < grown[-1][1]:
            first, last = grown[-1][0], max(last, grown.pop()[1])
        grown.append((first, last))
    return grown


@st.composite
def annotated_texts(draw: Any) -> Case:
    text = draw(ODD_TEXTS.filter(bool))
    places = st.integers(0, len(text))
    pairs = draw(st.lists(st.tuples(places, places).filter(lambda pair: pair[0] < pair[1]), max_size=5))
    return text, sorted(pairs), sorted(set(draw(st.lists(places, max_size=6))))


def ragged(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum([0, *map(len, lists)]), np.array([value for values in lists for value in values], np.int64)


def annotations_of(cases: list[Case]) -> Ranges:
    offsets, starts = ragged([[a for a, _ in ranges] for _, ranges, _ in cases])
    _, ends = ragged([[b for _, b in ranges] for _, ranges, _ in cases])
    return Ranges(offsets=offsets, starts=starts, ends=ends)


def words_of(cases: list[Case]) -> Ragged:
    offsets, values = ragged([words for _, _, words in cases])
    return Ragged(offsets=offsets, values=values)


@pytest.mark.parametrize("casing", CASINGS)
@settings(max_examples=60, deadline=None)
@given(cases=st.lists(annotated_texts(), min_size=1, max_size=3), supply_words=st.booleans())
def test_annotations_and_word_starts_in_code_points_become_tokens(
    casing: str, cases: list[Case], supply_words: bool
) -> None:
    words = words_of(cases) if supply_words else None
    texts = [text for text, _, _ in cases]
    found = tokenizer_of(casing).tokenize(block_of(texts, annotations=annotations_of(cases), words=words))
    assert found.annotations is not None
    # Each document as one segment, words as they are: ranges grow to them once segments have been cut.
    settled = settle_words(whole_documents(found), tokenizer_of(casing).vocabulary, np.ones(len(cases), np.bool_))
    assert settled.annotations is not None
    for i, ((_, ranges, supplied), encoding) in enumerate(
        zip(cases, reference_of(casing).encodings(texts), strict=True)
    ):
        tokens = slice(found.document_offsets[i], found.document_offsets[i + 1])
        by_table = [not token.startswith("##") for token in encoding.tokens]
        is_start = words_twin(encoding.offsets, supplied) if supply_words and supplied else by_table
        assert found.token_ids[tokens].tolist() == encoding.ids
        assert found.word_starts[tokens].tolist() == is_start
        mine = slice(found.annotations.offsets[i], found.annotations.offsets[i + 1])
        pairs = list(zip(found.annotations.starts[mine].tolist(), found.annotations.ends[mine].tolist(), strict=True))
        assert pairs == ranges_twin(encoding.offsets, [True] * len(is_start), ranges)
        grown = settled.annotations
        mine = slice(grown.offsets[i], grown.offsets[i + 1])
        pairs = list(zip(grown.starts[mine].tolist(), grown.ends[mine].tolist(), strict=True))
        assert pairs == ranges_twin(encoding.offsets, is_start, ranges)


@pytest.mark.parametrize("casing", CASINGS)
def test_a_document_without_supplied_words_keeps_the_tokenizers_beside_one_with_them(casing: str) -> None:
    cases: list[Case] = [("unbelievable cats", [], []), ("unbelievable cats", [], [0])]
    found = tokenizer_of(casing).tokenize(block_of([text for text, _, _ in cases], words=words_of(cases)))
    half = len(found.word_starts) // 2
    assert found.word_starts[:half].tolist() == reference_of(casing).encode(["unbelievable cats"]).word_starts.tolist()
    assert found.word_starts[half:].tolist() == [True] + [False] * (half - 1)
