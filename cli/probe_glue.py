"""`spanmask probe glue`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spanmask.config import OnError
from spanmask.errors import ConfigError
from spanmask.probes.glue.config import GlueConfig
from spanmask.probes.scores.glue import TASKS

from .commands import examples, say
from .options import GroupedCommand
from .probing import Prepared, configs_of, probe, probe_options, run_probe
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.probes.results import Results

_ALL = "all"


class _TaskName(click.Choice):  # type: ignore[type-arg] # generic from click 8.2 on
    """A task as users write it: ``cola``, ``CoLA``, ``SST-2``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name in small letters, without a hyphen."""
        return super().convert(value.lower().replace("-", ""), param, ctx)


@click.command(
    name="glue",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask probe glue run --data glue --task cola --out cola --seeds 3",
        "spanmask probe glue run --data glue --task all --preset paper-sentences --out glue-run",
    ),
)
@click.argument("model", metavar="MODEL", type=click.Path())
@click.option(
    "--data",
    type=click.Path(),
    required=True,
    metavar="DIR",
    help="The folder of GLUE, with CoLA/, MNLI/ and so on as the official download has them, or that of the task.",
)
@click.option("--task", type=_TaskName([*TASKS, _ALL]), required=True, help="Which task; all: those that are there.")
@click.option("--out", type=click.Path(), required=True, metavar="RUN", help="The run's folder; of all, one a task.")
@probe_options(GlueConfig, "a row")
def command(model: str, data: str, task: str, out: str, **options: Any) -> None:
    """Fine-tune MODEL on tasks of GLUE, and write what one submits.

    MODEL is a run of spanmask train, what export-model wrote, or any BERT that transformers saved. It is trained on train.tsv; grid point
    and epoch are chosen on a share of that, and what is chosen labels dev.tsv, which is scored, and test.tsv, whose predictions are written
    under the names of a submission: RUN/seed-1/test/CoLA.tsv. An interrupt or SIGTERM ends it after the update under way, with a checkpoint
    that --resume goes on from; a second one at once.
    """
    if task == _ALL:
        _run_all(model, Path(data), Path(out), options)
    else:
        run_probe(model, out, GlueConfig, _maker(data, task), options, noun="row")


def _maker(data: str | Path, task: str) -> Any:
    def make(prepared: Prepared, config: GlueConfig) -> Any:
        from spanmask.probes.glue.task import Glue

        return Glue(prepared.vocabulary, data, task, config, selection=prepared.selection, on_error=prepared.on_error)

    return make


def _run_all(model: str, data: Path, out: Path, options: dict[str, Any]) -> None:
    """Run one task after another, each in a folder of its own, and tell what all of them found."""
    from spanmask.probes.glue.files import lacking_in

    lacking = lacking_in(data)
    folders = {task: out / TASKS[task].folder for task in TASKS if task not in lacking}
    begun = _begun(folders, out, resume=options["resume"])
    for words in lacking.values():
        say(f"left out: {words}", err=True)
    config, _ = configs_of(f"{begun[0] if begun else out}", options, GlueConfig)
    _require_sound(data, list(folders), config.on_error)
    found: dict[str, Results] = {}
    for task, folder in folders.items():
        say(f"{folder.name} into {folder}", err=True)
        like = f"{begun[0]}" if begun and folder not in begun else None
        finished, code = probe(model, f"{folder}", GlueConfig, _maker(data, task), options, noun="row", like=like)
        if finished.results is None:
            _deliver(found, lacking, out, as_json=options["as_json"], stopped=True)
            sys.exit(code)
        found[folder.name] = finished.results
    _deliver(found, lacking, out, as_json=options["as_json"], stopped=False)


def _require_sound(data: Path, tasks: list[str], on_error: OnError) -> None:
    """Ask what all tasks need before the first training, so that none ends hours later by a row, or an extra, of a later task."""
    from spanmask.probes.glue.files import find_files
    from spanmask.probes.glue.reading import read_files

    for told in map(TASKS.__getitem__, tasks):
        for metric in told.metrics.values():
            metric(*[told.labels or ("0", "1")] * 2)
    for task in tasks:
        read_files(find_files(data, task), TASKS[task], on_error)


def _begun(folders: dict[str, Path], out: Path, *, resume: bool) -> list[Path]:
    """Return the tasks' folders that hold a run; refuse to begin where there are some, and to go on where there are none."""
    from spanmask.probes.record import RECORD

    begun = [folder for folder in folders.values() if (folder / RECORD).exists()]
    if begun and not resume:
        raise ConfigError(
            f"{begun[0]}: holds a run already; go on with it (--resume), or give another folder for {out}"
        )
    if resume and not begun:
        raise ConfigError(f"{out}: no task's run there to go on with; leave out --resume to begin one")
    return begun


def _deliver(found: dict[str, Results], lacking: dict[str, str], out: Path, *, as_json: bool, stopped: bool) -> None:
    """Tell what tasks found, by their folders."""
    if as_json:
        tasks = {name: results.to_json() for name, results in found.items()}
        print_json({"out": f"{out}", "stopped": stopped, "tasks": tasks, "left_out": list(lacking.values())})
    elif stopped:
        say("stopped; --resume goes on", err=True)
    else:
        say("\n".join(_table(found)))
        say(f"wrote {out}: of each task results.json, and of each seed predictions and the model")


def _table(found: dict[str, Results]) -> Iterator[str]:
    from .probe_display import result_lines

    width = max(map(len, found)) + 2
    for name, results in found.items():
        for line in result_lines(results):
            yield f"{name:{width}}{line}"
