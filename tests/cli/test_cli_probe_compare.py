"""`spanmask probe compare` as it is typed: table, JSON and page of runs, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from probe_options import probe_options
from probes.test_probe_comparing import write_run

NOISE = [0.3, -0.2, 0.1, -0.3, 0.2, -0.1]


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    words = write_run(tmp_path / "words", [60 + value for value in NOISE], questions=True)
    return [words, write_run(tmp_path / "spans", [62 - value for value in NOISE], questions=True)]


def test_its_options_are_those_promised() -> None:
    assert [option.opts[0] for option in probe_options("compare")] == ["--seed", "--json", "--html"]


def test_table_json_and_page_tell_of_the_runs(shell: Any, runs: list[str]) -> None:
    page = shell.folder / "page.html"
    told = shell("probe", "compare", *runs, "--html", page)
    assert (told.code, told.error) == (0, f"wrote {page}\n")
    assert "dev: minus words, by the seeds of both" in told.out
    assert "higher" in told.out
    assert "+2.000" in page.read_text()
    found = json.loads(shell("probe", "compare", *runs, "--json", "--seed", 4).out)
    [f1] = [pair for pair in found["pairs"] if pair["figure"] == "f1"]
    assert (f1["first"], f1["other"], f1["seeds"], f1["verdict"]) == ("words", "spans", [1, 2, 3, 4, 5, 6], "higher")
    assert f1["mean"] == pytest.approx(2)
    assert f1["over_seeds"][0] < 2 < f1["over_seeds"][1]
    assert (found["seed"], found["resamples"], [run["name"] for run in found["runs"]]) == (
        4,
        10_000,
        ["words", "spans"],
    )
    alone = shell("probe", "compare", runs[0])
    assert (alone.code, "minus" in alone.out) == (0, False)


def test_what_cannot_be_compared_is_told_in_a_line_and_nothing_written(
    shell: Any, runs: list[str], tmp_path: Path
) -> None:
    other = write_run(tmp_path / "other", [60], protocol={"epochs": 3})
    page = shell.folder / "page.html"
    for given, message in (
        ([runs[0], other], "words and other cannot be compared: their protocols differ in epochs (2 and 3)"),
        ([runs[0], runs[0]], "given twice"),
        ([str(tmp_path)], "no results.json there"),
        ([], "RUN... is missing"),
    ):
        refused = shell("probe", "compare", *given, "--html", page)
        assert (refused.code, refused.out, refused.error.count("\n")) == (2, "", 1)
        assert message in refused.error
    assert not page.exists()
