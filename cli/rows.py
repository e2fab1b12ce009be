"""Rows on the terminal or in a page, for `show`, `demo` and `preshard --dry-run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spanmask.records import Row
    from spanmask.report.view import RowView
    from spanmask.vocab import Vocabulary


def print_rows(rows: Sequence[tuple[int, Row]], vocabulary: Vocabulary, inputs: Sequence[str]) -> None:
    """Print rows with their numbers on standard output. inputs: the names of those they are of."""
    from spanmask.report.view import row_view

    views = [row_view(row, vocabulary, number) for number, row in rows]
    print_views([replace(view, input=inputs[view.file]) for view in views])


def print_views(views: Sequence[RowView]) -> None:
    """Print rows on standard output."""
    from rich.console import Console

    from spanmask.report.terminal import render_rows

    console = Console()
    console.print(render_rows(views, console.width))
