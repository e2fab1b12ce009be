"""What breaks first: the sums of the model, and every step of the measurement at a small size."""

from __future__ import annotations

import json

import pytest
from spanmask_bench import protocol, scale, scale_model


def test_what_breaks_follows_from_what_a_thing_costs() -> None:
    known = dict.fromkeys(
        ("input_seconds", "plan_load_seconds", "receipt_seconds", "table_bytes", "open_seconds"), 1e-3
    )
    sizes = {"plan_bytes": 40.0, "plan_input_bytes": 150.0, "open_bytes": 100.0}
    model = scale_model.costs({**known, **sizes, "scheduler_seconds": 2e-3})
    ten = next(case for case in model["cases"] if case["terabytes"] == 10)
    assert round(ten["shards"]) == 298_023
    assert round(ten["finalize_seconds"]) == 298
    assert round(ten["planning_seconds"]) == 100
    assert ten["plan_bytes"] == pytest.approx(298_023 * 40 + 100_000 * 150, rel=1e-3)
    # As many inputs as a manifest names, however large the corpus.
    assert [round(case["inputs"]) for case in model["cases"]] == [10_000, 100_000, 386_317, 386_317]
    assert ten["open_bytes"] == pytest.approx(29.8e6, rel=1e-3)
    # A shard of 32 MiB a quarter of a second, and two milliseconds of the scheduler for each.
    assert round(model["bounds"]["Dask workers that one scheduler feeds"]) == 129
    assert round(model["bounds"]["finalize in an hour, TB"]) == 121
    assert round(model["bounds"]["shards in a table, TB"]) == 141


@pytest.mark.slow
def test_every_step_is_measured_at_a_small_size() -> None:
    result = scale.measure(shards=(2_000, 4_000), receipts=50, files=1_500)
    assert [run["tasks"] for run in result["plan"]] == [2_000, 4_000]
    assert result["receipts"]["receipts"] == 50
    assert set(result["limits"]) == set(scale.LIMITS)
    lines = scale.table(json.loads(protocol.as_json(result))).splitlines()
    assert "| listing 1,500 files |" in "\n".join(lines)
    assert any(line.startswith("| 4,000 shards: opening |") for line in lines)
    assert any(line.startswith("| 2,000 shards of 1,500 inputs: opening |") for line in lines)
    assert any("10 TB, 1,000 workers" in line for line in lines)
