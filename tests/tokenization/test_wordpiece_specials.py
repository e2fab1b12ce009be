"""The names of special tokens in a text: text, or the tokens themselves, as the library has them when they are added to it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.reference import CASINGS, assert_as_library, ids_of, reference_of, tokenizer_of
from tokenization.unicode_texts import ODD_TEXTS

from spanmask.errors import ConfigError
from spanmask.tokenizer_json import ROLES

each_casing = pytest.mark.parametrize("casing", CASINGS)

NEARLY = [
    "[mask]",
    "[ MASK ]",
    "[MASK",
    "MASK]",
    "[",
    "]",
    "[[MASK]]",
    "[MASK[MASK]]",
    "[MAS[SEP]K]",
    "[unused1]",
    "##[MASK]",
]
NEARLY += [
    "[MÁSK]",
    "[M\u0301ASK]",
    "[MA\u200bSK]",
    "[MASK\u0301]",
    "[MASK]\u0301",
    "\u0301[MASK]",
    "［MASK］",
    "[ＭASK]",
]
INSIDE = ["un[MASK]able", "[CLS]the cat[SEP]", "[MASK][MASK]", "[PAD]" * 5, "漢[MASK]字", "x" * 99 + "[UNK]" + "x" * 99]
INSIDE += [
    "\u1100[MASK]\u1161",
    "a\u0323[SEP]\u0301",
    "\0[CLS]\0",
    "[MASK].[MASK],",
    "\n[SEP]\n",
    " [MASK] ",
    "é[MASK]é",
]
ATOMS = [*ROLES.values(), *NEARLY, *INSIDE]

TEXTS = st.lists(st.sampled_from(ATOMS) | ODD_TEXTS | st.sampled_from("[]MASKEPCL \u0301a"), max_size=12).map("".join)


@each_casing
@pytest.mark.parametrize("specials", ["text", "parse"])
def test_every_spelling_gives_the_librarys_tokens(casing: str, specials: str) -> None:
    texts = ATOMS + [first + second for first in ATOMS for second in ATOMS]
    assert_as_library(tokenizer_of(casing), reference_of(casing), texts, specials)


@each_casing
@pytest.mark.parametrize("specials", ["text", "parse"])
@settings(max_examples=80, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4))
def test_specials_among_anything_give_the_librarys_tokens(casing: str, specials: str, texts: list[str]) -> None:
    assert_as_library(tokenizer_of(casing), reference_of(casing), texts, specials)


@each_casing
def test_a_special_token_is_found_at_every_place_of_a_text(casing: str) -> None:
    texts = [
        before * size + "[MASK]" + after
        for before in ("a", " ", "é")
        for size in range(70)
        for after in ("", "b", " c")
    ]
    assert_as_library(tokenizer_of(casing), reference_of(casing), texts, "parse")


def test_a_literal_special_token_is_text_unless_parsed() -> None:
    tokenizer = tokenizer_of("cased")
    special = tokenizer.vocabulary.special
    text = "[CLS][MASK] [SEP][[PAD]]"
    assert not {*special.as_dict().values()} & {*tokenizer.encode([text]).token_ids.tolist()}
    assert ids_of(tokenizer.encode([text[:17]], "parse")) == [[special.cls, special.mask, special.sep]]


def test_another_way_to_treat_specials_is_refused() -> None:
    with pytest.raises(ConfigError, match="specials is 'both': give 'text' or 'parse'"):
        tokenizer_of("cased").encode(["a"], "both")  # type: ignore[arg-type]
