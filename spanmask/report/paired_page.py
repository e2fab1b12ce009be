"""Probe runs as one HTML page: what each is, figures by seed, and how each differs from the first."""

from __future__ import annotations

import json
from collections.abc import Iterator

from spanmask.report.charts import Axes
from spanmask.report.curve_chart import Curve, curve_figure, require_few
from spanmask.report.named import listed
from spanmask.report.page import Html, element, folded, heading, page, paragraph, prose_table, table, text
from spanmask.report.paired import Comparison, Probed, explanation, figure_rows, pair_rows, sentence


def paired_page(comparison: Comparison) -> str:
    """Return runs, side by side, as a self-contained HTML page.

    Raises
    ------
    ConfigError
        There are more than can be told apart.
    """
    runs = comparison.runs
    require_few(len(runs), "runs")
    title = f"Probe run{'s' * (len(runs) > 1)} {listed([run.name for run in runs])}"
    body = [
        heading(1, title),
        *(paragraph(f"{run.name}: {sentence(run)}", "lead muted") for run in runs),
        *(part for file in runs[0].files for part in _file(comparison, file)),
        *([heading(2, "How to read it"), *map(paragraph, explanation(comparison))] if len(runs) > 1 else []),
        heading(2, "What was chosen"),
        folded("Grid point, epoch and thresholds of each seed, by a share of the training texts", *map(_chosen, runs)),
        element("footer", *(paragraph(f"{run.name}: model {run.model}, SHA-256 {run.digest}") for run in runs)),
    ]
    return page(title, body)


def _file(comparison: Comparison, file: str) -> Iterator[Html]:
    """Yield the section of an evaluation file."""
    first, *others = comparison.runs
    yield heading(2, file)
    rows = [(text(name), *map(text, cells)) for name, cells in figure_rows(comparison, file)]
    yield table("Mean over the seeds ± standard deviation", ("", *(run.name for run in comparison.runs)), rows)
    if others:
        for figure in first.figures(file):
            yield _pairs(comparison, file, figure)
    charts = [drawn for figure in first.figures(file) for drawn in _chart(comparison, file, figure)]
    yield element("div", *charts, class_="grid")


def _pairs(comparison: Comparison, file: str, figure: str) -> Html:
    first, *others = comparison.runs
    rows = [(text(name.strip()), *map(text, cells)) for name, cells in pair_rows(comparison, file, figure)]
    rows[0] = (text("mean difference"), *rows[0][1:])
    return prose_table(f"{figure}, minus {first.name}, by the seeds of both", ("", *(run.name for run in others)), rows)


def _chart(comparison: Comparison, file: str, figure: str) -> Iterator[Html]:
    curves = [
        Curve(
            name=run.name,
            places=sorted(run.scores),
            values=[run.scores[seed][file][figure] for seed in sorted(run.scores)],
        )
        for run in comparison.runs
    ]
    return curve_figure(f"{figure} by seed", Axes(title=f"{file}: {figure} by seed", x_name="seed"), curves)


def _chosen(run: Probed) -> Html:
    names = list(dict.fromkeys(name for chosen in run.chosen.values() for name in chosen))
    rows = [(text(seed), *(text(_value(chosen, name)) for name in names)) for seed, chosen in run.chosen.items()]
    return table(f"{run.name}: what was chosen", ("seed", *names), rows)


def _value(chosen: object, name: str) -> str:
    value = chosen.get(name) if isinstance(chosen, dict) else None
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)
