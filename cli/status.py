"""`spanmask status`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from spanmask.escaping import counted, first_of, short_digest
from spanmask.remote import is_url

from .commands import examples, say
from .progress import duration, megabytes
from .summary import dataset_lines, print_json

if TYPE_CHECKING:
    from spanmask.presharding.status import Status

#: Ranges of missing tasks, and failed units, that are told one by one.
_TOLD = 20


@click.command(
    name="status",
    epilog=examples(
        "spanmask status shards",
        "spanmask status shards --watch 10",
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option(
    "--watch",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Again and again, until it is finished.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, with --watch in a line each time.")
def command(folder: str, watch: float | None, as_json: bool) -> None:
    """Tell how far the dataset in DIR, or at its URL, is, or what it is.

    Of a run under way anywhere: tasks done, missing and failed, rate and time left, from what it has written so far; nothing is locked.
    Of one that stopped also how to go on.
    """
    from spanmask.presharding.status import Stage, status

    while True:
        found = status(folder)
        if as_json:
            print_json(_as_json(folder, found), indented=watch is None)
        else:
            say("\n".join(_lines(folder, found)))
        if watch is None or found.stage is Stage.FINISHED:
            return
        time.sleep(watch)


def _as_json(folder: str, found: Status) -> dict[str, Any]:
    names = ("tasks", "done", "failed", "disk_bytes", "disk_total", "rate", "seconds_left", "idle", "go_on")
    told = {name: getattr(found, name) for name in names}
    digest = found.manifest and found.manifest.digest
    return {"dir": folder, "stage": found.stage, "missing": _ranges(found.missing), "manifest": digest, **told}


def _lines(folder: str, found: Status) -> Iterator[str]:
    """Yield what people are told."""
    from spanmask.presharding.status import Stage

    if found.stage is Stage.FINISHED and found.manifest is not None:
        yield from dataset_lines(folder, found.manifest)
        yield f"finished: {folder}, fingerprint {short_digest(found.manifest.fingerprint)}"
        return
    if found.manifest is not None:
        yield f"{folder} is a finished dataset until the run that replaces it is"
    share = f" ({found.disk_bytes / found.disk_total:.0%})" if found.disk_total else ""
    yield f"done: {found.done:,} of {counted(found.tasks, 'task')}, {megabytes(found.disk_bytes, found.disk_total)} of input{share}"
    if found.missing:
        yield f"missing: {first_of(_ranges(found.missing), _TOLD)}"
    for unit, reason in list(found.failed.items())[:_TOLD]:
        yield f"failed: {unit}: {reason}"
    if len(found.failed) > _TOLD:
        yield f"failed: {len(found.failed) - _TOLD:,} more"
    yield from _pace(found)
    if found.stage is Stage.OPEN:
        # The plan does not say who runs it: tasks of an array and a run in one piece go on with each other's work.
        yield f"where it is an array: submit that again, or what `spanmask finalize {shlex.quote(folder)}` names"
    if found.stage is not Stage.RUNNING:
        nobody = "whether somebody is at it is not known" if is_url(folder) else "no process of this host is at it"
        yield f"{'all is done but the manifest' if found.stage is Stage.COMPLETE else nobody}; it goes on with: {found.go_on}"


def _pace(found: Status) -> Iterator[str]:
    if found.idle is not None:
        yield f"last: {duration(found.idle)} ago"
    if found.missing:
        left = found.seconds_left
        yield (
            "rate: too few receipts to tell yet"
            if found.rate is None or left is None
            else f"rate: {found.rate / 1e6:,.1f} MB/s of input, {duration(left)} left"
        )


def _ranges(numbers: tuple[int, ...]) -> list[str]:
    """Return ascending numbers as ranges, both ends included: 3, 5-7."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return [f"{first}" if first == last else f"{first}-{last}" for first, last in ranges]
