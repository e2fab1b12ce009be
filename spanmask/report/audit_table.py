"""Audits in the terminal: gates, then what was drawn beside its law, as small tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spanmask.escaping import visible
from spanmask.report import figures
from spanmask.report.marks import marks_for

#: Below this width a gate's detail stands under its name.
_WIDE = 115


@dataclass(frozen=True, slots=True)
class _AuditView:
    audit: dict[str, Any]
    width: int | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(self.width or options.max_width, options.max_width)
        options = options.update_width(width)
        yield from console.render(_gates(self.audit["gates"], width, options.encoding), options)
        yield from console.render(Padding(_totals(self.audit), (1, 0, 0, 0)), options)
        tables = (_lengths, _coverage, _replacements, _causes)
        yield from console.render(Columns([Padding(table(self.audit), (1, 2, 0, 0)) for table in tables]), options)


def render_audit(audit: dict[str, Any], width: int | None = None) -> ConsoleRenderable:
    """Return an audit to print with rich.

    Parameters
    ----------
    audit
        From `Audit.to_json`.
    width
        Terminal cells a line takes at most; by default what the console has.
    """
    return _AuditView(audit, width)


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _gates(gates: Sequence[dict[str, Any]], width: int, encoding: str) -> Table:
    marks = marks_for(encoding)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_column(style="dim")
    for gate in gates:
        sign, style = (f"{marks.passed} passed", "green") if gate["passed"] else (f"{marks.failed} FAILED", "bold red")
        name, detail = (Text(visible(gate[key], encoding)) for key in ("name", "detail"))
        told = [name, detail] if width >= _WIDE else [Text.assemble(name, "\n", (detail.plain, "dim"))]
        table.add_row(Text(sign, style), *told)
    return table


def _totals(audit: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    for total in figures.totals(audit):
        table.add_row(total.value, Text.assemble(total.name, (f"  {total.note}", "dim")))
    return table


def _lengths(audit: dict[str, Any]) -> Table:
    table = _table("Span lengths", "words", "law", "drawn", "stored")
    for length in figures.lengths(audit):
        table.add_row(length.label, *(_share(value) for value in (length.law, length.drawn, length.realised)))
    return table


def _coverage(audit: dict[str, Any]) -> Table:
    table = _table("How often words are masked", "word", "measured", "expected")
    first, last = figures.edges(audit, "first")[:3], figures.edges(audit, "last")[:3]
    rows = [
        *((_place("first", edge.word), edge.measured, edge.expected) for edge in first),
        ("inside", *figures.inside(audit)),
        *((_place("last", edge.word), edge.measured, edge.expected) for edge in reversed(last)),
    ]
    for name, measured, expected in rows:
        table.add_row(name, _share(measured), _share(expected))
    return table


def _place(side: str, word: int) -> str:
    if word == 1:
        return side
    return f"{('second', 'third')[word - 2]}{' last' * (side == 'last')}"


def _replacements(audit: dict[str, Any]) -> Table:
    unit = audit["config"]["masking"]["replacement_unit"]
    table = _table("Replacements", f"a {unit} is", "units", "share", "law")
    for found in figures.replacements(audit):
        table.add_row(found.name, f"{found.units:,}", _share(found.share), f"{found.law:.0%}")
    return table


def _causes(audit: dict[str, Any]) -> Table:
    table = _table("Why draws failed", "cause", "trials", "short rows")
    for cause in figures.causes(audit):
        table.add_row(visible(cause.name), f"{cause.failed_trials:,}", f"{cause.short_rows:,}")
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
