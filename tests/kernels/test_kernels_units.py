"""Text around white space: the compiled functions held against literal twins on strings."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.test_hugging_face import PROSE_TEXTS, WHITE

from spanmask.kernels.units import cut_units, number_words, trim_documents, trim_tokens

texts_lists = st.lists(PROSE_TEXTS, max_size=4)
_MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def joined(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    data = [text.encode() for text in texts]
    return np.frombuffer(b"".join(data), np.uint8), np.cumsum([0, *map(len, data)])


def units_of(text: str, at_marks: bool) -> list[str]:
    def is_cut(before: str, after: str) -> bool:
        mark = at_marks and after in _MARKS and before.isascii() and before.isalnum()
        return mark or (after == " " and before not in WHITE)

    places = [k for k in range(1, len(text)) if is_cut(text[k - 1], text[k])]
    return [text[a:b] for a, b in pairwise([0, *places, len(text)]) if a < b]


@settings(max_examples=150, deadline=None)
@given(texts=texts_lists, at_marks=st.booleans())
def test_units_are_cut_before_spaces_and_marks(texts: list[str], at_marks: bool) -> None:
    text, offsets = joined(texts)
    starts = np.empty(cut_units(text, offsets, at_marks, np.empty(0, np.int64)), np.int64)
    assert cut_units(text, offsets, at_marks, starts) == len(starts)
    found = [bytes(text[a:b]).decode() for a, b in pairwise([*starts, len(text)])]
    assert found == [unit for one in texts for unit in units_of(one, at_marks)]


@settings(max_examples=150, deadline=None)
@given(texts=texts_lists)
def test_documents_end_at_their_last_character_that_is_not_white(texts: list[str]) -> None:
    text, offsets = joined(texts)
    ends = np.empty(len(texts), np.int64)
    trim_documents(text, offsets, ends)
    found = [bytes(text[a:b]).decode() for a, b in zip(offsets[:-1], ends, strict=True)]
    assert found == [one.rstrip(WHITE) for one in texts]


@settings(max_examples=150, deadline=None)
@given(tokens=st.lists(PROSE_TEXTS, max_size=6))
def test_tokens_lose_the_white_space_around_them_unless_they_are_all_white(tokens: list[str]) -> None:
    text, offsets = joined(tokens)
    spots, white = np.stack([offsets[:-1], offsets[1:]], axis=1), np.empty(len(tokens), np.bool_)
    trim_tokens(text, spots, white)
    assert white.tolist() == [not token.strip(WHITE) for token in tokens]
    assert [bytes(text[a:b]).decode() for a, b in spots] == [token.strip(WHITE) or token for token in tokens]


@settings(max_examples=150, deadline=None)
@given(text=PROSE_TEXTS)
def test_words_are_numbered_by_the_white_space_before_them(text: str) -> None:
    numbers = np.empty(len(text) + 1, np.int64)
    starts = np.array([len(text[:k].encode()) for k in range(len(text) + 1)])
    number_words(np.frombuffer(text.encode(), np.uint8), starts, numbers)
    counted = [len(re.findall(f"[^{WHITE}]+", text[: k + 1])) + (char in WHITE) for k, char in enumerate(text)]
    assert numbers.tolist()[:-1] == counted
