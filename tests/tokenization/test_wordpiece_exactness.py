"""WordPiece equals the library's, to the last id, word start and byte: every code point, random strings, words at BERT's limit."""

from __future__ import annotations

import unicodedata

import pytest
from figures import figure
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.reference import (
    CASINGS,
    VOCABULARIES,
    assert_as_library,
    ids_of,
    reference_of,
    same,
    shrink,
    tokenizer_of,
    vocabulary_of,
)
from tokenization.unicode_texts import CODE_POINTS, NEAR_POINTS, TEXTS, random_texts

each_vocabulary = pytest.mark.parametrize("name", VOCABULARIES)

#: Places for a character: alone, in a word, twice (they may compose or reorder), and among marks that sorting moves.
PLACES = ["{0}", "a{0}b", "{0}{0}", "a\u0301\u302f{0}\u302e\u0323b"]
#: Where most of what Unicode treats specially lies; the rest is mostly ideographs, syllables and nothing.
SPECIAL_RANGES = [(0, 0x3100), (0xA000, 0xAC00), (0xF900, 0x10000), (0x10D00, 0x10D90), (0x1D100, 0x1D200)]
SPECIAL_RANGES += [(0x16FE0, 0x17000), (0x1E000, 0x1EA00), (0x2F800, 0x2FA20)]
#: Of the rest, the default tests take one in this many; a prime, so that every low byte is among them.
STRIDE = 127
_BATCH = 1 << 15


def is_in_slice(point: int) -> bool:
    return point % STRIDE == 0 or any(start <= point < end for start, end in SPECIAL_RANGES)


def assert_code_points_as_library(name: str, place: str, points: list[int]) -> None:
    for start in range(0, len(points), _BATCH):
        texts = [place.format(chr(point)) for point in points[start : start + _BATCH]]
        assert_as_library(tokenizer_of(name), reference_of(name), texts)


# The vocabularies of single characters see all that BERT's own do, and more.
@pytest.mark.parametrize("place", PLACES, ids=ascii)
@pytest.mark.parametrize("name", ["alphabet-cased", pytest.param("alphabet-uncased", marks=pytest.mark.slow)])
def test_code_points_give_the_librarys_tokens(name: str, place: str) -> None:
    assert_code_points_as_library(name, place, list(filter(is_in_slice, CODE_POINTS)))


@pytest.mark.parametrize("name", CASINGS)
def test_code_points_give_the_librarys_tokens_by_berts_vocabularies(name: str) -> None:
    assert_code_points_as_library(name, "a{0}b", list(filter(is_in_slice, CODE_POINTS)))


@pytest.mark.slow
@each_vocabulary
@pytest.mark.parametrize("place", PLACES, ids=ascii)
def test_every_code_point_gives_the_librarys_tokens(name: str, place: str) -> None:
    """Each of those near in one of the places by each vocabulary; all there are in all of them in a long run."""
    share, points = figure((len(PLACES), NEAR_POINTS), (1, CODE_POINTS))
    assert_code_points_as_library(name, place, points[PLACES.index(place) % share :: share])


@each_vocabulary
def test_random_strings_give_the_librarys_tokens(name: str) -> None:
    assert_as_library(tokenizer_of(name), reference_of(name), random_texts(4000, seed=0))


@pytest.mark.slow
@pytest.mark.timeout(900)
@each_vocabulary
def test_many_random_strings_give_the_librarys_tokens(name: str) -> None:
    for seed in range(1, figure(4, 51)):
        assert_as_library(tokenizer_of(name), reference_of(name), random_texts(20_000, seed))


@each_vocabulary
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4))
def test_odd_texts_give_the_librarys_tokens(name: str, texts: list[str]) -> None:
    assert_as_library(tokenizer_of(name), reference_of(name), texts)


def test_random_strings_show_what_becomes_of_their_characters() -> None:
    tokens = reference_of("alphabet-uncased").encode(random_texts(4000, seed=0)).token_ids
    assert (tokens == vocabulary_of("alphabet-uncased").special.unk).mean() < 0.02
    assert len({*tokens.tolist()}) > 15_000


@each_vocabulary
def test_texts_alone_and_in_any_company_give_the_same_tokens(name: str) -> None:
    texts = random_texts(300, seed=101)
    together = ids_of(tokenizer_of(name).encode(texts))
    assert together == [tokenizer_of(name).encode([text]).token_ids.tolist() for text in texts]


# --- Words at BERT's limit, and at the sizes that machines have

WIDE = [
    "x",
    "é",
    "e\u0301",
    "İ",
    "ß",
    "ẞ",
    "각",
    "ﬃ",
    "\u0344",
    "漢",
    "𝔘",
    "\U0001d15e",
    "\u1e9b\u0323",
    "ΐ",
    "\u302e",
    "\xad",
]


@each_vocabulary
def test_words_around_a_hundred_characters_give_the_librarys_tokens(name: str) -> None:
    """The limit counts characters after normalizing, so a syllable may be three of them, and a mark none."""
    texts = []
    for char in WIDE:
        for size in (1, 2, 32, 33, 34, 49, 50, 51, 98, 99, 100, 101, 102):
            texts += [char * size, char * size + "!", f"{char}" + "x" * (size - 1), "x" * (size - 1) + char]
    assert_as_library(tokenizer_of(name), reference_of(name), texts)


@pytest.mark.parametrize("name", CASINGS)
def test_words_of_every_length_at_every_place_give_the_librarys_tokens(name: str) -> None:
    words = ("unbelievable" * 12, "é" * 140, "Unaffable漢" * 9, "1" * 140)
    texts = [
        " " * before + word[:size] + tail
        for word in words
        for size in (7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65)
        for before in range(0, 70, 3)
        for tail in ("", " a", "é")
    ]
    texts += ["a " * before + word[:size] for word in words for size in range(110) for before in (0, 3)]
    assert_as_library(tokenizer_of(name), reference_of(name), texts)


@pytest.mark.parametrize("name", CASINGS)
def test_a_word_of_more_than_a_hundred_characters_is_one_unknown(name: str) -> None:
    unknown = tokenizer_of(name).vocabulary.special.unk
    assert ids_of(tokenizer_of(name).encode(["x" * 101, "é" * 101])) == [[unknown], [unknown]]
    assert unknown not in ids_of(tokenizer_of(name).encode(["x" * 100]))[0]


# --- Bytes of words


@pytest.mark.parametrize("name", ["cased", "uncased", "alphabet-uncased"])
def test_the_bytes_of_a_word_are_the_librarys(name: str) -> None:
    for text in random_texts(400, seed=102):
        found = tokenizer_of(name).encode([text], offsets=True)
        assert found.byte_offsets is not None
        first = found.word_starts.nonzero()[0]
        last = [*(first[1:] - 1), len(found.word_starts) - 1] if len(first) else []
        words = zip(found.byte_offsets[first, 0].tolist(), found.byte_offsets[last, 1].tolist(), strict=True)
        assert list(words) == reference_of(name).word_bytes(text)


def test_bytes_of_normalized_characters_are_those_of_the_text() -> None:
    """Of a letter and its mark the mark is nobody's at a word's end, and is a syllable's pieces share its bytes."""
    found = tokenizer_of("uncased").encode(["Cafe\u0301 각"], offsets=True)
    assert found.byte_offsets is not None
    assert found.byte_offsets.tolist() == [[0, 4], [7, 10], [7, 10], [7, 10]]


# --- The reference itself


def test_the_comparison_tells_ids_word_starts_and_bytes_apart() -> None:
    block = reference_of("cased").encode(["the unbelievable cat"])
    assert same(block, reference_of("cased").encode(["the unbelievable cat"]))
    for other in ("the unbelievable cats", "the unbelievablecat", "the  unbelievable cat", "the unbelievable"):
        assert not same(block, reference_of("cased").encode([other]))
    assert not same(block, reference_of("alphabet-cased").encode(["the unbelievable cat"]))


def test_a_wrong_tokenizer_is_found_and_shown_with_the_smallest_text() -> None:
    with pytest.raises(AssertionError, match=r"'\\xe9'\n  found .*\n  expected .*"):
        assert_as_library(
            tokenizer_of("alphabet-uncased"), reference_of("alphabet-cased"), ["nothing", "here; the café"]
        )


def test_a_text_is_shrunk_to_what_fails() -> None:
    assert shrink("some b words a and others b", lambda text: "a" in text and "b" in text.split("a")[-1]) == "ab"


def test_the_slice_holds_every_category_and_combining_class() -> None:
    chosen = list(filter(is_in_slice, CODE_POINTS))
    for property_of in (unicodedata.category, unicodedata.combining, unicodedata.bidirectional):
        assert {property_of(chr(p)) for p in chosen} == {property_of(chr(p)) for p in CODE_POINTS}
