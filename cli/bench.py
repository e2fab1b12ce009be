"""`spanmask bench`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .main import visible
from .summary import print_json


@click.group(name="bench")
def command() -> None:
    """Measure this machine: one question a subcommand, against baselines that do the same work."""


@command.command(name="masking")
@click.option(
    "--json", "json_file", metavar="FILE", help="Write the result as JSON to FILE; - prints it instead of the table."
)
@click.option(
    "--text", type=click.Path(exists=True, dir_okay=False), help="Take tokens from this text. [made-up tokens]"
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=7, show_default=True, help="How often each contestant runs."
)
@click.option("--sequences", type=click.IntRange(min=1), default=16_384, show_default=True, help="Sequences to mask.")
def masking(json_file: str | None, text: str | None, rounds: int, sequences: int) -> None:
    """Measure how fast the masking kernels are.

    Masks sequences of 510 tokens on one core, beside NumPy baselines that give the same rows, and a plain copy of them.
    Compiling is measured apart.
    """
    from spanmask_bench.masking import measure, table

    from spanmask.storage import publish_bytes

    if json_file not in (None, "-") and not Path(json_file).parent.is_dir():
        raise click.UsageError(f"--json {json_file}: its folder is missing; create it")
    result = measure(text=text, rounds=rounds, sequences=sequences)
    if json_file == "-":
        print_json(result)
        return
    click.echo(visible(table(result)), nl=False)
    if json_file is not None:
        publish_bytes(Path(json_file), f"{json.dumps(result, indent=2, ensure_ascii=False, sort_keys=True)}\n".encode())
