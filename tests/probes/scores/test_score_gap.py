"""GAP's scorer beside what the official program printed, and in cases worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from planted import plant
from scored import DATA, lines, write

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores import gap

COREF = DATA / "coref"
HEADER = "ID Text Pronoun Pronoun-offset A A-offset A-coref B B-offset B-coref URL"


def _row(name: str, pronoun: str, first: str, second: str) -> str:
    return f"{name} text {pronoun} 0 Ada 1 {first} Eve 2 {second} url"


#: she: tp, fp. her: tn, fn. He: tp, tn. his: no line, hence fn and fn, though B is FALSE. him: fn, fp. hers: fp, tn. he: tp, tn.
GOLD = lines(HEADER, _row("g1", "she", "TRUE", "FALSE"), _row("g2", "her", "FALSE", "TRUE"), _row("g3", "He", "TRUE", "FALSE"),
             _row("g4", "his", "TRUE", "FALSE"), _row("g5", "him", "TRUE", "False"), _row("g6", "hers", "FALSE", "FALSE"),
             _row("g7", "he", "TRUE", "FALSE"))  # fmt: skip
SAID = lines("g7 True False", "g5 False True", "g3 True False", "g2 false FALSE", "g1 TRUE true", "g6 True False")
CARD = """Overall recall: 42.9 precision: 50.0 f1: 46.2
\t\ttp 3\tfp 3
\t\tfn 4\ttn 4
Masculine recall: 40.0 precision: 66.7 f1: 50.0
\t\ttp 2\tfp 1
\t\tfn 3\ttn 2
Feminine recall: 50.0 precision: 33.3 f1: 40.0
\t\ttp 1\tfp 2
\t\tfn 1\ttn 2
Bias (F/M): 0.80"""


def check(folder: Path) -> None:
    with pytest.warns(match="1 of 7 have no prediction: each counts as two false negatives"):
        figures = gap.score(*write(folder, GOLD, SAID))
    shares = {"overall": (3 / 7, 3 / 6, 6 / 13), "masculine": (2 / 5, 2 / 3, 1 / 2), "feminine": (1 / 2, 1 / 3, 2 / 5)}
    for name, values in shares.items():
        told = [figures[name][figure] for figure in ("recall", "precision", "f1")]
        assert told == pytest.approx([100 * value for value in values], abs=1e-12)
    assert figures["bias"] == pytest.approx(4 / 5, abs=1e-12)
    assert gap.scorecard(figures) == CARD


def test_cases_worked_by_hand_score_as_derived(tmp_path: Path) -> None:
    check(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('else ["fn", "fn"]', "else []"),
        ('else ["fn", "fn"]', 'else ["fn", "tn"]'),
        ('(False, True): "fp", (True, False): "fn"', '(False, True): "fn", (True, False): "fp"'),
        ("feminine / masculine if", "masculine / feminine if"),
        ('for missed in ("fn", "fp")', 'for missed in ("fp", "fn")'),
        ("_gender(gold, line, row[2])", "_gender(gold, line, 'he')"),
        ("len(_FIELDS), (6, 9)", "len(_FIELDS), (9, 6)"),
        ("2 * precision * recall / (precision + recall)", "(precision + recall) / 2"),
        ('("she", "her", "hers")', '("she", "hers")'),
    ],
)
def test_a_planted_wrong_is_seen(old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, gap, old, new)
    with pytest.raises((AssertionError, CorpusError, pytest.fail.Exception)):
        check(tmp_path)


def test_without_a_right_answer_of_one_gender_there_is_no_bias(tmp_path: Path) -> None:
    figures = gap.score(*write(tmp_path, lines(HEADER, _row("g1", "she", "TRUE", "FALSE")), lines("g1 TRUE FALSE")))
    assert figures["bias"] is None
    assert figures["masculine"] == dict.fromkeys(("recall", "precision", "f1"), 0.0) | dict.fromkeys(
        ("tp", "fp", "fn", "tn"), 0
    )
    assert gap.scorecard(figures).endswith("\nBias (F/M): -")


@pytest.mark.data
@pytest.mark.skipif(not COREF.is_dir(), reason="../shared/data/coref is absent")
@pytest.mark.parametrize("split", ["development", "validation"])
def test_real_decisions_score_as_the_official_program_printed(split: str) -> None:
    official = json.loads((COREF / "expected" / "gap_official_scores.json").read_text())[split]["scorecard"]
    figures = gap.score(COREF / "gap" / f"gap-{split}.tsv", COREF / "gap_predictions" / f"nearest_name.{split}.tsv")
    assert gap.scorecard(figures) + "\n" == official


@pytest.mark.parametrize(
    ("gold", "predictions", "error", "told"),
    [
        ("", SAID, ConfigError, "gold: no lines"),
        (SAID, SAID, ConfigError, "gold: the first line is .*expected GAP's header: ID Text"),
        (GOLD, "", ConfigError, "predictions: no lines"),
        (GOLD, GOLD, CorpusError, "predictions:1: .*expected 3 fields with TRUE or FALSE in numbers 2 and 3"),
        (GOLD, SAID + lines("g4 yes FALSE"), CorpusError, "predictions:7: .*expected 3 fields"),
        (GOLD, SAID + lines("g1 TRUE FALSE"), CorpusError, "predictions:7: id 'g1' stands twice"),
        (GOLD + lines(_row("g1", "she", "TRUE", "FALSE")), SAID, CorpusError, "gold:9: id 'g1' stands twice"),
        (GOLD + lines("g8 text"), SAID, CorpusError, "gold:9: .*expected 11 fields with TRUE or FALSE in numbers 7 and 10"),
        (GOLD + lines(_row("g8", "it", "TRUE", "FALSE")), SAID, CorpusError, "gold:9: 'it', expected a pronoun: he, him"),
        (GOLD, SAID + "x" * 200_000, CorpusError, "predictions:7: no tab-separated values .*field larger"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_named_with_its_line(
    gold: Any, predictions: Any, error: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told):
        gap.score(*write(tmp_path, gold, predictions))
