"""`spanmask train`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spanmask.errors import ConfigError
from spanmask.options import look_up
from spanmask.train.config import OURS_ALONE, PRESETS, TrainConfig

from .commands import examples, say
from .ending import Request
from .options import GroupedCommand, config_options, given
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.train.watching import Finished


@click.command(
    name="train",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask train shards --out run --preset cpu",
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
@click.option("--yes", is_flag=True, help="Train on a CPU even if it will take more than a week.")
@click.option("--tensorboard", is_flag=True, help="Write metrics for TensorBoard, too, to RUN/tensorboard.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@config_options(TrainConfig, compile="--compile/--no-compile", evaluate="--eval/--no-eval", mmap="--mmap/--no-mmap")
def command(
    folders: tuple[str, ...],
    out: str,
    preset: str | None,
    config_file: str | None,
    resume: bool,
    allow_other_data: bool,
    stop_at: int | None,
    yes: bool,
    tensorboard: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on the dataset in DIR, or at its URL; under torchrun, on all its processes.

    RUN gets checkpoints, metrics.jsonl, and curves.html. An interrupt, SIGTERM or SIGUSR1 ends it after the update under way, with a
    checkpoint that --resume goes on from; a second one at once. Without options it is the paper's schedule for a base model; --preset fast
    has no dropout, --preset cpu is a tiny model for a laptop.
    """
    config = _config(out, preset, config_file, given(options), resume=resume)
    from .train_display import Display, screen

    request = Request()
    with screen(sys.stderr) as shown, ExitStack() as stack:
        shown.show(["loading PyTorch"])
        from spanmask.train.run import train
        from spanmask.train.tensorboard import TensorBoard

        on_metrics = TensorBoard(Path(out) / "tensorboard") if tensorboard else None
        watch = Display(shown, request, stack, patient=yes, on_metrics=on_metrics)
        going: dict[str, Any] = {"resume": resume, "allow_other_data": allow_other_data, "stop_at": stop_at}
        finished = train(list(folders), out, config, watch=watch, **going)
    if finished.rank == 0:
        _deliver(finished, out, as_json=as_json)
    if finished.stopped:
        sys.exit(request.code or 0)


def _config(out: str, preset: str | None, file: str | None, flags: dict[str, Any], *, resume: bool) -> TrainConfig:
    """Return flags over a file over a preset; of a run to be resumed, over what it was started with."""
    options = (TrainConfig.read_toml(file, "preset") if file else {}) | flags | given({"preset": preset})
    if options.get("backbone"):
        _refuse(OURS_ALONE, options)
    options = look_up(PRESETS, options.pop("preset", "paper"), "preset") | options
    if not resume:
        return TrainConfig.of(**options)
    from spanmask.train.record import read_run

    return read_run(out).config.changed(**options)


def _refuse(names: tuple[str, ...], options: dict[str, Any]) -> None:
    """Refuse options that a model of transformers does not go by, where they were given."""
    found = [name for name in names if name in options]
    if found:
        raise ConfigError(
            f"{', '.join(found)}: with backbone, these are what {options['backbone']}/config.json says; leave them out",
            options=tuple(found),
        )


def _deliver(finished: Finished, out: str, *, as_json: bool) -> None:
    if as_json:
        result = {name: getattr(finished, name) for name in ("step", "parameters", "stopped")} | {"out": out}
        print_json({**result, "metrics": finished.metrics, "evaluation": finished.evaluation})
        return
    if finished.stopped:
        say(f"stopped at step {finished.step:,}; --resume goes on", err=True)
        return
    if finished.evaluation is not None:
        from .train_display import evaluation_text

        say(evaluation_text(finished.evaluation))
    say(f"wrote {out}: step {finished.step:,}, {finished.parameters:,} parameters; curves in {out}/curves.html")
