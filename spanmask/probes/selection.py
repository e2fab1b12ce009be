"""Which paragraphs of the training files are trained on, and which ones choose: by a hash of each, whatever else is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np

from spanmask.errors import ConfigError
from spanmask.records import Flags, Offsets


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


def parted(chosen: Flags, nouns: str, units: str, how: str = "") -> tuple[Offsets, Offsets]:
    """Return the numbers of what is trained on, and of what chooses, both ascending.

    Parameters
    ----------
    chosen
        (N,) of all that may be trained on, which ones choose.
    nouns, units, how
        For an error: what they are, such as ``questions``; what is selected, such as ``passages``; and what more there is to tell.

    Raises
    ------
    ConfigError
        Nothing is left to train on or to choose by.
    """
    trained, choosing = (np.flatnonzero(flags) for flags in (~chosen, chosen))
    if not len(trained) or not len(choosing):
        raise ConfigError(
            f"of {len(chosen):,} training {nouns} {len(choosing):,} choose and {len(trained):,} are trained on{how}; "
            f"give more {units}, or another --selection",
            options=("selection",),
        )
    return trained, choosing


def lowest(texts: Iterable[bytes], most: int) -> Offsets:
    """Return the numbers, ascending, of so many texts that stay: those of the lowest hashes, which say nothing of what chooses."""
    numbers = np.array(list(_numbers(texts, b"lowest")), np.uint64)
    return np.sort(np.argsort(numbers, kind="stable")[:most])


def _numbers(texts: Iterable[bytes], purpose: bytes) -> Iterator[int]:
    return (int.from_bytes(hashlib.blake2b(text, digest_size=8, person=purpose).digest()) for text in texts)
