"""`spanmask probe ner`."""

from __future__ import annotations

from typing import Any

import click

from spanmask.probes.ner.config import NerConfig

from .commands import examples
from .probing import FilesCommand, FilesTask, model_and_files, on_files, probe_options, run_probe


@click.command(
    name="ner",
    cls=FilesCommand,
    epilog=examples(
        "spanmask probe ner run --train train.conll --eval dev.conll test.conll --out names --seeds 3",
        "spanmask probe ner bert --train train.conll --eval test.conll --tags iob1 --window 256 --out names",
    ),
)
@model_and_files("Files to train on, CoNLL columns: a word a line, its tag last.", "Files to score, once a seed.")
@probe_options(NerConfig, "a sentence")
def command(model: str, train: tuple[str, ...], evaluate: tuple[str, ...], out: str, **options: Any) -> None:
    """Fine-tune MODEL on tagged sentences, and tell how well it finds names, or other spans with a type, in others.

    MODEL is a run of spanmask train, what export-model wrote, or any BERT that transformers saved. RUN gets results.json, and of each
    seed the predictions in columns and the model. Grid point and epoch are chosen on a share of the training sentences; what is chosen
    tags the evaluation files once. An interrupt or SIGTERM ends it after the update under way, with a checkpoint that --resume goes on
    from; a second one at once.
    """

    def load() -> FilesTask:
        """Import the task."""
        from spanmask.probes.ner.task import NamedEntities

        return NamedEntities

    run_probe(model, out, NerConfig, on_files(load, train, evaluate), options, noun="sentence")
