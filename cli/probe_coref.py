"""`spanmask probe coref`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from spanmask.probes.coref.config import CorefConfig

from .commands import examples
from .probing import FilesCommand, FilesTask, Prepared, model_and_files, on_files, probe_options, run_probe

if TYPE_CHECKING:
    from spanmask.probes.tasks import Task


@click.command(
    name="coref",
    cls=FilesCommand,
    epilog=examples(
        "spanmask probe coref run --train litbank.tar.gz --eval litbank.tar.gz --fold 1/10 --out coref",
        "spanmask probe coref run --train ontonotes/train --eval ontonotes/test --out boundaries --frozen --head-lr 1e-3",
    ),
)
@model_and_files(
    "Files to train on, of CoNLL-2012, or folders or tar archives of them.",
    "Files, folders or archives to score, once a seed.",
)
@probe_options(CorefConfig, "a bracket without its other half")
def command(model: str, train: tuple[str, ...], evaluate: tuple[str, ...], out: str, **options: Any) -> None:
    """Fine-tune MODEL on coreference, and tell how well it finds the entities of other documents.

    MODEL is a run of spanmask train, what export-model wrote, or any BERT that transformers saved. Documents are read in segments, each
    encoded by itself; mentions and antecedents follow from the states of their first and last pieces. Grid point and epoch are chosen on a
    share of the training documents. RUN gets results.json, and of each seed predictions.conll of each evaluation file, which spanmask score
    coref and the official scorer take. An interrupt or SIGTERM ends it after the update under way, with a checkpoint that --resume goes on
    from; a second one at once.
    """

    def load() -> FilesTask:
        """Import the task."""
        from spanmask.probes.coref.task import Coreference

        return Coreference

    def make(prepared: Prepared, config: CorefConfig) -> Task:
        """Read the files, with the head that a frozen encoder wants."""
        return on_files(load, train, evaluate)(prepared, config.settled(frozen=prepared.frozen))

    run_probe(model, out, CorefConfig, make, options, noun="mention")
