"""From bytes of normalized text back to those of the text that they were made of. Oracle: ``origins_of`` in ``tests/oracle.py``."""

from __future__ import annotations

from typing import NamedTuple

from spanmask.kernels._jit import Ints, inlined, kernel


class Replaced(NamedTuple):
    """Q parts of a text that became others.

    starts, ends: (Q,) bytes [start, end) of each; made, lengths: (Q,) where what it became begins, and its bytes. origins: (N, 2) bytes
    of a part, from its start on, that each byte of its result stands for; firsts: (Q,) the row of the first.
    """

    starts: Ints
    ends: Ints
    made: Ints
    lengths: Ints
    origins: Ints
    firsts: Ints


@inlined
def _origin(replaced: Replaced, part: int, place: int, side: int) -> tuple[int, int]:
    """Return where a byte came from, its start (side 0) or its end (1), and the last part that begins at or before it, −1 for none.

    part: one nearby.
    """
    while part + 1 < len(replaced.made) and replaced.made[part + 1] <= place:
        part += 1
    while part >= 0 and replaced.made[part] > place:
        part -= 1
    if part < 0:
        return place + side, part
    behind = place - replaced.made[part]
    if behind < replaced.lengths[part]:
        return replaced.starts[part] + replaced.origins[replaced.firsts[part] + behind, side], part
    return replaced.ends[part] + behind - replaced.lengths[part] + side, part


@kernel
def trace(spots: Ints, replaced: Replaced, out: Ints) -> None:
    """Trace the bytes of tokens.

    Parameters
    ----------
    spots
        (T, 2) bytes [start, end) of normalized text, none of them empty; fastest where they ascend.
    replaced
        What the text had in places of its parts.
    out
        Output, (T, 2) bytes of the text as it was.
    """
    first = last = -1
    for i in range(len(spots)):
        out[i, 0], first = _origin(replaced, first, spots[i, 0], 0)
        out[i, 1], last = _origin(replaced, last, spots[i, 1] - 1, 1)
