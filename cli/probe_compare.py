"""`spanmask probe compare`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .commands import examples, say
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.report.paired import Comparison


@click.command(
    name="compare",
    epilog=examples(
        "spanmask probe compare qa-words qa-spans",
        "spanmask probe compare qa-words qa-spans qa-tokens --html probes.html",
    ),
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path())
@click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), default=0, show_default=True, help="Of resampling.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page with charts as well.")
def command(runs: tuple[str, ...], seed: int, as_json: bool, html: str | None) -> None:
    """Put finished probe runs side by side, each but the first paired with that by seed.

    RUN is a folder that spanmask probe wrote. Runs must differ in the model alone: other tasks, files or options are refused. With fewer
    than 6 seeds in both, nothing is said of a difference.
    """
    from spanmask.probes.comparing import compare

    comparison = compare(runs, seed=seed)
    if html is not None:
        from spanmask.report.paired_page import paired_page
        from spanmask.storage import publish_bytes

        publish_bytes(Path(html).absolute(), paired_page(comparison).encode())
        say(f"wrote {html}", err=True)
    if as_json:
        print_json(_json(comparison))
        return
    from rich.console import Console

    from spanmask.report.paired_table import render_pairs

    Console().print(render_pairs(comparison))


def _json(comparison: Comparison) -> dict[str, Any]:
    pairs = [{**asdict(pair), "mean": pair.mean, "verdict": pair.verdict} for pair in comparison.pairs]
    return {**asdict(comparison), "pairs": pairs}
