"""Every kind of published tokenizer, and each made otherwise in one part: ids, word starts and bytes are the library's on whole texts."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import trained
from tokenization.kinds import KINDS, MIXED
from tokenization.plain_library import PlainLibrary
from tokenization.reference import assert_as_library
from tokenization.traps import TRAPS
from tokenization.variants import NAMES, plain_library_of, tokenizer_of, vocabulary_of

from spanmask.errors import ConfigError
from spanmask.pieces import steps_of
from spanmask.tokenization import Tokenizer
from spanmask.tokenization.library import load_library
from spanmask.vocab import vocabulary_from_tokenizer

each_kind = pytest.mark.parametrize("kind", KINDS)
each_tokenizer = pytest.mark.parametrize("name", NAMES)


@each_kind
def test_a_kind_has_the_parts_it_is_named_for_and_knows_its_special_tokens(kind: str) -> None:
    vocabulary = vocabulary_of(kind)
    content = json.loads(vocabulary.tokenizer or "")
    assert content["model"]["type"] == ("Unigram" if kind in ("xlm-r", "t5", "deberta-v3") else "BPE")
    assert len({vocabulary.special.mask, vocabulary.special.pad, vocabulary.special.sep}) == 3
    assert steps_of(content["pre_tokenizer"]) or kind == "llama-2"
    assert len(vocabulary) > 1_400


#: What goes through the library, and a part of the reason that is given.
THROUGH_LIBRARY = {
    "byte-level normalizer": "the pre-tokenizer ends with Split",
    "byte-level normalizer with added tokens": "the pre-tokenizer ends with Split",
    "prefix behind a split": "ByteLevel puts a space before every part",
    "two splits": "Split before the pattern is not a known way",
    "split without bytes": "its pre-tokenizer is Split",
    "split merged with the next": "not split by a known pattern",
    "no words": "ByteLevel splits nothing",
    "llama-2 with added tokens": "its normalizer writes ▁ for spaces, also in its added tokens",
    "llama-2 with added spaces": "its normalizer writes ▁ for spaces, also in its added tokens",
    "llama-2 without unknown": "it leaves out what it has no entry for",
    "llama-2 with some bytes": "it falls back to bytes, and has no entry for '<0x0A>'",
    "llama-2 with merges over spaces": "a merge of its model joins words, '▁of' and '▁the'",
    "llama-2 ignoring merges": "its model ignores merges",
    "unigram of marks": "its pre-tokenizer is Metaspace and Punctuation",
    **{
        f"{kind} with added tokens": "an added token takes the white space behind it"
        for kind in ("modernbert", "xlm-r", "t5", "deberta-v3")
    },
}


@each_tokenizer
def test_a_tokenizer_is_compiled_or_says_in_one_line_why_not(name: str) -> None:
    reason = tokenizer_of(name).through_library
    assert (reason is None) is (name not in THROUGH_LIBRARY)
    assert reason is None or (THROUGH_LIBRARY[name] in reason and "\n" not in reason)


@each_tokenizer
def test_stories_and_mixed_scripts_are_tokenized_as_by_the_library(name: str) -> None:
    texts = [trained.stories()[70_000:75_000], *trained.stories()[130_000:134_000].split("\n"), MIXED]
    assert_as_library(tokenizer_of(name), plain_library_of(name), texts)


@pytest.mark.parametrize("trap", TRAPS)
@each_kind
def test_no_trap_catches_a_kind(kind: str, trap: str) -> None:
    assert_as_library(tokenizer_of(kind), plain_library_of(kind), TRAPS[trap])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in KINDS])
def test_no_trap_catches_a_kind_made_otherwise(name: str) -> None:
    assert_as_library(tokenizer_of(name), plain_library_of(name), [text for texts in TRAPS.values() for text in texts])


@each_tokenizer
def test_names_of_special_tokens_are_text_as_by_the_library_that_does_not_know_them(name: str) -> None:
    vocabulary = vocabulary_of(name)
    hidden = PlainLibrary(vocabulary, load_library(vocabulary, parse=False))
    names = list(vocabulary.special_tokens)
    texts = [
        *names,
        " ".join(names),
        "".join(names),
        *(f"a{left}b {right} \n{left}" for left, right in pairwise(names)),
    ]
    found = assert_as_library(tokenizer_of(name), hidden, texts)
    roles = {number for role, number in vocabulary.special.as_dict().items() if role != "unk"}
    assert not roles & set(found.token_ids.tolist())


@each_tokenizer
def test_names_of_special_tokens_can_be_parsed_as_by_the_library(name: str) -> None:
    names = list(vocabulary_of(name).special_tokens)
    texts = [*names, " ".join(names), *(f"the{special} raven \n{special}x" for special in names)]
    assert_as_library(tokenizer_of(name), plain_library_of(name), texts, "parse")


def test_an_added_token_that_the_library_fails_on_is_an_error() -> None:
    content = json.loads(KINDS["gpt-2"]())
    flags = {"single_word": False, "lstrip": True, "normalized": False, "special": False}
    tokens = [{"id": 2003, "content": "<y>", "rstrip": True}, {"id": 2004, "content": "  ", "rstrip": False}]
    content["added_tokens"] += [token | flags for token in tokens]
    tokenizer = Tokenizer(vocabulary_from_tokenizer("x", json.dumps(content)))
    with pytest.raises(ConfigError, match="vocabulary x: its tokenizer fails on a text"):
        tokenizer.encode(["<y><y>   "])


def test_an_added_token_that_normalizing_leaves_nothing_of_is_an_error() -> None:
    content = json.loads(KINDS["t5"]())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    content["added_tokens"].append({"id": len(vocabulary_of("t5")), "content": "  ", **flags})
    tokenizer = Tokenizer(vocabulary_from_tokenizer("x", json.dumps(content)))
    with pytest.raises(ConfigError, match="vocabulary x: its tokenizer fails on a text"):
        tokenizer.encode(["é"])
