"""The Unigram kernel: ids, word starts and bytes held against the library, and against the literal twin."""

from __future__ import annotations

import json
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import oracle
import pytest
from figures import figure
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.unicode_texts import TEXTS
from tokenizers import Tokenizer as Library

from spanmask.tokenization.metaspace import metaspace_of
from spanmask.tokenization.stretches import whole_documents
from spanmask.tokenization.unigram import unigram_of

SCHEMES = ["never", "first", "always"]


def metaspace(scheme: str, *, split: bool = True) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


SPLITTERS = {f"{scheme}, {split=}": [metaspace(scheme, split=split)] for scheme in SCHEMES for split in (True, False)}
SPLITTERS |= {f"words, {name}": [{"type": "WhitespaceSplit"}, *steps] for name, steps in SPLITTERS.items()}
SPLITTERS |= {"none": [], "words": [{"type": "WhitespaceSplit"}]}


def library_of(vocabulary: Any, unknown: int, *, byte_fallback: bool, steps: list[dict[str, Any]]) -> Any:
    model = {"type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": byte_fallback}
    splits = {"type": "Sequence", "pretokenizers": steps}
    return Library.from_str(json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": splits, "model": model}))


class Driver:
    """The kernel on whole documents."""

    def __init__(self, library: Any, steps: list[dict[str, Any]]) -> None:
        splitter = metaspace_of(steps)
        assert not isinstance(splitter, str)
        vocabulary: Any = SimpleNamespace(dtype=np.dtype(np.uint16))
        model = unigram_of(json.loads(library.model.__getstate__()), vocabulary, splitter)
        assert not isinstance(model, str)
        self.model = model

    def run(self, texts: list[str], *, spots: bool) -> Any:
        """Ids, word starts and bytes by document."""
        data = [text.encode() for text in texts]
        bounds = np.cumsum([0, *map(len, data)])
        stretches = whole_documents(np.frombuffer(b"".join(data), np.uint8), bounds)
        out = self.model.run(stretches, spots=spots)
        assert len(out.ids) == len(out.word_starts) == out.offsets[-1]
        found: list[Any] = [([], [], [])[: 2 + spots] for _ in texts]
        for document, (start, end) in zip(stretches.documents.tolist(), pairwise(out.offsets.tolist()), strict=True):
            found[document] = out.ids[start:end].tolist(), out.word_starts[start:end].tolist()
            if spots:
                found[document] += ((out.byte_offsets[start:end] - bounds[document]).tolist(),)
        return found


def by_library(library: Any, text: str) -> Any:
    encoding = library.encode(text, add_special_tokens=False)
    flags = [k == 0 or word != encoding.word_ids[k - 1] for k, word in enumerate(encoding.word_ids)]
    spots = [[len(text[:point].encode()) for point in spot] for spot in encoding.offsets]
    return encoding.ids, flags, spots


def by_oracle(vocabulary: Any, unknown: int, *, byte_fallback: bool, steps: Any, text: str) -> Any:
    spaces = [step for step in steps if step["type"] == "Metaspace"]
    white = any(step["type"] == "WhitespaceSplit" for step in steps)
    scheme = spaces[0]["prepend_scheme"] if spaces else "none"
    words = oracle.metaspace_words(text, scheme, split=bool(spaces) and spaces[0]["split"], white=white, head=True)
    ids, flags = [], []
    for _, _, word in words:
        found = oracle.best_pieces(word, vocabulary, unknown, byte_fallback=byte_fallback)
        ids += [token for token, _, _ in found]
        flags += [k == 0 for k in range(len(found))]
    return ids, flags


def assert_equal(vocabulary: Any, unknown: int, byte_fallback: bool, steps: Any, texts: list[str]) -> None:
    library = library_of(vocabulary, unknown, byte_fallback=byte_fallback, steps=steps)
    driver = Driver(library, steps)
    expected = [by_library(library, text) for text in texts]
    twins = [by_oracle(vocabulary, unknown, byte_fallback=byte_fallback, steps=steps, text=text) for text in texts]
    assert twins == [one[:2] for one in expected]
    placed, plain, again = (driver.run(texts, spots=spots) for spots in (True, False, False))
    assert placed == expected
    assert plain == again == [one[:2] for one in expected]


BYTES = [[f"<0x{byte:02X}>", -20.0 - byte % 3] for byte in range(256)]
LETTERS = "ab▁é漢 \0"
SCORES = st.sampled_from([-1.0, -1.5, -2.0, -3.0, -0.1, -0.2, -0.30000000000000004, 0.0, 5.0, -1e308, 1e300])
ENTRIES = st.lists(st.tuples(st.text(LETTERS, max_size=4), SCORES | st.floats(-20, 20)), max_size=14)


MODELS = {
    "entries": ENTRIES,
    "unknown": st.integers(0, 3),
    "fallback": st.sampled_from([0, 1, 40, 256]),
    "split": st.sampled_from([*SPLITTERS]),
    "texts": st.lists(st.text(LETTERS + "c\n", max_size=12) | TEXTS, min_size=1, max_size=5),
}


def assert_any_model(entries: Any, unknown: int, fallback: int, split: str, texts: list[str]) -> None:
    vocabulary = [["<unk>", 0.0], *map(list, entries), *BYTES[:fallback]]
    assert_equal(vocabulary, min(unknown, len(vocabulary) - 1), fallback > 0, SPLITTERS[split], texts)


@settings(deadline=None, max_examples=60)
@given(**MODELS)
def test_any_model_does_as_the_library_does(**drawn: Any) -> None:
    assert_any_model(**drawn)


@pytest.mark.slow
@settings(deadline=None, max_examples=figure(1_500, 5_000))
@given(**MODELS)
def test_any_model_does_as_the_library_does_at_length(**drawn: Any) -> None:
    assert_any_model(**drawn)


#: Scores whose sums tie exactly, or but for the order in which they are made.
TIES = st.sampled_from([-1.0, -2.0, -3.0, -0.1, -0.2, -0.3])
FEW = st.dictionaries(st.text("ab", min_size=1, max_size=4), TIES, min_size=3, max_size=20)


@settings(deadline=None, max_examples=40)
@given(FEW, st.lists(st.text("ab", max_size=14) | st.text("abc", max_size=8), min_size=1, max_size=9))
def test_of_ways_that_tie_the_one_that_the_library_takes_is_taken(scores: dict[str, float], texts: list[str]) -> None:
    assert_equal([["<unk>", -4.0], *map(list, scores.items())], 0, False, [], texts)


def test_of_three_ways_with_one_sum_the_shortest_first_piece_leads_to_the_end() -> None:
    vocabulary = [["<unk>", -9.0], ["a", -1.0], ["aa", -2.0], ["aaa", -3.0]]
    assert_equal(vocabulary, 0, False, [], ["a" * size for size in range(40)])
    driver = Driver(library_of(vocabulary, 0, byte_fallback=False, steps=[]), [])
    assert driver.run(["aaa"], spots=False) == [([3], [True])]


@pytest.mark.parametrize("penalty", [9.5, 10.0, 10.5])
def test_an_unknown_character_costs_ten_more_than_the_worst_entry(penalty: float) -> None:
    # Two ways to spell ab: one piece, or a and an unknown character, which differ by a's score and the penalty.
    assert_equal([["<unk>", 0.0], ["a", penalty], ["ab", -20.0]], 0, False, [], ["ab", "aab", "b", "abab"])
    assert_equal([["<unk>", 0.0], ["a", penalty], ["ab", 0.0], ["", -20.0]], 0, False, [], ["ab", "aab", "b", "abab"])


def test_unknown_characters_in_a_row_become_the_piece_that_they_spell() -> None:
    vocabulary = [["<unk>", 200.0], ["a", 100.0], ["xy", 100.0], ["q", 100.0], ["▁z", 1.0]]
    assert_equal(vocabulary, 0, False, [metaspace("always")], ["xy", "xyq", "axya", "xyxy", "yx", "z", "az", "x z"])
    assert_equal([*vocabulary, *BYTES], 0, True, [metaspace("always")], ["xy", "xyq", "xyxy", "z", "yz", "x z"])


def test_the_unknown_token_may_be_any_entry_and_text_may_name_it() -> None:
    vocabulary = [["a", -1.0], ["b", -1.0], ["ab", -5.0], ["▁", -3.0], ["▁▁", -3.0]]
    texts = ["a", "aa", "ba", "bab", "a c", " ", "  ", "c c", "ab", "a▁▁c"]
    for unknown in range(len(vocabulary)):
        for fallback in (False, True):
            extra = BYTES if fallback else []
            assert_equal([*vocabulary, *extra], unknown, fallback, [metaspace("always", split=False)], texts)
            assert_equal([*vocabulary, *extra], unknown, fallback, [metaspace("first")], texts)


def test_zeros_and_sizes_around_a_key_tell_words_apart() -> None:
    texts = [
        letters * size + end
        for letters in ("a", "\0", "é")
        for size in (*range(12), *range(28, 36))
        for end in ("", "\0", "\0\0", "b")
    ]
    for name in ("always, split=True", "words, always, split=False", "words"):
        assert_equal([["<unk>", 0.0], ["a", -1.0], ["▁a", -1.5]], 0, False, SPLITTERS[name], [*texts, *texts])
        joined = [" ".join(texts), "\n".join(reversed(texts)), "▁".join(texts)]
        assert_equal([["<unk>", 0.0], ["a", -1.0], ["▁a", -1.5]], 0, False, SPLITTERS[name], joined)


def test_words_with_and_without_a_mark_in_front_are_told_apart() -> None:
    # Longer than a window and a key together: near its end, text is not looked at a window at a time.
    text = "a aa a " * 30 + "\n" + "aa a\u2581a a" * 9
    for name in ("never, split=True", "first, split=True", "words, first, split=True", "words, never, split=False"):
        assert_equal(
            [["<unk>", 0.0], ["a", -1.0], ["▁a", -1.5], ["▁aa", -1.0]], 0, False, SPLITTERS[name], [text, text]
        )
