"""`spanmask gc`."""

from __future__ import annotations

import re
from dataclasses import asdict

import click

from spanmask.escaping import counted

from .commands import examples, say
from .summary import print_json

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return an age, 90s, 30m, 12h, 7d or 2w, in seconds."""
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9})([smhdw])", value)
    if found is None:
        raise click.BadParameter(f"no age: {value!r}; give a number and a unit, as 12h or 7d")
    return float(int(found[1]) * _UNITS[found[2]])


@click.command(
    name="gc",
    epilog=examples(
        "spanmask gc shards --dry-run",
        "spanmask gc datasets runs --older-than 7d",
    ),
)
@click.argument("folders", nargs=-1, required=True, metavar="DIR…", type=click.Path())
@click.option(
    "--older-than",
    callback=_seconds,
    metavar="AGE",
    help="Also what other hosts left, and nothing wrote to for so long: 12h, 7d.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would go, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folders: tuple[str, ...], older_than: float | None, dry_run: bool, as_json: bool) -> None:
    """Remove what killed processes left in DIR and below it, and in the cache.

    DIR is a dataset, a run, or what holds some, or the URL of a dataset, below which all uploads in parts, whoever
    began them, go by AGE.
    What a process of this host is still at stays, and whatever has a final name; what other hosts left stays too, unless it is older than
    AGE. A run that can be gone on with is no leftover.
    """
    from spanmask.presharding.collecting import collect

    found = collect(folders, older_than=older_than, dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, **asdict(found)})
        return
    for one in found.removed:
        say(f"{'would remove' if dry_run else 'removed'} {one.path}: {one.why}")
    for one in found.kept:
        say(f"kept {one.path}: {one.why}")
    size = sum(one.bytes for one in found.removed)
    what = counted(len(found.removed), "leftover")
    say(
        f"{what} of {size / 1e6:,.1f} MB {'to remove' if dry_run else 'removed'}"
        if found.removed
        else "nothing to remove"
    )
