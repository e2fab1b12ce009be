"""`spanmask export-model`."""

from __future__ import annotations

import sys

import click

from .commands import examples, say
from .options import GroupedCommand
from .progress import waiting_display


@click.command(
    name="export-model",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask export-model run --out model",
        "spanmask export-model run --out model --step 20000 --overwrite",
    ),
)
@click.argument("run", metavar="RUN", type=click.Path())
@click.option("--out", type=click.Path(), required=True, metavar="DIR", help="Folder to write.")
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="The checkpoint after this step. [the latest]")
@click.option(
    "--average", type=click.IntRange(min=1), default=1, metavar="K", help="The mean of the last K checkpoints. [1]"
)
@click.option("--overwrite", is_flag=True, help="Replace a model in --out.")
def command(run: str, out: str, step: int | None, average: int, overwrite: bool) -> None:
    """Write the model of RUN, a run of spanmask train, as a folder that transformers loads.

    DIR gets a card, config.json, model.safetensors and the tokenizer's files, for BertModel, BertForMaskedLM and BertForPreTraining, or for
    the masked language model that was trained with --backbone; and the span boundary head, if there is one, as sbo_head.safetensors, which
    spanmask.model.load_model reads too.
    """
    with waiting_display(sys.stderr, "writing the model"):
        from spanmask.train.run_folder import load_run

        loaded = load_run(run, step=step, average=average)
        loaded.export(out, overwrite=overwrite)
    heads = "MLM head" if loaded.model.sbo is None else "MLM and span boundary heads"
    say(f"wrote {out}: step {loaded.step:,}, encoder with {heads}")
