"""What scoring costs: predictions made of a key, peers held against our figures, and the table."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from spanmask_bench import protocol, scoring
from spanmask_bench.baselines import scorers

from spanmask.errors import ConfigError
from spanmask.probes.scores.conll import write_conll

KEY = [[(token, token) for token in range(number, 200, 20)] for number in range(20)]
GOLD = {"data": [{"paragraphs": [{"qas": [{"id": "q", "answers": [{"text": "blue sky"}]}]}]}]}


def test_predictions_are_a_key_with_some_of_everything_wrong() -> None:
    found = scoring.changed(KEY, 400, random.Random(1))
    homes = {mention: number for number, mentions in enumerate(KEY) for mention in mentions}
    kept = [mention for mentions in found for mention in mentions]
    assert len(kept) == len(set(kept))
    assert 150 < sum(mention in homes for mention in kept) < 199
    assert any(mention not in homes for mention in kept)
    assert any(len({homes.get(mention) for mention in mentions}) > 1 for mentions in found)


def _taken(*seconds: float) -> dict[str, Any]:
    return {"warm_up_seconds": 1.0, "seconds": list(seconds), "spread": protocol.spread(seconds)}


def test_the_table_has_contestants_ratios_and_limits() -> None:
    contestants = {"spanmask": _taken(0.5, 0.4), "scorch": _taken(2.0, 2.2)}
    ratios = {"scorch / spanmask": protocol.ratio([2.0, 2.2], [0.5, 0.4])}
    limits = protocol.limits({"coref, s": 3.5}, scoring.LIMITS)
    findings = {
        "inputs": {"coref": [{"name": "key.conll", "sha256": "0" * 64}]},
        "work": {"coref": {"contestants": contestants, "ratios": ratios, "missing": []}},
        "limits": limits,
    }
    lines = scoring.table(protocol.record(scoring.QUESTION, {"rounds": 2}, findings)).splitlines()
    assert lines[2:4] == ["| coref | spanmask | 0.450 | 0.400 | 0.500 |", "| coref | scorch | 2.100 | 2.000 | 2.200 |"]
    assert "- coref: scorch / spanmask: 4.75 (4 to 5.5)." in lines
    assert "- coref, s: asked for: less than 3, not kept." in lines
    assert lines[-1].startswith("Inputs: key.conll; 2 rounds. Measured on ")


def _figures(value: float) -> dict[str, float]:
    return dict.fromkeys(("recall", "precision", "f1"), value)


@pytest.mark.parametrize(
    ("work", "theirs", "wrong"),
    [
        ("squad", {"exact_match": 50.001, "f1": 75.0}, {"exact_match": 50.1, "f1": 75.0}),
        ("coref, no singletons", {"b_cubed": _figures(0.5), "lea": _figures(0.25)}, {"b_cubed": _figures(0.4)}),
        ("coref", {"d": {"muc": [1.0, 1.0, 1.0]}}, {"d": {"muc": [1.0, 0.9, 1.0]}}),
    ],
)
def test_a_peer_that_finds_other_figures_is_not_measured(work: str, theirs: Any, wrong: Any, tmp_path: Path) -> None:
    for side in ("key", "predicted"):
        (tmp_path / f"{side}, {work}.json").write_text('{"d": [[[0, 0], [1, 2]]]}')
    ours = {"exact_match": 50.0, "f1": 75.0, "bcub": _figures(0.5), "lea": _figures(0.25)}
    scoring._hold_against(work, theirs, ours, tmp_path)
    for other in (wrong, {}) if work != "squad" else (wrong,):
        with pytest.raises(ConfigError, match="a peer finds other figures"):
            scoring._hold_against(work, other, ours, tmp_path)


def test_something_to_score_must_be_given() -> None:
    with pytest.raises(ConfigError, match="nothing to score"):
        scoring.measure()


def test_what_reads_alone_reads_all(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1, 2]")
    (tmp_path / "x.conll").write_text("one\ntwo\n")
    assert scorers.json_alone(str(tmp_path / "x.json"), str(tmp_path / "x.json")) == [2, 2]
    assert scorers.lines_alone(str(tmp_path / "x.conll"), str(tmp_path)) == [3, 3]


@pytest.mark.slow
def test_whole_processes_are_measured(tmp_path: Path) -> None:
    write_conll(tmp_path / "key.conll", {"d": ([["word"] * 400], KEY)})
    for name, content in (("gold.json", GOLD), ("answers.json", {"q": "sky"})):
        (tmp_path / name).write_text(json.dumps(content))
    files = [str(tmp_path / name) for name in ("gold.json", "answers.json")]
    result = scoring.measure(squad=files, coref=str(tmp_path / "key.conll"), rounds=1)
    assert list(result["work"]) == ["squad", "coref", "coref, no singletons"]
    for found in result["work"].values():
        assert {"spanmask", "reading alone"} <= set(found["contestants"])
        assert all(len(figures["seconds"]) == 1 for figures in found["contestants"].values())
        assert len(found["contestants"]) + len(found["missing"]) == 3
    assert set(result["limits"]) == set(scoring.LIMITS)
    assert str(tmp_path) not in json.dumps(result)
