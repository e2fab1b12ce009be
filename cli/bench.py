"""`spanmask bench`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from .commands import Group, examples, say
from .summary import print_json

Function = Callable[..., Any]


@click.group(
    name="bench",
    cls=Group,
    epilog=examples(
        "spanmask bench masking",
        "spanmask bench load corpus.txt --json load.json",
    ),
)
def command() -> None:
    """Measure this machine: one question a subcommand, against baselines that do the same work."""


def _common(function: Function) -> Function:
    """Add the options of every question."""
    for option in (
        click.option(
            "--rounds", type=click.IntRange(min=1), default=7, show_default=True, help="How often each contestant runs."
        ),
        click.option(
            "--json",
            "json_file",
            metavar="FILE",
            callback=_with_folder,
            help="Write the result as JSON to FILE; - prints it instead of the table.",
        ),
    ):
        function = option(function)
    return function


def _with_folder(_context: click.Context, _parameter: click.Parameter, path: str | None) -> str | None:
    """Refuse a file that could not be written, before anything is measured."""
    if path not in (None, "-") and not Path(path).parent.is_dir():
        raise click.UsageError(f"--json {path}: its folder is missing; create it")
    return path


def _deliver(result: Mapping[str, Any], table: Callable[[Mapping[str, Any]], str], json_file: str | None) -> None:
    from spanmask_bench.protocol import as_json

    from spanmask.storage import publish_bytes

    if json_file == "-":
        print_json(dict(result))
        return
    say(table(result).removesuffix("\n"))
    if json_file is not None:
        publish_bytes(Path(json_file), as_json(result))


@command.command(
    name="masking",
    epilog=examples(
        "spanmask bench masking",
        "spanmask bench masking --text corpus.txt --json masking.json",
    ),
)
@_common
@click.option(
    "--text", type=click.Path(exists=True, dir_okay=False), help="Take tokens from this text. [made-up tokens]"
)
@click.option("--sequences", type=click.IntRange(min=1), default=16_384, show_default=True, help="Sequences to mask.")
def masking(json_file: str | None, text: str | None, rounds: int, sequences: int) -> None:
    """Measure how fast the masking kernels are.

    Masks sequences of 510 tokens on one core, beside NumPy baselines that give the same rows, and a plain copy of them.
    Compiling is measured apart.
    """
    from spanmask_bench.masking import measure, table

    _deliver(measure(text=text, rounds=rounds, sequences=sequences), table, json_file)


@command.command(
    name="tokenize",
    epilog=examples(
        "spanmask bench tokenize",
        "spanmask bench tokenize corpus.txt --vocab cased --megabytes 4",
    ),
)
@_common
@click.argument("text", nargs=-1, metavar="[TEXT…]")
@click.option(
    "--vocab",
    metavar="NAME|PATH",
    multiple=True,
    help="May be repeated. [cased, uncased, and gpt-2, llama-3, xlm-r, which are trained]",
)
@click.option(
    "--megabytes", type=click.FloatRange(min=0, min_open=True), default=16, show_default=True, help="Of text at most."
)
@click.option(
    "--training-megabytes",
    type=click.FloatRange(min=0, min_open=True),
    default=20,
    show_default=True,
    help="Of text to train tokenizers on, once; they are kept.",
)
def tokenize(
    json_file: str | None,
    text: tuple[str, ...],
    vocab: tuple[str, ...],
    rounds: int,
    megabytes: float,
    training_megabytes: float,
) -> None:
    """Measure how fast tokenizing is.

    Tokenizes prose on one core, from TEXT (what spanmask preshard takes) or stories that ship with spanmask, code, and made-up text in
    other scripts, beside every fast tokenizer that is installed (needs the extra bench) and gives the same ids.
    """
    from spanmask_bench.tokenizing import VOCABULARIES, measure
    from spanmask_bench.tokenizing_table import table

    result = measure(
        paths=text,
        vocabularies=vocab or VOCABULARIES,
        rounds=rounds,
        megabytes=megabytes,
        training_megabytes=training_megabytes,
    )
    _deliver(result, table, json_file)


@command.command(
    name="preshard",
    epilog=examples(
        "spanmask bench preshard",
        "spanmask bench preshard corpus.txt --megabytes 64 --rounds 3",
    ),
)
@_common
@click.argument("inputs", nargs=-1, metavar="[INPUT…]")
@click.option(
    "--megabytes", type=click.FloatRange(min=0, min_open=True), default=256, show_default=True, help="Of text at most."
)
@click.option(
    "--peer-megabytes",
    type=click.FloatRange(min=0, min_open=True),
    default=4,
    show_default=True,
    help="Of it for the peers, which are slow.",
)
def preshard(
    json_file: str | None, inputs: tuple[str, ...], rounds: int, megabytes: float, peer_megabytes: float
) -> None:
    """Measure how fast presharding is, and where its time goes.

    Turns the text of INPUT, or stories that ship with spanmask, into shards on one core, beside what one would otherwise run (needs the
    extra bench); then whole runs with one job and two, their memory, and compiling.
    """
    from spanmask_bench.presharding import measure, table

    result = measure(paths=inputs, rounds=rounds, megabytes=megabytes, peer_megabytes=peer_megabytes)
    _deliver(result, table, json_file)


@command.command(
    name="load",
    epilog=examples(
        "spanmask bench load",
        "spanmask bench load corpus.txt --json load.json",
    ),
)
@_common
@click.argument("inputs", nargs=-1, metavar="[INPUT…]")
@click.option(
    "--megabytes", type=click.FloatRange(min=0, min_open=True), default=64, show_default=True, help="Of text at most."
)
@click.option(
    "--peer-sequences",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Rows for the peers, which are slow.",
)
def load(json_file: str | None, inputs: tuple[str, ...], rounds: int, megabytes: float, peer_sequences: int) -> None:
    """Measure what loading costs.

    Makes shards of the text of INPUT, or of stories that ship with spanmask, and takes whole epochs of batches from them on one core,
    padded and packed, with masks stored and fresh, beside copies of as many bytes, masking alone, and transformers' collators (needs the
    extra bench); then what comes from the disk when nothing is in memory, and what resuming takes.
    """
    from spanmask_bench.loading import measure
    from spanmask_bench.loading_table import table

    result = measure(paths=inputs, rounds=rounds, megabytes=megabytes, peer_sequences=peer_sequences)
    _deliver(result, table, json_file)


@command.command(
    name="train",
    epilog=examples(
        "spanmask bench train",
        "spanmask bench train --device cuda --model base --minutes 5",
    ),
)
@_common
@click.argument("inputs", nargs=-1, metavar="[INPUT…]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
@click.option(
    "--model",
    metavar="SIZE",
    help="Instead of mini, or on CUDA of base and large; modernbert: ModernBERT-like, bins of 2048.",
)
@click.option("--slots", type=click.IntRange(min=8), metavar="N", help="Of a bin, and tokens of the longest row. [512]")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=9,
    show_default=True,
    help="That all may take; what does not fit is left out, and said so.",
)
def train(
    json_file: str | None,
    inputs: tuple[str, ...],
    rounds: int,
    device: str,
    model: str | None,
    slots: int | None,
    minutes: float,
) -> None:
    """Measure how fast training is.

    Trains on the text of INPUT, or on stories that ship with spanmask, beside transformers (needs the extras bench and train), on all cores
    or on a GPU: the same rows, masks and weights, without dropout. Counted are tokens that are no padding.
    """
    from spanmask_bench.training import measure, plan_of
    from spanmask_bench.training_table import table

    plan = plan_of(device, model=model, slots=slots)
    _deliver(measure(paths=inputs, plan=plan, rounds=rounds, minutes=minutes), table, json_file)
