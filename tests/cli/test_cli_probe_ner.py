"""`spanmask probe ner`: a model and columns in, figures, predictions and a model out; what is wrong is one line."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import begin, strike
from probes.ordering import small_model
from probes.tagged import columns, tagged, write_columns

from spanmask.probes import read_results

TUNING = ["--epochs", 1, "--batch-size", 8, "--selection", 0.3, "--log-every", 4, "--threads", 1, "--device", "cpu"]
TUNING += ["--window", 32, "--lr", 3e-3]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("files")
    train, other, dev = (
        write_columns(folder / f"{name}.conll", first, count)
        for name, first, count in (("train", 0, 16), ("other", 60, 8), ("dev", 120, 5))
    )
    return ["--train", train, other, "--eval", dev]


def test_a_run_ends_in_figures_that_score_gives_of_its_predictions(
    shell: Any, model: Path, files: list[object]
) -> None:
    skipped = shell.write("skipped.conll", columns(tagged(90, 3)) + "\nodd ODD\n")
    line = ["--train", skipped, *files[1:], "--out", "run", "--on-error", "skip", *TUNING]
    ended = shell("probe", "ner", model, *line, "--json")
    assert ended.code == 0, ended.error
    results = read_results("run")
    assert json.loads(ended.out) == json.loads(json.dumps({"out": "run", "stopped": False, **results.to_json()}))
    assert results.task == "ner"
    assert f"{skipped}: 1 sentence left out: tag 1\n" in ended.error
    assert f"{skipped}: 3 sentences, tags iob2\n" in ended.error
    told = json.loads(shell("score", "ner", files[-1], Path("run/seed-1/dev/predictions.conll"), "--json").out)
    assert {name: told[name] for name in ("precision", "recall", "f1")}.items() <= results.seeds[0].scores[
        "dev"
    ].items()
    again = shell("probe", "ner", model, *line, "--resume")
    assert again.out.startswith("dev: precision "), again.error
    assert re.search(r"^dev: f1 0\.\d+ by each word's most frequent tag in training$", again.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("content", "options", "code", "told"),
    [
        ("", [], 2, "no words"),
        ("a\nb\n", [], 2, "one column a line"),
        ("a O\nb B-X X O\nc O\n", [], 5, "train.conll:2: 4 columns"),
        ("a O\nb X\n", [], 5, "train.conll:2: the tag 'X'"),
        ("a O\nb E-X\n", ["--tags", "iob2"], 5, "train.conll:2: the tag 'E-X'"),
        (b"a O\n\xff O\n", [], 5, "train.conll:2: no UTF-8"),
        ("a O\n\nb O\n", [], 2, "no span in it"),
        (columns(tagged(0, 9)), ["--eval", "none.conll"], 2, "none.conll"),
        (columns(tagged(0, 9)), ["--tags", "bio"], 2, "--tags"),
        (columns(tagged(0, 9)), ["--window", 3], 2, "--window is 3"),
        (columns(tagged(0, 9)), ["--window", 100], 2, "windows of 100 tokens, and the model has 64 positions"),
        (columns(tagged(0, 9)), ["--selection", 1e-9], 2, "--selection"),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code_and_nothing_is_written(
    shell: Any, model: Path, one_line: Callable[[str], str], content: Any, options: list[object], code: int, told: str
) -> None:
    train, dev = shell.write("train.conll", content), write_columns(shell.folder / "dev.conll", 120, 3)
    line = ["--train", train, "--eval", dev, "--out", shell.folder / "new" / "run", *TUNING]
    ended = shell("probe", "ner", model, *line, *options)
    assert (ended.code, ended.out) == (code, "")
    assert told in one_line(ended.error.splitlines()[-1] + "\n")
    assert not (shell.folder / "new").exists()


@pytest.mark.faults
@pytest.mark.slow
def test_a_run_killed_goes_on_to_the_figures_of_one_that_was_not(
    model: Path, files: list[object], tmp_path: Path
) -> None:
    def begun(out: Path, *options: object) -> subprocess.Popen[str]:
        return begin("probe", "ner", model, *files, "--out", out, *TUNING, "--save-every", 1, *options)

    assert begun(tmp_path / "whole").wait() == 0
    run = tmp_path / "run"
    for pattern in ("probe.json", "seed-1/*/checkpoints/*"):
        process = begun(run, *(["--resume"] if run.exists() else []))
        strike(process, run, pattern)
        assert process.returncode == -signal.SIGKILL
    assert begun(run, "--resume").wait() == 0
    assert read_results(run) == read_results(tmp_path / "whole")
    kept = "seed-1/model/model.safetensors"
    assert (run / kept).read_bytes() == (tmp_path / "whole" / kept).read_bytes()
