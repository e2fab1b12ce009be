"""Entries of a vocabulary by their bytes: which one is a pre-token as it stands. What there is to read of one that is none is one slot."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, Ints, inlined, kernel, signed
from spanmask.kernels.merging import EMPTY, MIDDLE, SPREAD


class Entries(NamedTuple):
    """text, offsets: the bytes of V entries, and (V + 1,) where each begins; an empty one is none. longest: bytes of one at most.

    slots: (S,) uint32, S a power of two: an entry in the low bits of ``mask``, the others those of its hash, or `EMPTY`; an entry lies at
    or behind ``hash >> shift``.
    """

    text: Bytes
    offsets: Ints
    longest: int
    slots: npt.NDArray[np.uint32]
    shift: np.uint64
    mask: int


@inlined
def _hash_of(text: Bytes, at: int, stop: int) -> np.uint64:
    spread = SPREAD
    for i in range(at, stop):
        spread = (spread ^ np.uint64(text[i])) * SPREAD
    return spread


@inlined
def _is_entry(entries: Entries, entry: int, text: Bytes, at: int, stop: int) -> bool:
    first = entries.offsets[entry]
    if entries.offsets[entry + 1] - first != stop - at:
        return False
    for i in range(stop - at):
        if entries.text[first + i] != text[at + i]:
            return False
    return True


@inlined
def entry_of(entries: Entries, text: Bytes, at: int, stop: int) -> int:
    """Return the entry that is ``text[at:stop]``, or −1."""
    if stop - at > entries.longest:
        return -1
    spread = _hash_of(text, at, stop)
    slot, wanted = signed(spread >> entries.shift), signed(spread >> MIDDLE)
    # Linear probing ends: at least half of the slots are empty.
    while True:
        found = signed(entries.slots[slot])
        if found == EMPTY:
            return -1
        agrees = (found ^ wanted) & (EMPTY ^ entries.mask) == 0
        if agrees and _is_entry(entries, found & entries.mask, text, at, stop):
            return found & entries.mask
        slot = (slot + 1) & (len(entries.slots) - 1)


@kernel
def _enter(entries: Entries) -> None:
    """Put all entries into empty slots."""
    for entry in range(len(entries.offsets) - 1):
        first, stop = entries.offsets[entry], entries.offsets[entry + 1]
        if stop > first:
            spread = _hash_of(entries.text, first, stop)
            slot = signed(spread >> entries.shift)
            while entries.slots[slot] != EMPTY:
                slot = (slot + 1) & (len(entries.slots) - 1)
            entries.slots[slot] = (signed(spread >> MIDDLE) & (EMPTY ^ entries.mask)) | entry


def entries_of(text: Bytes, offsets: Ints) -> Entries:
    """Return V different entries, to be found by their bytes; see `Entries`."""
    count = len(offsets) - 1
    bits = (2 * count + 1).bit_length()
    entries = Entries(
        text=text,
        offsets=offsets,
        longest=int(np.diff(offsets).max(initial=0)),
        slots=np.full(1 << bits, EMPTY, np.uint32),
        shift=np.uint64(64 - bits),
        mask=(1 << count.bit_length()) - 1,
    )
    with np.errstate(over="ignore"):
        _enter(entries)
    return entries
