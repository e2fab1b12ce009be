"""MRQA's scorer in cases worked by hand: lines, plain or compressed, a header or none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from planted import plant
from scored import write

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores import mrqa, squad

HEADER = {"header": {"dataset": "NewsQA", "split": "dev"}}


def mrqa_layout(*contexts: dict[str, list[str]], header: bool = True) -> str:
    asked = [
        {"context": "", "qas": [{"qid": name, "answers": texts} for name, texts in one.items()]} for one in contexts
    ]
    return "".join(json.dumps(line) + "\n" for line in [HEADER] * header + asked)


CONTEXTS: list[dict[str, list[str]]] = [
    {"a": ["blue sky", "The Sky"], "b": ["an"]},  # exact 1; both are empty once normalized: exact 1, F1 0
    {"c": ["far green hill"], "d": ["nobody"]},  # 1/1 and 2/3: F1 4/5; no prediction: 0
]
PREDICTED = {"a": "sky", "b": "The", "c": "green hill"}


def check(folder: Path) -> None:
    gold, predictions = write(folder, mrqa_layout(*CONTEXTS), PREDICTED)
    expected = {"exact_match": 100 * 2 / 4, "f1": 100 * (1 + 4 / 5) / 4}
    with pytest.warns(match="1 of 4 have no prediction: they count 0"):
        assert mrqa.score(gold, predictions) == pytest.approx(expected, abs=1e-12)
    gold.write_bytes(gzip.compress(mrqa_layout(*CONTEXTS, header=False).encode()))
    with pytest.warns(match="1 of 4 have no prediction: they count 0"):
        assert mrqa.score(gold, predictions) == pytest.approx(expected, abs=1e-12)


def test_cases_worked_by_hand_score_as_derived(tmp_path: Path) -> None:
    check(tmp_path)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (mrqa, 'if number > 1 or not isinstance(content, dict) or "header" not in content:', "if True:"),
        (mrqa, "yield name, texts", "yield name, texts[:1]"),
        (squad, "nothing=0.0", "nothing=1.0"),
        (squad, "f1 / len(answers)", "f1 / len(pairs)"),
    ],
)
def test_a_planted_wrong_is_seen(
    module: Any, old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, module, old, new)
    with pytest.raises((AssertionError, CorpusError, pytest.fail.Exception)):
        check(tmp_path)


@pytest.mark.parametrize(
    ("gold", "error", "told"),
    [
        ("", ConfigError, "gold: no questions"),
        (json.dumps(HEADER), ConfigError, "gold: no questions"),
        (mrqa_layout({"a": ["x"]}) + "{", CorpusError, "gold:3: no JSON at column 2"),
        (mrqa_layout({"a": ["x"]}) + "\n", CorpusError, "gold:3: no JSON at column"),
        (json.dumps({"data": []}), ConfigError, "SQuAD's layout, expected MRQA's"),
        (json.dumps(HEADER) + "\n" + json.dumps(HEADER), CorpusError, 'gold:2: an object without an array "qas"'),
        ("[]", CorpusError, 'gold:1: an array without an array "qas"'),
        (mrqa_layout({"a": []}), CorpusError, r'gold:2: qas\[0\] has a string for "qid" and an array for "answers"'),
        (json.dumps({"qas": [{"qid": "a", "answers": "x"}]}), CorpusError, 'and a string for "answers", expected'),
        (json.dumps({"qas": [{"qid": 3, "answers": ["x"]}]}), CorpusError, 'has a number for "qid"'),
        (json.dumps({"qas": ["a"]}), CorpusError, r'gold:1: qas\[0\] has null for "qid" and null for "answers"'),
        (mrqa_layout({"a": ["x"]}, {"a": ["x"]}), CorpusError, "gold: 'a' stands twice"),
    ],
)
def test_what_cannot_be_scored_is_named_with_its_line(
    gold: str, error: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told):
        mrqa.score(*write(tmp_path, gold, {}))


def test_damaged_gzip_data_is_named(tmp_path: Path) -> None:
    gold, predictions = write(tmp_path, "", {})
    whole = gzip.compress(mrqa_layout(*CONTEXTS).encode())
    for data in (whole[:-12], whole[:40] + b"\0" + whole[41:], whole + b"junk"):
        gold.write_bytes(data)
        with pytest.raises(CorpusError, match="damaged gzip data"):
            mrqa.score(gold, predictions)
