"""Training says what it is about to do, how far it is and what it found, on any terminal and where there is none."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from spanmask_cli.ending import Request
from spanmask_cli.progress import fitting
from spanmask_cli.train_display import Display, plan_lines, require_days, screen
from terminals import Terminal
from train.conftest import config_of, flags_of, invoke, lines_of, losses_of

from spanmask.errors import ConfigError, MissingExtraError
from spanmask.shard.reader import open_shards
from spanmask.train import Plan, Progress, TensorBoard, Watch, evaluate, train
from spanmask.train.starting import initial_model

PLAN = Plan(
    device="cpu",
    ranks=1,
    precision="fp32",
    compiled=False,
    model="tiny",
    parameters=4_385_024,
    rows=1317,
    tokens=264_864,
    update_tokens=8192,
    update_flops=1e9,
    step=0,
    steps=2000,
)


def run(*arguments: object, **options: Any) -> Result:
    return invoke(*arguments, *flags_of(**{"preset": "cpu"} | options))


def test_a_run_says_what_it_will_do_and_tells_early_how_it_goes(shards: Path, tmp_path: Path) -> None:
    found = open_shards(shards)
    ended = run(shards, "--out", tmp_path / "run", "--eval", steps=25, log_every=100, eval_every=10, eval_sequences=9)
    assert ended.exit_code == 0, ended.output
    lines = ended.stderr.splitlines()
    assert re.fullmatch(r"training tiny, [\d,]+ parameters, on cpu in fp32", lines[0])
    assert lines[1] == (
        f"data: {len(found):,} sequences, {found.split.tokens:,} tokens; 25 steps of up to 192 tokens: about "
        f"{25 * 192 / found.split.tokens:.2f} epochs"
    )
    steps = [line.split(" · ")[0] for line in lines[2:] if " · " in line]
    assert steps == [f"step {step} of 25" for step in (5, 10, 20, 25)]
    assert any(re.fullmatch(r"about 0:\d\d to the end", line) for line in lines)
    told = [line for line in lines if "validation" in line]
    assert [re.sub(r"\d+\.\d+", "x", line) for line in told] == [
        f"step {step}: validation: MLM loss x, SBO loss x, MLM accuracy x%" for step in (10, 20)
    ]
    assert ended.stdout.startswith("validation: MLM loss ")


def test_the_first_lines_of_metrics_come_at_growing_distances(shards: Path, tmp_path: Path) -> None:
    train(shards, tmp_path / "run", config_of(steps=130, log_every=60, save_every=0, batch_size=1))
    assert [line["step"] for line in lines_of(tmp_path / "run")] == [5, 10, 20, 50, 60, 120, 130]


@pytest.mark.parametrize(
    ("columns", "essential"),
    [
        (50, ["step 700 of 2,000", "left"]),
        (80, ["step 700 of 2,000", "left", "MLM 5.1000"]),
        (160, ["step 700 of 2,000", "left", "MLM 5.1000", "SBO 6.2000", "4,321 tokens/s"]),
    ],
)
def test_a_narrow_terminal_keeps_the_essentials(
    columns: int, essential: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    line = {"mlm_loss": 5.1, "sbo_loss": 6.2, "tokens_per_second": 4321.0, "mfu": None}
    shown = Terminal()
    with screen(shown) as where:
        display = Display(where, Request(), _Stack())  # type: ignore[arg-type]
        for step in (1, 700):
            display.step(Progress(step=step, steps=2000, first=0, seconds=1.0, line=line))
        where._bar._bars.refresh()  # type: ignore[attr-defined]
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())
    bars = [part for part in re.split(r"[\r\n]+", plain) if "step 700" in part]
    assert bars
    assert all(part in bars[-1] for part in essential)
    assert max(map(len, re.split(r"[\r\n]+", plain))) <= columns


class _Stack:
    def enter_context(self, _context: Any) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("room", "text"), [(3, "one"), (9, "one · two"), (8, "one"), (2, "on"), (80, "one · two · three")]
)
def test_parts_that_do_not_fit_are_left_out_from_the_end(room: int, text: str) -> None:
    assert fitting(["one", "two", "three"], room) == text


def test_a_plan_tells_compiling_ranks_and_where_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    plan = replace(PLAN, device="NVIDIA H200", ranks=8, compiled=True, step=500, precision="bf16")
    assert plan_lines(plan)[0] == "training tiny, 4,385,024 parameters, on 8 ranks, NVIDIA H200 in bf16"
    assert plan_lines(plan)[2] == "going on after step 500"
    with screen(sys.stderr) as where, ExitStack() as stack:
        Display(where, Request(), stack).begin(replace(plan, trial=lambda: 1e9))
    assert "compiling the update, once" in capsys.readouterr().err


def test_one_step_is_one() -> None:
    assert "; 1 step of up to 8,192 tokens: about 0.03 epochs" in plan_lines(replace(PLAN, steps=1))[1]
    with pytest.raises(ConfigError, match="over 1 step of 8,192 tokens"):
        require_days(replace(PLAN, step=1999), 8 * 86_400)


def test_a_run_of_more_than_a_week_on_a_cpu_is_refused_with_the_estimate_and_the_preset(
    shards: Path, tmp_path: Path
) -> None:
    ended = run(shards, "--out", tmp_path / "run", "--stop-at", 1, steps=10_000_000_000, batch_size=256)
    assert isinstance(ended.exception, ConfigError)
    assert re.match(
        r"this CPU would take about [\d,]+ days over 10,000,000,000 steps of [\d,]+ tokens: give --preset cpu, .* --yes",
        str(ended.exception),
    )
    assert not (tmp_path / "run").exists()
    ended = run(shards, "--out", tmp_path / "run", "--yes", "--stop-at", 1, steps=10_000_000_000)
    assert ended.exit_code == 0, ended.output


def test_what_a_cpu_takes_is_measured_where_it_may_be_much_and_changes_nothing(shards: Path, tmp_path: Path) -> None:
    told: list[float] = []

    class Trying(Watch):
        def begin(self, plan: Plan) -> None:
            assert plan.trial is not None
            told.extend(plan.trial() for _ in range(2))

    config = config_of(steps=3, batch_size=8, hidden_dropout=0.1)
    train(shards, tmp_path / "tried", config, watch=Trying())
    train(shards, tmp_path / "not", config)
    assert losses_of(tmp_path / "tried") == losses_of(tmp_path / "not")
    line = lines_of(tmp_path / "tried")[-1]
    # Of one order: other processes may run meanwhile.
    assert all(0.02 < line["tokens_per_second"] * seconds < 50 for seconds in told)
    tried: list[int] = []
    with screen(sys.stderr) as where, ExitStack() as stack:
        for flops, patient in ((1e9, False), (1e15, True), (1e15, False)):
            plan = replace(PLAN, update_flops=flops, trial=lambda: tried.append(1) or 1e-9)
            Display(where, Request(), stack, patient=patient).begin(plan)
    assert len(tried) == 1


@pytest.mark.parametrize(("days", "refused"), [(6.9, False), (7.1, True)])
def test_a_week_is_the_limit(days: float, refused: bool) -> None:
    if refused:
        with pytest.raises(ConfigError, match="about 7 days over 2,000 steps"):
            require_days(PLAN, days * 86_400)
    else:
        require_days(PLAN, days * 86_400)


def test_an_evaluation_of_some_sequences_tells_how_far_it_is_and_takes_no_more_than_a_batch_beyond(
    shards: Path,
) -> None:
    told: list[tuple[int, int]] = []

    class Told(Watch):
        def evaluating(self, done: int, total: int) -> None:
            told.append((done, total))

    opened, config = open_shards(shards), config_of(batch_size=2)
    model, held_out = initial_model(config, [opened]), open_shards(shards, "validation")
    whole = evaluate(model, [held_out], config, watch=Told())
    assert told[-1] == (len(held_out), len(held_out))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    told.clear()
    part = evaluate(model, [held_out], config.changed(eval_sequences=20), watch=Told())
    assert told[-1] == (20, 20)
    assert 0 < part.mlm_targets < whole.mlm_targets / 4


_WITHOUT = """
import sys
sys.modules["torch"] = None
from spanmask_cli.commands import main
for line in ("train shards --out run", "infill model x[MASK]", "export-model run --out model", "vocab a --extend b --add 3 --out c"):
    sys.argv = ["spanmask", *line.split()]
    print(main())
from spanmask.errors import MissingExtraError
try:
    from spanmask.loading import ShardLoader
except ImportError as error:
    assert isinstance(error, MissingExtraError)
    print(error, file=sys.stderr)
"""
_NEEDS = " needs PyTorch, which is not installed: pip install '.[train]' in a checkout of spanmask"


def test_without_pytorch_one_line_names_the_extra(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", _WITHOUT], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["2", "2", "2", "2"]
    told = [f"spanmask: this command{_NEEDS}"] * 4 + [f"spanmask.loading.ShardLoader{_NEEDS}"]
    assert ended.stderr.splitlines() == told
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_handed_to_a_hook_as_they_are_written(shards: Path, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []
    train(shards, tmp_path / "run", config_of(steps=4, evaluate=True, eval_sequences=5), on_metrics=lines.append)
    assert [line for line in lines if "evaluation" not in line] == lines_of(tmp_path / "run")
    assert [line["evaluation"] for line in lines if "evaluation" in line] == lines_of(
        tmp_path / "run", "evaluation.jsonl"
    )


def test_tensorboard_that_is_missing_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"--tensorboard needs .*: pip install '\.\[tensorboard\]'"):
        TensorBoard(tmp_path)


@pytest.mark.slow
def test_tensorboard_has_the_figures_of_metrics_and_evaluations(shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is the extra of that name, and not in the extra test")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "run"
    ended = run(shards, "--out", out, "--tensorboard", "--eval", steps=3)
    assert ended.exit_code == 0, ended.output
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    losses = [(one.step, one.value) for one in events.Scalars("train/loss")]
    assert losses == [(line["step"], pytest.approx(line["loss"])) for line in lines_of(out)]
    assert [one.step for one in events.Scalars("validation/mlm_loss")] == [3]
