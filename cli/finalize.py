"""`spanmask finalize`."""

from __future__ import annotations

import sys

import click

from spanmask.errors import IncompleteShards

from .commands import examples, say
from .summary import dataset_summary, print_json


@click.command(name="finalize", epilog=examples("spanmask finalize shards", "spanmask finalize shards --json"))
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: str, as_json: bool) -> None:
    """Make the dataset in DIR, or at its URL, of what the tasks of an array did; one that is made is left as it is.

    No input is read. Exit code 3 says that tasks are missing: which, and the command that runs just those, is told.
    """
    from spanmask.presharding.destinations import mark_of
    from spanmask.presharding.finishing import finalize

    before = mark_of(folder)
    try:
        manifest = finalize(folder)
    except IncompleteShards as error:
        say(f"spanmask: {error}", err=True)
        sys.exit(3)
    summary = dataset_summary(folder, manifest, written=before is None or before != mark_of(folder))
    if as_json:
        print_json(summary)
    else:
        say(summary["text"])
