"""Lay out text in pairs of lines: what stands in a row above, what it was beneath. Widths are in terminal cells.

A cell is a text with what stands beneath it; cells that are glued make a word, and lines break between words, or inside one that is wider
than a line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from rich.cells import cell_len, chop_cells
from rich.text import Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A text and what stands beneath it, each with its style.

    glued: whether it is joined to the cell before. gap: what fills the room after the lower text, up to that of a glued cell.
    """

    above: str
    beneath: str = ""
    style: str = ""
    beneath_style: str = ""
    glued: bool = False
    gap: str = " "

    @property
    def width(self) -> int:
        """The terminal cells it takes."""
        return max(cell_len(self.above), cell_len(self.beneath))


def lay_out(cells: Iterable[Cell], width: int) -> Iterator[Text]:
    """Yield lines of at most ``width`` terminal cells; a line with nothing beneath is single."""
    for line in _lines(_words(cells), width):
        yield _drawn(line, beneath=False)
        if any(cell.beneath for cell in line):
            yield _drawn(line, beneath=True)


def _words(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    word: list[Cell] = []
    for cell in cells:
        if word and not cell.glued:
            yield word
            word = []
        word.append(cell)
    if word:
        yield word


def _lines(words: Iterable[list[Cell]], width: int) -> Iterator[list[Cell]]:
    """Yield lines, each a list of cells whose first is glued to nothing."""
    line: list[Cell] = []
    used = 0
    for word in words:
        for part in _fitting(word, width):
            size = sum(cell.width for cell in part)
            space = 0 if not line or part[0].glued else 1
            if line and used + space + size > width:
                yield line
                line, used, space = [], 0, 0
            line += [replace(part[0], glued=bool(line) and part[0].glued), *part[1:]]
            used += space + size
    if line:
        yield line


def _fitting(word: list[Cell], width: int) -> list[list[Cell]]:
    """Return a word as one part if a line can hold it, else in parts that can be broken apart."""
    if sum(cell.width for cell in word) <= width:
        return [word]
    return [[part] for cell in word for part in _chopped(cell, width)]


def _chopped(cell: Cell, width: int) -> list[Cell]:
    if cell.width <= width:
        return [cell]
    pairs = zip_longest(chop_cells(cell.above, width), chop_cells(cell.beneath, width), fillvalue="")
    return [
        replace(cell, above=above, beneath=beneath, glued=cell.glued or number > 0)
        for number, (above, beneath) in enumerate(pairs)
    ]


def _drawn(line: Sequence[Cell], *, beneath: bool) -> Text:
    """Return what stands in a line's cells, or beneath them: words apart, parts of a word joined there by their gap's sign."""
    text = Text(no_wrap=True, overflow="ignore", end="\n")
    for cell, following in zip_longest(line, line[1:]):
        if text.plain and not cell.glued:
            text.append(" ")
        joined = beneath and cell.beneath and following is not None and following.glued and following.beneath
        shown, style = (cell.beneath, cell.beneath_style) if beneath else (cell.above, cell.style)
        text.append(shown, style)
        text.append((cell.gap if joined else " ") * (cell.width - cell_len(shown)))
    text.rstrip()
    return text
