"""`spanmask probe`: a model of ours in, figures, predictions and a model out; ended anywhere, it goes on; what is wrong is one line."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from commands import begin, strike
from probe_options import probe_options
from probes.asked import paragraphs, write_questions
from probes.ordering import small_model
from spanmask_cli.probe_display import result_lines
from spanmask_cli.probing import _configs

from spanmask.errors import ConfigError
from spanmask.model import load_finetuned
from spanmask.probes import read_questions, read_results
from spanmask.probes.qa.config import QaConfig
from spanmask.probes.record import read_probe_run
from spanmask.probes.results import Named, Results, SeedResult

#: Of windows that most passages need two of, and of the smallest run.
ASKING = ["--window", 40, "--stride", 16, "--max-question", 16, "--max-answer", 8]
TUNING = ["--epochs", 1, "--batch-size", 8, "--selection", 0.2, "--log-every", 4, "--threads", 1, "--device", "cpu"]
#: Options that every task has, with what they can be.
SHARED: dict[str, Any] = (
    dict.fromkeys(["--out", "--config", "--resume", "--step", "--vocab", "--json", "--cased", "--uncased"])
    | {"--preset": ["single", "paper", "paper-sentences", "coref", "paper-coref"], "--on-error": ["fail", "skip"]}
    | dict.fromkeys(["--lr", "--head-lr", "--batch-size", "--epochs", "--warmup", "--seeds", "--beta1", "--beta2"])
    | dict.fromkeys(["--epsilon", "--weight-decay", "--clip", "--dropout", "--frozen", "--selection"])
    | dict.fromkeys(["--evals-per-epoch", "--save-every", "--save-minutes", "--log-every", "--bins", "--threads"])
    | {"--device": ["auto", "cpu", "cuda"], "--dtype": ["auto", "bf16", "fp32"]}
)
TASKS = {
    "classify": SHARED
    | dict.fromkeys(
        ["--train", "--eval", "--text-field", "--second-field", "--label-field", "--max-tokens", "--examples"]
    )
    | {"--target": ["labels", "numbers"]},
    "glue": SHARED
    | dict.fromkeys(["--data", "--max-tokens", "--examples"])
    | {"--task": ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "all"]},
    "coref": SHARED
    | dict.fromkeys(["--train", "--eval", "--segment", "--max-segments", "--max-span", "--top-spans", "--ffnn"])
    | dict.fromkeys(["--head-dropout", "--fold"])
    | {"--singletons": ["auto", "learn", "ignore"]},
    "ner": SHARED | dict.fromkeys(["--train", "--eval", "--window"]) | {"--tags": ["auto", "iob1", "iob2", "iobes"]},
    "qa": SHARED
    | dict.fromkeys(["--train", "--eval", "--window", "--stride", "--max-question", "--n-best", "--max-answer"])
    | {"--stride-is": ["step", "overlap"]},
    "relation": SHARED
    | dict.fromkeys(["--train", "--eval", "--window"])
    | {"--entities": ["auto", "types", "markers"], "--marks": ["unused", "words"]},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("files")
    train, other, dev = (
        write_questions(folder / f"{name}.json", first, count)
        for name, first, count in (("train", 0, 16), ("other", 60, 8), ("dev", 120, 5))
    )
    return ["--train", train, other, "--eval", dev]


@pytest.mark.parametrize("name", TASKS)
def test_a_tasks_options_are_those_promised(name: str) -> None:
    assert {
        flag: list(option.type.choices) if isinstance(option.type, click.Choice) else None
        for option in probe_options(name)
        for flag in (*option.opts, *option.secondary_opts)
    } == TASKS[name]


def test_a_run_ends_in_figures_that_score_gives_of_its_predictions_and_a_model(
    shell: Any, model: Path, files: list[object]
) -> None:
    ended = shell("probe", "qa", model, *files, "--out", "run", "--seeds", "2,5", *TUNING, *ASKING, "--json")
    assert ended.code == 0, ended.error
    told = json.loads(ended.out)
    results = read_results("run")
    assert told == json.loads(json.dumps({"out": "run", "stopped": False, **results.to_json()}))
    assert [one.seed for one in results.seeds] == [2, 5]
    assert [file.name for file in results.train] == ["train.json", "other.json"]
    for one in results.seeds:
        folder = Path("run") / f"seed-{one.seed}"
        scored = shell("score", "squad", files[-1], folder / "dev" / "predictions.json", "--json")
        assert json.loads(scored.out) == pytest.approx(one.scores["dev"])
        questions = read_questions("run", one.seed)
        assert 100 * questions.f1.mean() == pytest.approx(one.scores["dev"]["f1"])
        assert load_finetuned(folder / "model").head.dense.out_features == 2
        assert one.chosen["epoch"] == pytest.approx(1, abs=0.2)
    assert "training 1 of 2: seed-2/lr-3e-05-batch-8\n" in ended.error
    assert "drawn anew: head.dense.weight, head.dense.bias\n" in ended.error
    again = shell("probe", "qa", model, *files, "--out", "run", "--resume")
    assert again.out.startswith("dev: exact_match ")
    assert "(mean ± standard deviation of 2 seeds)\nwrote run: " in again.out
    ended = shell("probe", "qa", model, *files, "--out", "run", *TUNING, *ASKING)
    assert (ended.code, ended.error.count("\n")) == (2, 1)
    assert "holds a run already; go on with it (--resume)" in ended.error
    ended = shell("probe", "qa", model, *files, "--out", "run", "--resume", "--lr", 1e-3)
    assert ended.code == 2
    assert "the run differs: lr was [3e-05], is [0.001]; resume it as it was begun" in ended.error


@pytest.mark.slow
def test_questions_that_were_learnt_are_answered(shell: Any, model: Path, tell: Callable[[str], None]) -> None:
    """Scored on the very questions it was trained on, where positions, windows and answers must fit each other."""
    asked = write_questions(shell.folder / "asked.json", 0, 16)
    line = ["probe", "qa", model, "--train", asked, "--eval", asked, *TUNING, "--selection", 0.15, "--dropout", 0]
    line += ["--window", 64, "--max-question", 16, "--max-answer", 8]
    found = {}
    for name, options in {"untrained": ["--lr", 1e-12], "trained": ["--lr", 5e-3, "--epochs", 60]}.items():
        ended = shell(*line, "--out", name, *options)
        assert ended.code == 0, ended.error
        found[name] = read_results(name).mean["asked"]["f1"]
    tell(f"F1 {found['untrained']:.1f} untrained, {found['trained']:.1f} trained")
    assert found["untrained"] < 25
    assert found["trained"] > 50


def test_options_come_from_flags_over_a_file_over_a_preset(shell: Any) -> None:
    own = {"config_file": None, "preset": None, "resume": False}
    config, asking = _configs("run", {**own, "preset": "paper"}, {"epochs": 1}, QaConfig)
    assert (len(config.grid), config.epochs, asking) == (10, 1, QaConfig())
    toml = shell.write("probe.toml", 'preset = "paper"\nlr = [1e-4]\nwindow = 100\nseeds = "2"\n')
    config, asking = _configs("run", {**own, "config_file": toml}, {"stride": 20}, QaConfig)
    assert (config.lr, config.batch_size, config.seed_numbers) == ((1e-4,), (16, 32), (1, 2))
    assert (asking.window, asking.stride) == (100, 20)
    wrong = shell.write("wrong.toml", "windw = 3\n")
    with pytest.raises(ConfigError, match="unknown option 'windw'; did you mean 'window'"):
        _configs("run", {**own, "config_file": wrong}, {}, QaConfig)


def test_what_a_run_of_counts_and_rates_found_is_told_in_a_line_a_file() -> None:
    seeds = [
        SeedResult(seed=seed, chosen={}, scores={"dev": {"f1": f1, "total": 1234}})
        for seed, f1 in ((1, 50.0), (2, 53.0))
    ]
    named = Named(name="dev", sha256="0" * 64)
    for some, told in ((seeds[:1], "dev: f1 50.00, total 1,234"), (seeds, "dev: f1 51.50 ± 2.12, total 1,234 (mean ±")):
        results = Results(task="qa", model=named, train=(), eval=(named,), metric="f1", seeds=tuple(some))
        (line,) = result_lines(results)
        assert line.startswith(told)


@pytest.mark.parametrize(("fold", "told"), [(None, ["copy"]), ("", ["copy"]), ("1/10", [])])
def test_files_that_were_trained_on_are_told_by_their_content_but_where_a_fold_divides_them(
    fold: str | None, told: list[str]
) -> None:
    train, copy, other = (
        Named(name=name, sha256=sha256) for name, sha256 in (("a.tsv", "1"), ("copy", "1"), ("a", "2"))
    )
    seed = SeedResult(seed=1, chosen={}, scores={"copy": {"f1": 1.0}, "a": {"f1": 0.5}})
    protocol = {} if fold is None else {"fold": fold}
    results = Results(
        task="any", model=other, train=(train,), eval=(copy, other), metric="f1", seeds=(seed,), protocol=protocol
    )
    lines = [line for line in result_lines(results) if ": trained on too" in line]
    assert [line.split(":")[0] for line in lines] == told


def _broken(**changes: Any) -> str:
    held = paragraphs(0, 6)
    held[1]["qas"][0] |= changes
    return json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": held}]})


def _answer(text: str, start: int) -> dict[str, Any]:
    return {"answers": [{"text": text, "answer_start": start}]}


@pytest.mark.parametrize(
    ("content", "options", "code", "told"),
    [
        ("{", [], 5, "train.json"),
        ("[]", [], 2, "train.json"),
        (_broken(**_answer("of", 100_000)), [], 5, "train.json"),
        (_broken(**_answer("nowhere", 0)), [], 5, "train.json"),
        (_broken(id=None), [], 5, "train.json"),
        (_broken(), ["--train", "none.json"], 2, "none.json"),
        (_broken(), ["--eval", "none.json"], 2, "none.json"),
        (_broken(), ["--selection", 1e-9], 2, "--selection"),
        (_broken(), ["--window", 100], 2, "windows of 100 tokens, and the model has 64 positions"),
        (_broken(), ["--window", 10], 2, "--window is 10"),
        (_broken(), ["--lr", 0], 2, "--lr is"),
        (_broken(), ["--seeds", "1,1"], 2, "--seeds is '1,1'"),
        (_broken(), ["--preset", "papr"], 2, "'papr'"),
        (_broken(), ["--device", "cuda"], 2, "--device cpu"),
        (_broken(), ["--resume"], 2, "no probe.json there"),
        (_broken(), ["--step", 3], 2, "--step"),
        (_broken(), ["--vocab", "cased"], 2, "rows"),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code_and_nothing_is_written(
    shell: Any, model: Path, one_line: Callable[[str], str], content: str, options: list[object], code: int, told: str
) -> None:
    if "cuda" in options and torch.cuda.is_available():
        pytest.skip("there is CUDA")
    train, dev = shell.write("train.json", content), write_questions(shell.folder / "dev.json", 120, 3)
    line = ["--train", train, "--eval", dev, "--out", shell.folder / "new" / "run", *TUNING, *ASKING]
    ended = shell("probe", "qa", model, *line, *options)
    assert (ended.code, ended.out) == (code, "")
    assert told in one_line(ended.error)
    assert not (shell.folder / "new").exists()


def test_what_is_no_bert_is_no_model_to_begin_with(shell: Any, model: Path, files: list[object], one_line: Any) -> None:
    """Another architecture, a folder of nothing, none, and a finished run of this command."""
    other = shell.folder / "gpt"
    other.mkdir()
    content = json.loads((model / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(content | {"model_type": "gpt2"}))
    for name in ("vocab.txt", "tokenizer_config.json", "model.safetensors"):
        (other / name).write_bytes((model / name).read_bytes())
    (shell.folder / "empty").mkdir()
    for folder, told in (("gpt", "gpt2"), ("empty", "empty"), ("none", "none")):
        ended = shell("probe", "qa", shell.folder / folder, *files, "--out", "run", *TUNING, *ASKING)
        assert ended.code == 2
        assert told in one_line(ended.error)
        assert not Path("run").exists()


def test_questions_that_are_skipped_are_counted_and_told(shell: Any, model: Path, files: list[object]) -> None:
    train = shell.write("train.json", _broken(**_answer("nowhere", 0)))
    line = ["--train", train, *files[1:3], *files[-2:], "--out", "run", *TUNING, *ASKING, "--on-error", "skip"]
    ended = shell("probe", "qa", model, *line)
    assert ended.code == 0, ended.error
    assert f"{train}: 1 question left out: answer not at its offset 1\n" in ended.error
    # A run that goes on keeps what it began with, unless told otherwise.
    again = shell("probe", "qa", model, *line[:-2], "--resume")
    assert (again.code, again.out) == (0, ended.out)
    assert f"{train}: 1 question left out: answer not at its offset 1\n" in again.error
    refused = shell("probe", "qa", model, *line[:-1], "fail", "--resume")
    assert refused.code == 5
    assert (
        "(answer_not_at_its_offset); mend the file, or leave such questions out with --on-error skip" in refused.error
    )
    assert read_probe_run("run").config.on_error == "skip"


# --- Signals


def _begun(folder: Path, model: Path, files: list[object], *options: object) -> subprocess.Popen[str]:
    line = ["probe", "qa", model, *files, "--out", folder / "run", *options]
    return begin(*line, stderr=subprocess.PIPE)


def _content(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        data = path.read_bytes()
        lines = [json.loads(line) for line in data.splitlines()] if path.name == "metrics.jsonl" else []
        timeless = [{name: line[name] for name in ("step", "loss", "gradient_norm", "tokens")} for line in lines]
        found[path.relative_to(run).as_posix()] = timeless or data
    return found


@pytest.mark.faults
@pytest.mark.slow
def test_the_command_killed_anywhere_goes_on_to_the_very_files_of_one_that_was_not(
    model: Path, files: list[object], tmp_path: Path
) -> None:
    options = ["--seeds", 2, "--lr", 1e-3, "--lr", 1e-4, "--save-every", 2, *TUNING, *ASKING]
    whole = _begun(tmp_path / "whole", model, files, *options)
    assert whole.communicate()[1].count("training ") == 4
    assert whole.returncode == 0
    moments = [
        "seed-1/lr-0.001-batch-8/checkpoints/.*step*",
        "seed-1/lr-0.0001-batch-8/outcome.json",
        "seed-1/dev/*",
        "seed-2/lr-0.0001-batch-8/metrics.jsonl",
    ]
    for number, pattern in enumerate(moments):
        process = _begun(tmp_path / "parts", model, files, *(["--resume"] if number else options))
        strike(process, tmp_path / "parts" / "run", pattern)
        assert process.returncode == -signal.SIGKILL, pattern
    last = _begun(tmp_path / "parts", model, files, "--resume")
    told = last.communicate()[1]
    assert (last.returncode, told.count("training ")) == (0, 1), told
    assert _content(tmp_path / "parts" / "run") == _content(tmp_path / "whole" / "run")


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_a_checkpoint_and_says_how_to_go_on(
    model: Path, files: list[object], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    run = tmp_path / "run"
    process = _begun(tmp_path, model, files, *TUNING, *ASKING, "--epochs", 2000, "--log-every", 1)
    told = strike(process, run, "seed-1/lr-3e-05-batch-8/metrics.jsonl", number)
    assert process.returncode == code, told
    assert told.endswith("stopped; --resume goes on\n")
    folder = run / "seed-1" / "lr-3e-05-batch-8"
    (last,) = (int(path.name[5:]) for path in (folder / "checkpoints").glob("step-*"))
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"] == last
    assert not (run / ".spanmask").exists()
