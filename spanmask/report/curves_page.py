"""The HTML page of a training run: its curves, and what the validation split gave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from spanmask.report.charts import Axes, Series, key, line_chart, percent, short_number
from spanmask.report.page import (
    Html,
    count,
    element,
    folded,
    heading,
    join,
    page,
    paragraph,
    prose_table,
    share,
    table,
    text,
)

#: Points of a line, at most: neighbours are averaged beyond.
_POINTS = 240

Lines = Sequence[Mapping[str, Any]]
_RECOVERY = "Spans whose every token was predicted right, by length in tokens: from the masked places (MLM), from the boundaries (SBO)"


def curves_page(metrics: Lines, evaluations: Lines, run: Mapping[str, Any]) -> str:
    """Return a run as a self-contained HTML page.

    Parameters
    ----------
    metrics
        The lines of its ``metrics.jsonl``.
    evaluations
        The lines of its ``evaluation.jsonl``.
    run
        The content of its ``run.json``.
    """
    body = [
        heading(1, "Training run"),
        paragraph(_subtitle(metrics, run), "lead muted"),
        *([element("div", *_curves(metrics), class_="grid")] if metrics else [paragraph("No metrics yet.")]),
        *_held_out(evaluations),
        _options(run),
        element("footer", text(_origin(run))),
    ]
    return page("Training run", body)


def _subtitle(metrics: Lines, run: Mapping[str, Any]) -> str:
    model, config = run["model"], run["config"]
    told = f"{run['parameters']:,} parameters: {model['layers']} layers of width {model['hidden']}, objective {model['objective']}"
    if not metrics:
        return told
    last = metrics[-1]
    return f"{told}. Step {last['step']:,} of {config['steps']:,}, {last['tokens']:,} tokens, loss {last['loss']:.4g}"


def _curves(metrics: Lines) -> list[Html]:
    thin = _thinned(metrics)
    drawn = [
        *_of_targets(thin),
        _figure(thin, "Learning rate", (("lr", ""),)),
        _figure(thin, "Gradient norm", (("gradient_norm", ""),)),
        _figure(thin, "Tokens a second, no padding", (("tokens_per_second", ""),)),
        _figure(thin, "Model FLOPs utilisation", (("mfu", ""),), percent),
        _figure(thin, "Seconds of waiting for batches, between two lines", (("data_wait_seconds", ""),)),
    ]
    return [figure for figure in drawn if figure]


def _of_targets(lines: Lines) -> list[Html]:
    return [
        _figure(lines, "Loss, nats a target", (("mlm_loss", "MLM"), ("sbo_loss", "SBO"))),
        _figure(lines, "Targets predicted right", (("mlm_accuracy", "MLM"), ("sbo_accuracy", "SBO")), percent),
    ]


def _figure(lines: Lines, title: str, names: Sequence[tuple[str, str]], written: Any = short_number) -> Html:
    """Return a chart of one or two values by step; nothing where none is known."""
    known = [(name, told) for name, told in names if any(line.get(name) is not None for line in lines)]
    if not known:
        return Html("")
    series = [Series(name=told, values=[line.get(name) for line in lines]) for name, told in known]
    axes = Axes(title=title, x_name="step", labels=[f"{line['step']:,}" for line in lines], written=written)
    legend = (
        [key([(f"line-{number}", told) for number, (_, told) in enumerate(known, start=1)])] if len(known) > 1 else []
    )
    return element("figure", element("figcaption", text(title)), line_chart(axes, series), *legend, class_="card")


def _thinned(lines: Lines) -> list[dict[str, Any]]:
    """Return lines averaged over runs of neighbours, so that few enough are left; each has the last step of its run."""
    width = -(-len(lines) // _POINTS)
    groups = [lines[start : start + width] for start in range(0, len(lines), width)]
    names = [name for name, value in lines[-1].items() if value is None or isinstance(value, (int, float))]
    return [{**{name: _average(group, name) for name in names}, "step": group[-1]["step"]} for group in groups]


def _average(lines: Lines, name: str) -> float | None:
    known = [line[name] for line in lines if line.get(name) is not None]
    return fmean(known) if known else None


def _held_out(evaluations: Lines) -> list[Html]:
    """Return the section on the validation split: the last figures in a sentence, curves from two evaluations on, recovery by length."""
    if not evaluations:
        return []
    last = evaluations[-1]
    told = [
        f"{name.replace('_', ' ')} {_number(last[name])}"
        for name in ("mlm_loss", "sbo_loss", "mlm_accuracy", "sbo_accuracy")
    ]
    charts = _of_targets(_thinned(evaluations)) if len(evaluations) > 1 else []
    rows = [
        (text(row["length"]), count(row["spans"]), share(row["mlm"]), count(row["sbo_spans"]), share(row["sbo"]))
        for row in last["recovery"]
    ]
    columns = ("length", "spans", "MLM", "spans with SBO", "SBO")
    return [
        heading(2, "Validation split"),
        paragraph(f"After step {last['step']:,}: {', '.join(told)}, of {last['mlm_targets']:,} masked tokens."),
        element("div", *(chart for chart in charts if chart), class_="grid"),
        table(_RECOVERY, columns, rows),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _options(run: Mapping[str, Any]) -> Html:
    tables = []
    for name in ("config", "model"):
        rows = [(text(key_), element("code", text(json.dumps(value)))) for key_, value in sorted(run[name].items())]
        tables.append(prose_table(f"{name}, as resolved", ("option", "value"), rows))
    return join([heading(2, "Options"), folded("All options", *tables)])


def _origin(run: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in sorted(run["versions"].items()))
    return f"Datasets {', '.join(run['datasets'])}. Vocabulary {run['vocabulary']}. {versions}."
