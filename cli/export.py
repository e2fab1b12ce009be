"""`spanmask export`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import click

from spanmask.exporting.config import ExportConfig, Target

from .summary import print_json

if TYPE_CHECKING:
    from spanmask.exporting.run import Exported


@click.command(name="export")
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--to", "target", type=click.Choice([str(item) for item in Target]), required=True, help="The format.")
@click.option("--out", type=click.Path(), required=True, metavar="PATH", help="Folder to write.")
@click.option("--split", "splits", multiple=True, metavar="NAME", help="Split to write; may be repeated. [all]")
@click.option("--overwrite", is_flag=True, help="Replace an earlier export in --out, once the new one is complete.")
@click.option(
    "--first-sentinel", type=int, metavar="ID", help="t5: sentinel of a row's first span. [the vocabulary's size]"
)
@click.option(
    "--sentinels-descend", is_flag=True, help="t5: sentinel ids go down from the first, as in T5's vocabulary."
)
@click.option("--keep-specials", is_flag=True, help="t5: leave [CLS] and [SEP] in the inputs.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    folder: str,
    target: str,
    out: str,
    splits: tuple[str, ...],
    overwrite: bool,
    first_sentinel: int | None,
    sentinels_descend: bool,
    keep_specials: bool,
    as_json: bool,
) -> None:
    """Write the dataset in DIR in another format; every record batch is verified on the way.

    parquet: a file a shard, the same columns. jsonl: PATH/train.jsonl and so on, or one split in a PATH that ends in .jsonl, .jsonl.gz or
    .jsonl.zst. datasets: for datasets.load_from_disk(PATH). t5: Parquet with inputs, in which each span is one sentinel, and targets: each
    sentinel and its span, then a final sentinel.
    """
    sentinels = {"first_sentinel": first_sentinel, "sentinels_descend": sentinels_descend}
    config = ExportConfig.of(target=target, splits=splits, keep_specials=keep_specials, **sentinels)
    from spanmask.exporting.run import export

    with _progress_display(sys.stderr) as on_progress:
        exported = export(folder, out, config, overwrite=overwrite, on_progress=on_progress)
    if as_json:
        print_json({"out": out, **exported.to_json()})
    else:
        click.echo(_text(exported, out))


def _text(exported: Exported, out: str) -> str:
    lines = [f"{name}: {rows:,} sequences" for name, rows in exported.rows.items()]
    known = exported.sentinels
    if known is not None:
        sign = "+" if known.step > 0 else "-"
        lines.append(
            f"sentinels: that of span k, from 0, has the id {known.first} {sign} k; the highest id is {known.highest}, "
            f"the vocabulary has {known.vocabulary_size:,} entries"
        )
    return "\n".join([*lines, f"wrote {out} ({exported.target})"])


@contextmanager
def _progress_display(stream: IO[str]) -> Iterator[Callable[[int, int], None] | None]:
    """Show on a terminal how many rows are done; yield what to call, or None where nobody watches."""
    if not stream.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(file=stream), transient=True) as bars:
        bar = bars.add_task("export", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
