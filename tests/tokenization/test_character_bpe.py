"""Compiled BPE over characters: any merges that join no words, every option; held against the library, and its twin in the oracle."""

from __future__ import annotations

import json
import time
from typing import Any

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.kinds import metaspace
from tokenization.plain_library import PlainLibrary
from tokenization.reference import assert_as_library
from tokenization.unicode_texts import TEXTS

from spanmask.tokenization import Tokenizer
from spanmask.vocab import vocabulary_from_tokenizer

_NAMES = ["<s>", "</s>", "<pad>", "<mask>", "<unk>"]
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_CHARACTERS = "▁ab日.\0"
_PREPEND = {"type": "Prepend", "prepend": "▁"}
_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_LLAMA = {"normalizer": {"type": "Sequence", "normalizers": [_PREPEND, _SPACES]}}
#: How text is given to the model: parts of a file, and the marks in front of a text that begins without one, and with one.
FRAMES: dict[str, tuple[dict[str, Any], str, str]] = {
    "llama-2": (_LLAMA, "▁", "▁"),
    "spaces alone": ({"normalizer": _SPACES}, "", ""),
    "mistral": ({"pre_tokenizer": metaspace("first", split=False)}, "▁", ""),
    "never": ({"pre_tokenizer": metaspace("never", split=False)}, "", ""),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "bytes": {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"},
    "bytes without unknown": {"byte_fallback": True},
    "unknown": {"unk_token": "<unk>"},
    "unknown together": {"unk_token": "<unk>", "fuse_unk": True},
}


def file_of(merges: list[tuple[str, str]], frame: str, option: str) -> str:
    texts = dict.fromkeys([*_NAMES, *_BYTES, *_CHARACTERS, *("".join(pair) for pair in merges)])
    vocab = {text: number for number, text in enumerate(texts)}
    model = {"type": "BPE", "dropout": None, "continuing_subword_prefix": None, "end_of_word_suffix": None}
    model |= {"unk_token": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": merges}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    parts: dict[str, Any] = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor"))
    added = [{"id": vocab[name], "content": name, **flags} for name in _NAMES]
    parts |= {"decoder": None, "added_tokens": added, "model": model | OPTIONS[option], **FRAMES[frame][0]}
    return json.dumps({"version": "1.0", **parts})


@st.composite
def merges_of(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Merges of entries that there are, of bytes, too, now and then one twice; none of them joins words."""
    known = [*_CHARACTERS, "<0xC3>", "<0xA9>"]
    merges = list[tuple[str, str]]()
    for _ in range(draw(st.integers(0, 16))):
        left, right = draw(st.sampled_from(known)), draw(st.sampled_from(known))
        if left[-1] == "▁" or right[0] != "▁":
            merges.append((left, right))
            known.append(left + right)
    return merges


TEXT = st.text("ab日é. ▁\0\n", max_size=30) | TEXTS


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("frame", FRAMES)
def test_any_merges_give_the_tokens_of_the_library_and_of_the_twin(frame: str, option: str) -> None:
    @settings(deadline=None, max_examples=6)
    @given(merges_of(), st.lists(TEXT, max_size=6))
    def holds(merges: list[tuple[str, str]], texts: list[str]) -> None:
        vocabulary = vocabulary_from_tokenizer("test", file_of(merges, frame, option))
        tokenizer = Tokenizer(vocabulary)
        assert tokenizer.through_library is None
        texts = [*texts, "ab " * 40, "ab" * 80, " a  b ▁ ▁▁a"]
        found = assert_as_library(tokenizer, PlainLibrary(vocabulary), texts)
        _, front, front_of_mark = FRAMES[frame]
        written = [text.replace(" ", "▁") for text in texts if text]
        given = [(front_of_mark if text.startswith("▁") else front) + text for text in written]
        options = OPTIONS[option]
        twin = oracle.BytePairs(
            ids=vocabulary.ids,
            merges=merges,
            unknown=vocabulary.ids["<unk>"],
            fused="fuse_unk" in options,
            falls_back="byte_fallback" in options,
        )
        assert [number for text in given for number in oracle.pieces_of(text, twin)] == found.token_ids.tolist()

    holds()


@pytest.mark.parametrize(
    ("merges", "compiled"),
    [
        ([("▁", "▁"), ("▁▁", "a"), ("a", "b")], True),
        ([("a", "▁")], False),
        ([("▁", "a"), ("▁a", "▁")], False),
        ([("a", "b"), ("b", "▁"), ("b▁", "a")], False),
        ([("日", "▁")], False),
    ],
)
def test_merges_that_join_words_go_through_the_library(merges: list[tuple[str, str]], compiled: bool) -> None:
    vocabulary = vocabulary_from_tokenizer("test", file_of(merges, "llama-2", "bytes"))
    tokenizer = Tokenizer(vocabulary)
    assert (tokenizer.through_library is None) is compiled
    assert compiled or "joins words" in (tokenizer.through_library or "")
    assert_as_library(tokenizer, PlainLibrary(vocabulary), ["a ab  b▁ 日 ▁a", "  a", ""])


def test_a_word_of_a_megabyte_takes_near_linear_time() -> None:
    merges = [("a", "a"), ("aa", "aa"), ("aaaa", "aaaa"), ("▁", "▁"), ("▁▁", "▁▁")]
    tokenizer = Tokenizer(vocabulary_from_tokenizer("test", file_of(merges, "mistral", "bytes")))
    seconds = []
    for size in (1 << 18, 1 << 20):
        began = time.process_time()
        tokens = tokenizer.encode(["a" * size, " " * size]).token_ids
        seconds.append(time.process_time() - began)
        assert len(tokens) == 1 + size // 8 + size // 4
    assert seconds[1] < 12 * seconds[0] + 1
