"""The bytes that tokens of normalized text stand for: the library's, and without giving it whole documents."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from tokenization.reference import assert_as_library
from tokenization.variants import plain_library_of, tokenizer_of

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
