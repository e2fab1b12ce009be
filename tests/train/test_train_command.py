"""`spanmask train` takes options from a preset, a file and flags, the later over the earlier, and tells one line of an error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from spanmask_cli.train import command
from train.conftest import invoke, lines_of, write_toml

from spanmask.errors import ConfigError, SpanmaskError
from spanmask.train import TrainConfig


def test_every_option_has_a_flag() -> None:
    flags = {parameter.name for parameter in command.params}
    assert set(TrainConfig.option_names()) <= flags


def test_flags_go_over_the_file_over_the_preset_and_a_resumed_run_keeps_its_options(
    shards: Path, tmp_path: Path
) -> None:
    file, out = write_toml(tmp_path / "run.toml", preset="fast", steps=3, hidden_dropout=0.05), tmp_path / "run"
    result = invoke(shards, "--out", out, "--config", file, "--steps", 2, "--eval", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["step"] == told["metrics"]["step"] == told["evaluation"]["step"] == 2
    assert "step 1 of 2 · MLM " in result.stderr
    config = json.loads((out / "run.json").read_text())["config"]
    assert (config["steps"], config["hidden_dropout"], config["attention_dropout"]) == (2, 0.05, 0.0)
    again = invoke(shards, "--out", out, "--resume", "--steps", 4)
    assert again.exit_code == 0, again.output
    assert "step 4" in again.stdout
    assert "validation: MLM loss " in again.stdout
    assert [line["step"] for line in lines_of(out)] == [1, 2, 3, 4]
    kept = TrainConfig.from_json(json.loads((out / "run.json").read_text())["config"])
    assert (kept.hidden, kept.hidden_dropout, kept.evaluate) == (16, 0.05, True)


def test_mistakes_are_told_before_anything_is_done(shards: Path, tmp_path: Path) -> None:
    for arguments, kind in (
        ((shards, "--out", tmp_path / "run", "--resume"), ConfigError),
        ((shards, "--out", tmp_path / "run", "--model", "huge"), ConfigError),
        ((tmp_path, "--out", tmp_path / "run", "--model", "tiny"), SpanmaskError),
    ):
        assert isinstance(invoke(*arguments).exception, kind)
    for arguments, told in (
        (("--objective", "nsp"), "--objective is 'nsp': give one of mlm, mlm+sbo, mlm+nsp, mlm+sbo+nsp"),
        (
            ("--resume", "--config", tmp_path / "preset.toml"),
            "unknown preset 'slow': give one of paper, paper-base, fast, cpu",
        ),
    ):
        (tmp_path / "preset.toml").write_text('preset = "slow"\n')
        found = invoke(shards, "--out", tmp_path / "run", *arguments).exception
        assert isinstance(found, ConfigError)
        assert str(found) == told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--cooldown", 5), "--cooldown is 5, and --schedule linear has none: give wsd instead"),
        (("--weights", 0), "--weights are [0.0]: give each above 0, up to 1000"),
        (
            ("--weights", 1, "--weights", 2),
            "--weights are [1.0, 2.0]: give one above 0, up to 1000, for each of 1 datasets",
        ),
        (
            ("--attention", "varlen"),
            "--attention varlen has no dropout, and --attention-dropout is 0.1: set it to 0, or give sdpa",
        ),
        (
            ("--init-from", "model", "--hidden", 32, "--layers", 2),
            "--hidden, --layers: the shape is that of model; leave them out",
        ),
    ],
)
def test_mistakes_name_options_of_one_word_as_they_are_typed(
    shards: Path, tmp_path: Path, arguments: tuple[object, ...], told: str
) -> None:
    found = invoke(shards, "--out", tmp_path / "run", "--yes", "--device", "cpu", *arguments).exception
    assert isinstance(found, ConfigError)
    assert str(found) == told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--attention", "varlen"), "varlen computes 16-bit floats on CUDA, found torch.float32 on cpu"),
        (
            ("--attention", "varlen", "--dtype", "bf16"),
            "varlen computes 16-bit floats on CUDA, found torch.bfloat16 on cpu",
        ),
        (("--attention", "unpadded", "--compile"), "unpadded computes on CPU, not compiled, found compiled on cpu"),
    ],
)
def test_attention_that_cannot_be_computed_is_told_before_anything_is_written(
    shards: Path, tmp_path: Path, arguments: tuple[object, ...], told: str
) -> None:
    small = ("--model", "tiny", "--hidden", 8, "--heads", 2, "--intermediate", 8, "--device", "cpu", "--yes")
    found = invoke(shards, "--out", tmp_path / "run", *small, "--attention-dropout", 0, *arguments).exception
    assert isinstance(found, ConfigError)
    assert str(found) == f"--attention {told}: give auto or sdpa"
    assert not (tmp_path / "run").exists()


def test_help_names_what_the_presets_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = invoke("--help").output
    assert "[paper|paper-base|fast|cpu]" in text
    assert "--no-compile" in text


@pytest.mark.slow
def test_under_torchrun_one_process_tells_the_result(shards: Path, tmp_path: Path) -> None:
    program = tmp_path / "spanmask"
    program.write_text(f"#!{sys.executable}\nfrom spanmask_cli.main import run\nrun()\n")
    program.chmod(0o755)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node", "2"]
    options = ["--out", tmp_path / "run", "--config", write_toml(tmp_path / "run.toml", preset="fast", steps=2)]
    ended = subprocess.run(
        [*command, program, "train", shards, *options], capture_output=True, text=True, timeout=200, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1].startswith(f"wrote {tmp_path / 'run'}: step 2, ")
    assert ended.stdout.count("wrote ") == 1
