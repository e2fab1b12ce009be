"""Added tokens are found where the `tokenizers` library finds them, and in time that does not depend on what they are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, models, normalizers
from tokenizers import Tokenizer as Library

from spanmask.tokenization.added_tokens import Finder, added_tokens_of
from spanmask.tokenization.stretches import TEXT, Stretches, whole_documents
from spanmask.tokenization.traits import WHITE, WORD, having

Token = dict[str, Any]
Piece = tuple[int, int, int]


def _token(number: int, content: str, **options: bool) -> Token:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, **options}
    return {"id": number, "content": content, **flags}


def _tokens(*contents: str, **options: bool) -> list[Token]:
    return [_token(number, content, **options) for number, content in enumerate(contents, 1)]


def _finder(tokens: Sequence[Token]) -> Finder:
    found = added_tokens_of(tokens, str)
    assert not isinstance(found, str), found
    finder = found.raw or found.normalized
    assert finder is not None
    return finder


def _stretches(texts: Sequence[str]) -> Stretches:
    data = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, data)])
    return whole_documents(np.frombuffer(b"".join(data), np.uint8), offsets)


def _found(tokens: Sequence[Token], texts: Sequence[str]) -> list[list[Piece]]:
    """Each text's stretches, in code points."""
    stretches = _finder(tokens).find(_stretches(texts))
    bases = np.cumsum([0, *(len(text.encode()) for text in texts)])
    found = [list[Piece]() for _ in texts]
    for start, end, number, document in zip(*stretches[1:], strict=True):
        data, base = texts[document].encode(), bases[document]
        found[document].append((len(data[: start - base].decode()), len(data[: end - base].decode()), int(number)))
    return found


def _librarys(tokens: Sequence[Token], texts: Sequence[str], normalizer: Any = None) -> list[list[Piece]]:
    library: Any = Library(models.WordLevel({"?": 0}, unk_token="?"))
    library.normalizer = normalizer
    options = ("single_word", "lstrip", "rstrip", "normalized")
    library.add_tokens([AddedToken(token["content"], **{name: token[name] for name in options}) for token in tokens])
    encodings = library.encode_batch(texts)
    return [
        [(*spot, number or TEXT) for spot, number in zip(encoding.offsets, encoding.ids, strict=True)]
        for encoding in encodings
    ]


_TEXTS = [
    "",
    "ab",
    "abc abcd  ab",
    "xab ab_ab-ab\u0301 ab",
    "a b\u00a0 ab \u2028ab",
    "  ab  ",
    "aab\x1cab\x85ab",
    "é日ab日é 😀ab😀",
    "bab ab",
]
_OPTIONS = [
    dict(zip(("single_word", "lstrip", "rstrip"), flags, strict=True)) for flags in product((False, True), repeat=3)
]


@pytest.mark.parametrize("options", _OPTIONS, ids=str)
def test_added_tokens_of_every_option_are_the_librarys(options: dict[str, bool]) -> None:
    tokens = [_token(1, "ab", **options), _token(2, "abc", **options), _token(3, "日", **options), _token(4, "b")]
    assert _found(tokens, _TEXTS) == _librarys(tokens, _TEXTS)


def test_the_longest_is_not_retried_shorter() -> None:
    tokens = [_token(1, "ab"), _token(2, "abc", single_word=True)]
    assert _found(tokens, ["abcd abc"]) == _librarys(tokens, ["abcd abc"]) == [[(0, 5, TEXT), (5, 8, 2)]]


def test_white_space_is_taken_up_to_the_token_before() -> None:
    tokens = [_token(1, "a"), _token(2, "b", lstrip=True), _token(3, "  ")]
    texts = ["a  b   b a b", "x\u3000\t\n b", "   b", "     b"]
    assert _found(tokens, texts) == _librarys(tokens, texts)


@pytest.mark.parametrize("side", ["before", "behind"])
def test_every_character_beside_a_word_is_the_librarys(side: str) -> None:
    edges = np.flatnonzero(np.diff(having(WORD))) + 1
    points = sorted({*range(0x3000), *edges.tolist(), *(edges - 1).tolist()} - {*range(0xD800, 0xE000)})
    tokens = _tokens("\0", single_word=True)
    texts = [chr(point) + "\0" if side == "before" else "\0" + chr(point) for point in points if point]
    assert _found(tokens, texts) == _librarys(tokens, texts)


_CONTENTS = st.text("aab \n日é", min_size=1, max_size=4)
#: With what is longer than the bytes that are looked through together.
_LONG = st.lists(st.sampled_from([*"aaaab \n日é_", "x" * 63, "x" * 64, "é" * 70]), max_size=30).map("".join)


@given(
    contents=st.lists(_CONTENTS, min_size=1, max_size=6, unique=True),
    flags=st.lists(st.sampled_from(_OPTIONS), min_size=6, max_size=6),
    texts=st.lists(_LONG, min_size=1, max_size=4),
)
def test_added_tokens_equal_the_oracle_and_the_library(
    contents: list[str], flags: list[dict[str, bool]], texts: list[str]
) -> None:
    white = any(content[0].isspace() for content in contents)
    tokens = [
        _token(number, content, **options | {"rstrip": options["rstrip"] and not white})
        for number, (content, options) in enumerate(zip(contents, flags, strict=False), 1)
    ]
    words, whites = having(WORD), having(WHITE)
    plain = [oracle.Added(t["content"], t["single_word"], t["lstrip"], t["rstrip"]) for t in tokens]
    found = _found(tokens, texts)
    for text, pieces in zip(texts, found, strict=True):
        expected = oracle.added_tokens(text, plain, lambda c: bool(words[ord(c)]), lambda c: bool(whites[ord(c)]))
        assert pieces == [(start, end, TEXT if n is None else n + 1) for start, end, n in expected]
    assert found == _librarys(tokens, texts)


def test_contents_are_normalized_before_they_are_looked_for() -> None:
    tokens = _tokens("É", "AB", normalized=True)
    texts = ["xé ab AB e\u0301"]
    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    found = added_tokens_of(tokens, normalizer.normalize_str)
    assert not isinstance(found, str)
    assert found.raw is None
    assert found.normalized is not None
    made = found.normalized.find(_stretches([normalizer.normalize_str(text) for text in texts]))
    assert made.ids.tolist() == [number for _, _, number in _librarys(tokens, texts, normalizer)[0]]


def test_what_is_an_added_token_already_stays() -> None:
    first = _finder(_tokens("ab")).find(_stretches(["xabay", "a"]))
    second = _finder([_token(7, "a")]).find(first)
    assert second.ids.tolist() == [TEXT, 1, 7, TEXT, 7]
    assert second.documents.tolist() == [0, 0, 0, 0, 1]
    assert (second.ends - second.starts).tolist() == [1, 2, 1, 1, 1]


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        ([_token(1, "a"), _token(1, "b")], "one id"),
        ([_token(1, "a"), _token(2, "a", lstrip=True)], "are one text"),
        ([_token(1, "A", normalized=True), _token(2, "a", normalized=True)], "are one text"),
        ([_token(1, " ", normalized=True)], "leaves nothing"),
        ([_token(1, "a", rstrip=True), _token(2, "\u3000")], "begins with white space"),
    ],
)
def test_what_only_the_library_can_do_is_told(tokens: list[Token], reason: str) -> None:
    told = added_tokens_of(tokens, lambda text: text.strip().lower())
    assert isinstance(told, str)
    assert reason in told


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        (["a" * length for length in range(1, 1000)], "a" * 300_000),
        (["a", "a" * 5000 + "b"], "a" * 300_000),
        (["b" + "a" * 5000, "a" * 4999 + "c"], "a" * 300_000),
        ([f"<{number}>" for number in range(100_000)], "<1<12<99999><<<" * 20_000),
    ],
    ids=["nested", "a long one that fails", "a long one that fails backwards", "100,000 tokens"],
)
def test_the_time_does_not_depend_on_the_tokens(contents: list[str], text: str) -> None:
    finder = _finder(_tokens(*contents))
    finder.find(_stretches(["a"]))
    began = time.process_time()
    found = finder.find(_stretches([text]))
    assert time.process_time() - began < 2
    assert found.ends[-1] == len(text)


def test_long_documents_do_not_need_room_for_all_at_once() -> None:
    texts = ["a" * 5000, "b", "a" * 100] * 3
    found = _finder(_tokens("a")).find(_stretches(texts))
    assert len(found.ids) == 3 * (5000 + 1 + 100)
    assert np.bincount(found.documents).tolist() == [5000, 1, 100] * 3
