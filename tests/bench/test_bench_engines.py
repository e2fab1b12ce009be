"""What an engine costs: a real cluster of tasks that do nothing, and the table of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from spanmask_bench import child, engines, protocol

pytest.importorskip("distributed", reason="needs the dask extra")

_ENGINES = ("local, 2 jobs", "dask, 2 jobs", "a cluster, 1 worker", "a cluster, 2 workers")


@pytest.mark.slow
def test_tasks_that_do_nothing_are_timed(tmp_path: Path) -> None:
    cost = engines.time_tasks(folder=str(tmp_path), tasks=100)
    assert 0 < cost["command"] < cost["elapsed"] < 1000
    assert 0 <= cost["scheduler"] < cost["elapsed"]


def test_the_start_is_left_out_of_ratios_and_the_table_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = dict(zip(_ENGINES, (5.0, 6.2, 9.0, 6.0), strict=True)) | {f"start: {name}": 1.0 for name in _ENGINES}
    taken["start: dask, 2 jobs"] = 2.0
    found = {name: {"seconds": [seconds] * 3} for name, seconds in taken.items()}
    monkeypatch.setattr(engines, "_contestants", lambda *_: found)
    monkeypatch.setattr(child, "call", _told)
    result = engines.measure(rounds=3)
    ratios = {name: round(ratio["median"], 3) for name, ratio in result["ratios"].items()}
    assert ratios == {"dask, 2 jobs / local, 2 jobs": 1.05, "two workers / one": 1.6}
    lines = engines.table(json.loads(protocol.as_json(result))).splitlines()
    assert "| dask, 2 jobs | 6.20 | 6.20 | 6.20 | 2.00 |" in lines
    assert "- two workers / one, beyond the start: 1.6 (1.6 to 1.6); asked for: at least 1.6, reached." in lines
    assert (
        "A task that does nothing, of 2,000 on two workers: 3.00 ms by the clock, 1.00 ms of the scheduler's processor"
        in lines[-4]
    )
    assert lines[-2] == "Text: 5.0 MB in 7 documents, 3 times; the first 1.0 MB are the start; 3 rounds."


def _told(module: str, *_: Any) -> Any:
    cost = {"elapsed": 3.0, "scheduler": 1.0, "command": 2.0}
    text = {"all": {"bytes": 5_000_000, "documents": 7}, "peer": {"bytes": 1_000_000, "documents": 2}}
    return text if module == "corpora" else cost
