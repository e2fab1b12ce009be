"""Rows in the terminal: spans bracketed, replacements marked by colour and by sign, the original beneath."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.text import Text

from spanmask.escaping import counted, visible
from spanmask.report.interlinear import Cell, lay_out
from spanmask.report.marks import Marks, marks_for
from spanmask.report.view import Piece, Role, RowView

_STYLES = {
    Role.PLAIN: "",
    Role.SPECIAL: "dim",
    Role.MASKED: "bold magenta",
    Role.RANDOM: "bold red",
    Role.KEPT: "bold green",
}
_BENEATH_STYLES = {Role.MASKED: "italic magenta", Role.RANDOM: "italic red", Role.KEPT: "italic green"}
_BOUNDARY_STYLE = "cyan"
_BRACKET_STYLE = "bold"
#: Characters of a kept field that are shown.
_FIELD_LIMIT = 80
#: Narrower than this, lines run over rather than break in pieces.
_LEAST_WIDTH = 12


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Rows to draw, at a width of their own or the console's."""

    views: Sequence[RowView]
    width: int | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(min(self.width or options.max_width, options.max_width), _LEAST_WIDTH)
        marks = marks_for(options.encoding)
        yield from _wrapped(_legend(marks), width)
        for view in self.views:
            yield Text()
            yield from _wrapped(_heading(view, marks, options.encoding), width)
            yield from lay_out(_cells(view, marks, options.encoding), width)


def render_rows(views: Iterable[RowView], width: int | None = None) -> ConsoleRenderable:
    """Return rows to print with rich, under one legend: of each a heading, then its text with what was masked beneath.

    Parameters
    ----------
    views
        From `row_view`.
    width
        Terminal cells a line takes at most; by default what the console has.
    """
    return _Drawing(tuple(views), width)


def _wrapped(text: Text, width: int) -> Iterator[Text]:
    """Yield lines of a text that holds no line breaks."""
    words = text.split(" ")
    styles = [str(word.spans[0].style) if word.spans else "" for word in words]
    return lay_out((Cell(above=word.plain, style=style) for word, style in zip(words, styles, strict=True)), width)


def _legend(marks: Marks) -> Text:
    entries = [
        (f"{marks.opening} {marks.closing}", _BRACKET_STYLE, "span"),
        (marks.masked * 2, _STYLES[Role.MASKED], "masked"),
        (f"{marks.random}word", _STYLES[Role.RANDOM], "random"),
        (f"{marks.kept}word", _STYLES[Role.KEPT], "kept"),
        (marks.boundary * 2, _BOUNDARY_STYLE, "boundary"),
    ]
    legend = Text()
    for sign, style, meaning in entries:
        legend.append(sign, style)
        legend.append(f" {meaning}{marks.dot}")
    legend.append("original below")
    return legend


def _heading(view: RowView, marks: Marks, encoding: str) -> Text:
    facts = [
        view.origin,
        view.segments,
        f"{view.tokens} tokens + {len(view.pieces) - view.tokens} special",
        f"{view.masked} masked ({view.masked_share:.1%})",
        counted(len(view.spans), "span"),
        *(f"{name}: {_shortened(value, marks)}" for name, value in view.kept_fields),
    ]
    place = f"{visible(view.dataset, encoding)}, " * bool(view.dataset) + f"row {view.number}"
    heading = Text.assemble((place, "bold"))
    for fact in facts:
        heading.append(f"{marks.dot}{visible(fact, encoding)}")
    return heading


def _shortened(value: str, marks: Marks) -> str:
    return value if len(value) <= _FIELD_LIMIT else value[:_FIELD_LIMIT] + marks.more


def _cells(view: RowView, marks: Marks, encoding: str) -> Iterator[Cell]:
    for span, pieces in view.runs:
        if span is None:
            yield from (_plain_cell(piece, marks, encoding) for piece in pieces)
            continue
        cells = [_replaced_cell(group, marks, encoding) for group in _groups(pieces)]
        yield Cell(above=marks.opening, style=_BRACKET_STYLE, glued=cells[0].glued)
        yield replace(cells[0], glued=True)
        yield from cells[1:]
        yield Cell(above=marks.closing, style=_BRACKET_STYLE, glued=True)


def _plain_cell(piece: Piece, marks: Marks, encoding: str) -> Cell:
    text = visible(piece.text, encoding)
    return Cell(
        above=text,
        beneath=marks.boundary * cell_len(text) if piece.is_boundary else "",
        style=_STYLES[piece.role],
        beneath_style=_BOUNDARY_STYLE,
        glued=piece.attached,
    )


def _groups(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield the pieces of a span as words or parts of words of one role."""
    words = accumulate(not piece.attached for piece in pieces)
    for _, group in groupby(zip(words, pieces, strict=True), key=lambda pair: (pair[0], pair[1].role)):
        yield [piece for _, piece in group]


def _replaced_cell(pieces: Sequence[Piece], marks: Marks, encoding: str) -> Cell:
    """Return pieces that were replaced alike as one cell, the original beneath. A bar of its width stands for [MASK] tokens."""
    role = pieces[0].role
    original = visible("".join(piece.original for piece in pieces), encoding)
    if role is Role.MASKED:
        above = marks.masked * max(cell_len(original), 2)
    elif role is Role.KEPT:
        above = marks.kept + original
    else:
        above = "".join(marks.random + visible(piece.text, encoding) for piece in pieces)
    return Cell(
        above=above,
        beneath=original,
        style=_STYLES[role],
        beneath_style=_BENEATH_STYLES[role],
        glued=pieces[0].attached,
        gap=marks.gap,
    )
