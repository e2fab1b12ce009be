"""`spanmask train`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from spanmask.train.config import PRESETS, TrainConfig, preset_options
from spanmask.train.watching import Watch

from .commands import examples, say
from .ending import Request
from .options import GroupedCommand, config_options, given
from .progress import duration
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.train import Finished, Progress


@click.command(
    name="train",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask train shards --out run --model small --preset fast --steps 20000",
        "spanmask train shards --out run --resume --steps 40000",
    ),
)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path())
@click.option("--out", type=click.Path(), required=True, metavar="RUN", help="The run's folder.")
@click.option("--preset", type=click.Choice(list(PRESETS)), help="Values to begin with. [paper]")
@click.option("--config", "config_file", metavar="FILE.toml", help="Options by name; flags go over them.")
@click.option("--resume", is_flag=True, help="Go on from RUN's latest checkpoint, with RUN's options and those given.")
@click.option("--allow-other-data", is_flag=True, help="With --resume: DIR may be another dataset than the run's.")
@click.option("--stop-at", type=click.IntRange(min=1), metavar="STEP", help="End after this step, as if interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@config_options(TrainConfig, compile="--compile/--no-compile", evaluate="--eval/--no-eval")
def command(
    folders: tuple[str, ...],
    out: str,
    preset: str | None,
    config_file: str | None,
    resume: bool,
    allow_other_data: bool,
    stop_at: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on the dataset in DIR; under torchrun, on all its processes.

    RUN gets checkpoints, metrics.jsonl, and curves.html. An interrupt, SIGTERM or SIGUSR1 ends it after the update under way, with a
    checkpoint that --resume goes on from; a second one at once. Without options it is the paper's schedule for a base model; --preset fast
    has no dropout.
    """
    config = _config(out, preset, config_file, given(options), resume=resume)
    from spanmask.train import train

    request = Request()
    with _display(sys.stderr) as on_progress, ExitStack() as stack:
        watch = _Watch(on_progress, request, stack)
        options = {"resume": resume, "allow_other_data": allow_other_data, "stop_at": stop_at}
        finished = train(list(folders), out, config, watch=watch, **options)
    if finished.rank == 0:
        _deliver(finished, out, as_json=as_json)
    if finished.stopped:
        sys.exit(request.code or 0)


class _Watch(Watch):
    """Ends training in order when a signal asks for it, from the first update on; before it there is nothing to lose."""

    def __init__(self, on_progress: Callable[[Progress], None], request: Request, stack: ExitStack) -> None:
        super().__init__(on_progress)
        self._request, self._stack = request, stack

    def begin(self) -> None:
        self._stack.enter_context(self._request.noting())

    def stopping(self) -> bool:
        return self._request.code is not None


def _config(out: str, preset: str | None, file: str | None, flags: dict[str, Any], *, resume: bool) -> TrainConfig:
    """Return flags over a file over a preset; of a run to be resumed, over what it was started with."""
    options = (TrainConfig.read_toml(file, "preset") if file else {}) | flags | given({"preset": preset})
    options = preset_options(options.pop("preset", "paper")) | options
    if not resume:
        return TrainConfig.of(**options)
    from spanmask.train.record import read_run

    return read_run(out).config.changed(**options)


def _deliver(finished: Finished, out: str, *, as_json: bool) -> None:
    if as_json:
        result = {name: getattr(finished, name) for name in ("step", "parameters", "stopped")} | {"out": out}
        print_json({**result, "metrics": finished.metrics, "evaluation": finished.evaluation})
        return
    if finished.stopped:
        say(f"stopped at step {finished.step:,}; --resume goes on", err=True)
        return
    told = finished.evaluation
    if told is not None:
        losses = ", ".join(
            f"{name.upper()} loss {told[f'{name}_loss']:.4f}" for name in ("mlm", "sbo") if told[f"{name}_loss"]
        )
        say(f"validation: {losses}, MLM accuracy {told['mlm_accuracy'] or 0:.2%}")
    say(f"wrote {out}: step {finished.step:,}, {finished.parameters:,} parameters; curves in {out}/curves.html")


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
