"""A run that was ended anywhere and goes on is the run that was not; however its bins are divided, it is the same run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from train.conftest import NO_DROPOUT, SMALL, config_of, lines_of, losses_of, weights_of

import spanmask
from spanmask.errors import ConfigError, MismatchError
from spanmask.loading import Position
from spanmask.model import SpanBertForPreTraining, export
from spanmask.train import Progress, latest_checkpoint, load_run, read_checkpoint, train

#: Trains in a process of its own: folder, run, options as JSON, whether to resume, and the step after which it kills itself.
CHILD = """
import json, os, signal, sys
from spanmask.train import TrainConfig, train
folder, run, options, resume, last = sys.argv[1:]
def kill(progress):
    if progress.step == int(last):
        os.kill(os.getpid(), signal.SIGKILL)
train(folder, run, TrainConfig.of(**json.loads(options)), resume=resume == "resume", on_progress=kill)
"""


class StoppedError(Exception):
    """Ends a run."""


def stop_at(step: int) -> Callable[[Progress], None]:
    def look(progress: Progress) -> None:
        if progress.step == step:
            raise StoppedError

    return look


def child(*arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *prefix, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("options", [{}, {"log_every": 4, "accumulate": 2, "batch_size": 3}])
def test_a_run_that_is_resumed_is_bit_for_bit_the_one_that_went_through(
    shards: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    config = config_of(**options)
    assert config.hidden_dropout == config.attention_dropout == 0.1
    train(shards, tmp_path / "whole", config)
    for last in (3, 8, 11):
        with pytest.raises(StoppedError):
            train(shards, tmp_path / "parts", config, resume=last > 3, on_progress=stop_at(last))
    train(shards, tmp_path / "parts", config, resume=True)
    assert losses_of(tmp_path / "parts") == losses_of(tmp_path / "whole")
    assert weights_of(tmp_path / "parts", 12) == weights_of(tmp_path / "whole", 12)


def test_of_two_trainings_in_one_run_one_is_refused_and_the_other_goes_on(shards: Path, tmp_path: Path) -> None:
    run, refused = tmp_path / "run", []

    def again(progress: Progress) -> None:
        if progress.step == 7:
            for resume in (False, True):
                with pytest.raises(MismatchError, match=r"run: another spanmask process is writing it; wait for it"):
                    train(shards, run, config_of(steps=20), resume=resume)
                refused.append(lines_of(run)[-1]["step"])

    train(shards, run, config_of(), on_progress=again)
    assert refused == [7, 7]
    assert [line["step"] for line in lines_of(run)] == list(range(1, 13))
    assert not (run / ".spanmask").exists()
    train(shards, tmp_path / "alone", config_of())
    assert losses_of(run) == losses_of(tmp_path / "alone")


def test_a_run_that_is_refused_leaves_no_folder(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no run to resume"):
        train(shards, tmp_path / "new" / "run", config_of(), resume=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluation.jsonl", "curves.html", "checkpoints/step-00000002"])
def test_a_new_run_writes_over_nothing_of_anybodys(shards: Path, tmp_path: Path, name: str) -> None:
    mine = tmp_path / "run" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=rf"run: it holds {name}, which is no run's; give another"):
        train(shards, tmp_path / "run", config_of(steps=2))
    assert mine.read_text() == "mine"
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [mine]


@pytest.mark.parametrize("name", ["checkpoints", "tokenizer", "checkpoints/step-00000002", ".spanmask"])
def test_a_run_that_would_write_behind_a_link_is_refused_by_its_name(shards: Path, tmp_path: Path, name: str) -> None:
    run, mine = tmp_path / "run", tmp_path / "mine"
    train(shards, run, config_of(steps=2))
    if (run / name).exists():
        (run / name).rename(mine)
    else:
        mine.mkdir()
    (run / name).symlink_to(mine)
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    with pytest.raises(
        ConfigError, match=rf"{name}: a link to {mine}, and files would be .* behind it: remove the link"
    ):
        train(shards, run, config_of(steps=4), resume=True)
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before


def test_a_whole_run_may_lie_behind_a_link(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")
    train(shards, tmp_path / "run", config_of(steps=2))
    train(shards, tmp_path / "run", config_of(steps=3), resume=True)
    assert (tmp_path / "real" / "checkpoints" / "step-00000003").is_dir()


def test_another_seed_or_dropout_is_another_run(shards: Path, tmp_path: Path) -> None:
    for name, options in {"one": {}, "seed": {"seed": 4}, "dropout": {"hidden_dropout": 0.2}}.items():
        train(shards, tmp_path / name, config_of(steps=2, **options))
    one, seed, dropout = (losses_of(tmp_path / name) for name in ("one", "seed", "dropout"))
    assert one[0] != seed[0]
    assert one[0] != dropout[0]


def assert_close(run: Path, other: Path) -> None:
    """Every figure of every line, to 1e-5."""
    one, two = losses_of(run), losses_of(other)
    assert len(one) == len(two) > 0
    for mine, theirs in zip(one, two, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-5)


@pytest.mark.slow
def test_an_epoch_and_more_divided_into_micro_batches_is_the_same_run(shards: Path, tmp_path: Path) -> None:
    """Past the end of the epoch, whose 1,161 bins do not fill its 20th step."""
    options = {"steps": 21, "save_every": 0, "window": 4096, **NO_DROPOUT}
    train(shards, tmp_path / "whole", config_of(**options, batch_size=60))
    train(shards, tmp_path / "parts", config_of(**options, batch_size=15, accumulate=4))
    assert_close(tmp_path / "whole", tmp_path / "parts")
    latest = latest_checkpoint(tmp_path / "parts")
    assert latest is not None
    assert read_checkpoint(latest).state["stream"]["epoch"] >= 1


def test_the_loss_falls(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path / "run", config_of(steps=60, lr=5e-3, batch_size=8, save_every=0, **NO_DROPOUT))
    lines = lines_of(tmp_path / "run")
    assert lines[-1]["mlm_loss"] < lines[0]["mlm_loss"] - 0.4
    assert lines[-1]["sbo_loss"] < lines[0]["sbo_loss"] - 0.4


def test_lines_of_metrics_are_means_over_the_steps_since_the_line_before(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path / "each", config_of(steps=6))
    train(shards, tmp_path / "third", config_of(steps=6, log_every=3))
    each, third = lines_of(tmp_path / "each"), lines_of(tmp_path / "third")
    assert [line["step"] for line in third] == [3, 6]
    assert third[0]["mlm_loss"] == pytest.approx(sum(line["mlm_loss"] for line in each[:3]) / 3, rel=5e-3)
    assert third[1]["gradient_norm"] == each[5]["gradient_norm"]
    assert [line["tokens"] for line in third] == [each[2]["tokens"], each[5]["tokens"]]
    for line in third:
        assert line["loss"] == pytest.approx(line["mlm_loss"] + line["sbo_loss"])
        assert line["mfu"] is None
        assert line["tokens_per_second"] > 0
        assert line["memory"] > 1 << 20


def test_objective_mlm_trains_no_boundary_head(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path / "run", config_of(steps=2, objective="mlm"))
    line = lines_of(tmp_path / "run")[-1]
    assert line["sbo_loss"] is None
    assert line["loss"] == line["mlm_loss"]
    assert load_run(tmp_path / "run").model.sbo is None


def test_a_run_is_neither_started_over_nor_resumed_where_there_is_none(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"out is s3:/+bucket/run: a URL"):
        train(shards, "s3://bucket/run", config_of(steps=2))
    with pytest.raises(ConfigError, match="no run to resume"):
        train(shards, tmp_path / "run", config_of(steps=2), resume=True)
    train(shards, tmp_path / "run", config_of(steps=2))
    with pytest.raises(ConfigError, match=r"holds a run already.*--resume"):
        train(shards, tmp_path / "run", config_of(steps=2))


def test_a_run_goes_on_with_no_other_dataset_unless_told(
    shards: Path, other_shards: Path, cased_shards: Path, small_vocabulary: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(shards, run, config_of(steps=5))
    with pytest.raises(MismatchError, match=r"trained on \w{16}, given is \w{16}: .*--allow-other-data"):
        train(other_shards, run, config_of(steps=6), resume=True)
    with pytest.raises(MismatchError, match="checkpoint's vocabulary hashes to"):
        train(cased_shards, run, config_of(steps=6), resume=True, allow_other_data=True)
    # Another dataset is another dataset, whatever else it lacks.
    (tmp_path / "text.txt").write_text("a few words that make a sequence of some length here\n" * 20)
    options = {"vocab": small_vocabulary, "cased": True, "seed": 1, "max_tokens": 48}
    spanmask.preshard(tmp_path / "text.txt", tmp_path / "whole", spanmask.PreshardConfig.of(**options), jobs=1)
    for more in ({"evaluate": True}, {"eval_every": 2}):
        with pytest.raises(MismatchError, match="given is"):
            train(tmp_path / "whole", run, config_of(steps=6, **more), resume=True)
    with pytest.raises(ConfigError, match="no validation split"):
        train(tmp_path / "whole", run, config_of(steps=6, evaluate=True), resume=True, allow_other_data=True)
    train(other_shards, run, config_of(steps=6), resume=True, allow_other_data=True)
    assert [line["step"] for line in lines_of(run)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"hidden": 32}, "hidden is 16, asked for is 32"),
        ({"objective": "mlm"}, r"objective is mlm\+sbo, asked for is mlm"),
        ({"seed": 9}, "another stream of samples"),
    ],
)
def test_a_run_goes_on_with_no_other_shape_or_stream(
    shards: Path, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    train(shards, tmp_path / "run", config_of(steps=5))
    with pytest.raises(MismatchError, match=told):
        train(shards, tmp_path / "run", config_of(steps=6, **options), resume=True)


def test_sequences_longer_than_the_models_positions_are_refused_before_anything_is_written(
    shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"48 slots.*32 positions.*--max-tokens 32"):
        train(shards, tmp_path / "run", config_of(max_positions=32))
    assert not (tmp_path / "run" / "run.json").exists()


def test_training_goes_on_from_an_exported_model_and_refuses_shards_of_another_vocabulary(
    shards: Path, cased_shards: Path, tmp_path: Path
) -> None:
    train(shards, tmp_path / "first", config_of(steps=3, save_every=0))
    loaded = load_run(tmp_path / "first")
    model, vocabulary = loaded.model, loaded.vocabulary
    assert isinstance(model, SpanBertForPreTraining)
    export(model, tmp_path / "model", vocabulary)
    sizes = {"hidden": None, "heads": None, "intermediate": None}
    options = config_of(steps=2, init_from=str(tmp_path / "model"), lr=1e-9, **sizes, **NO_DROPOUT)
    train(shards, tmp_path / "second", options)
    again = load_run(tmp_path / "second").model.state_dict()
    assert all((again[name] - tensor).abs().max() < 1e-6 for name, tensor in model.state_dict().items())
    with pytest.raises(MismatchError, match="its vocabulary hashes to"):
        train(cased_shards, tmp_path / "third", options)
    with pytest.raises(ConfigError, match="hidden: the shape is that of"):
        train(shards, tmp_path / "third", options.changed(hidden=16))


def test_a_position_names_the_batch_that_comes_next(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path / "run", config_of(steps=2, window=4096))
    latest = latest_checkpoint(tmp_path / "run")
    assert latest is not None
    state = read_checkpoint(latest).state["stream"]
    assert Position(epoch=state["epoch"], window=state["window"], unit=state["bin"]) == Position(unit=8)


@pytest.mark.faults
@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_is_bit_for_bit_the_one_that_went_through(
    shards: Path, tmp_path: Path
) -> None:
    options = json.dumps({**SMALL, "steps": 20, "save_every": 10})
    assert child("-c", CHILD, shards, tmp_path / "whole", options, "new", -1).returncode == 0
    killed = child("-c", CHILD, shards, tmp_path / "parts", options, "new", 13)
    assert killed.returncode == -signal.SIGKILL
    assert child("-c", CHILD, shards, tmp_path / "parts", options, "resume", -1).returncode == 0
    assert losses_of(tmp_path / "parts") == losses_of(tmp_path / "whole")
    assert weights_of(tmp_path / "parts", 20) == weights_of(tmp_path / "whole", 20)


def ranks(script: Path, *arguments: object) -> None:
    """Train on two processes that torchrun starts, over loopback on a free port."""
    ended = child(script, *arguments, prefix=("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_two_ranks_are_one_with_twice_the_batch_and_each_resumes_the_other(shards: Path, tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(
        re.sub("^def kill", "import torch\ntorch.set_num_threads(1)\ndef kill", CHILD, flags=re.MULTILINE)
    )
    options = {**SMALL, **NO_DROPOUT, "evaluate": True}
    half = json.dumps({**options, "batch_size": 2})
    train(shards, tmp_path / "one", config_of(**NO_DROPOUT, evaluate=True))
    ranks(script, shards, tmp_path / "two", half, "new", -1)
    assert_close(tmp_path / "one", tmp_path / "two")
    evaluations = [lines_of(tmp_path / name, "evaluation.jsonl")[-1] for name in ("one", "two")]
    assert evaluations[0]["recovery"] == evaluations[1]["recovery"]
    assert evaluations[0]["mlm_loss"] == pytest.approx(evaluations[1]["mlm_loss"], rel=1e-5)
    with pytest.raises(StoppedError):
        train(shards, tmp_path / "one then two", config_of(**NO_DROPOUT), on_progress=stop_at(7))
    ranks(script, shards, tmp_path / "one then two", half, "resume", -1)
    assert_close(tmp_path / "one", tmp_path / "one then two")
    ended = child(
        script, shards, tmp_path / "two then one", half, "new", 7,
        prefix=("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    )  # fmt: skip
    assert ended.returncode != 0
    train(shards, tmp_path / "two then one", config_of(**NO_DROPOUT), resume=True)
    assert_close(tmp_path / "one", tmp_path / "two then one")
