"""`spanmask export-model`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spanmask.errors import ConfigError

if TYPE_CHECKING:
    from spanmask.train.checkpoint import Checkpoint


@click.command(name="export-model")
@click.argument("run", metavar="RUN", type=click.Path())
@click.option("--out", type=click.Path(), required=True, metavar="DIR", help="Folder to write.")
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="The checkpoint after this step. [the latest]")
@click.option("--overwrite", is_flag=True, help="Replace a model in --out.")
def command(run: str, out: str, step: int | None, overwrite: bool) -> None:
    """Write the model of RUN, a run of spanmask train, as a folder that transformers loads.

    DIR gets config.json, model.safetensors and the tokenizer's files, for BertModel, BertForMaskedLM and BertForPreTraining; and the span
    boundary head, if there is one, as sbo_head.safetensors, which spanmask.model.load reads too.
    """
    checkpoint = _checkpoint(Path(run), step)
    from spanmask.model import SpanBertConfig, SpanBertForPreTraining, export, read_tokenizer

    model = SpanBertForPreTraining(SpanBertConfig.from_json(checkpoint.state["model"]))
    model.load_state_dict(checkpoint.model)
    export(model, out, read_tokenizer(Path(run) / "tokenizer"), overwrite=overwrite)
    heads = "MLM and span boundary heads" if model.sbo is not None else "MLM head"
    click.echo(f"wrote {out}: step {checkpoint.step:,}, encoder with {heads}")


def _checkpoint(run: Path, step: int | None) -> Checkpoint:
    """Read a run's checkpoint of a step, or its latest.

    Raises
    ------
    ConfigError
        There is no such run, or no such checkpoint in it.
    """
    from spanmask.train.checkpoint import checkpoints_in, read_checkpoint
    from spanmask.train.run_folder import read_run

    read_run(run)
    found = {int(path.name.rpartition("-")[2]): path for path in checkpoints_in(run / "checkpoints")}
    if not found:
        raise ConfigError(f"{run}: the run has no checkpoint yet; wait for one, or resume it")
    chosen = max(found) if step is None else step
    if chosen not in found:
        there = ", ".join(f"{number:,}" for number in found)
        raise ConfigError(f"{run}: it has no checkpoint of step {chosen:,}; it has {there}: give one of these")
    return read_checkpoint(found[chosen], optimizer=False)
