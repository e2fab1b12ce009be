"""Shared n-grams of words: equal to a literal twin, whatever the characters, and exact where hashes are not."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from children import run_child
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import shared_ngrams

from spanmask.blocks import offsets_of
from spanmask.overlap.evaluations import Evaluation
from spanmask.overlap.grams import index_of
from spanmask.records import DocumentBlock

WORDS = ["a", "A", "b", "1", "bb", "İ", "K", "k", "i", "É", "ß", "_", "-", "aİb", "xKy", "xky", "Ķ", "™", "漢", "\n"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=25).flatmap(
    lambda words: st.sampled_from([" ", "", "-"]).map(lambda between: between.join(words))
)


def _block(documents: Sequence[str]) -> DocumentBlock:
    encoded = [document.encode() for document in documents]
    # Documents of a block may begin behind its first byte.
    offsets = offsets_of(np.array([*map(len, encoded)])) + 3
    data = np.frombuffer(b"zzz" + b"".join(encoded) + b"zzz", np.uint8)
    return DocumentBlock(text=data, document_offsets=offsets, document_ids=np.arange(len(documents), dtype=np.uint64))


def _matched(documents: Sequence[str], files: Sequence[Sequence[str]], n: int) -> list[list[tuple[int, int]]]:
    evaluations = [Evaluation(name=str(number), texts=texts) for number, texts in enumerate(files)]
    shared, texts = index_of(evaluations, n).match(_block(documents))
    return [[*zip(*row, strict=True)] for row in zip(shared.tolist(), texts.tolist(), strict=True)]


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=5), st.lists(st.lists(TEXTS, max_size=4), min_size=1, max_size=3), st.integers(1, 4))
@example(["a b", "c"], [["b c"], ["a b c"]], 2)
@example(["a a a a"], [["a a a", "a a", "x"]], 2)
def test_counts_are_those_of_the_literal_twin(documents: list[str], files: list[list[str]], n: int) -> None:
    expected = [[shared_ngrams(document, texts, n) for texts in files] for document in documents]
    assert _matched(documents, files, n) == expected


@pytest.mark.parametrize(
    ("document", "texts", "wrong"),
    [
        ("the cat", ["the dog", "a cat"], "words of two n-grams"),
        ("one two", ["one", "two"], "n-grams over the end of a text"),
        ("thecat sat", ["the cat sat"], "letters without their words"),
        ("cat the", ["the cat"], "words in any order"),
        ("the ca", ["the cat"], "the beginning of a word"),
        ("éthe cat2", ["the cat"], "a digit left out"),
    ],
)
def test_what_shares_no_ngram_is_not_found(document: str, texts: list[str], wrong: str) -> None:
    assert _matched([document], [texts], 2) == [[(0, 0)]], wrong


def test_ngrams_go_over_lines_and_punctuation_but_not_from_one_document_into_the_next() -> None:
    assert _matched(["The—cat.\nSAT"], [["the cat sat"]], 3) == [[(1, 1)]]
    assert _matched(["the cat", "sat"], [["the cat sat"]], 3) == [[(0, 0)], [(0, 0)]]


def test_words_are_those_of_lower_case_for_every_code_point() -> None:
    """All code points but surrogates, between letters: the lower case of two others has ASCII letters."""
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    lettered = [point for point in points if re.search("[a-z0-9]", chr(point).lower())]
    assert [chr(point) for point in lettered if point > 0x7F] == ["\u0130", "\u212a"]
    tried = [*range(0x500), 0x1E9E, *range(0x2100, 0x2150), 0xFB01, 0xFF21, 0x1D400, 0x10FFFF]
    documents = [f"p{chr(point)}q" for point in tried if not 0xD800 <= point < 0xE000]
    texts = ["p", "q", "pi", *(f"p{letter}q" for letter in "abcdefghijklmnopqrstuvwxyz0123456789")]
    assert _matched(documents, [texts], 1) == [[shared_ngrams(document, texts, 1)] for document in documents]


def test_words_of_equal_hash_are_told_apart() -> None:
    """Hashes have 31 bits: of 120,000 words some pairs meet, and each word finds itself alone."""
    letters = np.random.default_rng(7).integers(ord("a"), ord("z") + 1, (120_000, 9))
    letters = np.unique(letters, axis=0)
    hashes = np.zeros(len(letters), np.int64)
    for column in letters.T:
        hashes = ((hashes ^ column) * 0x01000193) & (2**31 - 1)
    order = np.argsort(hashes, kind="stable")
    meet = np.flatnonzero(np.diff(hashes[order]) == 0)
    pairs = [(bytes(letters[order[k]].tolist()).decode(), bytes(letters[order[k + 1]].tolist()).decode()) for k in meet]
    assert len(pairs) > 1
    for one, other in pairs:
        assert _matched([one, other], [[one]], 1) == [[(1, 1)], [(0, 0)]]
        assert _matched([f"x {one} y", f"x {other} y"], [[f"x {other} y"], [f"x {one} y {one}"]], 3) == [
            [(0, 0), (1, 1)],
            [(1, 1), (0, 0)],
        ]


def test_files_are_told_apart_and_their_ngrams_counted() -> None:
    files = [Evaluation(name="one", texts=["a b c", "b c"]), Evaluation(name="two", texts=["b c d", ""])]
    index = index_of(files, 2)
    assert (index.texts.tolist(), index.distinct.tolist()) == ([2, 2], [2, 2])
    shared, texts = index.match(_block(["a b c d b c", ""]))
    assert (shared.tolist(), texts.tolist()) == ([[5, 3], [0, 0]], [[2, 1], [0, 0]])


@pytest.mark.slow
@pytest.mark.parametrize("switch", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_kernels_stay_inside_their_room_and_interpreted_ones_count_the_same(switch: str) -> None:
    code = "from overlap.test_overlap_grams import test_counts_are_those_of_the_literal_twin as run; run()"
    result = run_child("-c", code, **{switch: "1"})
    assert result.returncode == 0, result.stderr
