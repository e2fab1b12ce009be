"""What every tokenizing kernel writes: ids and word starts, one after another, and where documents begin among them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Flags, Ints, inlined
from spanmask.kernels.wide import copy_ids, start_word
from spanmask.kernels.wordtable import WordTable, count_at

#: Room that outputs need beyond one token for each byte: that of the widest store.
SLACK = 16


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
