"""Room that a kernel merges or searches a pre-token in: made again, larger, where a pre-token is too long for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spanmask.kernels.tokens import Tokens

#: What there is room for at first.
_ROOM = 1 << 12


def filled(out: Tokens, scratch_for: Callable[[int], Any], tokenize: Callable[[Any], int]) -> Tokens:
    """Return tokens, cut to as many as were written.

    Parameters
    ----------
    out
        What the kernel writes, anew each time.
    scratch_for
        Makes room for a pre-token of a size.
    tokenize
        Runs the kernel in such a room; returns how many tokens it wrote, or minus the size that a pre-token asks for.
    """
    room, size = _ROOM, -1
    with np.errstate(over="ignore"):
        while size < 0:
            size = tokenize(scratch_for(room))
            # Behind one that long there may be longer ones.
            room = -2 * size
    return out._replace(ids=out.ids[:size], word_starts=out.word_starts[:size], byte_offsets=out.byte_offsets[:size])
