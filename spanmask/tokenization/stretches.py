"""Stretches of documents: the text between added tokens, and those."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spanmask.blocks import read_only
from spanmask.records import Bytes, Offsets

#: The id of a stretch that is text.
TEXT = -1


class Stretches(NamedTuple):
    """P stretches, none of them empty.

    text: (C,) valid UTF-8, read only. starts, ends: (P,) the bytes [start, end) of each, ascending; an added token may begin in the white
    space that the one before it took. ids: (P,) of added tokens, `TEXT` for text. documents: (P,) which document each lies in, ascending.
    """

    text: Bytes
    starts: Offsets
    ends: Offsets
    ids: Offsets
    documents: Offsets


def whole_documents(text: Bytes, offsets: Offsets) -> Stretches:
    """Return D documents as stretches; an empty one has none. offsets: (D + 1,)."""
    documents = np.flatnonzero(np.diff(offsets))
    ids = np.full(len(documents), TEXT, np.int64)
    return Stretches(read_only(text), offsets[:-1][documents], offsets[1:][documents], ids, documents)
