"""`spanmask probe boundaries` as it is typed: tables, JSON and a folder, and what is wrong in one line."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from commands import begin, strike
from probe_options import probe_options
from probes.ordering import small_model
from probes.test_boundaries_run import STORIES

from spanmask.probes import read_results

OPTIONS = [
    *["--out", "--config", "--resume", "--step", "--vocab", "--cased", "--json", "--split", "--mask-epoch", "--spans"],
    *["--classes", "--selection", "--measured", "--lr", "--decay", "--batch-size", "--epochs", "--patience", "--seeds"],
    *["--bins", "--device", "--threads"],
]
QUICK = ["--spans", 300, "--decay", 0.1, "--epochs", 2, "--device", "cpu", "--threads", 1]


def test_its_options_are_those_promised() -> None:
    assert [option.opts[0] for option in probe_options("boundaries")] == OPTIONS


def _dataset(shell: Any, model: Path) -> Path:
    shards: Path = shell.folder / "shards"
    dataset = ["--vocab", model, "--max-tokens", 64, "--holdout", 0.5]
    assert shell("preshard", STORIES, "--out", shards, "--seed", 3, "--jobs", 1, *dataset).code == 0
    return shards


@pytest.mark.slow
def test_tables_json_and_a_folder_tell_the_same(shell: Any) -> None:
    model = small_model(shell.folder / "model")
    shards = _dataset(shell, model)
    told = shell("probe", "boundaries", model, shards, "--out", "run", *QUICK)
    assert told.code == 0, told.error
    assert "300 spans in " in told.error
    assert "model, masked: model\n" in told.error
    results = read_results("run")
    scores = results.seeds[0].scores
    for inside in ("masked", "visible"):
        assert f"inside {inside}: bits a token, of which saved, and % told right" in told.out
        assert f"{scores[inside]['first_bits']:.3f}" in told.out
        assert f"inside {inside}: bits that the model saves, by pieces of the span" in told.out
    assert told.out.endswith("wrote run: results.json, and of each model every reader's figures\n")
    found = json.loads(shell("probe", "boundaries", model, shards, "--json", *QUICK).out)
    assert found["out"] is None
    assert found["seeds"][0]["scores"] == json.loads(json.dumps(scores))
    readers = json.loads((Path("run") / "seed-1" / "readers.json").read_text())["found"]
    assert found["found"] == {"1": readers}
    shares = ", ".join(f"{place} {one['rest']:.1f} %" for place, one in readers["masked"].items())
    assert f"in the class of the rest: {shares}\n" in told.out
    assert 0 < readers["masked"]["first"]["rest"] < 100
    assert set(readers["masked"]["first"]["readers"]) == {"unigram", "shuffled", "static", "random", "model"}
    compared = shell("probe", "compare", "run")
    assert compared.code == 0
    assert "first_over_random" in compared.out


@pytest.mark.faults
@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_very_files_of_one_that_was_not(shell: Any) -> None:
    models = [small_model(shell.folder / f"model-{number}", seed=number) for number in (1, 2)]
    line = ["probe", "boundaries", *models, _dataset(shell, models[0]), "--threads", 1, "--device", "cpu", "--out"]
    assert shell(*line, "whole", *QUICK[:6], "--seeds", "4,7").code == 0
    process = begin(*line, "ended", *QUICK[:6], "--seeds", "4,7")
    strike(process, Path("ended"), "seed-4/readers.json")
    assert process.returncode == -signal.SIGKILL
    assert not Path("ended/results.json").exists()
    ended = shell(*line, "ended", "--resume")
    assert ended.code == 0, ended.error
    assert "model-1, masked" not in ended.error
    for name in ("probe.json", "results.json", "seed-4/readers.json", "seed-7/readers.json"):
        assert (Path("ended") / name).read_bytes() == (Path("whole") / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["model", "shards", "--resume"], "--resume: there is no run to go on with; give its folder (--out)"),
        (["model", "shards", "--selection", "0.9", "--measured", "0.2"], "leaves nothing to train on"),
        (["model", "nowhere"], "nowhere"),
        (["a", "b", "shards", "--seeds", "1,2,3"], "--seeds are 1,2,3, and models 2: give one seed a model"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(shell: Any, arguments: list[str], told: str) -> None:
    ended = shell("probe", "boundaries", *arguments)
    assert (ended.code, ended.error.count("\n")) == (2, 1)
    assert told in ended.error
