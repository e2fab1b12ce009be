"""From rows to entities, to files that scorers read and to figures: links, singletons, crossing mentions, equal strings."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import planted

from spanmask.errors import ConfigError
from spanmask.probes.coref import decoding
from spanmask.probes.coref.decoding import entities_of, equal_strings, without_crossing
from spanmask.probes.coref.figures import WITHOUT, figures_of
from spanmask.probes.scores import coref
from spanmask.probes.scores.conll import conll_bytes, read_conll, write_conll

Rows = list[tuple[int, int, int, float]]
#: First and last word, antecedent and mention score of each row; entities with singletons and without; mentions left out of each.
TOLD: dict[str, tuple[Rows, list[list[tuple[int, int]]], list[list[tuple[int, int]]], tuple[int, int]]] = {
    "nothing": ([], [], [], (0, 0)),
    "no link": ([(0, 0, -1, -1.0), (2, 3, -1, 0.0)], [], [], (0, 0)),
    "singletons": ([(0, 0, -1, 2.0), (2, 3, -1, 1.0)], [[(0, 0)], [(2, 3)]], [], (0, 0)),
    "a chain is one entity, whatever its mention scores": (
        [(0, 0, -1, -2.0), (1, 1, 0, -1.0), (4, 5, -1, 1.0), (6, 6, 1, 0.5)],
        [[(0, 0), (1, 1), (6, 6)], [(4, 5)]],
        [[(0, 0), (1, 1), (6, 6)]],
        (0, 0),
    ),
    "two of one antecedent": (
        [(0, 0, -1, 1.0), (1, 1, 0, 1.0), (2, 2, 0, 1.0)],
        [[(0, 0), (1, 1), (2, 2)]],
        [[(0, 0), (1, 1), (2, 2)]],
        (0, 0),
    ),
    "nested ones of an entity stay": ([(0, 4, -1, 1.0), (0, 1, 0, 1.0)], [[(0, 1), (0, 4)]], [[(0, 1), (0, 4)]], (0, 0)),
    "of two that cross the likelier stays": (
        [(0, 2, -1, 1.0), (1, 3, 0, 2.0), (9, 9, 1, 0.0)],
        [[(1, 3), (9, 9)]],
        [[(1, 3), (9, 9)]],
        (1, 1),
    ),
    "what is left of two that cross": ([(0, 2, -1, 2.0), (2, 3, 0, 1.0)], [[(0, 2)]], [], (1, 2)),
    "of equals the earlier stays": ([(0, 2, -1, 1.0), (1, 3, 0, 1.0)], [[(0, 2)]], [], (1, 2)),
    "entities may cross each other": (
        [(0, 2, -1, 1.0), (1, 3, -1, 1.0), (5, 5, 0, 1.0), (6, 6, 1, 1.0), (8, 8, 2, 1.0)],
        [[(0, 2), (5, 5), (8, 8)], [(1, 3), (6, 6)]],
        [[(0, 2), (5, 5), (8, 8)], [(1, 3), (6, 6)]],
        (0, 0),
    ),
}  # fmt: skip


def rows_of(rows: Rows) -> np.ndarray:
    return np.array([(*row, 0.0) for row in rows], np.float32).reshape(-1, 5)


@pytest.mark.parametrize("name", TOLD)
def test_rows_tell_entities(name: str) -> None:
    check(name, entities_of)


def check(name: str, told: Callable[..., Any]) -> None:
    rows, whole, several, left = TOLD[name]
    assert told(rows_of(rows), singletons=True) == (whole, left[0])
    assert told(rows_of(rows), singletons=False) == (several, left[1])


def check_all(told: Callable[..., Any]) -> None:
    for name in TOLD:
        check(name, told)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("home[row] = home[antecedent]", "home[row] = len(clusters) - 1"),
        ("if score > 0 and row not in home", "if score > 0"),
        ("if score > 0 and row not in home", "if row not in home"),
        ("return start < later <= end < beyond", "return start < later < end < beyond"),
        ("return start < later <= end < beyond", "return start <= later <= end < beyond"),
        ("key=lambda pair: (-pair[1], pair[0])", "key=lambda pair: pair[0]"),
        ("for mentions in kept if len(mentions) > 1 or singletons", "for mentions in kept"),
    ],
)
def test_the_cases_catch_a_planted_wrong(old: str, new: str) -> None:
    names = dict(vars(decoding))
    exec(compile(planted(inspect.getsource(decoding), old, new), "planted", "exec"), names)
    with pytest.raises((AssertionError, IndexError)):
        check_all(names["entities_of"])


spans = st.tuples(st.integers(0, 11), st.integers(0, 4)).map(lambda pair: (pair[0], min(pair[0] + pair[1], 11)))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(spans, st.integers(0, 3).map(float), max_size=9))
def test_what_stays_of_crossing_mentions_is_what_a_file_can_tell_and_no_more_is_left_out(
    scored: dict[tuple[int, int], float],
) -> None:
    kept = without_crossing(list(scored.items()))
    sentences = [[f"w{number}" for number in range(12)]]
    conll_bytes({"d": (sentences, [kept])})
    assert kept == sorted(kept)
    for mention in scored.keys() - set(kept):
        rivals = [other for other in kept if scored[other] >= scored[mention]]
        with pytest.raises(ConfigError, match="cross or repeat"):
            conll_bytes({"d": (sentences, [[*rivals, mention]])})


def test_equal_strings_are_one_entity_over_the_same_mentions() -> None:
    words = ["The", "raven", "saw", "a", "bell", ".", "the", "Raven", "heard", "it", ",", "a", "cat"]
    entities = [[(0, 1), (9, 9)], [(3, 4), (6, 7)], [(11, 12)]]
    assert equal_strings(entities, words, singletons=True) == [[(0, 1), (6, 7)], [(3, 4)], [(9, 9)], [(11, 12)]]
    assert equal_strings(entities, words, singletons=False) == [[(0, 1), (6, 7)]]


def test_figures_are_those_of_the_scorer_for_the_files_in_per_cent(tmp_path: Path) -> None:
    rng = random.Random(3)
    gold, told = {}, {}
    for number in range(4):
        sentences = [[f"w{rng.randrange(5)}" for _ in range(9)] for _ in range(3)]
        whole = [(start, start + rng.randrange(2)) for start in range(0, 26, 2)]
        sides = []
        for _ in range(2):
            entities: dict[int, list[tuple[int, int]]] = {}
            for mention in rng.sample(whole, 10):
                entities.setdefault(rng.randrange(5), []).append(mention)
            sides.append(list(entities.values()))
        gold[f"d{number}"], told[f"d{number}"] = ((sentences, side) for side in sides)
    write_conll(tmp_path / "gold.conll", gold)
    write_conll(tmp_path / "told.conll", told)
    pairs = [(gold[name][1], told[name][1]) for name in gold]
    baseline = [
        (
            gold[name][1],
            equal_strings(told[name][1], [word for held in gold[name][0] for word in held], singletons=True),
        )
        for name in gold
    ]
    figures = figures_of(pairs, baseline)
    for policy, suffix in (("keep", ""), ("drop", WITHOUT)):
        official = coref.score(tmp_path / "gold.conll", tmp_path / "told.conll", singletons=policy)
        assert figures[f"conll_f1{suffix}"] == 100 * official.pop("conll_f1")
        for metric, values in official.items():
            assert {name: 100 * value for name, value in values.items()} == {
                name: figures[f"{metric}_{name}{suffix}"] for name in values
            }
        assert (
            figures[f"equal_strings_conll_f1{suffix}"]
            == 100 * coref.score_documents(baseline, singletons=policy)["conll_f1"]
        )
    assert len(figures) == 2 * (2 + 7 * 3)
    assert list(figures)[:2] == ["conll_f1", "conll_f1_without_singletons"]
    assert figures["conll_f1"] != figures["conll_f1_without_singletons"] != figures["equal_strings_conll_f1"]
    assert read_conll(tmp_path / "told.conll").keys() == told.keys()
