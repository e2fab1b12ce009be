"""`spanmask repair`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial

import click

from spanmask.escaping import counted

from .commands import examples, say
from .progress import megabytes, rows_display
from .summary import print_json


@click.command(
    name="repair",
    epilog=examples(
        "spanmask repair shards",
        "spanmask repair shards corpus/*.jsonl.zst",
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path())
@click.argument("inputs", nargs=-1, metavar="[INPUT…]")
@click.option("--jobs", type=click.IntRange(min=1), help="Worker processes. [one a processor]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: str, inputs: tuple[str, ...], jobs: int | None, as_json: bool) -> None:
    """Make the damaged or missing shards of the dataset in DIR, or at its URL, again, byte for byte.

    INPUT are the dataset's inputs, in order; by default those that this user made it from on this machine, where they
    lie there still.
    Only the part of them is read that damaged shards came from. Exit code 1 says that something is still wrong.
    """
    from spanmask.presharding.repairing import repair

    with rows_display(sys.stderr, "verifying") as show:
        checked, remade = (
            None if show is None else partial(show, doing=doing, told=told)
            for doing, told in (("comparing digests", megabytes), ("making again", _shards))
        )
        done = repair(folder, inputs, jobs=jobs, on_checked=checked, on_remade=remade, on_verified=show)
    if as_json:
        print_json({"ok": not done.findings, **asdict(done)})
    else:
        for path in done.remade:
            say(f"{path}: made again")
        for one in (*done.refused, *done.findings):
            say(f"{one.path}: {one.message}")
        if not done.findings:
            what = f"{counted(len(done.remade), 'shard')} made again" if done.remade else "nothing to repair"
            say(f"ok: {what}; {counted(done.shards, 'shard')}, as they were written")
    sys.exit(1 if done.findings else 0)


def _shards(done: int, total: int) -> str:
    return f"{done:,} of {counted(total, 'shard')}"
