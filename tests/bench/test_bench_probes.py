"""What tasks reach: families that join, and their tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
    strings = {"equal_strings_conll_f1": 38.5, "equal_strings_conll_f1_without_singletons": 30.0}
    low = {name: value / 2 for name, value in (figures | strings).items()}
    family = _record(_found(figures | strings, "conll_f1"), _found(low, "conll_f1"))
    table = probes.table({"families": {"coref": family}})
    assert "| Task: dev | conll_f1 | 38.50 | 25.00 | 50.00 | nothing known |" in table
    assert "| Task: dev | mentions_f1 |  | 40.00 | 80.00 | nothing known |" in table
    assert (
        "- dev: 11.50 points of CoNLL F1 above one entity for equal strings; asked for: at least 10, reached." in table
    )


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
