"""What tasks reach: families that join, and their tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from spanmask_bench import probes, protocol
from spanmask_bench.probe_runs import joined


def _found(figures: dict[str, float], metric: str, deviation: float | None = None, **protocol: Any) -> dict[str, Any]:
    return {
        "metric": metric,
        "mean": {"dev": figures},
        "deviation": {"dev": dict.fromkeys(figures, deviation)},
        "protocol": protocol,
    }


def _record(known: dict[str, Any], drawn: dict[str, Any], seen: str = "") -> dict[str, Any]:
    return protocol.record("?", {}, {"tasks": {"Task": {"seen": seen, "pre-trained": known, "random": drawn}}})


def test_a_row_has_the_floor_random_weights_and_the_check_in_this_order() -> None:
    floor = {"by": "the most frequent label, '1'", "figures": {"dev": {"accuracy": 0.7}}}
    known = _found({"accuracy": 0.9, "f1": 0.8}, "accuracy", 0.01, floor=floor)
    family = _record(known, _found({"accuracy": 0.72, "f1": 0.1}, "accuracy"), seen="its kind")
    table = probes.table({"families": {"glue": family}})
    assert "| Task: dev | accuracy | 0.70 | 0.72 | 0.90 ± 0.01 | its kind |" in table
    assert "f1" not in table


def test_coreference_stands_beside_equal_strings_and_says_by_how_much() -> None:
    figures = {"conll_f1": 50.0, "conll_f1_without_singletons": 40.0, "mentions_f1": 80.0}
    strings = {"equal_strings_conll_f1": 38.5, "equal_strings_conll_f1_without_singletons": 31.0}
    low = {name: value / 2 for name, value in (figures | strings).items()}
    family = _record(_found(figures | strings, "conll_f1"), _found(low, "conll_f1"))
    table = probes.table({"families": {"coref": family}})
    assert "| Task: dev | conll_f1 | 38.50 | 25.00 | 50.00 | nothing known |" in table
    assert "| Task: dev | mentions_f1 |  | 40.00 | 80.00 | nothing known |" in table
    points = "points of CoNLL F1 above one entity for equal strings; asked for: at least 10"
    assert f"- dev, with singletons: 11.50 {points}, reached." in table
    assert f"- dev, without singletons: 9.00 {points}, not reached." in table


def test_a_family_that_is_measured_later_joins_the_others(tmp_path: Path) -> None:
    path = tmp_path / "probes.json"
    first = joined(None, "families", {"coref": {"old": 1}, "ner": {"old": 1}}, probes.FAMILIES)
    path.write_text(json.dumps({"families": first}))
    found = joined(f"{path}", "families", {"relation": {"new": 1}, "ner": {"new": 1}}, probes.FAMILIES)
    assert found == {"relation": {"new": 1}, "ner": {"new": 1}, "coref": {"old": 1}}
    assert list(found) == ["relation", "ner", "coref"]


def test_every_file_that_is_asked_for_is_named_below_the_data() -> None:
    for family in probes.FAMILIES.values():
        for probe in family.values():
            for flag, value in zip(probe.options, probe.options[1:], strict=False):
                assert value.startswith("@") == (flag in ("--train", "--eval", "--data")), probe


def test_a_table_tells_how_long_a_family_took_where_it_was_run_in_one_piece() -> None:
    known = _found({"accuracy": 0.9}, "accuracy")
    family = _record(known, known)
    for taken, wanted in (({"jobs": 2, "seconds": 5400.0}, True), ({"jobs": 2, "seconds": None}, False)):
        table = probes.table({"families": {"glue": family | {"taken": taken}}})
        assert ("All of it took 1.5 hours, 2 commands of one thread at once." in table) == wanted


def _measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, failing: str = "") -> Any:
    """Return the record of a family whose commands do nothing but make their folders and tell of themselves."""

    def run(probe: probes.Probe, data: Path, model: Path, out: Path) -> dict[str, Any]:
        if out.name == failing:
            raise RuntimeError(out.name)
        out.mkdir(exist_ok=True)
        return {"command": probe.command, "model": model.name, "out": out.name}

    monkeypatch.setattr(probes, "_run", run)
    monkeypatch.setattr(probes, "random_twin", lambda _, out: out)
    return probes.measure(tmp_path, tmp_path / "bert", tmp_path / "work", ["relation"], jobs)["relation"]


def test_commands_that_run_at_once_stand_under_their_tasks_and_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = _measured(tmp_path, monkeypatch, jobs=3)
    for number, task in enumerate(record["tasks"].values()):
        for kind, model in (("pre-trained", "bert"), ("random", "random")):
            assert task[kind] == {"command": "relation", "model": model, "out": f"relation-{number}-{kind}"}
    # What a family took stays known once it is read again, and is not known of one that went on.
    again = _measured(tmp_path, monkeypatch, jobs=3)
    assert again["taken"]["seconds"] == pytest.approx(record["taken"]["seconds"], abs=0.1)
    (tmp_path / "work" / "relation.seconds").unlink()
    assert _measured(tmp_path, monkeypatch, jobs=3)["taken"] == {"jobs": 3, "seconds": None}


def test_where_a_command_fails_no_other_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="relation-0-pre-trained"):
        _measured(tmp_path, monkeypatch, jobs=1, failing="relation-0-pre-trained")
    # One may have begun before that was seen, of three.
    assert len([*(tmp_path / "work").glob("relation-*")]) <= 1
