"""Probe runs in the terminal: what each is, its figures, and how it differs from the first, a column a run."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from spanmask.escaping import visible
from spanmask.report.columns import columns, title
from spanmask.report.paired import Comparison, explanation, figure_rows, pair_rows, sentence


def render_pairs(comparison: Comparison) -> RenderableType:
    """Return a comparison to print with rich."""
    return Group(*_parts(comparison))


def _parts(comparison: Comparison) -> Iterator[RenderableType]:
    first, *others = comparison.runs
    for run in comparison.runs:
        yield Text.assemble((f"{visible(run.name)}: ", "bold"), visible(sentence(run)))
    for file in first.files:
        yield title(f"{file}: mean over the seeds ± standard deviation")
        yield columns("", [run.name for run in comparison.runs], figure_rows(comparison, file))
        if others:
            yield title(f"{file}: minus {first.name}, by the seeds of both")
            rows = [row for figure in first.figures(file) for row in pair_rows(comparison, file, figure)]
            yield columns("", [run.name for run in others], rows)
    if others:
        yield Text()
        yield from map(Text, explanation(comparison))
