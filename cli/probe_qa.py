"""`spanmask probe qa`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from spanmask.config import OnError
from spanmask.escaping import counted
from spanmask.options import look_up
from spanmask.probes.config import PRESETS, FinetuneConfig
from spanmask.probes.qa.config import QaConfig

from .commands import examples, say
from .ending import Request
from .options import GroupedCommand, config_options, given
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.probes.finetune import Finished
    from spanmask.probes.qa.task import QuestionAnswering
    from spanmask.vocab import Vocabulary


class _FilesCommand(GroupedCommand):
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


@click.command(
    name="qa",
    cls=_FilesCommand,
    epilog=examples(
        "spanmask probe qa run --train train-v1.1.json --eval dev-v1.1.json --out qa --seeds 3",
        "spanmask probe qa bert --train train/*.jsonl.gz --eval dev/*.jsonl.gz --preset paper --out qa",
    ),
)
@click.argument("model", metavar="MODEL", type=click.Path())
@click.option("--train", multiple=True, required=True, metavar="FILE…", help="Files to train on, of SQuAD or MRQA.")
@click.option("--eval", "evaluate", multiple=True, required=True, metavar="FILE…", help="Files to score, once a seed.")
@click.option("--out", type=click.Path(), required=True, metavar="RUN", help="The run's folder.")
@click.option("--preset", type=click.Choice(list(PRESETS)), help="Values to begin with. [single]")
@click.option("--config", "config_file", metavar="FILE.toml", help="Options by name; flags go over them.")
@click.option("--resume", is_flag=True, help="Go on with the run in RUN, with its options and those given.")
@click.option("--step", type=click.IntRange(min=1), help="Of a run of spanmask train, which checkpoint. [the latest]")
@click.option("--vocab", metavar="cased|uncased|PATH", help="The model's vocabulary, where none lies beside it.")
@click.option("--cased/--uncased", default=None, help="Casing of a vocabulary given as a vocab.txt.")
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    help="What a question that is not usable does: end it, or be counted.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@config_options(FinetuneConfig)
@config_options(QaConfig)
def command(
    model: str,
    train: tuple[str, ...],
    evaluate: tuple[str, ...],
    out: str,
    resume: bool,
    step: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Fine-tune MODEL on questions, and tell how well it answers others.

    MODEL is a run of spanmask train, what export-model wrote, or any BERT that transformers saved. RUN gets results.json, and of each
    seed the predictions in the official layouts and the model. Grid point, epoch and threshold are chosen on a share of the training
    passages; what is chosen answers the evaluation files once. An interrupt or SIGTERM ends it after the update under way, with a
    checkpoint that --resume goes on from; a second one at once.
    """
    from .probe_display import ProbeDisplay
    from .train_display import screen

    own = {name: options.pop(name) for name in ("preset", "config_file", "on_error", "vocab", "cased")}
    config, asking = _configs(out, own, given(options), resume=resume)
    request = Request()
    with screen(sys.stderr) as shown, ExitStack() as stack:
        shown.show(["loading PyTorch"])
        from spanmask.probes.finetune import fine_tune
        from spanmask.probes.qa.task import QuestionAnswering
        from spanmask.probes.starting import Source

        def prepare(vocabulary: Vocabulary) -> QuestionAnswering:
            shown.show(["reading questions"])
            task = QuestionAnswering(
                vocabulary, train, evaluate, asking, selection=config.selection, on_error=OnError(own["on_error"])
            )
            for line in _left_out(task):
                shown.say(line)
            return task

        source = Source(model, dropout=config.dropout, step=step, vocabulary=_vocabulary(own))
        watch = ProbeDisplay(shown, request, stack)
        finished = fine_tune(source, prepare, out, config, resume=resume, watch=watch)
    _deliver(finished, out, as_json=as_json)
    if finished.results is None:
        sys.exit(request.code or 0)


def _configs(out: str, own: dict[str, Any], flags: dict[str, Any], *, resume: bool) -> tuple[FinetuneConfig, QaConfig]:
    """Return flags over a file over a preset; of a run to be resumed, over what it was started with."""
    file, asked = own["config_file"], QaConfig.option_names()
    options = (
        (FinetuneConfig.read_toml(file, "preset", *asked) if file else {}) | flags | given({"preset": own["preset"]})
    )
    options = look_up(PRESETS, options.pop("preset", "single"), "preset") | options
    asking = {name: options.pop(name) for name in asked if name in options}
    if not resume:
        return FinetuneConfig.of(**options), QaConfig.of(**asking)
    from spanmask.probes.record import read_probe_run

    run = read_probe_run(out)
    before = QaConfig.of(**{name: run.protocol[name] for name in asked if name in run.protocol})
    return run.config.changed(**options), before.changed(**asking)


def _vocabulary(own: dict[str, Any]) -> Vocabulary | None:
    if own["vocab"] is None:
        return None
    from spanmask.config import VocabularyConfig
    from spanmask.vocab import load_vocabulary

    return load_vocabulary(VocabularyConfig(vocab=own["vocab"], cased=own["cased"]))


def _left_out(task: QuestionAnswering) -> list[str]:
    return [
        f"{path}: {counted(sum(faults.values()), 'question')} left out: "
        + ", ".join(f"{fault.replace('_', ' ')} {count:,}" for fault, count in faults.items())
        for path, faults in task.left_out.items()
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
