"""`spanmask reproduce`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from .commands import examples, say
from .options import GroupedCommand
from .summary import print_json

if TYPE_CHECKING:
    from spanmask.report.grid import GridTold
    from spanmask.reproduction.plan import Plan
    from spanmask.reproduction.run import Finished


@click.command(
    name="reproduce",
    cls=GroupedCommand,
    epilog=examples(
        "spanmask reproduce quick corpus/*.jsonl.zst --out grid",
        "spanmask reproduce plan.toml corpus/*.jsonl.zst --out grid --budget 600 --only '*/seed-1/*'",
    ),
)
@click.argument("plan", metavar="PLAN", type=click.Path())
@click.argument("texts", metavar="TEXT…", nargs=-1, type=click.Path())
@click.option("--out", type=click.Path(), metavar="DIR", help="The grid's folder: new, or one to go on with.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="Of all trainings together, measured here once and turned into tokens. [the plan's]",
)
@click.option(
    "--only",
    multiple=True,
    metavar="CELL",
    help="Do these cells, by name or pattern ('*/seed-1/*'), and what they need; may be repeated. [all]",
)
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="A value in place of the plan's; may be repeated."
)
@click.option("--show", is_flag=True, help="Print the plan and do nothing.")
@click.option("--list", "as_list", is_flag=True, help="Print the names of the cells, and do nothing.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Processes of presharding. [one a processor]")
@click.option("--json", "as_json", is_flag=True, help="Print what is known as JSON.")
def command(
    plan: str,
    texts: tuple[str, ...],
    out: str | None,
    budget: float | None,
    only: tuple[str, ...],
    changes: tuple[str, ...],
    show: bool,
    as_list: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Train the arms of PLAN alike, ask every model the same, and tell the paired differences on one page.

    PLAN is a TOML file, or one that ships: quick, ablation-masking, ablation-objective. TEXT is what spanmask preshard reads. Arms are
    trained for the same tokens, from the same weights by name, in the same order, seed by seed; primary outcomes and the correction for
    several of them are the plan's. Each cell is a folder in DIR; the same command goes on with what is not done, also beside others that
    share DIR. DIR gets report.html and report.json.
    """
    from spanmask.reproduction.plan import plan_text, read_plan

    if show:
        click.echo(plan_text(plan), nl=False)
        return
    read = read_plan(plan, changes)
    if as_list:
        _list(read, only)
        return
    if out is None:
        raise click.UsageError("--out is missing: give the grid's folder")
    _deliver(*_run(read, texts, out, {"budget": budget, "only": only, "jobs": jobs}), out, as_json=as_json)


def _list(plan: Plan, only: tuple[str, ...]) -> None:
    from spanmask.reproduction.cells import cells_of, chosen

    for cell in chosen(cells_of(plan), only):
        click.echo(cell.name)


def _run(plan: Plan, texts: tuple[str, ...], out: str, options: dict[str, Any]) -> tuple[Finished, int]:
    """Do the cells; return what came of it, and the exit code of a signal that asked to end before."""
    from .ending import Request
    from .reproduce_display import GridDisplay
    from .train_display import screen

    request = Request("ending where the cell under way can go on later")
    with screen(sys.stderr) as shown, ExitStack() as stack:
        shown.show(["loading PyTorch"])
        from spanmask.reproduction.run import reproduce

        watch = GridDisplay(shown, request, stack)
        return reproduce(plan, texts, out, watch=watch, **options), request.code or 0


def _deliver(finished: Finished, code: int, out: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"out": out, "stopped": finished.stopped, **finished.report.to_json()})
    else:
        say("\n".join(_told(finished.report)))
        say(f"wrote {out}/report.html and report.json")
    if finished.failed:
        raise next(iter(finished.failed.values()))
    if finished.stopped:
        say("stopped; the same command goes on from here", err=True)
        sys.exit(code)


def _told(report: GridTold) -> list[str]:
    undone = [f"{len(report.undone)} of {report.cells} cells are not done yet"] if report.undone else []
    return [*report.headline, *undone]
