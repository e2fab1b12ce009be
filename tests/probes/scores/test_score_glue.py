"""GLUE's metrics in cases worked by hand, and on the official TSVs."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from planted import plant
from scored import DATA, lines, write

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores import glue

GLUE = DATA / "glue"


def _predictions(labels: list[Any]) -> str:
    return lines("index prediction", *(f"{index} {label}" for index, label in enumerate(labels)))


def _two(task: str, gold: str, predicted: str) -> tuple[str, str]:
    """Labels of two letters' worth, in the layout of a task."""
    header, row = {
        "cola": ([], "gj04 {} * Text."),
        "sst2": (["sentence label"], "text {}"),
        "mrpc": (["\ufeffQuality a b c d"], "{} 7 8 text text"),
        "qqp": (["id qid1 qid2 question1 question2 is_duplicate"], "133273 213221 213222 text text {}"),
        "wnli": (["index sentence1 sentence2 label"], "INDEX text text {}"),
    }[task]
    rows = [row.format(label).replace("INDEX", str(index)) for index, label in enumerate(gold)]
    return lines(*header, *rows), _predictions(list(predicted))


#: Labels, predictions, accuracy, F1 of the label 1, Matthews' correlation: (tp·tn - fp·fn) / sqrt((tp+fp)(tp+fn)(tn+fp)(tn+fn)).
WORKED = [
    ("111000", "110001", 4 / 6, 2 / 3, 1 / 3),  # tp 2, fn 1, fp 1, tn 2: 3 of 9
    ("111100", "100000", 3 / 6, 2 / 5, 2 / sqrt(40)),  # tp 1, fn 3, tn 2: 2 of the root of 1 · 4 · 2 · 5
    ("1100", "1011", 1 / 4, 2 / 5, -2 / sqrt(12)),  # tp 1, fn 1, fp 2: -2 of the root of 3 · 2 · 2 · 1
    ("1010", "1111", 2 / 4, 2 / 3, 0.0),  # nothing varies: no correlation
    ("0000", "0000", 1.0, 0.0, 0.0),  # nobody says 1
]


def check(folder: Path) -> None:
    for gold, predicted, accuracy, f1, matthews in WORKED:
        for task, expected in {
            "cola": {"matthews_correlation": matthews},
            "sst2": {"accuracy": accuracy},
            "mrpc": {"f1": f1, "accuracy": accuracy},
            "qqp": {"f1": f1, "accuracy": accuracy},
            "wnli": {"accuracy": accuracy},
        }.items():
            scores = glue.score(*write(folder, *_two(task, gold, predicted)), task=task)
            assert scores == pytest.approx(expected, abs=1e-12), (task, gold)
    # Deviations (-1, 0, 1) and (-2, -3, 5): 7 of the root of 2 · 38. Ranks (1, 2, 3) and (2, 1, 3): deviations' product 1, of 2.
    stsb = lines("index genre score", "7 main 1.000", "8 main 2.000", "9 main 3.000")
    scores = glue.score(*write(folder, stsb, lines("index prediction", "9 9", "8 1e0", "7 2")), task="stsb")
    assert scores == pytest.approx({"pearson": 7 / sqrt(76), "spearman": 1 / 2}, abs=1e-12)
    # Of equal numbers each has the mean of their ranks: (1.5, 1.5, 3) and (1, 2, 3): 1.5 of the root of 1.5 · 2.
    said = lines("index prediction", "7 1", "8 2", "9 3")
    tied = glue.score(*write(folder, stsb.replace("2.000", "1.000"), said), task="stsb")
    assert tied["spearman"] == pytest.approx(1.5 / sqrt(3), abs=1e-12)
    nli = lines("index sentence1 gold_label", "5 a neutral", "6 b entailment", "7 c contradiction")
    said = lines("prediction index", "neutral 7", "entailment 6", "neutral 5")
    assert glue.score(*write(folder, nli, said), task="mnli") == {"accuracy": 2 / 3}
    entailed = lines("index question label", "0 a entailment", "1 b not_entailment")
    for task in ("qnli", "rte"):
        assert glue.score(*write(folder, entailed, _predictions(["entailment"] * 2)), task=task) == {"accuracy": 1 / 2}


def test_cases_worked_by_hand_score_as_derived(tmp_path: Path) -> None:
    check(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('label == guess == "1"', 'label == guess == "0"'),
        ('predicted.count("1"), gold.count("1")', 'gold.count("1"), gold.count("1")'),
        ("2 * hits / (found + wanted)", "hits / wanted if wanted else 0.0"),
        ("found * (total - found) * wanted", "found * total * wanted"),
        ("sqrt(spread) if spread else 0.0", "sqrt(spread) if spread else 1.0"),
        ("str.__eq__, gold, predicted)) / len(gold)", "str.__eq__, gold, reversed(predicted))) / len(gold)"),
        ("in_order = [found[index] for index in wanted]", "in_order = [*found.values()]"),
        ('_correlation("spearmanr"', '_correlation("pearsonr"'),
        ('header=("source", "label"', 'header=("label", "source"'),
        ('column="is_duplicate"', 'column="qid1"'),
        ('name = str(number) if index is None', 'name = str(number + 1) if index is None'),
    ],
)  # fmt: skip
def test_a_planted_wrong_is_seen(old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, glue, old, new)
    with pytest.raises((AssertionError, CorpusError)):
        check(tmp_path)


@pytest.mark.data
@pytest.mark.skipif(not GLUE.is_dir(), reason="../shared/data/glue is absent")
@pytest.mark.parametrize(
    ("task", "folder", "says", "expected"),
    [
        ("cola", "CoLA", "1", {"matthews_correlation": 0.0}),
        ("sst2", "SST-2", "1", {"accuracy": 444 / 872}),
        ("mrpc", "MRPC", "1", {"f1": 2 * 279 / (279 + 408), "accuracy": 279 / 408}),
        ("qnli", "QNLI", "entailment", {"accuracy": 2_702 / 5_463}),
        ("rte", "RTE", "entailment", {"accuracy": 146 / 277}),
        ("wnli", "WNLI", "0", {"accuracy": 40 / 71}),
        ("stsb", "STS-B", None, {"pearson": 1.0, "spearman": 1.0}),
    ],
)
def test_official_files_score_as_their_labels_are_counted(
    task: str, folder: str, says: str | None, expected: dict[str, float], tmp_path: Path
) -> None:
    """Whoever says the same of all has the share of that label; F1 is of the label 1. Gold scores all against itself."""
    gold = GLUE / folder / "dev.tsv"
    chosen = glue.TASKS[task]
    own = glue._labels(gold, chosen, chosen.column, chosen.header)
    perfect, same = (
        lines("index prediction", *(f"{index} {says or label}" for index, label in own.items()))
        for says in (None, says)
    )
    _, path = write(tmp_path, "", perfect)
    assert glue.score(gold, path, task=task) == pytest.approx(dict.fromkeys(expected, 1.0), abs=1e-12)
    path.write_text(same)
    assert glue.score(gold, path, task=task) == pytest.approx(expected, abs=1e-12)


SST2 = lines("sentence label", "a 1", "b 0")
STSB = lines("index score", "0 1", "1 2")


@pytest.mark.parametrize(
    ("task", "gold", "predictions", "error", "told"),
    [
        ("ax", SST2, _predictions(["1"]), ConfigError, "no task 'ax' of GLUE, expected one of cola"),
        ("sst2", "", _predictions(["1"]), ConfigError, "gold: the first line is .*expected tab-separated columns, 'label'"),
        ("sst2", lines("index sentence", "0 a"), _predictions(["1"]), ConfigError, r"gold: the first line is \['index', 'sentence'\]"),
        ("sst2", lines("sentence label"), _predictions(["1"]), ConfigError, "gold: no labels"),
        ("cola", "", _predictions(["1"]), ConfigError, "gold: no labels"),
        ("cola", lines("gj04"), _predictions(["1"]), CorpusError, "gold:1: '', expected 0 or 1"),
        ("sst2", SST2, lines("1", "0"), ConfigError, "predictions: the first line is .*'index' and 'prediction' among them"),
        ("sst2", SST2, _predictions([1]), CorpusError, "predictions: 1 predictions, .*gold has 2 labels, and index 1 is in one alone"),
        ("sst2", SST2, _predictions([1, 0, 1]), CorpusError, "predictions: 3 predictions, .*and index 2 is in one alone"),
        ("sst2", SST2, _predictions([1, 0]) + "1\t1\n", CorpusError, "predictions:4: index '1' stands twice"),
        ("sst2", SST2, _predictions([1, "positive"]), CorpusError, "predictions:3: 'positive', expected 0 or 1"),
        ("sst2", SST2, _predictions([1, 1.0]), CorpusError, "predictions:3: '1.0', expected 0 or 1"),
        ("sst2", SST2, _predictions([1]) + "\n", CorpusError, "predictions:3: '', expected 0 or 1"),
        ("qnli", lines("label", "entailment"), _predictions([1]), CorpusError, "predictions:2: '1', expected entailment or not"),
        ("stsb", STSB, _predictions([1, "nan"]), CorpusError, "predictions:3: 'nan', expected a number"),
        ("stsb", STSB, _predictions([1, "high"]), CorpusError, "predictions:3: 'high', expected a number"),
        ("stsb", STSB, _predictions([3, 3.0]), CorpusError, "predictions: no correlation with .*all numbers are the same"),
        ("stsb", STSB + "2\t2\n", _predictions([1.7e308, 1.7e308, 0]), CorpusError, "predictions: no correlation with .*too large"),
        ("stsb", lines("score", "1"), _predictions([1]), CorpusError, "predictions: no correlation with"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_named_with_its_line(
    task: str, gold: str, predictions: str, error: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told):
        glue.score(*write(tmp_path, gold, predictions), task=task)
