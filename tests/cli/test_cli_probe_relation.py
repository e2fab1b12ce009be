"""`spanmask probe relation`: files in, figures that `spanmask score` gives of the predictions out; what is wrong is one line."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import begin, strike
from probes.related import relation_model, rows, tacred, write_opennre, write_semeval, write_tacred

TUNING = ["--epochs", 1, "--batch-size", 8, "--selection", 0.3, "--threads", 1, "--device", "cpu", "--window", 24]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return relation_model(tmp_path_factory.mktemp("model") / "model")


def test_a_run_of_semevals_text_ends_in_figures_that_score_gives_of_its_predictions(shell: Any, model: Path) -> None:
    train = write_semeval(shell.folder / "TRAIN_FILE.TXT", 40, 1)
    dev = write_semeval(shell.folder / "dev.txt", 12, 2)
    ended = shell("probe", "relation", model, "--train", train, "--eval", dev, "--out", "run", *TUNING, "--json")
    assert ended.code == 0, ended.error
    told = json.loads(ended.out)["seeds"][0]["scores"]["dev"]
    files = [Path("run/seed-1/dev") / f"{name}.txt" for name in ("gold", "predictions")]
    assert json.loads(shell("score", "semeval", *files, "--json").out) == told
    content = json.loads(Path("run/seed-1/model/config.json").read_text())
    assert content["task_specific_params"]["relation"]["entities"] == "markers"
    again = shell("probe", "relation", model, "--train", train, "--eval", dev, "--out", "run", "--resume")
    assert again.out.startswith("dev: precision ")
    other = shell(
        "probe", "relation", model, "--train", train, "--eval", dev, "--out", "run", "--resume", "--marks", "words"
    )
    assert other.code == 2
    assert "the run differs: protocol was " in other.error


def test_what_is_left_out_cut_or_not_known_is_told(shell: Any, model: Path) -> None:
    made = [tacred(row) for row in rows(30, 1, longest=40)]
    made[4]["subj_end"] = 99
    train = shell.write("train.json", json.dumps(made))
    dev = shell.write("dev.json", json.dumps([tacred(row, relation="per:age", obj_type="CITY") for row in rows(3, 2)]))
    line = ["--train", train, "--eval", dev, "--out", "run", *TUNING, "--on-error", "skip"]
    ended = shell("probe", "relation", model, *line)
    assert ended.code == 0, ended.error
    assert f"{train}: 1 pair left out: entity outside its sentence 1\n" in ended.error
    assert "dev: 3 pairs with a type that training lacks: the same stands for any such\n" in ended.error
    assert "dev: 3 pairs with a label that training lacks: never right\n" in ended.error
    assert "sentences of more than 24 tokens: " in ended.error
    assert "dev: precision " in ended.out


def _tacred(**changes: Any) -> str:
    made = [tacred(row) for row in rows(30, 1)]
    return json.dumps([{**made[0], **changes}, *made[1:]])


@pytest.mark.parametrize(
    ("content", "options", "code", "told"),
    [
        ("[{", [], 5, "train.json:1: no JSON"),
        ("{}", [], 2, "train.json: it begins with {}; expected TACRED's JSON"),
        ("", [], 2, "train.json: it begins with ''"),
        (_tacred(subj_start=-1), [], 5, "entity_outside_its_sentence"),
        (_tacred(id="1-1"), [], 5, "id_twice"),
        (_tacred(relation=3), [], 5, "'relation' is a number"),
        (_tacred(), ["--train", "none.json"], 2, "none.json"),
        (_tacred(), ["--selection", 1e-9], 2, "another --selection"),
        (_tacred(), ["--window", 5], 2, "--window is 5: give 10 to 16384 tokens"),
        (_tacred(), ["--window", 100], 2, "windows of 100 tokens, and the model has 64 positions"),
        (_tacred(), ["--entities", "tipes"], 2, "tipes"),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code_and_nothing_is_written(
    shell: Any, model: Path, one_line: Callable[[str], str], content: str, options: list[object], code: int, told: str
) -> None:
    train, dev = shell.write("train.json", content), write_tacred(shell.folder / "dev.json", 5, 3)
    line = ["--train", train, "--eval", dev, "--out", shell.folder / "new" / "run", *TUNING]
    ended = shell("probe", "relation", model, *line, *options)
    assert (ended.code, ended.out) == (code, "")
    assert told in one_line(ended.error)
    assert not (shell.folder / "new").exists()


def test_types_are_not_seen_where_there_are_none(shell: Any, model: Path, one_line: Callable[[str], str]) -> None:
    train = write_opennre(shell.folder / "train.txt", 30, 1)
    line = ["--train", train, "--eval", train, "--out", "run", *TUNING, "--entities", "types"]
    ended = shell("probe", "relation", model, *line)
    assert ended.code == 2
    assert "no entity of the training files has a type to be seen" in one_line(ended.error)
    assert "(--entities markers)" in ended.error


@pytest.mark.faults
@pytest.mark.slow
def test_a_run_killed_anywhere_goes_on_to_the_predictions_of_one_that_was_not(model: Path, tmp_path: Path) -> None:
    train, dev = write_tacred(tmp_path / "train.json", 60, 1), write_tacred(tmp_path / "dev.json", 12, 2)

    def begun(folder: str, *options: object) -> subprocess.Popen[str]:
        line = ["probe", "relation", model, "--train", train, "--eval", dev, "--out", tmp_path / folder]
        return begin(*line, *options)

    options = ["--seeds", 2, "--save-every", 2, *TUNING]
    assert begun("whole", *options).wait() == 0
    for number, moment in enumerate(("seed-1/lr-*/checkpoints/.*step*", "seed-1/dev/*", "seed-2/lr-*/metrics.jsonl")):
        process = begun("parts", *(["--resume"] if number else options))
        strike(process, tmp_path / "parts", moment)
        assert process.returncode == -signal.SIGKILL, moment
    assert begun("parts", "--resume").wait() == 0
    for path in sorted((tmp_path / "whole").rglob("*.json*")):
        if path.name != "metrics.jsonl":
            assert (tmp_path / "parts" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes(), path
