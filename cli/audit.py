"""`spanmask audit`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .commands import examples, say
from .summary import print_json


@click.command(
    name="audit",
    epilog=examples(
        "spanmask audit shards",
        "spanmask audit shards --sample 100000 --html audit.html",
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--split", default="train", show_default=True, help="Which split.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Look at about N rows, spread evenly. [all]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page with charts as well.")
def command(folder: str, split: str, sample: int | None, as_json: bool, html: str | None) -> None:
    """Replay the masks of the dataset in DIR, and hold what was drawn against its law.

    Every stored row is masked again from seed, mask epoch and identity, and must come out the same. Exit code 1 says that a gate failed.
    """
    from spanmask.auditing import audit

    result = audit(folder, split, sample=sample)
    figures = result.to_json()
    if html is not None:
        from spanmask.report.audit_page import audit_page
        from spanmask.shard.manifest import read_manifest
        from spanmask.storage import publish_bytes

        publish_bytes(Path(html).absolute(), audit_page(figures, read_manifest(folder).content).encode())
        say(f"wrote {html}", err=True)
    if as_json:
        print_json(figures)
    else:
        from rich.console import Console

        from spanmask.report.audit_table import render_audit

        console = Console()
        console.print(render_audit(figures, console.width))
    sys.exit(0 if result.ok else 1)
