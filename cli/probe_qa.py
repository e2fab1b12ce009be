"""`spanmask probe qa`."""

from __future__ import annotations

from typing import Any

import click

from spanmask.probes.qa.config import QaConfig

from .commands import examples
from .probing import FilesCommand, FilesTask, model_and_files, on_files, probe_options, run_probe


@click.command(
    name="qa",
    cls=FilesCommand,
    epilog=examples(
        "spanmask probe qa run --train train-v1.1.json --eval dev-v1.1.json --out qa --seeds 3",
        "spanmask probe qa bert --train train/*.jsonl.gz --eval dev/*.jsonl.gz --preset paper --out qa",
    ),
)
@model_and_files("Files to train on, of SQuAD or MRQA.", "Files to score, once a seed.")
@probe_options(QaConfig, "a question")
def command(model: str, train: tuple[str, ...], evaluate: tuple[str, ...], out: str, **options: Any) -> None:
    """Fine-tune MODEL on questions, and tell how well it answers others.

    MODEL is a run of spanmask train, what export-model wrote, or any BERT that transformers saved. RUN gets results.json, and of each
    seed the predictions in the official layouts and the model. Grid point, epoch and threshold are chosen on a share of the training
    passages; what is chosen answers the evaluation files once. An interrupt or SIGTERM ends it after the update under way, with a
    checkpoint that --resume goes on from; a second one at once.
    """

    def load() -> FilesTask:
        """Import the task."""
        from spanmask.probes.qa.task import QuestionAnswering

        return QuestionAnswering

    run_probe(model, out, QaConfig, on_files(load, train, evaluate), options, noun="question")
