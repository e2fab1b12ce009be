"""`spanmask verify`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial

import click

from .commands import examples, say
from .progress import megabytes, rows_display
from .summary import print_json, verified_amount


@click.command(
    name="verify",
    epilog=examples(
        "spanmask verify shards",
        "spanmask verify shards --source corpus/*.jsonl.zst",
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--source", is_flag=True, help="Tokenize the inputs again, and compare them with the rows put back.")
@click.argument("inputs", nargs=-1, metavar="[INPUT…]")
@click.option("--jobs", type=click.IntRange(min=1), help="Worker processes for --source. [one a processor]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(folder: str, source: bool, inputs: tuple[str, ...], jobs: int | None, as_json: bool) -> None:
    """Prove that the dataset in DIR, or at its URL, is what was written: digests, invariants, statistics.

    With --source, INPUT are the dataset's inputs, in order; by default those that this user made it from on this machine, where they
    lie there still.
    Exit code 1 says that something is wrong.
    """
    if inputs and not source:
        raise click.UsageError("INPUT goes with --source")
    from spanmask.shard.verify import verify

    with rows_display(sys.stderr, "verifying") as on_progress:
        verdict = verify(folder, on_progress=on_progress)
    findings = list(verdict.findings)
    if source and verdict.ok:
        from spanmask.presharding.comparing import verify_source

        with rows_display(sys.stderr, "comparing") as show:
            on_hashed = partial(show, doing="hashing the inputs", told=megabytes) if show else None
            findings += verify_source(folder, inputs, jobs=jobs, on_progress=show, on_hashed=on_hashed)
    if as_json:
        figures = {"shards": verdict.shards, "rows": verdict.rows, "tokens": verdict.tokens}
        print_json(
            {"ok": not findings, "findings": [asdict(finding) for finding in findings], "source": source, **figures}
        )
    else:
        for finding in findings:
            say(f"{finding.path}: {finding.message}")
        compared = ", and equals its inputs" if source else ""
        if not findings:
            say(f"ok: {verified_amount(verdict)}{compared}")
    sys.exit(1 if findings else 0)
