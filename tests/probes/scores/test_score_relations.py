"""Scorers of relations: TACRED's beside what the official program printed, and SemEval's in cases worked by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from planted import plant
from scored import DATA, lines, write

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores import semeval, tacred

RELATION = DATA / "relation"
SYSTEMS = ["bag_of_embeddings", "cnn", "gcn", "lstm", "lstm_bert_uncased", "self_att_bert_cased_unmasked"]
NONE = "no_relation"
GOLD = ["per:title", "per:title", NONE, NONE, "org:founded", "org:founded", "per:age"]
#: Right, another relation, one where there is none, right but none, missed, right, right: 3 of 5 guesses, 3 of 5 relations.
GUESSED = ["per:title", "per:age", "per:age", NONE, NONE, "org:founded", "per:age"]


def check_tacred(folder: Path) -> None:
    thirds = {"precision": 3 / 5, "recall": 3 / 5, "f1": 3 / 5}
    assert tacred.score(*write(folder, GOLD, GUESSED)) == pytest.approx(thirds, abs=1e-12)
    # One guess less that is wrong, and one relation less that was missed.
    one, other = [*GUESSED[:2], NONE, *GUESSED[3:]], [*GOLD[:4], NONE, *GOLD[5:]]
    expected = {"precision": 3 / 4, "recall": 3 / 5, "f1": 2 / 3}
    assert tacred.score(*write(folder, GOLD, one)) == pytest.approx(expected, abs=1e-12)
    expected = {"precision": 3 / 5, "recall": 3 / 4, "f1": 2 / 3}
    assert tacred.score(*write(folder, other, GUESSED)) == pytest.approx(expected, abs=1e-12)
    nothing = [NONE] * len(GOLD)
    assert tacred.score(*write(folder, GOLD, nothing)) == {"precision": 1.0, "recall": 0.0, "f1": 0.0}
    assert tacred.score(*write(folder, nothing, GUESSED)) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    # By id, in any order of the lines; without ids on both sides, by order.
    told = [{"id": f"e{number}", "label": label} for number, label in enumerate(GUESSED)]
    named = [{"id": f"e{number}", "relation": label} for number, label in enumerate(GOLD)]
    backwards = "".join(json.dumps(one) + "\n" for one in reversed(told))
    assert tacred.score(*write(folder, named, backwards)) == pytest.approx(thirds, abs=1e-12)


def test_tacred_worked_by_hand_scores_as_derived(tmp_path: Path) -> None:
    check_tacred(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("label == guess != NO_RELATION", "label == guess"),
        ("len(predicted) - predicted.count(NO_RELATION)", "len(predicted)"),
        ("len(gold) - gold.count(NO_RELATION)", "len(gold)"),
        ("correct / guessed if guessed else 1.0", "correct / guessed if guessed else 0.0"),
        ("correct / guessed if guessed else 1.0", "correct / relations if relations else 1.0"),
        ("found = [by_name[name] for name in names]", "found = list(by_name.values())"),
    ],
)
def test_a_wrong_planted_in_tacred_is_seen(old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, tacred, old, new)
    with pytest.raises(AssertionError):
        check_tacred(tmp_path)


def _as(kind: str, labels: list[str]) -> str:
    objects = [{"id": str(number), "label": label} for number, label in enumerate(labels)]
    return {
        "list": json.dumps(labels),
        "objects": json.dumps([{"id": one["id"], "token": [], "relation": one["label"]} for one in objects]),
        "jsonl": "\n".join(map(json.dumps, objects)),
        "lines": "\n".join(labels) + "\n",
        "lines of Windows": "\r\n".join(labels) + "\r\n",
    }[kind]


@pytest.mark.parametrize("gold", ["list", "objects", "jsonl", "lines", "lines of Windows"])
@pytest.mark.parametrize("predictions", ["list", "objects", "jsonl", "lines", "lines of Windows"])
def test_labels_are_read_from_each_kind_of_file(gold: str, predictions: str, tmp_path: Path) -> None:
    files = write(tmp_path, _as(gold, GOLD), _as(predictions, GUESSED))
    assert tacred.score(*files)["f1"] == pytest.approx(3 / 5, abs=1e-12)


@pytest.mark.data
@pytest.mark.skipif(not RELATION.is_dir(), reason="../shared/data/relation is absent")
@pytest.mark.parametrize("name", SYSTEMS)
def test_real_tacred_predictions_score_as_the_official_program_printed(name: str, tmp_path: Path) -> None:
    official = json.loads((RELATION / "expected" / "tacred_dev_official_scores.json").read_text())[f"{name}_dev"]
    with gzip.open(RELATION / "tacred_predictions" / f"{name}_dev.jsonl.gz", "rt", encoding="utf-8") as file:
        told = [json.loads(line) for line in file]
    gold = [one["label_true"] for one in told]
    predictions = "".join(f"{one['label_pred']}\n" for one in told)
    expected = {"precision": official["P"], "recall": official["R"], "f1": official["F1"]}
    assert tacred.score(*write(tmp_path, gold, predictions)) == pytest.approx(expected, abs=1e-10, rel=0)


@pytest.mark.data
@pytest.mark.skipif(not RELATION.is_dir(), reason="../shared/data/relation is absent")
def test_a_file_of_tacred_scores_all_against_itself() -> None:
    sample = RELATION / "tacred_sample" / "dev.json"
    assert tacred.score(sample, sample) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}


@pytest.mark.parametrize(
    ("gold", "predictions", "error", "told"),
    [
        (GOLD, GUESSED[1:], ConfigError, "predictions: 6 labels, .*gold has 7; give one for each"),
        ([], [], ConfigError, "gold: no labels"),
        ("", GUESSED, ConfigError, "gold: no labels"),
        ([*GOLD, 3], GUESSED, CorpusError, r'gold: \[7\]: a number for a label, expected a string'),
        ([*GOLD, ""], GUESSED, CorpusError, r"gold: \[7\]: an empty label"),
        ([{"id": "a"}], GUESSED, CorpusError, r"gold: \[0\]: an object without a label"),
        ([None], GUESSED, CorpusError, r"gold: \[0\]: null without a label"),
        (f"{NONE}\n\n{NONE}\n", GUESSED, CorpusError, "gold:2: an empty label"),
        ('{"label": "a"}\n{"label" "b"}\n', GUESSED, CorpusError, "gold:2: no JSON at column 10"),
        ('{"label": "a"}\n{"label": ["b"]}\n', GUESSED, CorpusError, "gold:2: an array for a label"),
        ('["a", "b"', GUESSED, CorpusError, "gold:1: no JSON at column 10"),
        (_as("jsonl", ["a"]) * 2, ["a"], CorpusError, "gold:1: no JSON .*Extra data"),
        ([{"id": 1, "label": "a"}] * 2, ["a"] * 2, CorpusError, "gold: id '1' stands twice; leave one"),
        ([{"id": 1, "label": "a"}], [{"id": 2, "label": "a"}], CorpusError, "predictions: no label for '1', which .*gold has"),
    ],
)  # fmt: skip
def test_what_tacred_cannot_score_is_named_with_its_place(
    gold: Any, predictions: Any, error: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told):
        tacred.score(*write(tmp_path, gold, predictions))


#: Relations found of relations wanted: Cause-Effect 1 of 3 (one the wrong way round, one missed), and 3 predictions of it, one where Other
#: is right. Message-Topic 1 of 2, and 2 predictions. Product-Producer 0 of 1, which has no prediction. Entity-Origin is none of the key's.
KEY = lines("1 Cause-Effect(e1,e2)", "2 Cause-Effect(e2,e1)", "3 Cause-Effect(e1,e2)", "4 Other", "5 Message-Topic(e1,e2)",
            "6 Message-Topic(e1,e2)", "7 Product-Producer(e1,e2)", "8 Other", "9 Other")  # fmt: skip
FOUND = lines("9 Other", "8 Entity-Origin(e1,e2)", "6 Other", "5 Message-Topic(e1,e2)", "4 Cause-Effect(e2,e1)",
              "3 Message-Topic(e2,e1)", "2 Cause-Effect(e1,e2)", "1 Cause-Effect(e1,e2)")  # fmt: skip


def check_semeval(folder: Path) -> None:
    with pytest.warns(match="1 of 9 have no prediction: they count as Other"):
        scores = semeval.score(*write(folder, KEY, FOUND))
    mean = 100 * (1 / 3 + 1 / 2 + 0) / 3
    assert scores == pytest.approx({"precision": mean, "recall": mean, "f1": mean}, abs=1e-12)
    with pytest.warns(match="2 of 9 have no prediction"):
        scores = semeval.score(*write(folder, KEY, FOUND.replace("4\tCause-Effect(e2,e1)\n", "")))
    precision, f1 = 100 * (1 / 2 + 1 / 2 + 0) / 3, 100 * (2 / 5 + 1 / 2 + 0) / 3  # 1/2 and 1/3: 2/5
    assert scores == pytest.approx({"precision": precision, "recall": mean, "f1": f1}, abs=1e-12)


_WITHOUT_WRONG_WAYS = (
    "(_relation(label) for name, label in predicted.items() "
    "if answers[name] == label or _relation(answers[name]) != _relation(label))"
)


def test_semeval_worked_by_hand_scores_as_derived(tmp_path: Path) -> None:
    check_semeval(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("answers[name] == label", "_relation(answers[name]) == _relation(label)"),
        ("map(_relation, predicted.values())", _WITHOUT_WRONG_WAYS),
        ("wanted.keys() - {OTHER}", "wanted.keys()"),
        ("sum(column) / len(relations)", "sum(column) / len(RELATIONS)"),
        ("wanted.keys() - {OTHER}", "(wanted.keys() | found.keys()) - {OTHER}"),
        ("map(_relation, answers.values())", "(_relation(answers[name]) for name in predicted)"),
        ('label.partition("(")[0]', "label"),
    ],
)  # fmt: skip
def test_a_wrong_planted_in_semeval_is_seen(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, semeval, old, new)
    with pytest.raises((AssertionError, ZeroDivisionError)):
        check_semeval(tmp_path)


def test_each_label_scores_all_against_itself(tmp_path: Path) -> None:
    key = "".join(f"{number}\t{label}\n" for number, label in enumerate(sorted(semeval.LABELS)))
    scores = semeval.score(*write(tmp_path, key, key.replace("\n", "\r\n").removesuffix("\r\n")))
    assert scores == {"precision": 100.0, "recall": 100.0, "f1": 100.0}
    assert len(semeval.LABELS) == 19


@pytest.mark.parametrize(
    ("gold", "predictions", "error", "told"),
    [
        ("", FOUND, ConfigError, "gold: no labels"),
        (lines("1 Other"), lines("1 Other"), ConfigError, "gold: every label is Other"),
        (KEY, KEY + lines("17 Other"), CorpusError, "predictions: 1 numbers, 17 the first, that .*gold has not"),
        (KEY + lines("1 Other"), KEY, CorpusError, "gold:10: number 1 stands twice"),
        (KEY + "\n", KEY, CorpusError, "gold:10: '', expected a number, a tab"),
        (KEY + lines("x Other"), KEY, CorpusError, r"gold:10: 'x\\tOther', expected a number"),
        (KEY + lines("10 Cause-Effect"), KEY, CorpusError, r"gold:10: '10\\tCause-Effect', expected"),
        (KEY + lines("10 Cause-Effect(e1,e1)"), KEY, CorpusError, "gold:10: "),
        (KEY + "10 Other\n", KEY, CorpusError, "gold:10: '10 Other', expected a number, a tab"),
    ],
)
def test_what_semeval_cannot_score_is_named_with_its_line(
    gold: str, predictions: str, error: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told):
        semeval.score(*write(tmp_path, gold, predictions))
