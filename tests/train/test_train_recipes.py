"""Recipes, and what becomes of a run: schedules, several datasets, means of checkpoints, the exported folder and its card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from markdown_it import MarkdownIt
from spanmask_cli.export_model import command as export_model
from spanmask_cli.train_display import plan_lines
from train.conftest import config_of
from transformers import AutoTokenizer

from spanmask.errors import ConfigError, MismatchError
from spanmask.loading import ShardLoader
from spanmask.shard.reader import open_shards
from spanmask.train import Plan, TrainConfig, Watch, load_run, read_run, train
from spanmask.train.distributed import World
from spanmask.train.model_card import model_card
from spanmask.train.optimizer import learning_rate
from spanmask.train.planning import plan_of
from spanmask.train.starting import model_config, stream_of


def test_warm_up_stable_decay_keeps_the_peak_until_the_cooldown() -> None:
    config = TrainConfig.of(steps=100, warmup=10, schedule="wsd", cooldown=20, lr=1e-3)
    rates = [learning_rate(step, config) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([1e-4 * step for step in range(1, 11)])
    assert rates[10:80] == [1e-3] * 70
    assert rates[80:] == pytest.approx([1e-3 * (101 - step) / 21 for step in range(81, 101)])
    assert TrainConfig.of(steps=100, schedule="wsd").cooldown == 20


@pytest.mark.parametrize("steps", [100, 101])
def test_the_linear_schedule_is_a_cooldown_over_all_that_follows_the_warm_up(steps: int) -> None:
    linear = TrainConfig.of(steps=steps, warmup=10)
    wsd = TrainConfig.of(steps=steps, warmup=10, schedule="wsd", cooldown=steps - 10)
    assert [learning_rate(step, linear) for step in range(1, steps + 1)] == [
        learning_rate(step, wsd) for step in range(1, steps + 1)
    ]
    assert learning_rate(11, linear) == linear.lr * (steps - 10) / (steps - 9)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cooldown": 5}, "cooldown is 5, and schedule linear has none: give wsd instead"),
        ({"schedule": "wsd", "cooldown": 95, "warmup": 10}, r"cooldown is 95: give at most the steps after .* \(90\)"),
        ({"weights": [1.0, 0.0]}, r"weights are \[1.0, 0.0\]: give each above 0, up to 1000"),
    ],
)
def test_schedules_and_weights_that_make_no_sense_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        TrainConfig.of(steps=100, **options)


def test_a_run_with_warm_up_stable_decay_goes_on_with_more_steps(shards: Path, tmp_path: Path) -> None:
    options = {"schedule": "wsd", "cooldown": 2, "warmup": 2, "save_every": 2, "keep_last": 9}
    train(shards, tmp_path / "long", config_of(steps=10, **options))
    train(shards, tmp_path / "short", config_of(steps=6, **options), stop_at=4)
    train(shards, tmp_path / "short", read_run(tmp_path / "short").config.changed(steps=10), resume=True)
    one, two = (load_run(tmp_path / name).model.state_dict() for name in ("long", "short"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def _plan(shards: Path, config: TrainConfig) -> Plan:
    opened = [open_shards(shards)]
    return plan_of(config, model_config(config, opened), 1, opened, World(device=torch.device("cpu")), 0)


def test_the_papers_schedule_for_a_base_model_says_which_it_is(shards: Path) -> None:
    paper, base = _plan(shards, TrainConfig.of()), _plan(shards, TrainConfig.of("paper-base"))
    assert "the released base model had that of --preset paper-base" in plan_lines(paper)[-1]
    assert (base.note, base.steps) == ("", 300_000)
    assert _plan(shards, TrainConfig.of(model="large")).note == ""
    config = TrainConfig.of("paper-base")
    assert (config.batch_size * config.accumulate, config.lr, config.model) == (8 * 256, 5e-4, "base")


def test_targets_go_as_far_into_a_span_as_asked_for_training_and_loading_alike(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path / "run", config_of(steps=1, max_span_offset=2))
    assert load_run(tmp_path / "run").model.config.max_span_offset == 2
    opened, config = [open_shards(shards)], config_of(max_span_offset=2)
    stream = stream_of(opened, config, model_config(config, opened), World(device=torch.device("cpu")))
    assert stream.rule is not None
    assert stream.rule.max_span_offset == 2
    batch = next(iter(ShardLoader(shards, batch_size=4, layout="packed", max_span_offset=2)))
    assert int(batch["sbo_offsets"].max()) == 1
    with pytest.raises(MismatchError, match="max_span_offset is 2, asked for is 20"):
        train(shards, tmp_path / "run", config_of(steps=2), resume=True)


def test_an_epoch_takes_each_dataset_as_often_as_its_weight_says(
    shards: Path, other_shards: Path, tmp_path: Path
) -> None:
    both = [open_shards(shards), open_shards(other_shards)]
    config = config_of(steps=2, weights=[0.5, 2.0])
    stream = stream_of(both, config, model_config(config, both), World(device=torch.device("cpu")))
    assert stream.samples == round(0.5 * len(both[0])) + 2 * len(both[1])
    seen: list[Plan] = []

    class Seen(Watch):
        def begin(self, plan: Plan) -> None:
            seen.append(plan)

    train([shards, other_shards], tmp_path / "run", config, watch=Seen())
    assert seen[0].rows == stream.samples
    with pytest.raises(ConfigError, match="for each of 1 datasets"):
        train(shards, tmp_path / "one", config)


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    config = config_of("fast", steps=6, save_every=2, keep_last=9, evaluate=True, eval_sequences=4)
    train(shards, folder, config)
    return folder


def test_a_mean_of_checkpoints_is_the_mean_of_their_parameters(run: Path) -> None:
    models = [load_run(run, step=step).model.state_dict() for step in (2, 4, 6)]
    mean = load_run(run, average=3).model.state_dict()
    assert load_run(run, average=1).model.state_dict().keys() == mean.keys()
    for name, tensor in mean.items():
        wanted = torch.stack([model[name].double() for model in models]).mean(0)
        assert torch.allclose(tensor.double(), wanted, rtol=1e-6, atol=1e-9)
    early = load_run(run, step=4, average=2).model.state_dict()
    assert any(not torch.equal(early[name], mean[name]) for name in mean)
    with pytest.raises(ConfigError, match=r"it has 2 checkpoints up to step 4, and 3 are to be averaged"):
        load_run(run, step=4, average=3)


def test_an_export_is_ready_to_be_fine_tuned_and_has_a_card(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    for more in ([], ["--average", "2", "--overwrite"]):
        ended = CliRunner().invoke(export_model, [str(run), "--out", str(out), *more])
        assert ended.exit_code == 0, ended.output
    config = json.loads((out / "config.json").read_text())
    assert (config["hidden_dropout_prob"], config["attention_probs_dropout_prob"]) == (0.1, 0.1)
    assert load_run(run).model.config.hidden_dropout == 0
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.model_max_length == 512
    assert len(tokenizer("cat " * 900, truncation=True)["input_ids"]) == 512
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: fill-mask\n")
    for told in (
        "| trained | from nothing, 6 of 6 steps, the mean of 2 checkpoints |",
        "| dropout in training | 0, of attention 0 |",
        "| held out: MLM loss | ",
        f"| datasets | {read_run(run).datasets[0]} |",
    ):
        assert told in card


@pytest.mark.parametrize("name", ["a|b", "|", "a\\|b|", "`a|b`", "a b", "<b>a|*c*"])
def test_a_card_tells_the_folder_that_a_run_began_from_whatever_its_name_is(run: Path, name: str) -> None:
    began = read_run(run)
    card = model_card(replace(began, config=began.config.changed(init_from=f"models/{name}")), (6,), ())
    tokens = MarkdownIt("commonmark").enable("table").parse(card)
    cells = [token for token in tokens if token.type == "inline" and token.children and token.level > 2]
    place = next(number for number, cell in enumerate(cells) if cell.content == "trained")
    told = cells[place + 1].children or []
    assert [child.content for child in told] == ["from ", name, ", 6 of 6 steps"]
    assert cells[place + 2].content == "batch"
