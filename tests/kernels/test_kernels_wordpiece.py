"""The parts of the WordPiece kernel: the trie finds the longest piece, the word table forgets without harm."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from spanmask.kernels import trie, wordtable
from spanmask.tokenization import wordpiece
from spanmask.tokenization.wordpiece import WordPiece
from spanmask.tokenizer_json import ROLES
from spanmask.vocab import Vocabulary

PIECES = st.lists(st.text("ab\u00e9", min_size=1, max_size=5), unique=True, max_size=12)


def vocabulary_of(first: list[str], continued: list[str]) -> Vocabulary:
    entries = (*ROLES.values(), *first, *(f"##{piece}" for piece in continued))
    return Vocabulary(name="test", entries=entries, cased=True)


@njit(error_model="numpy")
def match(tree, text, start, end, root):  # type: ignore[no-untyped-def]
    return trie.match(tree, text, start, end, root)


@settings(deadline=None, max_examples=300)
@given(PIECES, PIECES, st.text("ab\u00e9", max_size=12))
def test_the_longest_piece_is_found(first: list[str], continued: list[str], text: str) -> None:
    vocabulary = vocabulary_of(first, continued)
    tree = wordpiece._trie(vocabulary)
    data = np.frombuffer(text.encode(), np.uint8)
    for root, pieces, prefix in ((trie.FIRST, first, ""), (trie.CONTINUED, continued, "##")):
        best = max((piece for piece in pieces if text.startswith(piece)), key=len, default=None)
        expected = (-1, 0) if best is None else (vocabulary.ids[prefix + best], len(best.encode()))
        assert match(tree, data, 0, len(data), root) == expected


def test_edges_fill_the_trie_to_three_quarters_at_most() -> None:
    vocabulary = vocabulary_of(["a" * n for n in range(1, 60)], ["b" * n for n in range(1, 60)])
    edges = wordpiece._trie(vocabulary).edges
    assert 0.25 < (edges >= 0).mean() <= 0.75


@njit(error_model="numpy")
def find_or_keep(table, keys, ids, found):  # type: ignore[no-untyped-def]
    for i in range(len(keys)):
        key = (keys[i], np.uint64(0), np.uint64(0), np.uint64(0))
        line = wordtable.find(table, key)
        if line >= 0:
            found[i] = table.lines[line + 4] & np.uint64(0xFFFF)
        else:
            wordtable.keep(table, key, ids, i, 1)
            found[i] = ids[i]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=200))
def test_a_full_table_gives_each_word_its_own_ids(words: list[int]) -> None:
    table = wordtable.WordTable(np.zeros(4 * wordtable.LINE, np.uint64))
    keys = np.array(words, np.uint64)
    ids = (keys * np.uint64(3)).astype(np.uint16)
    found = np.zeros(len(words), np.uint16)
    with np.errstate(over="ignore"):
        find_or_keep(table, keys, ids, found)
    np.testing.assert_array_equal(found, ids)
    kept = table.lines.reshape(4, wordtable.LINE)[:, 0]
    assert len(set(kept[kept != 0].tolist())) == min(len(set(words)), 4)


def test_words_often_found_stay_in_a_full_set() -> None:
    table = wordtable.WordTable(np.zeros(4 * wordtable.LINE, np.uint64))
    often = [1, 1, 1, 1, 2, 2, 2, 2]
    keys = np.array([*often, *range(10, 30)], np.uint64)
    with np.errstate(over="ignore"):
        find_or_keep(table, keys, keys.astype(np.uint16), np.zeros(len(keys), np.uint16))
    assert {1, 2} <= set(table.lines[:: wordtable.LINE].tolist())


@pytest.mark.parametrize(("words", "grows"), [(60, False), (200, True), (1000, True)])
def test_a_table_that_fills_grows_once_and_knows_the_same_words(words: int, grows: bool) -> None:
    keys = np.random.default_rng(words).integers(1, 1 << 63, words).astype(np.uint64)
    ids, found = np.arange(words).astype(np.uint16), np.zeros(words, np.uint16)
    with (
        mock.patch.object(wordtable, "LINES", 256),
        mock.patch.object(wordtable, "GROWN", 4096),
        np.errstate(over="ignore"),
    ):
        table = wordtable.word_table()
        find_or_keep(table, keys, ids, found)
        larger = wordtable.with_room(table)
        assert (larger is not table) is grows
        assert wordtable.with_room(larger) is larger
        known = set(table.lines[:: wordtable.LINE].tolist()) - {0}
        assert set(larger.lines[:: wordtable.LINE].tolist()) - {0} == known
        find_or_keep(larger, keys, np.zeros(words, np.uint16), found)
    np.testing.assert_array_equal(found, np.where(np.isin(keys, [*known]), ids, 0))


def test_a_table_of_four_lines_gives_the_same_tokens_as_a_large_one() -> None:
    from spanmask.tokenization import Tokenizer

    text = " ".join(
        ["the cat sat on the mat and unbelievably naïve dogs ran off"] * 3 + [chr(0x4E00 + n) for n in range(40)]
    )
    large = Tokenizer("uncased").encode([text, text[::-1]], offsets=True)
    with mock.patch.object(wordtable, "LINES", 4):
        small = WordPiece(Tokenizer("uncased").vocabulary)
    data = [part.encode() for part in (text, text[::-1])]
    offsets = np.cumsum([0, *map(len, data)])
    tokens = small.run(np.frombuffer(b"".join(data), np.uint8), offsets, lines=False, byte_offsets=False, parse=False)
    for name in ("token_ids", "word_starts", "document_offsets"):
        np.testing.assert_array_equal(getattr(tokens, name), getattr(replace(large, byte_offsets=None), name))
