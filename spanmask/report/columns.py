"""What is compared as a table in the terminal, a column each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from spanmask.escaping import visible


def columns(first: str, names: Iterable[str], rows: Iterable[tuple[str, Sequence[str]]]) -> Table:
    """Return a table with a column for each name behind the first. rows: what is told, and a cell for each name."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(first)
    for name in names:
        table.add_column(visible(name), justify="right", overflow="fold")
    for told, cells in rows:
        table.add_row(visible(told), *map(visible, cells))
    return table


def title(told: str) -> Text:
    """Return the title of a table, a line below what stands before it."""
    # One of the table's own would be broken at its width.
    return Text(f"\n{visible(told)}", "bold")
