"""`spanmask probe coref`: documents in, figures that `spanmask score` gives of the predictions out; ended anywhere, it goes on."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import begin, strike
from probes.coref_stories import write_stories
from probes.ordering import small_model

from spanmask.probes import read_results

TUNING = ["--epochs", 1, "--selection", 0.3, "--threads", 1, "--device", "cpu"]
READING = ["--segment", 24, "--max-segments", 2, "--max-span", 5, "--ffnn", 8]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "model")


def test_a_run_of_a_fold_ends_in_figures_that_score_gives_of_its_predictions(shell: Any, model: Path) -> None:
    """Predictions are of documents that the key has more of: those of other folds, which count as without mentions."""
    stories = write_stories(shell.folder / "stories.conll", 0, 12)
    other = write_stories(shell.folder / "other.conll", 30, 2)
    files = ["--train", stories, "--eval", stories, other, "--fold", "2/3", "--out", "run"]
    ended = shell(
        "probe", "coref", model, *files, *TUNING, *READING, "--epochs", 12, "--lr", 2e-3, "--head-lr", 3e-2, "--json"
    )
    assert ended.code == 0, ended.error
    told = json.loads(ended.out)
    (scores,) = (seed["scores"] for seed in told["seeds"])
    scored = shell("score", "coref", other, "run/seed-1/other/predictions.conll", "--json")
    official = json.loads(scored.out)
    assert scores["other"]["conll_f1"] == pytest.approx(100 * official["conll_f1"])
    assert scores["other"]["conll_f1"] > 0
    assert scores["other"]["blanc_recall"] == pytest.approx(100 * official["blanc"]["recall"])
    assert scores["stories"].keys() == scores["other"].keys()
    config = told["protocol"]["fine_tuning"]
    assert (config["lr"], config["head_lr"], config["batch_size"]) == ([2e-3], [3e-2], [1])
    again = shell("probe", "coref", model, *files[:-4], *files[-2:], "--resume")
    assert again.out.startswith("stories: conll_f1 ")


def test_a_frozen_encoder_is_read_linearly(shell: Any, model: Path) -> None:
    train, dev = write_stories(shell.folder / "train.conll", 0, 6), write_stories(shell.folder / "dev.conll", 30, 1)
    line = ["--train", train, "--eval", dev, "--out", "run", *TUNING, *READING[:-2], "--frozen", "--on-error", "skip"]
    train.write_text(train.read_text("utf-8").replace("(0\n", "(0|9)\n", 1), "utf-8")
    ended = shell("probe", "coref", model, *line)
    assert ended.code == 0, ended.error
    assert f"{train}: 1 mention left out: unpaired bracket 1\n" in ended.error
    assert read_results("run").protocol["ffnn"] == 0
    config = read_results("run").protocol["fine_tuning"]
    assert (config["lr"], config["head_lr"], config["batch_size"]) == ([2e-5], [3e-4], [1])
    assert json.loads(Path("run/seed-1/model/config.json").read_text())["architectures"] == ["BertModel"]


def test_the_example_of_a_frozen_encoder_sets_the_rate_that_then_counts(shell: Any) -> None:
    told = shell("probe", "coref", "--help").out
    assert "--frozen --head-lr 1e-3" in " ".join(told.split())


_DOCUMENT = "#begin document d\n0\tthe\t(1\n1\tcat\t1)\n#end document\n"


@pytest.mark.parametrize(
    ("content", "options", "code", "told"),
    [
        (_DOCUMENT.replace("1)", "-"), [], 5, "train.conll:2: (1 is not closed in its document"),
        (_DOCUMENT.replace("1)", "2)"), [], 5, "train.conll:3: 2) closes what nothing opened"),
        (_DOCUMENT.replace("\tcat", "\tcat\tsat"), [], 5, "train.conll:3: found 4 columns"),
        (_DOCUMENT + _DOCUMENT, [], 5, "the document 'd' stands twice"),
        (_DOCUMENT.replace("#end document\n", ""), [], 5, "has no '#end document'"),
        ("", [], 2, "no document, expected lines from '#begin document NAME'"),
        (_DOCUMENT, [], 2, "give more documents, or another --selection"),
        (_DOCUMENT, ["--train", "none.conll"], 2, "none.conll"),
        (_DOCUMENT, ["--eval", "train.conll"], 2, "train is given to train on and to evaluate"),
        (_DOCUMENT, ["--fold", "1/10"], 2, "so that none is to be divided; leave out --fold"),
        (_DOCUMENT, ["--fold", "11/10"], 2, "--fold is '11/10': give K/N with K from 1 to N"),
        (_DOCUMENT, ["--segment", 2], 2, "--segment is 2: give 3 to 16384 tokens"),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code_and_nothing_is_written(
    shell: Any, model: Path, one_line: Callable[[str], str], content: str, options: list[object], code: int, told: str
) -> None:
    train, dev = shell.write("train.conll", content), write_stories(shell.folder / "dev.conll", 30, 1)
    ended = shell("probe", "coref", model, "--train", train, "--eval", dev, "--out", "run", *READING, *options)
    assert ended.code == code, ended.error
    assert told in one_line(ended.error)
    assert not Path("run").exists()


def test_segments_longer_than_the_model_are_refused(shell: Any, model: Path, one_line: Callable[[str], str]) -> None:
    train, dev = write_stories(shell.folder / "train.conll", 0, 12), write_stories(shell.folder / "dev.conll", 30, 1)
    ended = shell("probe", "coref", model, "--train", train, "--eval", dev, "--out", "run", *TUNING, "--segment", 100)
    assert ended.code == 2
    assert "segments of 100 tokens, and the model has 64 positions: give shorter ones" in one_line(ended.error)


@pytest.mark.faults
@pytest.mark.slow
def test_the_command_killed_anywhere_goes_on_to_the_same_figures_and_predictions(model: Path, tmp_path: Path) -> None:
    train, dev = write_stories(tmp_path / "train.conll", 0, 8), write_stories(tmp_path / "dev.conll", 30, 2)

    def begun(run: Path, *options: object) -> subprocess.Popen[str]:
        return begin("probe", "coref", model, "--train", train, "--eval", dev, "--out", run, *options)

    options = ["--seeds", 2, "--save-every", 2, *TUNING, *READING]
    assert begun(tmp_path / "whole", *options).wait(timeout=240) == 0
    for number, pattern in enumerate(
        ["seed-1/*/checkpoints/.*step*", "seed-1/*/outcome.json", "seed-2/*/metrics.jsonl"]
    ):
        process = begun(tmp_path / "parts", *(["--resume"] if number else options))
        strike(process, tmp_path / "parts", pattern)
        assert process.returncode == -signal.SIGKILL, pattern
    assert begun(tmp_path / "parts", "--resume").wait(timeout=240) == 0
    for name in ("results.json", "seed-1/dev/predictions.conll", "seed-2/dev/predictions.conll"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
