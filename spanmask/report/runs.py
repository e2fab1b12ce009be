"""What training runs tell, as the points of charts and the cells of tables. Terminal and HTML both draw from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from spanmask.options import differing
from spanmask.report.charts import percent, short_number

#: Points of a line, at most: neighbours are averaged beyond.
_POINTS = 240
#: Rows of a table by step, at most.
_ROWS = 10

Lines = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a run tells.

    name: what people call it. run: the content of its ``run.json``. metrics, evaluations: the lines of ``metrics.jsonl`` and of
    ``evaluation.jsonl``.
    """

    name: str
    run: Mapping[str, Any]
    metrics: Lines
    evaluations: Lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A figure of a run: its key in a line, what it is with its unit, and how a value is written."""

    key: str
    title: str
    written: Callable[[float], str] = short_number


#: What both heads tell, in training and on the validation split.
LOSSES = (Quantity(key="mlm_loss", title="MLM loss"), Quantity(key="sbo_loss", title="SBO loss"))
ACCURACIES = (
    Quantity(key="mlm_accuracy", title="MLM targets predicted right", written=percent),
    Quantity(key="sbo_accuracy", title="SBO targets predicted right", written=percent),
)
#: What training tells of itself.
COURSE = (
    Quantity(key="lr", title="Learning rate"),
    Quantity(key="gradient_norm", title="Gradient norm"),
    Quantity(key="tokens_per_second", title="Tokens a second, no padding"),
    Quantity(key="mfu", title="Model FLOPs utilisation", written=percent),
    Quantity(key="waiting", title="Share of the time spent waiting for batches", written=percent),
)
UNIT = "nats a target"


def sentence(told: Told) -> str:
    """Return what a run is, and how far it is, in one line; losses are those of its last line, which charts end with."""
    run, metrics = told.run, told.metrics
    model, config = run["model"], run["config"]
    shape = f"{run['parameters']:,} parameters: {model['layers']} layers of width {model['hidden']}, objective {model['objective']}"
    if not metrics:
        return f"{shape}. No metrics yet."
    last = metrics[-1]
    losses = ", ".join(f"{one.title} {short_number(last[one.key])}" for one in LOSSES if last[one.key] is not None)
    return f"{shape}. Step {last['step']:,} of {config['steps']:,}, {last['tokens']:,} tokens; {losses} {UNIT}."


def thinned(lines: Lines) -> list[dict[str, Any]]:
    """Return lines averaged over groups of neighbours, so that few enough are left; each has its group's last step, the last is as told."""
    width = -(-len(lines) // _POINTS)
    groups = [lines[start : min(start + width, len(lines) - 1)] for start in range(0, len(lines) - 1, width or 1)]
    return [_averaged(group) for group in [*groups, lines[-1:]] if group]


def with_waiting(lines: Lines) -> list[dict[str, Any]]:
    """Return lines with ``waiting``: the share of the time since the line before that went by without a batch."""
    before = [0, *(line["tokens"] for line in lines)]
    return [
        {**line, "waiting": _share(line["data_wait_seconds"], (line["tokens"] - tokens) / line["tokens_per_second"])}
        for tokens, line in zip(before, lines, strict=False)
    ]


def _share(part: float | None, whole: float) -> float | None:
    return None if part is None or not whole > 0 else min(part / whole, 1.0)


def by_step(runs: Sequence[Told], quantity: Quantity) -> Iterator[tuple[int, list[float | None]]]:
    """Yield rows of a table: a step that was told, and each run's mean over the lines since the step of the row before."""
    logged = sorted({line["step"] for told in runs for line in told.metrics})
    even = (-(-max(logged, default=0) * number // _ROWS) for number in range(1, _ROWS + 1))
    bounds = sorted({0, *(max((step for step in logged if step <= bound), default=0) for bound in even)})
    for low, high in pairwise(bounds):
        yield high, [mean([line for line in told.metrics if low < line["step"] <= high], quantity.key) for told in runs]


def mean(lines: Lines, key: str) -> float | None:
    """Return the mean of a figure over the lines that have it; None where none has."""
    known = [line[key] for line in lines if line.get(key) is not None]
    return fmean(known) if known else None


def _averaged(lines: Lines) -> dict[str, Any]:
    names = [name for name, value in lines[-1].items() if value is None or isinstance(value, (int, float))]
    return {**{name: mean(lines, name) for name in names}, "step": lines[-1]["step"]}


def differing_options(runs: Sequence[Told]) -> Iterator[tuple[str, list[Any]]]:
    """Return the options of configuration and model that are not alike in all runs, with the value of each; None where a run has none."""
    return differing([{**told.run["model"], **told.run["config"]} for told in runs])
