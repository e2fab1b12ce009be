"""What the commands that fine-tune a model on a task share: arguments, options, how they are put together, and what is told at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from spanmask.config import OnError
from spanmask.escaping import counted
from spanmask.options import Options, look_up
from spanmask.probes.config import PRESETS, FinetuneConfig

from .commands import say
from .ending import Request
from .options import Function, GroupedCommand, config_options, given
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.probes.finetune import Finished
    from spanmask.probes.tasks import Task
    from spanmask.vocab import Vocabulary

TaskConfig = TypeVar("TaskConfig", bound=Options)
#: Names of the command's own options, which are no configuration's.
_OWN = ("preset", "config_file", "vocab", "cased", "step", "resume", "as_json")


class FilesCommand(GroupedCommand):
    """A command that takes several files after one ``--train`` or ``--eval``, as shells expand them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line."""
        flag, spread = "", list[str]()
        for place, text in enumerate(args):
            if text.startswith("-"):
                flag = text if text in ("--train", "--eval") else ""
            elif flag and args[place - 1] != flag:
                spread.append(flag)
            spread.append(text)
        return super().parse_args(ctx, spread)


def model_and_files(trained_on: str, scored: str) -> Callable[[Function], Function]:
    """Add MODEL, ``--train``, ``--eval`` and ``--out``; the texts say what files are."""
    return _all(
        click.argument("model", metavar="MODEL", type=click.Path()),
        click.option("--train", multiple=True, required=True, metavar="FILE…", help=trained_on),
        click.option("--eval", "evaluate", multiple=True, required=True, metavar="FILE…", help=scored),
        click.option("--out", type=click.Path(), required=True, metavar="RUN", help="The run's folder."),
    )


def probe_options(asking: type[Options], faulty: str) -> Callable[[Function], Function]:
    """Add the options of every such command, those of fine-tuning and those of the task. faulty: such as “a question”."""
    preset = _begins_with(asking)
    return _all(
        click.option("--preset", type=click.Choice(list(PRESETS)), help=f"Values to begin with. [{preset}]"),
        click.option("--config", "config_file", metavar="FILE.toml", help="Options by name; flags go over them."),
        click.option("--resume", is_flag=True, help="Go on with the run in RUN, with its options and those given."),
        click.option(
            "--step", type=click.IntRange(min=1), help="Of a run of spanmask train, which checkpoint. [the latest]"
        ),
        click.option(
            "--vocab", metavar="cased|uncased|PATH", help="The model's vocabulary, where none lies beside it."
        ),
        click.option("--cased/--uncased", default=None, help="Casing of a vocabulary given as a vocab.txt."),
        click.option(
            "--on-error",
            type=click.Choice(["fail", "skip"]),
            help=f"What {faulty} that is not usable does: end it, or be counted. [fail]",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        config_options(FinetuneConfig, without=("on_error",)),
        config_options(asking),
    )


def _begins_with(asking: type[Options]) -> str:
    """Return the preset that a new run begins with, where its task's configuration names one."""
    return str(getattr(asking, "PRESET", "single"))


def _all(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    def add(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return add


class FilesTask(Protocol):
    """What makes a task of its files: the class of one such as `spanmask.probes.qa.QuestionAnswering`."""

    def __call__(
        self,
        vocabulary: Vocabulary,
        train: tuple[str, ...],
        evaluate: tuple[str, ...],
        config: Any,
        *,
        selection: float,
        on_error: OnError,
    ) -> Task:
        """Read the files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a task is made with.

    vocabulary: the model's. selection: share of what is trained on that chooses. frozen: whether the encoder stays as it is.
    """

    vocabulary: Vocabulary
    selection: float
    frozen: bool
    on_error: OnError


def on_files(
    load: Callable[[], FilesTask], train: tuple[str, ...], evaluate: tuple[str, ...]
) -> Callable[[Prepared, Any], Task]:
    """Return what makes a task of files to train on and to score. load: imports the task, and PyTorch with it, when it is wanted."""

    def make(prepared: Prepared, config: Any) -> Task:
        """Read the files."""
        selection, on_error = prepared.selection, prepared.on_error
        return load()(prepared.vocabulary, train, evaluate, config, selection=selection, on_error=on_error)

    return make


def run_probe(
    model: str,
    out: str,
    asking: type[TaskConfig],
    make: Callable[[Prepared, TaskConfig], Task],
    options: Mapping[str, Any],
    *,
    noun: str,
) -> None:
    """Fine-tune a model and tell what it found; end the process where it was asked to stop before. Arguments are those of `probe`."""
    finished, code = probe(model, out, asking, make, options, noun=noun)
    _deliver(finished, out, as_json=options["as_json"])
    if finished.results is None:
        sys.exit(code)


def probe(
    model: str,
    out: str,
    asking: type[TaskConfig],
    make: Callable[[Prepared, TaskConfig], Task],
    options: Mapping[str, Any],
    *,
    noun: str,
    like: str | None = None,
) -> tuple[Finished, int]:
    """Fine-tune a model; return what it found, and the exit code of a signal that asked it to stop before.

    Parameters
    ----------
    model, out
        Folders.
    asking
        The task's configuration.
    make
        Reads the task's files; what it returns tells under ``left_out`` what was left out, by file and fault, and under ``notes``
        more, in lines.
    options
        What `probe_options` added, as click has it.
    noun
        What is left out, such as ``question``.
    like
        The folder of another run that is gone on with: this one begins, with the options of that one.
    """
    from .probe_display import ProbeDisplay
    from .train_display import screen

    config, asked = configs_of(like or out, options, asking)
    request = Request()
    with screen(sys.stderr) as shown, ExitStack() as stack:
        shown.show(["loading PyTorch"])
        from spanmask.probes.finetune import fine_tune
        from spanmask.probes.starting import Source

        def prepare(vocabulary: Vocabulary) -> Task:
            shown.show([f"reading {noun}s"])
            prepared = Prepared(
                vocabulary=vocabulary, selection=config.selection, frozen=config.frozen, on_error=config.on_error
            )
            task = make(prepared, asked)
            for line in [*_left_out(getattr(task, "left_out", {}), noun), *getattr(task, "notes", ())]:
                shown.say(line)
            return task

        source = Source(
            model,
            dropout=config.dropout,
            step=options["step"],
            vocabulary=given_vocabulary(options["vocab"], options["cased"]),
            frozen=config.frozen,
        )
        watch = ProbeDisplay(shown, request, stack)
        resume = options["resume"] and like is None
        return fine_tune(source, prepare, out, config, resume=resume, watch=watch), request.code or 0


def configs_of(out: str, options: Mapping[str, Any], asking: type[TaskConfig]) -> tuple[FinetuneConfig, TaskConfig]:
    """Return how a command's options, as `probe_options` added them, fine-tune and ask; of a run to be resumed, that in the folder's."""
    own = {name: options[name] for name in _OWN}
    return _configs(out, own, given({name: value for name, value in options.items() if name not in own}), asking)


def _configs(
    out: str, own: Mapping[str, Any], flags: dict[str, Any], asking: type[TaskConfig]
) -> tuple[FinetuneConfig, TaskConfig]:
    """Return flags over a file over a preset; of a run to be resumed, over what it was started with."""
    file, asked = own["config_file"], asking.option_names()
    options = (
        (FinetuneConfig.read_toml(file, "preset", *asked) if file else {}) | flags | given({"preset": own["preset"]})
    )
    begins = "single" if own["resume"] else _begins_with(asking)
    options = look_up(PRESETS, options.pop("preset", begins), "preset") | options
    task = {name: options.pop(name) for name in asked if name in options}
    if not own["resume"]:
        return FinetuneConfig.of(**options), asking.of(**task)
    from spanmask.probes.record import read_probe_run

    run = read_probe_run(out)
    before = asking.of(**{name: run.protocol[name] for name in asked if name in run.protocol})
    return run.config.changed(**options), before.changed(**task)


def given_vocabulary(vocab: str | None, cased: bool | None) -> Vocabulary | None:
    """Return the vocabulary that ``--vocab`` and ``--cased`` name; None where none is given."""
    if vocab is None:
        return None
    from spanmask.config import VocabularyConfig
    from spanmask.vocab import load_vocabulary

    return load_vocabulary(VocabularyConfig(vocab=vocab, cased=cased))


def _left_out(left_out: Mapping[str, Mapping[Any, int]], noun: str) -> list[str]:
    return [
        f"{path}: {counted(sum(faults.values()), noun)} left out: "
        + ", ".join(f"{fault.replace('_', ' ')} {count:,}" for fault, count in faults.items())
        for path, faults in left_out.items()
        if faults
    ]


def _deliver(finished: Finished, out: str, *, as_json: bool) -> None:
    from .probe_display import result_lines

    results = finished.results
    if as_json:
        print_json({"out": out, "stopped": results is None, **({} if results is None else results.to_json())})
    elif results is None:
        say("stopped; --resume goes on", err=True)
    else:
        say("\n".join(result_lines(results)))
        say(f"wrote {out}: results.json, and of each seed predictions and the model")
