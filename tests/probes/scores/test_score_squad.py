"""SQuAD 1.1's scorer beside what the official program printed, and in cases worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted import plant
from scored import DATA, squad_layout, write

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores import answers, questions, squad

QA = DATA / "qa"

real = pytest.mark.skipif(not QA.is_dir(), reason="../shared/data/qa is absent")
ENSEMBLES = ["bert_ensemble", "match_lstm_with_ans_ptr_ensemble", "r_net_ensemble", "slqa_ensemble"]


#: Accepted answers, the prediction, exact match and F1, derived by hand.
WORKED: list[tuple[list[str], str, int, float]] = [
    (["the Norman dukes"], "Norman dukes.", 1, 1.0),  # articles and punctuation go
    (["a an the"], "The", 1, 0.0),  # both are empty then: equal, and no word in common
    (["Denver"], "A", 0, 0.0),
    (["Theatre"], "theatre", 1, 1.0),  # an article is a word of its own
    (["U.S."], "us", 1, 1.0),  # punctuation goes before articles, and leaves no space
    (["1,000 men"], "1000 men", 1, 1.0),
    (["the-saint"], "saint", 0, 0.0),  # thesaint
    (["the–saint"], "saint", 0, 0.0),  # the dash is not ASCII: it stays a word
    (["x–an–y"], "x– –y", 1, 1.0),  # ... and ends one, so that the article goes
    (["red red blue"], "red blue blue", 0, 2 / 3),  # each word as often as both have it: 2 of 3 and 2 of 3
    (["red red blue"], "red red", 0, 4 / 5),  # 2 of 2 and 2 of 3
    (["blue green"], "green", 0, 2 / 3),  # precision 1, recall 1/2
    (["far off", "Green", "blue green"], "green", 1, 1.0),  # the best answer, not the first
    (["deep blue sea", "blue"], "blue sky", 0, 2 / 3),  # 1/2 and 1/3: 2/5; 1/2 and 1: 2/3
    (["İstanbul"], "i̇stanbul", 1, 1.0),  # lower case as Python has it
    (["Straße"], "strasse", 0, 0.0),
    (["two  words\n"], "two words", 1, 1.0),
]
_ACCEPTED = {str(number): case[0] for number, case in enumerate(WORKED)} | {"unasked": ["nobody"]}
_PREDICTED = {str(number): case[1] for number, case in enumerate(WORKED)} | {"stray": "text"}


_NORMALIZING = '_ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION))'


def check(folder: Path) -> None:
    files = write(folder, squad_layout(_ACCEPTED), _PREDICTED)
    unmatched = "1 of 18 predictions are for ids that the gold file has not: left out"
    with pytest.warns(match="1 of 18 have no prediction: they count 0"), pytest.warns(match=unmatched):
        scores = squad.score(*files)
    # One of eighteen questions is unanswered; ids of predictions that nobody asked for count nothing.
    assert scores["exact_match"] == pytest.approx(100 * 9 / 18, abs=1e-12)
    assert scores["f1"] == pytest.approx(100 * sum(case[3] for case in WORKED) / 18, abs=1e-12)
    alone = [squad.mean_scores({"": texts}, {"": text}) for texts, text, _, _ in WORKED]
    assert [one["exact_match"] for one in alone] == [100.0 * case[2] for case in WORKED]
    assert [one["f1"] for one in alone] == pytest.approx([100 * case[3] for case in WORKED], abs=1e-12)


def test_cases_worked_by_hand_score_as_derived(tmp_path: Path) -> None:
    check(tmp_path)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (answers, _NORMALIZING, "text.lower().translate(_WITHOUT_PUNCTUATION)"),
        (answers, "(?:a|an|the)", "(?:a|the)"),
        (answers, r"\b(?:a|an|the)\b", "(?:a|an|the)"),
        (answers, _NORMALIZING, '_ARTICLES.sub(" ", text.lower()).translate(_WITHOUT_PUNCTUATION)'),
        (answers, "text.lower()", "text"),
        (answers, "text.lower()", "text.casefold()"),
        (answers, "0, max(", "0, min("),
        (squad, "map(normalized, texts)", "map(normalized, [*texts][:1])"),
        (answers, "(Counter(predicted) & Counter(accepted)).total()", "len(set(predicted) & set(accepted))"),
        (answers, "same / len(predicted), same / len(accepted)", "same / len(predicted), same / len(predicted)"),
        (squad, "nothing=0.0", "nothing=1.0"),
        (squad, "exact / len(answers)", "exact / len(pairs)"),
        (squad, "f1 / len(answers)", "f1 / len(pairs)"),
        (questions, 'questions = list(_questions(path, content))', 'questions = list(_questions(path, content))[:-1]'),
    ],
)  # fmt: skip
def test_a_planted_wrong_is_seen(
    module: Any, old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, module, old, new)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(tmp_path)


def _agrees(name: str) -> None:
    official = json.loads((QA / "squad_v1.1_official_scores.json").read_text())[f"v1.1.{name}.json"]
    scores = squad.score(QA / "squad_dev_v1.1.rebuilt.json", QA / "squad_predictions" / f"v1.1.{name}.json")
    assert scores == pytest.approx(official, abs=1e-10, rel=0)


@pytest.mark.data
@real
@pytest.mark.parametrize("name", ENSEMBLES)
def test_real_predictions_score_as_the_official_program_printed(name: str) -> None:
    _agrees(name)


@pytest.mark.data
@real
def test_real_predictions_of_which_some_are_missing_score_as_the_official_program_printed() -> None:
    missing, unknown = "13 of 10,570 have no prediction: they count 0", "28 of 10,585 predictions are for ids"
    with pytest.warns(match=missing), pytest.warns(match=unknown):
        _agrees("logistic_regression_baseline")


def _asked(**question: Any) -> dict[str, Any]:
    return {"data": [{"paragraphs": [{"qas": [{"id": "q", "answers": [{"text": "yes"}]} | question]}]}]}


@pytest.mark.parametrize(
    ("gold", "predictions", "error", "told"),
    [
        ('{"data": [\n{"paragraphs" []}]}', {}, CorpusError, r"gold:2: no JSON at column 15 \(Expecting ':' delimiter\)"),
        ("[" * 100_000, {}, CorpusError, "gold: no JSON that can be read .*recursion"),
        ('{"data": ' + "9" * 5000 + "}", {}, CorpusError, "gold: no JSON that can be read .*digits"),
        ([1], {}, ConfigError, r'gold: an array without an array "data", expected SQuAD\'s layout'),
        ({"data": {}}, {}, ConfigError, 'gold: an object without an array "data"'),
        ({"data": []}, {}, ConfigError, "gold: no questions; is it the right file"),
        ({"data": [7]}, {}, CorpusError, r"gold: data\[0\] is a number, expected an object"),
        ({"data": [{"paragraphs": [{}]}]}, {}, CorpusError, r"data\[0\].paragraphs\[0\].qas is null, expected an array"),
        (_asked(id=3), {}, CorpusError, r"data\[0\].paragraphs\[0\].qas\[0\].id is a number, expected a string"),
        (_asked(answers=[{"text": True}]), {}, CorpusError, r"qas\[0\].answers\[0\].text is a boolean, expected a string"),
        (_asked(answers=["yes"]), {}, CorpusError, r"qas\[0\].answers\[0\] is a string, expected an object"),
        (_asked(answers=[]), {}, CorpusError, "question 'q' has no answer, .* score those with squad2"),
        ({"data": _asked()["data"] * 2}, {}, CorpusError, "gold: 'q' stands twice; leave one"),
        (_asked(), [], ConfigError, "predictions: an array, expected predicted answers by id"),
        (_asked(), {"q": ["yes"]}, CorpusError, "predictions: the answer to 'q' is an array, expected a string"),
        (_asked(), {"q": None}, CorpusError, "the answer to 'q' is null, expected a string"),
        (_asked(), '{"q": "yes", "q": "no"}', CorpusError, "predictions: 'q' stands twice; leave one"),
        (_asked(), '{"q": "yes"} {}', CorpusError, "predictions:1: no JSON at column 14 .Extra data"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_named_with_its_place(
    gold: Any, predictions: Any, error: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told):
        squad.score(*write(tmp_path, gold, predictions))


def test_a_file_that_is_missing_a_folder_or_no_utf8_is_refused(tmp_path: Path) -> None:
    gold, predictions = write(tmp_path, _asked(), {"q": "yes"})
    with pytest.raises(ConfigError, match="no such file"):
        squad.score(tmp_path / "none.json", predictions)
    with pytest.raises(ConfigError, match="a folder, pipe or device, expected a file"):
        squad.score(gold, tmp_path)
    predictions.write_bytes(b'{\n"q": "caf\xe9"}')
    with pytest.raises(CorpusError, match=r"predictions:2: no UTF-8 at byte 11"):
        squad.score(gold, predictions)
    predictions.write_text(json.dumps({"q": "yes"}), "utf-8-sig")
    assert squad.score(gold, predictions) == {"exact_match": 100.0, "f1": 100.0}
