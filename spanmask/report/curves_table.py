"""Training runs in the terminal: what each is and how far, then losses by step, a column a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from spanmask.escaping import visible
from spanmask.report.columns import columns, title
from spanmask.report.runs import ACCURACIES, LOSSES, UNIT, Quantity, Told, by_step, sentence


def render_curves(runs: Sequence[Told]) -> RenderableType:
    """Return runs to print with rich."""
    heads = [Text.assemble((f"{visible(told.name)}: ", "bold"), sentence(told)) for told in runs]
    return Group(*heads, *_trained(runs), *_held_out(runs))


def _trained(runs: Sequence[Told]) -> Iterator[RenderableType]:
    for quantity in LOSSES:
        rows = [(f"{step:,}", list(map(_loss, values))) for step, values in by_step(runs, quantity)]
        if any(cell != "-" for _, cells in rows for cell in cells):
            yield title(f"{quantity.title}, {UNIT}: means since the step above")
            yield columns("step", [told.name for told in runs], rows)


def _held_out(runs: Sequence[Told]) -> Iterator[RenderableType]:
    """Yield the last figures on the validation split, where a run has some."""
    if not any(told.evaluations for told in runs):
        return
    rows = [("step", [f"{told.evaluations[-1]['step']:,}" if told.evaluations else "-" for told in runs])]
    rows += [(f"{one.title}, {UNIT}", [_loss(_last(told, one)) for told in runs]) for one in LOSSES]
    rows += [(one.title, [_share(_last(told, one)) for told in runs]) for one in ACCURACIES]
    yield from (title("Validation split, latest"), columns("", [told.name for told in runs], rows))


def _last(told: Told, quantity: Quantity) -> float | None:
    value: float | None = told.evaluations[-1][quantity.key] if told.evaluations else None
    return value


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
