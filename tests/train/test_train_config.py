"""Presets are the paper's values, files and flags go over them, and the learning rate is a straight line up and one down."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from spanmask.errors import ConfigError
from spanmask.train import TrainConfig
from spanmask.train.optimizer import learning_rate


def test_the_paper_preset_has_the_papers_values() -> None:
    values = TrainConfig.of().to_json()
    expected = {
        "steps": 2_400_000,
        "warmup": 10_000,
        "lr": 1e-4,
        "beta1": 0.9,
        "beta2": 0.999,
        "weight_decay": 0.1,
        "batch_size": 256,
        "hidden_dropout": 0.1,
        "attention_dropout": 0.1,
        "attention": "sdpa",
        "masks": "fresh",
        "objective": "mlm+sbo",
        "sbo_weight": 1.0,
        "epsilon": 1e-6,
        "clip": 0.0,
        "decay": "all",
    }
    assert {name: values[name] for name in expected} == expected


def test_the_fast_preset_differs_in_dropout_and_attention_only() -> None:
    paper, fast = (TrainConfig.of(preset).to_json() for preset in ("paper", "fast"))
    changed = {name: fast[name] for name in fast if fast[name] != paper[name]}
    assert changed == {"hidden_dropout": 0.0, "attention_dropout": 0.0, "attention": "auto"}


def test_a_configuration_goes_through_json_unchanged() -> None:
    config = TrainConfig.of("fast", steps=50, edges="drop", threads=2, compile=True, init_from="somewhere")
    assert TrainConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"steps": 0}, "steps is 0: give a whole number, 1 or more"),
        ({"steps": 1.5}, "steps is 1.5: give a whole number"),
        ({"steps": 5, "warmup": 6}, "warmup is 6: give at most as many"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"objective": "nsp"}, "objective is 'nsp': give one of mlm, mlm+sbo"),
        ({"hidden_dropout": 1.0}, "hidden_dropout is 1.0"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_values_that_mean_nothing_are_refused_with_advice(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("+", r"\+")):
        TrainConfig.of(**options)
    with pytest.raises(ConfigError, match="give one of paper, paper-base, fast, cpu"):
        TrainConfig.of("slow")


def test_a_file_with_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('preset = "fast"\nlearning_rat = 3\nlr = 1e-3\n')
    with pytest.raises(ConfigError, match=r"run.toml: unknown option 'learning_rat'"):
        TrainConfig.read_toml(path, "preset")
    path.write_text('preset = "fast"\nlr = 1e-3\n')
    assert TrainConfig.read_toml(path, "preset") == {"preset": "fast", "lr": 1e-3}


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero_one_past_the_end() -> None:
    config = TrainConfig.of(steps=10, warmup=4, lr=0.5)
    rates = [Fraction(1, 4), Fraction(2, 4), Fraction(3, 4), 1]
    rates += [Fraction(part, 7) for part in (6, 5, 4, 3, 2, 1)]
    assert [learning_rate(step, config) for step in range(1, 11)] == pytest.approx([float(r) / 2 for r in rates])
    assert learning_rate(11, config) == 0
    assert learning_rate(1, TrainConfig.of(steps=4, warmup=0, lr=0.5)) == pytest.approx(0.5 * 4 / 5)


def test_few_steps_warm_up_for_a_tenth_of_them() -> None:
    assert [TrainConfig.of(steps=steps).warmup for steps in (5, 200, 99_999, 100_000)] == [0, 20, 9_999, 10_000]
