"""`spanmask curves`."""

from __future__ import annotations

from pathlib import Path

import click

from .commands import examples, say
from .summary import print_json


@click.command(
    name="curves",
    epilog=examples(
        "spanmask curves run",
        "spanmask curves spans words tokens --html curves.html",
    ),
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print all that the runs tell as JSON.")
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page with charts as well.")
def command(runs: tuple[str, ...], as_json: bool, html: str | None) -> None:
    """Put training runs side by side: losses by step, and what the validation split gave.

    RUN is a folder that spanmask train wrote, finished or not.
    """
    from dataclasses import asdict

    from spanmask.report.curves_page import curves_page
    from spanmask.report.named import names_of
    from spanmask.storage import publish_bytes
    from spanmask.train.record import told_by

    told = [told_by(run, name) for run, name in zip(runs, names_of(runs), strict=True)]
    if html is not None:
        publish_bytes(Path(html).absolute(), curves_page(told).encode())
        say(f"wrote {html}", err=True)
    if as_json:
        print_json([asdict(one) for one in told])
        return
    from rich.console import Console

    from spanmask.report.curves_table import render_curves

    Console().print(render_curves(told))
