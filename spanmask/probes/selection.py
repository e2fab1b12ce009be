"""Which paragraphs of the training files are trained on, and which ones choose: by a hash of each, whatever else is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from spanmask.records import Flags


def selected(paragraphs: Iterable[bytes], share: float) -> Flags:
    """Tell of each paragraph, (P,), whether it is one that chooses: the same for the same text in any file, place and run.

    Parameters
    ----------
    paragraphs
        Their texts, or what else names them.
    share
        About how large a part is wanted, from 0 to 1.
    """
    limit = int(share * (1 << 64))
    numbers = [
        int.from_bytes(hashlib.blake2b(text, digest_size=8, person=b"selection").digest()) for text in paragraphs
    ]
    return np.array([number < limit for number in numbers], np.bool_)
