"""`spanmask probe classify`."""

from __future__ import annotations

from typing import Any

import click

from spanmask.probes.classify.config import ClassifyConfig

from .commands import examples
from .probing import FilesCommand, FilesTask, model_and_files, on_files, probe_options, run_probe


@click.command(
    name="classify",
    cls=FilesCommand,
    epilog=examples(
        "spanmask probe classify run --train train.tsv --eval dev.tsv test.tsv --out topics --seeds 3",
        "spanmask probe classify run --train pairs.jsonl --eval held-out.jsonl --second-field reply --target numbers --out scores",
    ),
)
@model_and_files(
    "Files to train on: TSVs with a header, or JSON lines.", "Files to score, once a seed; of the same columns."
)
@probe_options(ClassifyConfig, "a row")
def command(model: str, train: tuple[str, ...], evaluate: tuple[str, ...], out: str, **options: Any) -> None:
    """Fine-tune MODEL on labelled texts, or pairs of texts, and tell how well it labels others.

    MODEL is a run of spanmask train, what export-model wrote, or any BERT that transformers saved. Labels are those of the training files;
    in a TSV a quotation mark is a character like others. RUN gets results.json, and of each seed the predictions, what is taken for what,
    and the model. Grid point and epoch are chosen on a share of the training rows; what is chosen labels the evaluation files once. An
    interrupt or SIGTERM ends it after the update under way, with a checkpoint that --resume goes on from; a second one at once.
    """

    def load() -> FilesTask:
        """Import the task."""
        from spanmask.probes.classify.task import Classify

        return Classify

    run_probe(model, out, ClassifyConfig, on_files(load, train, evaluate), options, noun="row")
