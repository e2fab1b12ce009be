"""Sentences in windows: as transformers tokenizes them, and each word of a long one where most of it is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probes.ordering import small_model, vocabulary
from probes.tagged import tagged
from transformers import AutoTokenizer

from spanmask import Tokenizer
from spanmask.batches import IGNORED
from spanmask.probes.ner import cut_sentences
from spanmask.probes.ner.windows import clearest, cut


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(vocabulary())


def test_windows_and_first_pieces_are_those_of_transformers(tokenizer: Tokenizer, tmp_path: Path) -> None:
    theirs = AutoTokenizer.from_pretrained(small_model(tmp_path / "model"))
    sentences = [[word for word, _ in sentence] for sentence in tagged(0, 12)]
    sentences += [["Naïve", "\u00e9t\u00e9", "x-ray", "''", "\u4e2d\u56fd", "[MASK]", "x-y.", "a\u00a0b"]]
    windows = cut_sentences(sentences, tokenizer, 128)
    assert len(windows) == len(sentences)
    encoded = theirs(sentences, is_split_into_words=True)
    # A literal [MASK] is text to us, and a special token to them.
    encoded["input_ids"][-1] = windows.examples.input_ids[len(sentences) - 1].tolist()
    first, base = [], 0
    for number, ids in enumerate(encoded["input_ids"][:-1]):
        assert windows.examples.input_ids[number].tolist() == ids
        words = encoded.word_ids(number)
        first += [base + at for at in range(len(ids)) if words[at] is not None and words[at] != words[at - 1]]
        base += len(ids)
    assert windows.slots[: len(first)].tolist() == first
    assert windows.words.tolist() == list(range(sum(map(len, sentences))))
    assert (windows.dropped, windows.cut, windows.clipped) == (0, 0, 0)


def test_words_without_a_piece_are_counted_and_predicted_nowhere(tokenizer: Tokenizer) -> None:
    windows = cut_sentences([["a", "\u200b", "b"], ["\u200d"], ["\x00", "c"]], tokenizer, 8)
    assert (windows.words.tolist(), windows.dropped) == ([0, 2, 5], 3)
    assert windows.examples.groups.tolist() == [0, 2]
    special = tokenizer.vocabulary.special
    assert [windows.examples.input_ids[n].tolist()[:: len(windows.examples.input_ids[n]) - 1] for n in range(2)] == [
        [special.cls, special.sep]
    ] * 2
    nothing = cut_sentences([["\u200b"]], tokenizer, 8)
    assert (len(nothing), nothing.dropped, nothing.targets(np.zeros(1, np.int16)).shape) == (0, 1, (0, 0))


def test_labels_stand_at_first_pieces_alone(tokenizer: Tokenizer) -> None:
    """x-y. has four pieces; of five words in windows of six tokens two are seen twice and labelled once."""
    windows = cut_sentences([["a", "x-y.", "b"]], tokenizer, 12)
    assert windows.targets(np.array([3, 1, 2], np.int16)).tolist() == [
        [IGNORED, 3, 1, IGNORED, IGNORED, IGNORED, 2, IGNORED]
    ]
    windows = cut_sentences([list("abcde")], tokenizer, 6)
    shown = [windows.examples.input_ids[n].tolist()[1:-1] for n in range(len(windows))]
    letters = tokenizer.encode(["a b c d e"]).token_ids.tolist()
    assert shown == [letters[:4], letters[2:]]
    assert windows.targets(np.arange(5, dtype=np.int16)).tolist() == [
        [IGNORED, 0, 1, 2, IGNORED, IGNORED],
        [IGNORED, IGNORED, 3, 4, IGNORED, IGNORED],
    ]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(2, 12))
def test_each_word_is_predicted_where_most_is_seen_around_it(sizes: list[int], room: int) -> None:
    starts = (np.cumsum(sizes) - sizes).tolist()
    pieces = sum(sizes)
    windows = cut(starts, pieces, room)
    bounds = {*starts, pieces}
    if pieces <= room:
        assert windows == [(0, pieces)]
    for place, (first, end) in enumerate(windows):
        assert 0 < end - first <= room
        assert first in starts
        # Whole words, but for one that is longer than a window and stands there alone.
        assert end in bounds or sizes[starts.index(first)] > room
        if place:
            before = windows[place - 1]
            assert before[0] < first
            assert before[1] < end
            assert first <= before[1] or sizes[starts.index(before[0])] > room
    for start in starts:
        context = [min(start - first, end - 1 - start) for first, end in windows]
        assert max(context) >= 0
        assert clearest(windows, start) == context.index(max(context))


def test_a_word_longer_than_a_window_is_cut_and_counted(tokenizer: Tokenizer) -> None:
    windows = cut_sentences([["a", "x-y-z.q", "b"], ["c"]], tokenizer, 6)
    assert (windows.cut, windows.clipped, windows.dropped) == (1, 1, 0)
    assert windows.words.tolist() == [0, 1, 2, 3]
    lengths = windows.examples.input_ids.lengths.tolist()
    assert lengths == [3, 6, 3, 3]


def test_a_file_that_is_one_sentence_is_cut_in_time_that_grows_with_it(tokenizer: Tokenizer) -> None:
    windows = cut_sentences([["night", "the"] * 10_000], tokenizer, 34)
    assert len(windows.words) == 20_000
    # The first window predicts the words of its first half and some more, each other one the sixteen in its middle.
    assert len(windows) == (20_000 - 32) // 16 + 1
