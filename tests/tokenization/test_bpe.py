"""Compiled byte pair encoding: every option, any merges, words of any length; held against the library, and its twin in the oracle."""

from __future__ import annotations

import json
import time
from typing import Any

import oracle
import pytest
import trained
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.plain_library import PlainLibrary
from tokenization.reference import assert_as_library
from tokenization.unicode_texts import TEXTS

from spanmask.kernels import merging
from spanmask.pieces import byte_characters
from spanmask.tokenization import Tokenizer
from spanmask.vocab import vocabulary_from_tokenizer

_BYTES = list(byte_characters())
_NAMES = ["<s>", "</s>", "<pad>", "<mask>", "<unk>"]
#: Characters whose bytes are merged, and others.
ALPHABET = "ab é日\n0'.\0"
_FEW = ["a", "b", "Ġ", "Ã", "©", "æ", "Ĺ", "¥", "0", "'", "."]


def file_of(
    merges: list[tuple[str, str]],
    *,
    without: str = "",
    entries: tuple[str, ...] = (),
    prefix: bool = False,
    **options: Any,
) -> str:
    """A byte-level tokenizer.json with the entries that merges need and some others, and without some bytes."""
    texts = dict.fromkeys([byte for byte in _BYTES if byte not in without])
    texts |= dict.fromkeys([*("".join(pair) for pair in merges), *entries, *_NAMES])
    vocab = {text: number for number, text in enumerate(texts)}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
    }
    model |= {
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocab,
        "merges": merges,
    } | options
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    splits = {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": True}
    parts = {"normalizer": None, "pre_tokenizer": splits, "post_processor": None, "decoder": None}
    added = [{"id": vocab[name], "content": name, **flags} for name in _NAMES]
    return json.dumps(
        {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, **parts, "model": model}
    )


def both(text: str) -> tuple[Tokenizer, PlainLibrary]:
    """Ours, which must be compiled, and the library."""
    vocabulary = vocabulary_from_tokenizer("test", text)
    tokenizer = Tokenizer(vocabulary)
    assert tokenizer.through_library is None
    return tokenizer, PlainLibrary(vocabulary)


@st.composite
def merges_of(draw: st.DrawFn, without: str = "") -> list[tuple[str, str]]:
    """Merges of entries that there are, now and then one twice."""
    known = [byte for byte in _FEW if byte not in without]
    merges = list[tuple[str, str]]()
    for _ in range(draw(st.integers(0, 14))):
        pair = draw(st.sampled_from(known)), draw(st.sampled_from(known))
        merges.append(pair)
        known.append("".join(pair))
    return merges


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "prefix": {"prefix": True},
    "whole entries": {"ignore_merges": True, "entries": ("aab", "Ġab", "b" * 40, "Ã©a")},
    "bytes without entries": {"without": "aÃĠ"},
    "unknown": {"without": "aÃĠ", "unk_token": "<unk>"},
    "unknown together": {"without": "aÃĠ", "unk_token": "<unk>", "fuse_unk": True},
    "unknown with a name": {"without": "0æĠ", "unk_token": "<unk>", "fuse_unk": True, "prefix": True},
    "bytes to fall back to": {"byte_fallback": True},
    "no options": {"dropout": 0.0, "continuing_subword_prefix": None, "end_of_word_suffix": None},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_any_merges_give_the_librarys_tokens_under_each_option(name: str) -> None:
    options = OPTIONS[name]
    without = options.get("without", "")

    @settings(deadline=None, max_examples=15)
    @given(merges_of(without), st.lists(st.text(ALPHABET, max_size=30), max_size=8))
    def holds(merges: list[tuple[str, str]], texts: list[str]) -> None:
        tokenizer, library = both(file_of(merges, **options))
        assert_as_library(tokenizer, library, [*texts, "ab" * 60, "a" * 130 + "é" * 40])

    holds()


@settings(deadline=None, max_examples=40)
@given(st.lists(TEXTS, max_size=4))
def test_any_text_gets_the_librarys_tokens(texts: list[str]) -> None:
    assert_as_library(*both(trained.byte_level()), texts)


def test_words_that_end_in_zeros_are_not_taken_for_each_other() -> None:
    texts = ["a", "a\0", "a\0\0", "\0", "\0\0", "\0" * 9 + "a", "\0" * 40, "a" * 32, "a" * 31 + "\0", "a" * 33]
    assert_as_library(*both(file_of([("a", "a"), ("Ā", "Ā")])), [*texts, " ".join(texts), *texts])


def test_a_word_of_any_length_gets_the_librarys_tokens() -> None:
    lengths = [1, 2, 31, 32, 33, merging.SHORT - 1, merging.SHORT, merging.SHORT + 1, 127, 1000, 5000]
    texts = ["".join("abba"[i * i % 4] + "é"[: i % 3 == 0] for i in range(length)) for length in lengths]
    assert_as_library(*both(file_of([("a", "b"), ("b", "a"), ("ab", "ab"), ("Ã", "©"), ("a", "ba")])), texts)


def test_a_word_of_a_megabyte_takes_near_linear_time() -> None:
    tokenizer, _ = both(file_of([("a", "a"), ("aa", "aa"), ("aaaa", "aaaa"), ("a", "b"), ("b", "ab")]))
    seconds = []
    for size in (1 << 18, 1 << 20):
        began = time.process_time()
        tokens = tokenizer.encode(["a" * size, "ab" * (size // 2)]).token_ids
        seconds.append(time.process_time() - began)
        assert len(tokens) == size // 8 + 1 + (size // 2 - 1)
    assert seconds[1] < 12 * seconds[0] + 1


def test_a_pair_that_is_listed_twice_has_the_rank_of_its_last_place() -> None:
    tokenizer, library = both(file_of([("a", "b"), ("b", "a"), ("a", "b")]))
    entries = tokenizer.vocabulary.entries
    assert [entries[number] for number in tokenizer.encode(["aba"]).token_ids] == ["a", "ba"]
    assert_as_library(tokenizer, library, ["aba", "abab"])


def test_merges_as_strings_are_those_of_pairs() -> None:
    merges = [("a", "b"), ("ab", "a"), ("Ġ", "ab")]
    pairs, strings = file_of(merges), json.loads(file_of(merges))
    strings["model"]["merges"] = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    one, other = Tokenizer(vocabulary_from_tokenizer("test", pairs)), both(json.dumps(strings))[0]
    texts = ["abab aba", "ab"]
    assert one.encode(texts).token_ids.tolist() == other.encode(texts).token_ids.tolist()


# --- The twin


@pytest.mark.parametrize(
    "options", [{}, {"unk_token": "<unk>"}, {"unk_token": "<unk>", "fuse_unk": True}, {"ignore_merges": True}]
)
def test_the_kernel_merges_as_its_twin(options: dict[str, Any]) -> None:
    @settings(deadline=None, max_examples=15)
    @given(merges_of("a"), st.lists(st.text("ab0", min_size=1, max_size=90), max_size=8))
    def holds(merges: list[tuple[str, str]], words: list[str]) -> None:
        merges = [pair for pair in merges if "".join(pair).isalnum()]
        tokenizer, _ = both(file_of(merges, without="a", entries=("aab", "bb"), **options))
        ids = tokenizer.vocabulary.ids
        unknown = ids.get(options.get("unk_token", ""))
        twin = oracle.BytePairs(
            ids=ids, merges=merges, unknown=unknown, fused="fuse_unk" in options, whole="ignore_merges" in options
        )
        words = [word.replace("0", "") for word in words]
        assert [number for word in words for number in oracle.pieces_of(word, twin)] == tokenizer.encode(
            words
        ).token_ids.tolist()

    holds()
