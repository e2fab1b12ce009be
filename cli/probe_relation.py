"""`spanmask probe relation`."""

from __future__ import annotations

from typing import Any

import click

from spanmask.probes.relation.config import RelationConfig

from .commands import examples
from .probing import FilesCommand, FilesTask, model_and_files, on_files, probe_options, run_probe


@click.command(
    name="relation",
    cls=FilesCommand,
    epilog=examples(
        "spanmask probe relation run --train tacred/train.json --eval tacred/test.json --preset paper-sentences --out tacred",
        "spanmask probe relation run --train TRAIN_FILE.TXT --eval TEST_FILE_FULL.TXT --out semeval --seeds 3",
    ),
)
@model_and_files("Files to train on, of TACRED, OpenNRE or SemEval-2010.", "Files to score, once a seed.")
@probe_options(RelationConfig, "a pair of entities")
def command(model: str, train: tuple[str, ...], evaluate: tuple[str, ...], out: str, **options: Any) -> None:
    """Fine-tune MODEL on relations between two entities of a sentence, and tell how well it finds those of others.

    MODEL is a run of spanmask train, what export-model wrote, or any BERT that transformers saved. Files are TACRED's JSON, OpenNRE's
    JSON lines (wiki80 and others) or SemEval-2010 task 8's text, known by what is in them, which also says how is scored: micro-averaged
    without no_relation, macro-averaged without Other, or by accuracy. RUN gets results.json, and of each seed the predictions as spanmask
    score takes them, and the model. Grid point and epoch are chosen on a share of the training sentences; what is chosen is scored on the
    evaluation files once. An interrupt or SIGTERM ends it after the update under way, with a checkpoint that --resume goes on from; a
    second one at once.
    """

    def load() -> FilesTask:
        """Import the task."""
        from spanmask.probes.relation.task import RelationExtraction

        return RelationExtraction

    run_probe(model, out, RelationConfig, on_files(load, train, evaluate), options, noun="pair")
