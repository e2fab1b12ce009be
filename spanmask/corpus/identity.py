"""Name documents: an input file and places in it flow in, identities flow out (FORMAT.md §3)."""

from __future__ import annotations

import numpy as np

from spanmask.corpus.inputs import PLACE_BITS, PLACE_LIMIT, InputFile
from spanmask.errors import CorpusError
from spanmask.records import Identities, Offsets


def identities(file: InputFile, places: Offsets) -> Identities:
    """Return (D,) identities: the file's index in the high 24 bits, the place (byte offset or row) in the low 40.

    Raises
    ------
    CorpusError
        A place needs more than 40 bits. `places` ascends.
    """
    if len(places) and int(places[-1]) >= PLACE_LIMIT:
        raise CorpusError(
            f"a document lies at {int(places[-1])}, beyond 2^{PLACE_BITS}, more than an identity holds; split the file",
            path=file.path,
        )
    return places.astype(np.uint64) | np.uint64(file.index << PLACE_BITS)


def places(ids: Identities) -> Offsets:
    """Return the (D,) places that identities hold."""
    return (ids & np.uint64(PLACE_LIMIT - 1)).astype(np.int64)
