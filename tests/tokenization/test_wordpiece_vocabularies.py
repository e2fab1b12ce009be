"""WordPiece with vocabularies that nobody would make: entries of every kind, in every order, against the library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from figures import figure
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.reference import Reference, assert_as_library
from tokenization.unicode_texts import ODD_TEXTS

from spanmask.tokenization import Tokenizer
from spanmask.tokenizer_json import ROLES
from spanmask.vocab import Vocabulary

#: Few characters, so that entries are found in texts, and one another's beginnings.
ALPHABET = "aabbAéÉe\u0301\u0323\u302e漢𝔘𐐀𐐨İiΣσς각\u1100\u1161😀.#"
NEVER_FOUND = [
    "##",
    "###",
    "#",
    "a b",
    "a\n",
    "\0",
    "a\0b",
    "\u00a0",
    "##a b",
    "a.b",
    "##.",
    "漢a",
    "\u200b",
    "[a]",
    "##[MASK]",
]
LONG = [
    "a" * 100,
    "##" + "a" * 99,
    "a" * 101,
    "##" + "a" * 198,
    "é" * 100,
    "##" + "é" * 50,
    "𝔘" * 50,
    "𝔘" * 100,
    "ab" * 32,
]
LONG += ["a" * size for size in (7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 99)]

pieces = st.text(ALPHABET, min_size=1, max_size=6) | st.text("ab", min_size=1, max_size=20)
entries = pieces | pieces.map("##{}".format) | st.sampled_from(NEVER_FOUND + LONG)
long_words = st.sampled_from(LONG).map(lambda entry: entry.removeprefix("##"))
words = st.lists(pieces | long_words | st.sampled_from([" ", " ", "\n", ".", "#"]), max_size=12).map("".join)


def vocabulary_of(entries: list[str], *, cased: bool, specials_last: bool = False) -> Vocabulary:
    ordinary = [entry for entry in dict.fromkeys(entries) if entry not in ROLES.values()]
    parts = [ordinary, [*ROLES.values()]] if specials_last else [[*ROLES.values()], ordinary]
    return Vocabulary(name="odd", entries=(*parts[0], *parts[1]), cased=cased)


def assert_both_agree(vocabulary: Vocabulary, texts: list[str]) -> Any:
    return assert_as_library(Tokenizer(vocabulary), Reference(vocabulary), texts)


@settings(max_examples=150, deadline=None)
@given(
    known=st.lists(entries, max_size=40),
    texts=st.lists(words | ODD_TEXTS, min_size=1, max_size=5),
    cased=st.booleans(),
    specials_last=st.booleans(),
)
def test_any_vocabulary_gives_the_librarys_tokens(
    known: list[str], texts: list[str], cased: bool, specials_last: bool
) -> None:
    vocabulary = vocabulary_of(known, cased=cased, specials_last=specials_last)
    own = " ".join(known) + "".join(entry.removeprefix("##") for entry in known)
    assert_both_agree(vocabulary, [*texts, own])


@pytest.mark.slow
@settings(max_examples=figure(1000, 3000), deadline=None)
@given(known=st.lists(entries, max_size=40), texts=st.lists(words, min_size=1, max_size=5), cased=st.booleans())
def test_many_vocabularies_give_the_librarys_tokens(known: list[str], texts: list[str], cased: bool) -> None:
    assert_both_agree(vocabulary_of(known, cased=cased), texts)


@pytest.mark.parametrize("cased", [True, False])
def test_entries_that_no_text_can_hold_are_never_found(cased: bool) -> None:
    vocabulary = vocabulary_of([*NEVER_FOUND, "a", "##a", "##b", "b", ".", "A", "##É"], cased=cased)
    texts = [*NEVER_FOUND, "ab##a", "a##", "a b", "aA", "AÉ", "b.a", "a[MASK]b"]
    found = assert_both_agree(vocabulary, texts)
    never = {*NEVER_FOUND} - {"#"} | (set() if cased else {"A", "##É"})
    assert not never & {vocabulary.entries[number] for number in found.token_ids.tolist()}


@pytest.mark.parametrize("char", ["a", "é", "漢", "𝔘"])
def test_entries_of_every_length_are_found(char: str) -> None:
    """Up to BERT's limit of 100 characters, which are 400 bytes of UTF-8."""
    vocabulary = vocabulary_of([head + char * size for size in range(1, 106) for head in ("", "##")], cased=True)
    texts = [char * size for size in range(1, 106)] + ["漢".join([char * size] * 2) for size in range(1, 50)]
    found = assert_both_agree(vocabulary, texts)
    assert len(found.token_ids) >= 106


def test_the_longest_piece_is_taken_and_a_dead_end_makes_the_whole_word_unknown() -> None:
    vocabulary = vocabulary_of(["a", "ab", "abc", "##b", "##bc", "##cd", "##d", "abcde"], cased=True)
    found = assert_both_agree(vocabulary, ["abcd abcde abcdef abb acd ad xa"])
    assert [vocabulary.entries[number] for number in found.token_ids.tolist()] == [
        *("abc", "##d", "abcde", "[UNK]", "ab", "##b", "a", "##cd", "a", "##d", "[UNK]")
    ]


def test_a_vocabulary_of_specials_only_makes_every_word_unknown() -> None:
    found = assert_both_agree(vocabulary_of([], cased=False), ["the cat, sat", "", "漢字", "[MASK]"])
    assert {*found.token_ids.tolist()} == {1}


def test_ids_beyond_16_bits_are_kept_whole() -> None:
    entries = [f"t{number}" for number in range(40_000)] + [f"##{number}" for number in range(40_000)]
    vocabulary = vocabulary_of([*entries, "t", "##t", "é", "##é"], cased=True)
    texts = [f"t{number} {number}t{number + 1}" for number in range(0, 40_000, 7)] + ["éé té t39999"]
    found = assert_both_agree(vocabulary, texts)
    assert found.token_ids.dtype == np.uint32
    assert found.token_ids.max() == len(vocabulary) - 1 > 65_536


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537])
def test_ids_have_32_bits_from_65537_entries_on(size: int) -> None:
    vocabulary = vocabulary_of([f"t{number}" for number in range(size - 5)], cased=True)
    found = assert_both_agree(vocabulary, [f"t0 t{size - 6}"])
    assert found.token_ids.tolist() == [5, size - 1]
    assert found.token_ids.dtype == (np.uint32 if size > 65_536 else np.uint16)


def test_two_vocabularies_at_once_keep_their_own_tokens() -> None:
    """Whatever is remembered about words is remembered for one vocabulary."""
    one, two = (vocabulary_of(entries, cased=True) for entries in (["a", "##b", "c"], ["c", "ab", "a"]))
    tokenizers, texts = [Tokenizer(one), Tokenizer(two)], ["ab a c ab", "c ab"]
    for _ in range(3):
        for tokenizer, vocabulary in zip(tokenizers, (one, two), strict=True):
            assert_as_library(tokenizer, Reference(vocabulary), texts)
