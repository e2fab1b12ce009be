"""Rows on the terminal or in a page, for `show`, `demo` and `preshard --dry-run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spanmask.records import Row
    from spanmask.vocab import Vocabulary


def print_rows(rows: Sequence[tuple[int, Row]], vocabulary: Vocabulary) -> None:
    """Print rows with their numbers on standard output."""
    from rich.console import Console

    from spanmask.report.terminal import render_rows
    from spanmask.report.view import row_view

    console = Console()
    console.print(render_rows([row_view(row, vocabulary, number) for number, row in rows], console.width))
