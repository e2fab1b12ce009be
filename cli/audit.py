"""`spanmask audit`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .commands import examples, say
from .progress import rows_display
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.auditing import Audit
    from spanmask.report.comparison import Compared
    from spanmask.shard.manifest import Manifest


@click.command(
    name="audit",
    epilog=examples(
        "spanmask audit shards --sample 100000 --html audit.html",
        "spanmask audit spans words tokens --html audits.html",
    ),
)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path())
@click.option("--split", default="train", show_default=True, help="Which split.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Look at about N rows, spread evenly. [all]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; of several DIR, a list.")
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page with charts as well.")
def command(folders: tuple[str, ...], split: str, sample: int | None, as_json: bool, html: str | None) -> None:
    """Replay the masks of the dataset in DIR, or at its URL, and hold what was drawn against its law; put several datasets side by side.

    Every stored row is masked again from seed, mask epoch and identity, and must come out the same. Exit code 1 says that a gate failed.
    """
    from spanmask.auditing import audit
    from spanmask.report.named import names_of
    from spanmask.shard.manifest import read_manifest

    names = names_of(folders)
    manifests = [read_manifest(folder) for folder in folders]
    results = []
    for name, folder in zip(names, folders, strict=True):
        with rows_display(sys.stderr, f"auditing {name}") as on_progress:
            results.append(audit(folder, split, sample=sample, on_progress=on_progress))
    if html is not None:
        from spanmask.storage import publish_bytes

        publish_bytes(Path(html).absolute(), _page(names, manifests, results).encode())
        say(f"wrote {html}", err=True)
    if as_json:
        told = [{"dataset": name, **result.to_json()} for name, result in zip(names, results, strict=True)]
        print_json(told if len(told) > 1 else told[0])
    else:
        _print(names, manifests, results)
    sys.exit(0 if all(result.ok for result in results) else 1)


def _page(names: Sequence[str], manifests: Sequence[Manifest], results: Sequence[Audit]) -> str:
    from spanmask.report.audit_page import audit_page
    from spanmask.report.comparison_page import comparison_page

    if len(names) == 1:
        return audit_page(results[0].to_json(), manifests[0].content, names[0])
    return comparison_page(_compared(names, manifests, results), results[0].split)


def _print(names: Sequence[str], manifests: Sequence[Manifest], results: Sequence[Audit]) -> None:
    from rich.console import Console

    from spanmask.report.audit_table import render_audit
    from spanmask.report.comparison_table import render_comparison

    console = Console()
    compared = _compared(names, manifests, results)
    if len(compared) > 1:
        console.print(render_comparison(compared))
        return
    [one] = compared
    say(f"{one.name}: {one.told}\n")
    console.print(render_audit(one.audit, console.width))


def _compared(names: Sequence[str], manifests: Sequence[Manifest], results: Sequence[Audit]) -> list[Compared]:
    from spanmask.report.comparison import Compared
    from spanmask.report.named import dataset_line

    return [
        Compared(name=name, told=dataset_line(manifest, result.split), audit=result.to_json())
        for name, manifest, result in zip(names, manifests, results, strict=True)
    ]
