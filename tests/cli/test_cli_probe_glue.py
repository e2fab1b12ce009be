"""`spanmask probe glue` and `spanmask probe classify`: files in, figures, predictions and models out; what is wrong is one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import begin, strike
from probes.glue_files import some_texts, write_task
from probes.ordering import small_model

from spanmask.probes import read_results

TUNING = ["--epochs", 1, "--batch-size", 8, "--selection", 0.25, "--log-every", 4, "--threads", 1, "--device", "cpu"]
SHORT = ["--max-tokens", 24, *TUNING]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of GLUE with two tasks, and a third without its training file."""
    folder = tmp_path_factory.mktemp("data") / "glue"
    for task in ("stsb", "sst2", "qnli"):
        own = write_task(folder, task)
    (own / "train.tsv").unlink()
    return folder


def test_all_tasks_that_are_there_run_and_what_is_not_is_told(shell: Any, model: Path, data: Path) -> None:
    ended = shell("probe", "glue", model, "--data", data, "--task", "all", "--out", "run", *SHORT)
    assert ended.code == 0, ended.error
    for words in ("no CoLA/train.tsv, CoLA/dev.tsv", "no QNLI/train.tsv", "no MNLI/train.tsv, MNLI/dev_matched.tsv"):
        assert f"left out: {words}" in ended.error
    lines = ended.out.splitlines()
    assert [line.split(": ")[0].split() for line in lines[:3]] == [["SST-2", "dev"], ["SST-2", "dev"], ["STS-B", "dev"]]
    assert lines[1].endswith(("by the most frequent label, '0'", "by the most frequent label, '1'"))
    assert lines[3].startswith("wrote run: of each task")
    assert sorted(path.name for path in Path("run").iterdir()) == ["SST-2", "STS-B"]
    for folder, task in (("SST-2", "sst2"), ("STS-B", "stsb")):
        out = Path("run") / folder
        scored = shell("score", f"glue-{task}", data / folder / "dev.tsv", out / "seed-1/dev/predictions.tsv", "--json")
        official = json.loads(scored.out)
        found = read_results(out).seeds[0].scores["dev"]
        assert {name: found[name] for name in official} == official
        assert (out / "seed-1" / "test" / f"{folder}.tsv").read_text().startswith("index\tprediction\n0\t")
    ended = shell("probe", "glue", model, "--data", data, "--task", "all", "--out", "run", *SHORT)
    assert ended.code == 2
    assert "SST-2: holds a run already; go on with it (--resume)" in ended.error
    # A task that was not begun begins with the options of those that were.
    write_task(data, "wnli")
    ended = shell("probe", "glue", model, "--data", data, "--task", "all", "--out", "run", "--resume", "--json")
    assert ended.code == 0, ended.error
    told = json.loads(ended.out)
    assert list(told["tasks"]) == ["SST-2", "STS-B", "WNLI"]
    assert told["tasks"]["STS-B"] == json.loads(json.dumps(read_results("run/STS-B").to_json()))
    assert told["tasks"]["WNLI"]["protocol"]["max_tokens"] == 24
    assert "no QNLI/train.tsv" in told["left_out"]


@pytest.mark.slow
def test_a_row_of_a_later_task_ends_all_before_the_first_training(shell: Any, model: Path) -> None:
    for task in ("sst2", "rte"):
        write_task(shell.folder / "glue", task)
    with (shell.folder / "glue" / "RTE" / "dev.tsv").open("a") as file:
        file.write("12\tone\ttwo\n")
    line = ["probe", "glue", model, "--data", "glue", "--task", "all", "--out", "run", *SHORT]
    ended = shell(*line)
    assert ended.code == 5
    assert "glue/RTE/dev.tsv:14: 3 columns, expected 4 (columns); mend the file" in ended.error.splitlines()[-1]
    assert not Path("run").exists()
    assert shell(*line, "--on-error", "skip").code == 0
    again = shell(*line[: -len(SHORT)], "--resume")
    assert again.code == 0, again.error
    assert "dev.tsv: 1 row left out: columns 1" in again.error


def test_an_extra_that_a_later_task_needs_is_told_before_the_first_training(
    shell: Any, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STS-B's correlations want SciPy; SST-2 comes before it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=_refuse_scipy), *sys.meta_path])
    ended = shell("probe", "glue", model, "--data", data, "--task", "all", "--out", "run", *SHORT)
    assert ended.code != 0
    assert "a correlation needs SciPy, which is not installed" in ended.error.splitlines()[-1]
    assert not Path("run").exists()


def _refuse_scipy(name: str, *_place: object) -> None:
    if name == "scipy":
        raise ModuleNotFoundError(name=name)


def test_a_users_texts_are_labelled_from_a_tsv(shell: Any, model: Path) -> None:
    for name, first, count in (("train", 0, 40), ("dev", 100, 8)):
        rows = [f"{a}\t{'long' if len(a) > 40 else 'short'}\n" for a, _ in some_texts(first, count)]
        shell.write(f"{name}.tsv", "text\tlabel\n" + "".join(rows))
    ended = shell("probe", "classify", model, "--train", "train.tsv", "--eval", "dev.tsv", "--out", "run", *SHORT)
    assert ended.code == 0, ended.error
    assert ended.out.startswith("dev: accuracy 0.") or ended.out.startswith("dev: accuracy 1.")
    assert " by the most frequent label, " in ended.out
    shell.write("dev.tsv", "text\tlabel\n\tlong\nfine\tshort\n")
    copy = shell.write("copy.tsv", Path("train.tsv").read_text())
    line = ["--train", "train.tsv", "--eval", "dev.tsv", copy, "--out", "other", *SHORT]
    ended = shell("probe", "classify", model, *line, "--on-error", "skip")
    assert ended.code == 0, ended.error
    assert "dev.tsv: 1 row left out: empty text 1\n" in ended.error
    told = "copy: trained on too, so that its figures say nothing of other texts; score another file\n"
    assert told in ended.error
    assert told in ended.out


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--task", "ax"], 2, "--task is 'ax': give cola|sst2|"),
        (["--task", "rte"], 2, "no RTE/train.tsv, RTE/dev.tsv; give the folder that has RTE/"),
        (["--task", "all", "--data", "nowhere"], 2, "nowhere: none of CoLA/"),
        (["--task", "all", "--resume"], 2, "no task's run there to go on with"),
        (["--task", "SST-2", "--max-tokens", 4], 2, "--max-tokens is 4"),
        (["--task", "sst2", "--max-tokens", 65], 2, "examples of 65 tokens, and the model has 64 positions"),
        (["--task", "sst2", "--examples", 1], 2, "--examples is 1"),
        (["--task", "sst2", "--selection", 1e-9], 2, "--selection"),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code_and_nothing_is_written(
    shell: Any, model: Path, data: Path, one_line: Callable[[str], str], options: list[object], code: int, told: str
) -> None:
    ended = shell("probe", "glue", model, "--data", data, "--out", "new/run", *SHORT, *options)
    assert (ended.code, ended.out) == (code, "")
    assert told in one_line(ended.error)
    assert not Path("new").exists()


@pytest.mark.faults
@pytest.mark.slow
def test_all_tasks_killed_anywhere_go_on_to_the_figures_of_those_that_were_not(
    model: Path, data: Path, tmp_path: Path
) -> None:
    def begun(out: Path, *options: object) -> subprocess.Popen[str]:
        return begin("probe", "glue", model, "--data", data, "--task", "all", "--out", out, *options)

    options = ["--lr", 1e-3, "--save-every", 1, *SHORT, "--epochs", 4]
    assert begun(tmp_path / "whole", *options).wait() == 0
    parts = tmp_path / "parts"
    moments = [
        ("SST-2/seed-1/*/checkpoints/step-*", signal.SIGTERM),
        ("SST-2/results.json", signal.SIGKILL),
        ("STS-B/seed-1/dev/*", signal.SIGKILL),
    ]
    for pattern, number in moments:
        process = begun(parts, *(["--resume"] if parts.exists() else options))
        strike(process, parts, pattern, number)
        assert process.returncode in (128 + number, -number), pattern
    assert begun(parts, "--resume").wait() == 0
    for path in (tmp_path / "whole").glob("*/results.json"):
        assert (parts / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()
