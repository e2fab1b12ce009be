"""The bytes that tokens of normalized text stand for: the library's, and without giving it whole documents."""

from __future__ import annotations

from unittest import mock

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.reference import assert_as_library
from tokenization.variants import plain_library_of, tokenizer_of

from spanmask.blocks import offsets_of
from spanmask.kernels.origins import Replaced, trace
from spanmask.tokenization import Tokenizer
from spanmask.tokenization.whole_documents import WholeDocuments

#: Texts that normalizers change: within, at the ends, longer, shorter, many parts of a text and long ones.
TEXTS = {
    "newlines": "It was late.\nThe raven came.\n\nNobody  spoke. " * 30,
    "longer": "The ﬁrst ﬀ ligature ﷺ of № 5 … and ㎞ ½",
    "shorter": "e\u0301te\u0301 and u\u0308ber, \u1100\u1161\u11a8 ｶﾞｷﾞ",
    "gone": "of\u200bthe\u200d \u200b raven\u0001 \u200b\u200b, the\u00ad",
    "wide": "ＡＢＣ　ｄｅｆ，漢字、かな。" * 20,
    "capitals": "THE RAVEN ÉTAIT NOIR, ΟΔΟΣ İstanbul",
    "begins": "ﬁrst ½",
    "ends": "the ﬁn ½",
    "white": "  the   raven \t of  ",
}
NAMES = (
    "xlm-r",
    "t5",
    "deberta-v3",
    "modernbert",
    "qwen",
    "nfkc before bytes",
    "lower case before bytes",
    "unigram nmt and nfkc",
)


@pytest.mark.parametrize("name", NAMES)
def test_changed_text_has_the_bytes_of_the_library_without_it(name: str) -> None:
    library = plain_library_of(name)
    texts = [*TEXTS.values(), " ".join(TEXTS.values())]
    # White space that is taken off its front moves the whole of a text.
    texts = [text for text in texts if not text.startswith(" ") or name != "deberta-v3"]
    expected = assert_as_library(tokenizer_of(name), library, texts)
    tokenizer = Tokenizer(tokenizer_of(name).vocabulary)
    with mock.patch.object(WholeDocuments, "encode", side_effect=AssertionError):
        found = tokenizer.encode(texts, offsets=True)
    assert np.array_equal(found.byte_offsets, expected.byte_offsets)


@pytest.mark.parametrize("name", ["xlm-r", "t5", "deberta-v3", "unigram nmt and nfkc"])
@pytest.mark.parametrize(
    "text", ["\u200bthe raven of ﬁre", "\u200b\u200bﬁ of", "\u0001", "\u200b", "\u200b\n", "\u200b of\u200b"]
)
def test_a_first_character_that_goes_moves_what_is_behind_it_as_in_the_library(name: str, text: str) -> None:
    texts = [text, f"the {text}", text * 3, f"{text}\n{text}"]
    assert_as_library(tokenizer_of(name), plain_library_of(name), texts)


def test_parts_that_are_known_are_not_asked_for_again() -> None:
    tokenizer = Tokenizer(tokenizer_of("xlm-r").vocabulary)
    one, other = (tokenizer.encode([TEXTS["newlines"] + end], offsets=True) for end in ("of", "the"))
    with mock.patch("spanmask.tokenization.origins.encode_batch", side_effect=AssertionError):
        again = tokenizer.encode([TEXTS["newlines"] + "of"], offsets=True)
    assert np.array_equal(again.byte_offsets, one.byte_offsets)
    assert np.array_equal(other.byte_offsets[:40], one.byte_offsets[:40])


SIZES = st.integers(0, 3)


@settings(deadline=None)
@given(st.lists(st.tuples(SIZES, st.integers(1, 3), SIZES), max_size=9), SIZES, st.data())
def test_bytes_are_traced_as_by_the_twin(drawn: list[tuple[int, int, int]], rest: int, data: st.DataObject) -> None:
    parts, at = [], 0
    for before, size, length in drawn:
        inner = st.tuples(st.integers(0, size - 1), st.integers(1, size))
        parts.append(((at + before, at + before + size), data.draw(st.lists(inner, min_size=length, max_size=length))))
        at += before + size
    expected = oracle.origins_of(at + rest, parts)
    starts, ends = np.array([part for part, _ in parts], np.int64).reshape(-1, 2).T
    lengths = np.array([len(made) for _, made in parts], np.int64)
    origins = np.array([one for _, made in parts for one in made], np.int64).reshape(-1, 2)
    firsts = offsets_of(lengths)[:-1]
    made = starts + offsets_of(lengths - (ends - starts))[:-1]
    bounds = st.integers(0, len(expected)).flatmap(lambda end: st.tuples(st.integers(0, max(end - 1, 0)), st.just(end)))
    # Added tokens may begin before the end of the one before them: in no order.
    spots = [spot for spot in data.draw(st.lists(bounds, max_size=12)) if spot[1] > spot[0]]
    found = np.empty((len(spots), 2), np.int64)
    trace(np.array(spots, np.int64).reshape(-1, 2), Replaced(starts, ends, made, lengths, origins, firsts), found)
    assert found.tolist() == [[expected[start][0], expected[end - 1][1]] for start, end in spots]
