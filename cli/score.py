"""`spanmask score`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import click

from .commands import examples


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scorer:
    """A module of `spanmask.probes.scores`. told: its figures. options: the command's that it takes. fixed: arguments of its ``score``."""

    module: str
    told: str
    options: frozenset[str] = frozenset()
    fixed: dict[str, str] = field(default_factory=dict)


#: What can be scored, by the name that users type.
TASKS = {
    "squad": _Scorer(module="squad", told="SQuAD 1.1: exact match and F1, in per cent."),
    "squad2": _Scorer(
        module="squad2", told="SQuAD 2.0: the same, with and without answers.", options=frozenset({"na_prob"})
    ),
    "mrqa": _Scorer(module="mrqa", told="MRQA: exact match and F1, in per cent."),
    "tacred": _Scorer(module="tacred", told="TACRED: micro-averaged, without no_relation."),
    "semeval": _Scorer(module="semeval", told="SemEval-2010 task 8: macro-averaged, without Other, in per cent."),
    "ner": _Scorer(module="ner", told="Spans in CoNLL columns: precision, recall and F1 as seqeval counts, in [0, 1]."),
    "gap": _Scorer(module="gap", told="GAP: overall, masculine and feminine, in per cent, and bias."),
    "coref": _Scorer(
        module="coref",
        told="Coreference (CoNLL files): MUC, B³, CEAF, BLANC and LEA, in [0, 1].",
        options=frozenset({"singletons", "on_error"}),
    ),
    **{
        f"glue-{name}": _Scorer(module="glue", told=f"GLUE: {told}.", fixed={"task": name})
        for name, told in {
            "cola": "Matthews' correlation",
            "sst2": "accuracy",
            "mrpc": "F1 and accuracy",
            "stsb": "Pearson's and Spearman's correlation",
            "qqp": "F1 and accuracy",
            "mnli": "accuracy, of the matched or the mismatched part",
            "qnli": "accuracy",
            "rte": "accuracy",
            "wnli": "accuracy",
        }.items()
    },
}
_WIDTH = max(map(len, TASKS)) + 2


@click.command(
    name="score",
    epilog="\n\n".join(
        [
            "\n".join(["\b\nTasks:", *(f"  {name:{_WIDTH}}{scorer.told}" for name, scorer in TASKS.items())]),
            examples(
                "spanmask score squad dev-v1.1.json predictions.json",
                "spanmask score squad2 dev-v2.0.json predictions.json --na-prob null_odds.json --json",
            ),
        ]
    ),
)
@click.argument("task", metavar="TASK", type=click.Choice(list(TASKS)))
@click.argument("gold", type=click.Path())
@click.argument("predictions", type=click.Path())
@click.option(
    "--na-prob",
    type=click.Path(),
    metavar="FILE",
    help="squad2: figures by question id, the higher the surer that there is no answer. Adds best_exact and best_f1, whose thresholds are "
    "chosen on GOLD itself: an oracle's.",
)
@click.option(
    "--singletons",
    type=click.Choice(["keep", "drop"]),
    help="Whether entities of one mention count (coref). [keep]",
)
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    help="What a bracket without its other half does: end it, or be left out and counted (coref). [fail]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON, under their official names.")
def command(task: str, gold: str, predictions: str, as_json: bool, **options: Any) -> None:
    """Score the file PREDICTIONS against the file GOLD, as the official program of TASK does.

    For coref, each may be a folder or a tar archive too.
    """
    scorer = TASKS[task]
    given = {name: value for name, value in options.items() if value is not None}
    for name in sorted(given.keys() - scorer.options):
        raise click.UsageError(f"--{name.replace('_', '-')} is no option of {task}")
    module = import_module(f"spanmask.probes.scores.{scorer.module}")
    figures = module.score(gold, predictions, **scorer.fixed, **given)
    click.echo(json.dumps(figures, indent=2) if as_json else getattr(module, "scorecard", _table)(figures))


def _table(figures: dict[str, Any]) -> str:
    """Return figures in lines: a name and its value, or its values by name."""
    cells = [(name, *(value.items() if isinstance(value, dict) else [("", value)])) for name, value in figures.items()]
    width = max(len(name) for name, *_ in cells) + 2
    return "\n".join(
        f"{name:{width}}" + "  ".join(f"{inner} {_shown(value)}".lstrip() for inner, value in values)
        for name, *values in cells
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
