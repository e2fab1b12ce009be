"""`spanmask preshard`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from spanmask.config import (
    Format,
    Layout,
    OnError,
    PreshardConfig,
    RandomIds,
    ReplacementUnit,
    Sampler,
    Scheme,
    Segmentation,
)
from spanmask.errors import IncompleteShards

from .commands import visible
from .progress import progress_display
from .summary import dataset_summary, print_json

_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Size(click.ParamType[int]):
    """Bytes, with KiB, MiB or GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes that a size such as 32MiB says."""
        found = re.fullmatch(r"(\d+)\s*(KiB|MiB|GiB|)", str(value))
        if not found:
            self.fail(f"{value!r} is not a size: give bytes, or a number with KiB, MiB or GiB", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


def _choice(kind: Any) -> click.Choice[str]:
    return click.Choice([str(item) for item in kind])


_OPTIONS = [
    click.option("--seed", type=int, help="Masks are a function of it. Required, here or in --config."),
    click.option(
        "--vocab",
        metavar="cased|uncased|PATH",
        help="BERT's vocabularies, a vocab.txt, or any Hugging Face tokenizer.json. [cased]",
    ),
    click.option("--cased/--uncased", "cased", default=None, help="Casing of a vocabulary given as a vocab.txt."),
    click.option("--format", "format", type=_choice(Format), help="How inputs are read. [auto: by name]"),
    click.option(
        "--layout", type=_choice(Layout), help="Text: a blank line ends a document, or each line is one. [sentences]"
    ),
    click.option("--text-field", metavar="NAME", help="Field that holds the text. [text]"),
    click.option(
        "--spans-field", metavar="NAME", help="Field of [start, end) ranges in code points, for --scheme annotated."
    ),
    click.option(
        "--words-field",
        metavar="NAME",
        help="Field of code points at which words start, instead of the tokenizer's words.",
    ),
    click.option("--keep", multiple=True, metavar="NAME", help="Field to pass through to the rows; may be repeated."),
    click.option(
        "--segmentation", type=_choice(Segmentation), help="Cut documents at the last word, or line, that fits. [fill]"
    ),
    click.option("--max-tokens", type=int, help="Longest sequence, [CLS] and [SEP] included. [512]"),
    click.option("--min-tokens", type=int, help="Shortest sequence kept, counted alike. [8]"),
    click.option("--scheme", type=_choice(Scheme), help="What is drawn for masking. [span]"),
    click.option(
        "--sampler", type=_choice(Sampler), help="Of scheme span: the paper's text, or its released code. [paper]"
    ),
    click.option("--mask-ratio", type=float, help="Share of tokens masked. [0.15]"),
    click.option("--geometric-p", type=float, help="Of span lengths in words. [0.2]"),
    click.option("--max-words", type=int, help="Longest span drawn, in words. [10]"),
    click.option("--replacement-unit", type=_choice(ReplacementUnit), help="What is replaced as one. [by scheme]"),
    click.option(
        "--random-ids",
        type=_choice(RandomIds),
        help="How random replacements are drawn. [uniform; unigram for reference]",
    ),
    click.option("--mask-epoch", type=int, help="Another epoch, other masks of the same sequences. [0]"),
    click.option("--holdout", type=float, help="Share of documents that go to DIR/validation. [0]"),
    click.option("--shard-bytes", type=Size(), help="Decompressed text a shard. [32MiB]"),
    click.option(
        "--on-error", type=_choice(OnError), help="A document that cannot be read ends the run, or is left out. [fail]"
    ),
]


def corpus_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that make a `PreshardConfig`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def build_config(config_file: str | None, options: dict[str, Any]) -> PreshardConfig:
    """Return the configuration of a TOML file with flags on top."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    return PreshardConfig.of(**{**(PreshardConfig.read_toml(config_file) if config_file else {}), **given})


@click.command(name="preshard")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT…")
@click.option("--out", type=click.Path(), help="Folder to write.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(),
    metavar="FILE.toml",
    help="Options by name (max_tokens = 128); flags override them.",
)
@corpus_options
@click.option("--jobs", type=click.IntRange(min=1), help="Worker processes. [one a processor]")
@click.option("--overwrite", is_flag=True, help="Replace another dataset in --out, once the new one is complete.")
@click.option(
    "--rehash", is_flag=True, help="Read the inputs of a finished dataset again, rather than trust their size and time."
)
@click.option(
    "--dry-run", type=click.IntRange(min=1), metavar="N", help="Show the first N sequences and write nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    inputs: tuple[str, ...],
    out: str | None,
    config_file: str | None,
    jobs: int | None,
    overwrite: bool,
    rehash: bool,
    dry_run: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn text into masked shards.

    INPUT is a file, folder or glob of .txt, .jsonl, .parquet or .arrow, each also as .gz or .zst where it is text; - is standard input.
    The same inputs and options give the same bytes, whatever the number of jobs; a killed run goes on when called again.
    """
    config = build_config(config_file, options)
    if dry_run is not None:
        if as_json:
            raise click.UsageError("--json does not go with --dry-run")
        _show_first(inputs, config, dry_run)
        return
    if out is None:
        raise click.UsageError("--out is missing: give the folder to write")
    from spanmask.presharding.run import preshard

    before = _written_at(out)
    with progress_display(sys.stderr) as on_progress:
        try:
            manifest = preshard(
                inputs, out, config, jobs=jobs, overwrite=overwrite, rehash=rehash, on_progress=on_progress
            )
        except IncompleteShards as error:
            click.echo(f"spanmask: {visible(str(error))}", err=True)
            sys.exit(3)
    summary = dataset_summary(out, manifest, written=before is None or before != _written_at(out))
    if as_json:
        print_json(summary)
    else:
        click.echo(summary["text"])


def _written_at(out: str) -> int | None:
    path = Path(out) / "manifest.json"
    return path.stat().st_mtime_ns if path.exists() else None


def _show_first(inputs: tuple[str, ...], config: PreshardConfig, count: int) -> None:
    from spanmask.presharding.preview import preview

    from .rows import print_rows

    rows, vocabulary = preview(inputs, config, count)
    print_rows(rows, vocabulary)
