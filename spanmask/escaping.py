"""Text made fit to show: what a screen would obey rather than draw becomes visible, and what is long or many is told in short."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence

#: General categories that steer a screen or cannot be drawn: control, format (bidirectional marks too), surrogate, private, separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
#: The pictures of control characters, and how those read where an encoding has none of them.
_PICTURES = {chr(code): chr(0x2400 + code) for code in range(0x20)} | {"\x7f": "␡"}
_SPELLED = str.maketrans({picture: f"\\x{ord(control):02x}" for control, picture in _PICTURES.items()})


def visible(text: str, encoding: str = "utf-8") -> str:
    r"""Return text with control characters shown: ``␛`` for escape, ``\x9b`` or ``\u202e`` for those that have no picture.

    Characters that ``encoding`` cannot carry become ``\xe9`` or ``\u4e2d``, and control characters ``\x1b`` where it has no pictures.
    """
    if text.isascii() and text.isprintable():
        return text
    shown = "".join(_shown(character) for character in text)
    try:
        return shown.encode(encoding).decode(encoding)
    except UnicodeEncodeError:
        return shown.translate(_SPELLED).encode(encoding, "backslashreplace").decode(encoding)


def escape(text: object) -> str:
    """Return what a value reads as, safe inside HTML text and quoted attributes."""
    return html.escape(visible(str(text)))


def code_span(text: str) -> str:
    """Return a text as code inside a line of Markdown, where nothing in it is markup (CommonMark 0.31, §6.1).

    The fence is longer than any run of backticks within, and spaces part the two where they would meet or where one would be stripped.
    """
    shown = visible(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    pad = " " if shown[:1] in ("`", " ") or shown[-1:] in ("`", " ") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def fact_table(facts: Mapping[str, str]) -> str:
    """Return facts by name as a table in Markdown, without a head."""
    # A bar would end the cell, in code too.
    rows = ("| {} | {} |".format(*(cell.replace("|", "\\|") for cell in row)) for row in facts.items())
    return "\n".join(["| | |", "|---|---|", *rows])


def short_digest(digest: object) -> str:
    """Return the beginning of a digest, which tells apart as many as people have."""
    return str(digest)[:16]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def first_of(names: Sequence[str], most: int) -> str:
    """Return names in one line, and of those beyond a number only how many they are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN:
        return character
    return _PICTURES.get(character) or character.encode("ascii", "backslashreplace").decode()
