"""Which paragraphs of the training files are trained on, and which ones choose: by a hash of each, whatever else is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

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
    return np.array([number < limit for number in _numbers(paragraphs, b"selection")], np.bool_)


def lowest(texts: Iterable[bytes], most: int) -> Flags:
    """Tell of each text, (N,), whether it is among so many that stay: those of the lowest hashes, which say nothing of what chooses."""
    numbers = np.array(list(_numbers(texts, b"lowest")), np.uint64)
    flags = np.zeros(len(numbers), np.bool_)
    flags[np.argsort(numbers, kind="stable")[:most]] = True
    return flags


def _numbers(texts: Iterable[bytes], purpose: bytes) -> Iterator[int]:
    return (int.from_bytes(hashlib.blake2b(text, digest_size=8, person=purpose).digest()) for text in texts)
