"""What every tokenizing kernel writes: ids and word starts, one after another, and where documents begin among them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Flags, Ints, inlined, signed
from spanmask.kernels.wide import copy_ids, start_word
from spanmask.kernels.wordtable import WordTable, count_at

#: Room that outputs need beyond one token for each byte: that of the widest store.
SLACK = 16
#: The size of a token that stands for more or fewer bytes than it is written with, whatever sizes are added to it.
NO_SIZE = -(1 << 40)


class Tokens(NamedTuple):
    """Outputs. ids, word_starts: (C + SLACK,) for C bytes of text; offsets: (D + 1,).

    line_starts: (C + SLACK,) false at first, or (0,); byte_offsets: (C + SLACK, 2), or (0, 2).
    """

    ids: npt.NDArray[Any]
    word_starts: Flags
    offsets: Ints
    line_starts: Flags
    byte_offsets: Ints


def tokens_for(capacity: int, documents: int, dtype: Any, *, lines: bool, byte_offsets: bool) -> Tokens:
    """Return room for so many tokens of so many documents, or what else ``offsets`` tell apart."""
    room = capacity + SLACK
    return Tokens(
        ids=np.empty(room, dtype),
        word_starts=np.empty(room, np.bool_),
        offsets=np.empty(documents + 1, np.int64),
        line_starts=np.zeros(room if lines else 0, np.bool_),
        byte_offsets=np.empty((room if byte_offsets else 0, 2), np.int64),
    )


@inlined
def write_known(table: WordTable, line: int, out: Tokens, position: int) -> int:
    """Write the ids that a word table has for a word, from a position on; return where they end."""
    copy_ids(table.lines, line, out.ids, position)
    start_word(out.word_starts, position)
    return position + count_at(table, line)


@inlined
def begin_stretch(stretch: int, starts: Ints, ends: Ints, added: Ints, out: Tokens, position: int) -> tuple[int, int]:
    """Begin a stretch, and write it where it is an added token; return where what is left of it begins, and where tokens end."""
    out.offsets[stretch] = position
    if added[stretch] < 0:
        return starts[stretch], position
    out.ids[position] = added[stretch]
    out.word_starts[position] = True
    if len(out.byte_offsets) > 0:
        out.byte_offsets[position, 0], out.byte_offsets[position, 1] = starts[stretch], ends[stretch]
    return ends[stretch], position + 1


@inlined
def _continues(text: Bytes, at: int) -> bool:
    """Tell whether a byte is not the first of its character."""
    return signed(text[at]) & 0xC0 == 0x80


@inlined
def place_token(text: Bytes, start: int, stop: int, end: int, out: Tokens, position: int) -> None:
    """Write which bytes a token stands for, those of ``text[start:stop]`` being in it: those of whole characters, one at least.

    end: where characters that are the text's end.
    """
    stop = max(stop, start + 1)
    while _continues(text, start):
        start -= 1
    while stop < end and _continues(text, stop):
        stop += 1
    out.byte_offsets[position, 0], out.byte_offsets[position, 1] = start, stop


@inlined
def place_tokens(
    text: Bytes, at: int, spaced: int, end: int, sizes: Ints, out: Tokens, position: int, token_end: int
) -> None:
    """Write which bytes the tokens of a pre-token stand for: those of whole characters.

    spaced: 1 if there is a space before it that the text lacks, and which stands for the character behind it. end: where its stretch does.
    sizes: (V,) bytes of a token.
    """
    at -= spaced
    for i in range(position, token_end):
        start = at + spaced if i == position else at
        at += sizes[out.ids[i]]
        place_token(text, start, at, end, out, i)


@inlined
def place_known(
    text: Bytes, at: int, stop: int, spaced: int, sizes: Ints, out: Tokens, position: int, token_end: int
) -> bool:
    """Place the tokens of the word ``text[at:stop]`` by their sizes, if these tell."""
    size = 0
    for i in range(position, token_end):
        size += sizes[out.ids[i]]
    if size != spaced + stop - at:
        return False
    place_tokens(text, at, spaced, stop, sizes, out, position, token_end)
    return True
