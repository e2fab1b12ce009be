"""Long texts in pieces that a pipeline takes: a text flows in, where its pieces begin and end flows out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

#: What a text is cut behind, the best first.
_ENDS = {
    "paragraph": re.compile(r"\n[^\S\n]*\n\s*"),
    "line": re.compile(r"\n\s*"),
    "sentence": re.compile(r"""[.!?…]["'”’»)\]]*\s+|[。！？][」』”’]*\s*"""),
    "word": re.compile(r"\s+"),
}
#: Where nothing of that is.
_INSIDE = "inside"
#: What the second half of a piece may be cut behind.
CUTS = (*_ENDS, _INSIDE)


class Piece(NamedTuple):
    """A stretch [start, end) of a text, in code points. cut: behind what it ends, one of `CUTS`; None at the text's end."""

    start: int
    end: int
    cut: str | None


def pieces_of(text: str, most: int) -> Iterator[Piece]:
    """Yield a text in pieces of at most so many code points, all of it in order.

    A piece ends behind the last end of a paragraph that lies in its second half, or else of a line, a sentence or a word there; a text
    without any is cut where the piece is full.
    """
    start = 0
    while len(text) - start > most:
        end, cut = _cut(text, start, most)
        yield Piece(start, end, cut)
        start = end
    yield Piece(start, len(text), None)


def _cut(text: str, start: int, most: int) -> tuple[int, str]:
    for kind, pattern in _ENDS.items():
        ends = [found.end() for found in pattern.finditer(text, start + most // 2, start + most)]
        if ends:
            return ends[-1], kind
    return start + most, _INSIDE
