"""`spanmask export`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from spanmask.escaping import counted
from spanmask.exporting.config import ExportConfig

from .commands import examples, say
from .options import GroupedCommand, config_options, given
from .progress import rows_display
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.exporting.run import Exported


@click.command(
    name="export",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask export shards --to parquet --out parquet --split train",
        "spanmask export shards --to t5 --out t5 --first-sentinel 32099 --sentinels-descend",
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--out", type=click.Path(), required=True, metavar="PATH", help="Folder to write.")
@config_options(ExportConfig, target="--to", splits="--split")
@click.option("--overwrite", is_flag=True, help="Replace an earlier export in --out, once the new one is complete.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: str, out: str, overwrite: bool, as_json: bool, **options: Any) -> None:
    """Write the dataset in DIR, or at its URL, in another format; every record batch is verified on the way.

    parquet: a file a shard, the same columns. jsonl: PATH/train.jsonl and so on, or one split in a PATH that ends in .jsonl, .jsonl.gz or
    .jsonl.zst. datasets: for datasets.load_from_disk(PATH). t5: Parquet with inputs, in which each span is one sentinel, and targets: each
    sentinel and its span, then a final sentinel.
    """
    config = ExportConfig.of(**given(options))
    from spanmask.exporting.run import export

    with rows_display(sys.stderr, "exporting") as on_progress:
        exported = export(folder, out, config, overwrite=overwrite, on_progress=on_progress)
    if as_json:
        print_json({"out": out, **exported.to_json()})
    else:
        say(_text(exported, out))


def _text(exported: Exported, out: str) -> str:
    lines = [f"{name}: {counted(rows, 'sequence')}" for name, rows in exported.rows.items()]
    known = exported.sentinels
    if known is not None:
        sign = "+" if known.step > 0 else "-"
        lines.append(
            f"sentinels: that of span k, from 0, has the id {known.first} {sign} k; the highest id is {known.highest}, "
            f"the vocabulary has {known.vocabulary_size:,} entries"
        )
    return "\n".join([*lines, f"wrote {out} ({exported.target})"])
