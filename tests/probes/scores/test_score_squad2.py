"""SQuAD 2.0's scorer in cases worked by hand; its sweep of thresholds follows the official program's order and start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted import plant
from scored import DATA, squad_layout, write

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores import answers, squad2

ACCEPTED = {
    "h1": ["the blue sea"],  # exact 1, F1 1
    "h2": ["red"],  # 0; 1/2 and 1: 2/3
    "h3": ["the"],  # nothing is left of its answer: right is the empty one, and yet it has answers: 1, 1
    "h4": ["green"],  # 0, 0
    "h5": ["the", "grey"],  # an answer of which nothing is left is none where there is another: 0, 0
    "h6": ["tall tree"],  # 0; 1 and 1/2: 2/3
    "n1": [],  # 1, 1
    "n2": [],  # 0, 0
    "n3": [],  # nothing is left of the prediction: 1, 1
}
PREDICTED = {
    "h1": "Blue sea.",
    "h2": "red hat",
    "h3": "",
    "h4": "",
    "h5": "a",
    "h6": "the tree",
    "n1": "",
    "n2": "ghost",
    "n3": "The!",
}
PLAIN = {
    "exact": 100 * 4 / 9,
    "f1": 100 * (4 + 4 / 3) / 9,
    "total": 9,
    "HasAns_exact": 100 * 2 / 6,
    "HasAns_f1": 100 * (2 + 4 / 3) / 6,
    "HasAns_total": 6,
    "NoAns_exact": 100 * 2 / 3,
    "NoAns_f1": 100 * 2 / 3,
    "NoAns_total": 3,
}
#: In the order of their file, which breaks ties: three questions have 0.5.
FIGURES = {
    "n2": 0.5,
    "h1": 0.5,
    "h3": 0.5,
    "h2": 0.7,
    "n1": 0.1,
    "n3": 0.6,
    "h6": 0.8,
    "h4": 0.95,
    "h5": 0.2,
    "stray": 0.0,
}
#: From 3 questions without answers: n1 is silent, h5 is wrong: 3; n2 speaks: 2; h1: 3; h3: 4, the best exact match. n3 speaks, of which
#: the normalized text knows nothing: 3; h2 and h6 add nothing to exact match, and 2/3 each to F1, its best; h4 adds nothing.
BEST = {"best_exact": 100 * 4 / 9, "best_exact_thresh": 0.5, "best_f1": 100 * (3 + 4 / 3) / 9, "best_f1_thresh": 0.8}


def _scored(folder: Path, figures: dict[str, float] | None = None, **changes: str) -> dict[str, float]:
    na_prob = None
    if figures is not None:
        na_prob = folder / "figures"
        na_prob.write_text(json.dumps(figures))
    return squad2.score(*write(folder, squad_layout(ACCEPTED), PREDICTED | changes), na_prob=na_prob)


def check(folder: Path) -> None:
    approx = lambda expected: pytest.approx(expected, abs=1e-12)  # noqa: E731
    scores = _scored(folder)
    assert list(scores) == list(PLAIN)
    assert scores == approx(PLAIN)
    assert _scored(folder, FIGURES) == approx(PLAIN | BEST)
    # The same figures with h1 and h3 before n2: 4 and 5 at 0.5, which neither measure reaches again.
    first = {"h1": 0.5, "h3": 0.5} | {name: value for name, value in FIGURES.items() if name not in ("h1", "h3")}
    swept = _scored(folder, first)
    assert {name: swept[name] for name in BEST} == approx(
        {"best_exact": 100 * 5 / 9, "best_exact_thresh": 0.5, "best_f1": 100 * 5 / 9, "best_f1_thresh": 0.5}
    )
    # Above 1 a question is said to have no answer: h1 loses 1, n2 gains 1; h2 at 1 stays; h3 loses, though "" was right.
    said = _scored(folder, FIGURES | {"h1": 3.0, "n2": 2.5, "h2": 1.0, "h3": 1.5})
    expected = {"exact": 100 * 3 / 9, "f1": 100 * (3 + 4 / 3) / 9, "HasAns_exact": 0.0, "HasAns_f1": 100 * (4 / 3) / 6}
    assert {name: said[name] for name in expected} == approx(expected)
    assert (said["NoAns_exact"], said["NoAns_f1"], said["total"]) == (100.0, 100.0, 9)
    # No threshold is better than to answer nothing: 3 of 9, at 0.
    silent = _scored(folder, dict.fromkeys(FIGURES, 0.4), h1="x", h2="x", h3="x")
    assert {name: silent[name] for name in BEST} == approx(
        {"best_exact": 100 * 3 / 9, "best_exact_thresh": 0.0, "best_f1": 100 * 3 / 9, "best_f1_thresh": 0.0}
    )


@pytest.mark.filterwarnings("ignore:.*are for ids that")
def test_cases_worked_by_hand_score_as_derived(tmp_path: Path) -> None:
    check(tmp_path)


@pytest.mark.filterwarnings("ignore:.*are for ids that")
@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (squad2, "nothing=1.0", "nothing=0.0"),
        (squad2, '{*map(normalized, texts)} - {""} or {""}', '{*map(normalized, texts)} or {""}'),
        (squad2, "> THRESHOLD", ">= THRESHOLD"),
        (squad2, "(not answers[name], not answers[name])", "(0, 0)"),
        (squad2, "is which}", "is not which}"),
        (squad2, "bool(answers[name]) is which", 'bool(_accepted(answers[name]) != [""]) is which'),
        (squad2, "sorted(figures, key=figures.__getitem__)", "sorted(figures, key=lambda name: (figures[name], name))"),
        (squad2, "sorted(figures, key=figures.__getitem__)", "sorted(reversed(figures), key=figures.__getitem__)"),
        (squad2, "total > top", "total >= top"),
        (squad2, "float(sum(not texts for texts in answers.values()))", "0.0"),
        (squad2, "-bool(predicted[name])", "-bool(normalized(predicted[name]))"),
        (squad2, "-bool(predicted[name])", "0"),
        (squad2, "100.0 * top / len(scores)", "100.0 * top / len(figures)"),
        (answers, "_ARTICLES.sub(", "(lambda _, text: text)("),
    ],
)  # fmt: skip
def test_a_planted_wrong_is_seen(
    module: Any, old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, module, old, new)
    with pytest.raises(AssertionError):
        check(tmp_path)


def test_of_one_kind_of_questions_alone_the_other_kind_has_no_figures(tmp_path: Path) -> None:
    scores = squad2.score(*write(tmp_path, squad_layout({"a": []}), {"a": ""}))
    assert scores == {
        "exact": 100.0,
        "f1": 100.0,
        "total": 1,
        "NoAns_exact": 100.0,
        "NoAns_f1": 100.0,
        "NoAns_total": 1,
    }


@pytest.mark.parametrize(
    ("figures", "error", "told"),
    [
        ("[]", ConfigError, "figures: an array, expected figures by id"),
        ('{"a": NaN}', CorpusError, "the figure of 'a' is nan, expected a finite number"),
        ('{"a": Infinity}', CorpusError, "the figure of 'a' is inf"),
        ('{"a": 1e999}', CorpusError, "the figure of 'a' is inf"),
        (f'{{"a": {"9" * 400}}}', CorpusError, "the figure of 'a' is 99999999999999999999, expected a finite number"),
        ('{"a": true}', CorpusError, "the figure of 'a' is a boolean, expected a number"),
        ('{"a": "0.5"}', CorpusError, "the figure of 'a' is a string, expected a number"),
        ('{"b": 1}', CorpusError, "1 of 1 questions, 'a' the first, lack a figure"),
        ('{"a": 1, "a": 2}', CorpusError, "'a' stands twice"),
    ],
)
def test_figures_that_cannot_be_used_are_named(figures: str, error: type[Exception], told: str, tmp_path: Path) -> None:
    (tmp_path / "figures").write_text(figures)
    with pytest.raises(error, match=told):
        squad2.score(*write(tmp_path, squad_layout({"a": []}), {"a": ""}), na_prob=tmp_path / "figures")


def test_a_question_without_a_prediction_is_an_error_as_it_is_officially(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="2 of 3 questions, 'b' the first, lack a prediction"):
        squad2.score(*write(tmp_path, squad_layout({"a": [], "b": [], "c": []}), {"a": ""}))


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent")
def test_real_questions_answered_by_their_first_answer_score_all(tmp_path: Path) -> None:
    gold = DATA / "qa" / "squad_dev_v2.0.rebuilt.json"
    asked = [
        question
        for article in json.loads(gold.read_text("utf-8"))["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    first = {question["id"]: question["answers"][0]["text"] if question["answers"] else "" for question in asked}
    (tmp_path / "first").write_text(json.dumps(first))
    expected = {"exact": 100.0, "f1": 100.0}
    scores = squad2.score(gold, tmp_path / "first")
    assert scores == {
        **expected, "total": 11_873,
        **{f"HasAns_{name}": value for name, value in expected.items()}, "HasAns_total": 5_928,
        **{f"NoAns_{name}": value for name, value in expected.items()}, "NoAns_total": 5_945,
    }  # fmt: skip
