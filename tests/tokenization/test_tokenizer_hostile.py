"""Tokenizer files that somebody made to hurt: one error of one line, or the library's tokens, in bounded time and memory."""

from __future__ import annotations

import base64
import json
import random
import struct
import time
from collections.abc import Callable
from functools import cache
from typing import Any
from unittest import mock

import pytest
from memory import with_peak
from tokenization.kinds import KINDS, Part, precompiled
from tokenization.plain_library import PlainLibrary
from tokenization.reference import assert_as_library

from spanmask.errors import ConfigError
from spanmask.records import TokenizedBlock
from spanmask.tokenization import Tokenizer, library
from spanmask.vocab import vocabulary_from_tokenizer

#: Seconds of the processor that a call is given, that all may take on a machine that others use, too, and bytes.
_PATIENCE, _LIMIT, _MEMORY = 2.0, 60.0, 400 << 20
_TEXTS = ["b" * 300 + " bbb the cat " + "a" * 60 + "! été  漢 " + "bc" * 40, "a" * 3_000, "ｂé ﬁ ﷺ ´"]

Change = Callable[[Part], Any]


def _with(kind: str, change: Change) -> str:
    """The text of a kind with a change to its content, or the text that the change makes of it."""
    content = json.loads(KINDS[kind]())
    made = change(content)
    return made if isinstance(made, str) else json.dumps(content)


def _put(*path: Any, value: Any) -> Change:
    def change(content: Part) -> None:
        inner: Any = content
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value

    return change


def _nested(name: str, leaf: Part, depth: int) -> Part:
    for _ in range(depth):
        leaf = {"type": "Sequence", name: [leaf]}
    return leaf


def _merge(*merge: Any) -> Change:
    return lambda content: content["model"]["merges"].append(merge[0] if len(merge) == 1 else list(merge))


def _scores(score: Any, written: str | None = None) -> Change:
    """Each third score another one, ``written`` in its place."""

    def change(content: Part) -> str:
        for pair in content["model"]["vocab"][::3]:
            pair[1] = score
        text = json.dumps(content)
        return text if written is None else text.replace(str(score), written)

    return change


def _added(name: str, **flags: bool) -> Change:
    def change(content: Part) -> None:
        last = content["added_tokens"][-1]
        content["added_tokens"].append(last | {"id": last["id"] + 1, "content": name, "special": False} | flags)

    return change


def _replacing(*pairs: tuple[Part, str]) -> Change:
    steps = [{"type": "Replace", "pattern": pattern, "content": content} for pattern, content in pairs]
    return _put("normalizer", value={"type": "Sequence", "normalizers": steps})


@cache
def _table() -> tuple[bytes, bytes]:
    """The trie and the texts of the table nmt_nfkc."""
    table = base64.b64decode(precompiled()["precompiled_charsmap"])
    (size,) = struct.unpack_from("<I", table)
    return table[4 : 4 + size], table[4 + size :]


def _charsmap(make: Callable[[bytes, bytes], bytes]) -> Change:
    def change(content: Part) -> None:
        table = base64.b64encode(make(*_table())).decode()
        content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": table}

    return change


def _sized(size: int, data: bytes) -> bytes:
    return struct.pack("<I", size) + data


def _pattern(regex: str) -> Change:
    return lambda content: content["pre_tokenizer"]["pretokenizers"][0].update(pattern={"Regex": regex})


_UNREAD, _MUCH = "the tokenizers library cannot read it", "its normalizer writes over 64 characters for one"
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
#: What is changed in which kind, and what is said of it.
REFUSED: dict[str, tuple[str, Change, str]] = {
    "normalizers in each other": ("gpt-2", _put("normalizer", value=_nested("normalizers", {"type": "NFC"}, 400)), _UNREAD),
    "pre-tokenizers in each other": ("gpt-2", _put("pre_tokenizer", value=_nested("pretokenizers", _BYTES, 400)), _UNREAD),
    "processors in each other": ("gpt-2", _put("post_processor", value=_nested("processors", _BYTES, 400)), "it has no token for cls"),
    "lists in each other": (
        "gpt-2", lambda content: json.dumps(content)[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "not a tokenizer.json",
    ),
    "a merge of what is no entry": ("gpt-2", _merge("q", "zzzzz"), f"{_UNREAD} .*zzzzz"),
    "a merge into what is no entry": ("gpt-2", _merge("!", '"'), _UNREAD),
    "a merge of three": ("gpt-2", _merge("a", "b", "c"), _UNREAD),
    "a merge of nothing": ("gpt-2", _merge("", ""), _UNREAD),
    "a merge of one": ("gpt-2", _merge("a"), _UNREAD),
    "merges that are no list": ("gpt-2", _put("model", "merges", value={"a": "b"}), _UNREAD),
    "one id for two added tokens": ("gpt-2", _put("added_tokens", 1, "id", value=2000), "vocabulary x: "),
    "one added token under two ids": ("gpt-2", _added("<pad>"), "'<pad>' has id 2003"),
    "an id below zero": ("gpt-2", _put("model", "vocab", "the", value=-1), "its ids are no numbers from 0 on"),
    "an id beyond all": ("gpt-2", _put("model", "vocab", "the", value=1 << 62), "number them from 0"),
    "an id that is no whole number": ("gpt-2", _put("model", "vocab", "the", value=1.5), "its ids are no numbers"),
    "scores that are no numbers": ("xlm-r", _scores(float("nan")), _UNREAD),
    "scores without bounds": ("xlm-r", _scores(float("-inf")), _UNREAD),
    "scores beyond floats": ("xlm-r", _scores(12345.5, "1e999"), _UNREAD),
    "scores that are text": ("t5", _scores("a"), _UNREAD),
    "no scores": ("t5", _scores(None), _UNREAD),
    "an unknown entry beyond the others": ("xlm-r", _put("model", "unk_id", value=10**9), "its id for unk is 1000000000"),
    "an unknown entry below zero": ("xlm-r", _put("model", "unk_id", value=-1), "its id for unk is -1"),
    "an entry deeper than a stack": (
        "t5", lambda content: content["model"]["vocab"].append(["a" * 200_000, -1.0]), "an entry of 200,000 characters, at most 4,096",
    ),
    "a table of nothing": ("xlm-r", _charsmap(lambda trie, texts: b""), _UNREAD),
    "a table without a trie": ("xlm-r", _charsmap(lambda trie, texts: b"abc"), _UNREAD),
    "a table that ends before its size": ("xlm-r", _charsmap(lambda trie, texts: _sized(1 << 31, trie + texts)), _UNREAD),
    "a table cut within the trie": ("t5", _charsmap(lambda trie, texts: _sized(len(trie), trie[:9_999])), _UNREAD),
    "a table without texts": ("t5", _charsmap(lambda trie, texts: _sized(len(trie), trie)), _UNREAD),
    "a table of ones": ("deberta-v3", _charsmap(lambda trie, texts: _sized(4096, b"\xff" * 5000)), _UNREAD),
    "a table of noise": ("xlm-r", _charsmap(lambda trie, texts: _sized(4096, random.Random(1).randbytes(9999))), _UNREAD),
    "a table whose texts are none": ("xlm-r", _charsmap(lambda trie, texts: _sized(len(trie), trie + b"\xff" * 9999)), _UNREAD),
    "a table that is no base64": (
        "xlm-r", _put("normalizer", value={"type": "Precompiled", "precompiled_charsmap": "!!"}), _UNREAD,
    ),
    "a table that writes megabytes for a character": (
        "xlm-r", _charsmap(lambda trie, texts: _sized(len(trie), trie + b"x" * (8 << 20))), _MUCH,
    ),
    "an expression replaced by megabytes": ("gpt-2", _replacing(({"Regex": "b"}, "x" * (1 << 20))), _MUCH),
    "a long text replaced by megabytes": ("gpt-2", _replacing(({"String": "b" * 33}, "x" * (8 << 20))), _MUCH),
    "texts replaced one after the other": (
        "gpt-2", _replacing(*(({"String": left}, right * 60) for left, right in ("bc", "cd", "de"))), _MUCH,
    ),
    "an expression, and what it writes, replaced": ("gpt-2", _replacing(({"Regex": "[b]"}, "c" * 60), ({"String": "c"}, "d" * 60)), _MUCH),
    "expressions in each other": ("llama-3", _pattern("(" * 5000 + "a" + ")" * 5000), f"{_UNREAD} .*with the regular expression"),
    "an expression that explodes": ("llama-3", _pattern(r"(?:[^\r\n\p{L}\p{N}]?\p{L}+)*$|x"), "its tokenizer fails on a text"),
    "a space written as many": ("mistral", _put("pre_tokenizer", "replacement", value="▁" * 99), _UNREAD),
    "a space written as nothing": ("mistral", _put("pre_tokenizer", "replacement", value=""), _UNREAD),
    "a prefix longer than all entries": ("gpt-2", _put("model", "continuing_subword_prefix", value="x" * 99_999), _UNREAD),
}  # fmt: skip
#: What is odd, and taken as the library takes it.
TAKEN: dict[str, tuple[str, Change]] = {
    "normalizers in each other": ("modernbert", _put("normalizer", value=_nested("normalizers", {"type": "NFC"}, 30))),
    "pre-tokenizers in each other": ("roberta", _put("pre_tokenizer", value=_nested("pretokenizers", _BYTES, 30))),
    "an id twice": ("gpt-2", _put("model", "vocab", "the", value=5)),
    "an entry twice": ("t5", _put("model", "vocab", 20, value=["▁the", -0.5])),
    "scores so low that sums are infinite": ("xlm-r", _scores(-1.5e308)),
    "scores so high that sums are infinite": ("xlm-r", _scores(1.5e308)),
    "scores of nothing": ("t5", _scores(0.0)),
    "the smallest scores": ("t5", _scores(12345.5, "-4.9e-324")),
    "a table of zeros": ("xlm-r", _charsmap(lambda trie, texts: _sized(4096, bytes(5000)))),
    "an expression of many thousand characters": ("llama-3", _pattern("a|" * 60_000 + "b")),
    "another character for spaces": ("mistral", _put("pre_tokenizer", "replacement", value="_")),
    "a long end of words": ("gpt-2", _put("model", "end_of_word_suffix", value="x" * 99_999)),
    "an added token of many words": ("llama-2", _added("ab c" * 5_000, normalized=True)),
    "an added token of spaces": ("gpt-2", _added(" " * 20_000)),
    "merges of spaces": ("gpt-2", lambda content: content["model"].update(merges=content["model"]["merges"][:1] * 50_000)),
}  # fmt: skip


def _made(text: str) -> TokenizedBlock:
    with mock.patch.object(library, "PATIENCE", _PATIENCE):
        return Tokenizer(vocabulary_from_tokenizer("x", text)).encode(_TEXTS, offsets=True)


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_made_to_hurt_is_refused_with_one_line(name: str) -> None:
    kind, change, told = REFUSED[name]
    text = _with(kind, change)
    began = time.process_time()

    def refused() -> None:
        with pytest.raises(ConfigError, match=told) as caught:
            _made(text)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1_000

    _, peak = with_peak(refused)
    assert time.process_time() - began < _LIMIT
    assert peak < _MEMORY + 10 * len(text)


@pytest.mark.parametrize("name", TAKEN)
def test_an_odd_file_has_the_tokens_of_the_library(name: str) -> None:
    kind, change = TAKEN[name]
    vocabulary = vocabulary_from_tokenizer("x", _with(kind, change))
    assert_as_library(Tokenizer(vocabulary), PlainLibrary(vocabulary), _TEXTS)
