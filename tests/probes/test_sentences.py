"""Texts and pairs as examples: as transformers' fast tokenizer has them, whatever the lengths."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
from planted import plant
from probes.conftest import GLUE, needs_glue
from probes.ordering import sentences
from transformers import BertTokenizer

from spanmask import Tokenizer
from spanmask.probes import sentences as module


@cache
def both() -> tuple[Tokenizer, Any]:
    """Our tokenizer of the uncased vocabulary, and transformers'."""
    ours = Tokenizer("uncased")
    entries = {entry: place for place, entry in enumerate(ours.vocabulary.entries)}
    return ours, BertTokenizer(vocab=entries, do_lower_case=True)


def check_as_transformers(columns: list[tuple[str, ...]], max_tokens: int) -> int:
    """Hold examples against transformers' encodings; return how many were cut."""
    ours, theirs = both()
    examples = module.sentence_examples(columns, ours, max_tokens, {})
    whole = [len(ids) for ids in theirs(*map(list, columns))["input_ids"]]
    told = theirs(*map(list, columns), truncation="longest_first", max_length=max_tokens)
    for number, (ids, types) in enumerate(zip(told["input_ids"], told["token_type_ids"], strict=True)):
        assert examples.input_ids[number].tolist() == ids
        second = int(examples.second_starts[number])
        assert [int(place >= second) for place in range(len(ids))] == types
    assert examples.groups.tolist() == list(range(len(whole)))
    return sum(length > max_tokens for length in whole)


def some_pairs() -> list[tuple[str, ...]]:
    """Texts of 0 to 12 words, each with each."""
    words = ["a", "raven", "on", "the", "bust", "of", "pallas", "just", "above", "my", "chamber", "door"]
    texts = [" ".join(words[:count]) for count in range(13)]
    return list(zip(*itertools.product(texts, texts), strict=True))


@pytest.mark.parametrize("max_tokens", [5, 8, 11, 12, 13, 64])
def test_pairs_and_texts_are_cut_as_transformers_cuts_them(max_tokens: int) -> None:
    pairs = some_pairs()
    assert bool(check_as_transformers(pairs, max_tokens)) == (max_tokens < 27)
    check_as_transformers(pairs[:1], max_tokens)
    check_as_transformers([sentences()[:50]], max_tokens)


def check_some() -> None:
    for size in (8, 11):
        check_as_transformers(some_pairs(), size)
        check_as_transformers([sentences()[:50]], size)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("swapped = first > second", "swapped = first >= second"),
        ("np.maximum(short, room - short)", "room - short"),
        ("room - room // 2", "room // 2"),
        ("(kept[0] + 2)", "(kept[0] + 1)"),
        ("begins = begins + counts + 1", "begins = begins + counts"),
        ("max_tokens - 1 - len(blocks)", "max_tokens - 3"),
    ],
)
def test_a_planted_wrong_is_seen(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, module, old, new)
    with pytest.raises((AssertionError, ValueError, IndexError)):
        check_some()


def test_what_is_cut_is_taken_a_token_at_a_time_from_the_longer_one() -> None:
    """As run_classifier.py of BERT does; of equals that shortens the second, so that both differ by one token there and nowhere else."""
    for first, second, room in itertools.product(range(12), range(12), range(2, 14)):
        one, other = first, second
        while one + other > room:
            one, other = (one - 1, other) if one > other else (one, other - 1)
        kept = [int(side[0]) for side in module.longest_first(np.array([first]), np.array([second]), room)]
        if first <= second and one == other + 1 and one + other == room < first + second:
            one, other = other, one
        assert kept == [one, other]


def test_texts_without_tokens_are_parts_without_any() -> None:
    ours, _ = both()
    special = ours.vocabulary.special
    examples = module.sentence_examples([("", "\x00\x01", "a"), ("b", "", "")], ours, 8, {})
    a, b = (int(ours.encode([text]).token_ids[0]) for text in "ab")
    assert [examples.input_ids[number].tolist() for number in range(3)] == [
        [special.cls, special.sep, b, special.sep],
        [special.cls, special.sep, special.sep],
        [special.cls, a, special.sep, special.sep],
    ]
    assert examples.second_starts.tolist() == [2, 2, 3]


@pytest.mark.slow
@pytest.mark.data
@needs_glue
@pytest.mark.parametrize(("name", "columns"), [("RTE", (1, 2)), ("MRPC", (3, 4)), ("QNLI", (1, 2))])
def test_real_pairs_are_cut_as_transformers_cuts_them(name: str, columns: tuple[int, int]) -> None:
    text = (GLUE / name / "dev.tsv").read_text("utf-8-sig")
    rows = [line.split("\t") for line in text.split("\n")[1:900] if line]
    pairs = [tuple(row[column] for row in rows) for column in columns]
    assert [check_as_transformers(pairs, size) > 0 for size in (128, 40)] == [name != "MRPC", True]
