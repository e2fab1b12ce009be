"""Every kind of published tokenizer, trained here: ids, word starts and bytes held against the library's on whole texts."""

from __future__ import annotations

import json

import pytest
import trained
from tokenization.kinds import KINDS, MIXED, tokenizer_of, vocabulary_of
from tokenization.plain_library import plain_library_of
from tokenization.reference import assert_as_library

from spanmask.pieces import steps_of

each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_a_kind_has_the_parts_it_is_named_for_and_knows_its_special_tokens(kind: str) -> None:
    vocabulary = vocabulary_of(kind)
    content = json.loads(vocabulary.tokenizer or "")
    assert content["model"]["type"] == ("Unigram" if kind in ("xlm-r", "t5", "deberta-v3") else "BPE")
    assert len({vocabulary.special.mask, vocabulary.special.pad, vocabulary.special.sep}) == 3
    assert steps_of(content["pre_tokenizer"]) or kind == "llama-2"
    assert len(vocabulary) > 1_400


@each_kind
def test_stories_and_mixed_scripts_are_tokenized_as_by_the_library(kind: str) -> None:
    texts = [trained.stories()[70_000:75_000], *trained.stories()[130_000:134_000].split("\n"), MIXED]
    assert_as_library(tokenizer_of(kind), plain_library_of(kind), texts)
