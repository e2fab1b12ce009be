"""Words with their tags as the shared tasks of CoNLL write them: a word a line, in columns.

Columns are parted by any number of blanks or tabs; the word is the first of them and its tag the last, and what stands between is not
looked at. A line without a column ends a sentence; so does one that begins with ``-DOCSTART-``, which is no word. Other white space, such
as U+00A0 or U+200B in tweets, is part of a word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from spanmask.probes.scores.reading import lines_of

OUTSIDE = "O"
#: What the tag of a word within a span begins with: its span begins, goes on, ends, or is that word alone.
PREFIXES = ("B", "I", "E", "S")
_BREAK = re.compile(r"[ \t]+")
_DOCUMENT = "-DOCSTART-"
#: Characters of a line that an error shows.
_SHOWN = 60


class Fault(StrEnum):
    """What is wrong with a sentence."""

    COLUMNS = "columns"
    TAG = "tag"


class FaultError(Exception):
    """A sentence that cannot be used. fault: of which kind it is. line: where."""

    def __init__(self, fault: Fault, message: str, line: int) -> None:
        super().__init__(message)
        self.fault, self.line = fault, line


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words with their tags. line: the number of the first one's line; the others' follow."""

    line: int
    words: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """A file's sentences before they are looked at. rows: of each, where it begins, and the columns of each of its lines.

    width: how many columns most lines have; 0 in a file without a word.
    """

    rows: Sequence[tuple[int, list[list[str]]]]
    width: int

    def sentence(self, number: int, prefixes: Collection[str] = PREFIXES) -> Sentence:
        """Return a sentence by its number, from 0.

        Parameters
        ----------
        number
            Which.
        prefixes
            What a tag may begin with.

        Raises
        ------
        FaultError
            A line has another number of columns than most, or a tag is none.
        """
        first, rows = self.rows[number]
        for line, row in enumerate(rows, first):
            if len(row) != self.width:
                found = " ".join(row)[:_SHOWN]
                raise FaultError(
                    Fault.COLUMNS, f"{len(row)} columns in {found!r}, where most lines have {self.width}", line
                )
            if not is_tag(row[-1], prefixes):
                told = ", ".join(f"{prefix}-TYPE" for prefix in prefixes)
                raise FaultError(Fault.TAG, f"the tag {row[-1][:_SHOWN]!r}, expected O or one of {told}", line)
        return Sentence(first, tuple(row[0] for row in rows), tuple(row[-1] for row in rows))


def part_columns(text: str) -> Columns:
    """Return the sentences of a file's text."""
    rows: list[tuple[int, list[list[str]]]] = []
    inside = False
    for number, line in enumerate(lines_of(text), 1):
        columns = _columns(line)
        if columns and not inside:
            rows.append((number, []))
        if columns:
            rows[-1][1].append(columns)
        inside = bool(columns)
    widths = Counter(len(row) for _, held in rows for row in held)
    return Columns(rows, widths.most_common(1)[0][0] if widths else 0)


def _columns(line: str) -> list[str]:
    """Return a word's columns; none of a line that ends a sentence."""
    stripped = line.strip(" \t")
    columns = _BREAK.split(stripped) if stripped else []
    return [] if columns and columns[0] == _DOCUMENT else columns


def is_tag(text: str, prefixes: Collection[str] = PREFIXES) -> bool:
    """Tell whether a text is O, or a prefix alone or with a type behind a hyphen."""
    return text == OUTSIDE or (text[:1] in prefixes and text[1:2] in ("", "-"))


def parted(tag: str) -> tuple[str, str]:
    """Return a tag's prefix and type; ``_`` for none, as seqeval calls it."""
    return tag[:1], tag[2:] or "_"
