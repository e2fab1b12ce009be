"""`spanmask train`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Any

import click

from spanmask.options import kinds
from spanmask.train.config import PRESETS, TrainConfig

from .progress import duration
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.train.loop import Finished, Progress

#: Options by name, with their help.
_HELP = {
    "model": "tiny, mini, small, medium, base or large. [base]",
    "init_from": "Folder with a BERT to go on from, as transformers saves it.",
    "hidden": "Width, instead of the model's.",
    "layers": "Layers, instead of the model's.",
    "heads": "Attention heads, instead of the model's.",
    "intermediate": "Width of the feed-forward layers, instead of the model's.",
    "max_positions": "Longest sequence the model takes. [512]",
    "objective": "What is trained. [mlm+sbo]",
    "sbo_weight": "What the span boundary loss is multiplied with. [1]",
    "attention": "How attention is computed. [sdpa; preset fast: auto]",
    "hidden_dropout": "[0.1; preset fast: 0]",
    "attention_dropout": "[0.1; preset fast: 0]",
    "steps": "Updates. [2400000]",
    "warmup": "Updates until the learning rate's peak. [10000, of few steps a tenth]",
    "lr": "Peak of the learning rate, which then falls to 0. [1e-4]",
    "batch_size": "Bins of a micro-batch on each rank. [256]",
    "accumulate": "Micro-batches of an update. [1]",
    "beta1": "Of AdamW. [0.9]",
    "beta2": "Of AdamW. [0.999]",
    "epsilon": "Of AdamW. [1e-6]",
    "weight_decay": "Decoupled. [0.1]",
    "decay": "Which parameters decay. [all]",
    "clip": "Largest norm of the gradient; 0: any. [0]",
    "seed": "Of initial weights, dropout and order. [0]",
    "masks": "Those stored, or fresh ones each epoch. [fresh]",
    "edges": "Whether a special token may be a span's boundary. [by the dataset's scheme]",
    "width": "Slots of a bin. [the longest sequence the dataset allows]",
    "window": "Sequences that are packed together. [4096]",
    "save_every": "Updates between checkpoints; 0: at the end only. [10000]",
    "keep_last": "Checkpoints that stay. [3]",
    "log_every": "Updates between lines of metrics. [100]",
    "eval_every": "Updates between evaluations. [at the end only]",
    "device": "[auto]",
    "dtype": "What an update computes in. [auto: bf16 on CUDA, else fp32]",
    "threads": "Threads of the CPU. [as torch has it]",
}
_SWITCHES = [
    click.option("--compile/--no-compile", "compile", default=None, help="Compile the update. [on for CUDA]"),
    click.option("--eval/--no-eval", "evaluate", default=None, help="Measure the validation split at the end."),
]

Function = Callable[..., Any]


def _train_options(function: Function) -> Function:
    """Add the options that make a `TrainConfig`; none has a default, so that a file's values stand."""
    options = [
        click.option(f"--{name.replace('_', '-')}", type=_type(kinds(TrainConfig)[name].type), help=told)
        for name, told in _HELP.items()
    ]
    for option in reversed([*options, *_SWITCHES]):
        function = option(function)
    return function


def _type(kind: type[Any]) -> Any:
    return click.Choice([str(item) for item in kind]) if issubclass(kind, StrEnum) else kind


@click.command(name="train")
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path())
@click.option("--out", type=click.Path(), required=True, metavar="RUN", help="The run's folder.")
@click.option("--preset", type=click.Choice(list(PRESETS)), help="Values to begin with. [paper]")
@click.option("--config", "config_file", metavar="FILE.toml", help="Options by name; flags go over them.")
@click.option("--resume", is_flag=True, help="Go on from RUN's latest checkpoint, with RUN's options and those given.")
@click.option("--allow-other-data", is_flag=True, help="With --resume: DIR may be another dataset than the run's.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@_train_options
def command(
    folders: tuple[str, ...],
    out: str,
    preset: str | None,
    config_file: str | None,
    resume: bool,
    allow_other_data: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on the dataset in DIR; under torchrun, on all its processes.

    RUN gets checkpoints, metrics.jsonl, and curves.html. Without options it is the paper's schedule for a base model; --preset fast has no
    dropout.
    """
    given = {name: value for name, value in options.items() if value is not None}
    config = _config(out, preset, config_file, given, resume=resume)
    from spanmask.train.loop import train

    with _display(sys.stderr) as on_progress:
        finished = train(
            list(folders), out, config, resume=resume, allow_other_data=allow_other_data, on_progress=on_progress
        )
    if finished.rank == 0:
        _deliver(finished, out, as_json=as_json)


def _config(out: str, preset: str | None, file: str | None, flags: dict[str, Any], *, resume: bool) -> TrainConfig:
    """Return flags over a file over a preset; of a run to be resumed, over what it was started with."""
    options = (TrainConfig.read_toml(file, "preset") if file else {}) | flags
    preset = preset or options.pop("preset", None)
    options.pop("preset", None)
    if not resume:
        return TrainConfig.of(preset or "paper", **options)
    from spanmask.train.run_folder import read_run

    return read_run(out).config.changed(**(PRESETS[preset] if preset else {}) | options)


def _deliver(finished: Finished, out: str, *, as_json: bool) -> None:
    if as_json:
        result = {"out": out, "step": finished.step, "parameters": finished.parameters}
        print_json({**result, "metrics": finished.metrics, "evaluation": finished.evaluation})
        return
    told = finished.evaluation
    if told is not None:
        losses = ", ".join(
            f"{name.upper()} loss {told[f'{name}_loss']:.4f}" for name in ("mlm", "sbo") if told[f"{name}_loss"]
        )
        click.echo(f"validation: {losses}, MLM accuracy {told['mlm_accuracy'] or 0:.2%}")
    click.echo(f"wrote {out}: step {finished.step:,}, {finished.parameters:,} parameters; curves in {out}/curves.html")


@contextmanager
def _display(stream: IO[str]) -> Iterator[Callable[[Progress], None]]:
    """Show steps on a terminal while the body runs, or a line for each line of metrics elsewhere; yield what to call."""
    if not stream.isatty():
        yield lambda progress: _print(progress, stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.percentage:>3.0f}%"), BarColumn(), TextColumn("{task.fields[status]}"))
    with Bars(*columns, console=Console(file=stream), transient=True) as bars:
        bar = bars.add_task("train", total=None, status="starting")
        latest = [""]

        def show(progress: Progress) -> None:
            if progress.line is not None:
                latest[:] = [f"{metrics_text(progress.line)} · "]
            status = f"{latest[0]}{time_left(progress)} left"
            bars.update(bar, total=progress.steps, completed=progress.step, status=status)

        yield show


def _print(progress: Progress, stream: IO[str]) -> None:
    if progress.line is not None:
        text = (
            f"step {progress.step:,} of {progress.steps:,} · {metrics_text(progress.line)} · {time_left(progress)} left"
        )
        print(text, file=stream, flush=True)


def metrics_text(line: dict[str, Any]) -> str:
    """Return a line of metrics as people read it."""
    parts = [
        f"{name.upper()} {line[f'{name}_loss']:.4f}" for name in ("mlm", "sbo") if line[f"{name}_loss"] is not None
    ]
    parts += [f"{line['tokens_per_second']:,.0f} tokens/s"]
    return " · ".join([*parts, *([f"MFU {line['mfu']:.1%}"] if line["mfu"] is not None else [])])


def time_left(progress: Progress) -> str:
    """Return how long the steps left will take, by the speed so far."""
    done = progress.step - progress.first
    return duration((progress.steps - progress.step) * progress.seconds / max(done, 1))
