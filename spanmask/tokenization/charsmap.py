"""The table of a `Precompiled` normalizer: which characters its keys begin with.

It is a double array (Yata 2008, darts-clone) over the bytes of its keys, behind its size in bytes, before the texts that they become.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.records import Offsets

#: Bytes of two characters.
_DEPTH = 8


class Keys(NamedTuple):
    """Code points. characters: the keys of one character. firsts, seconds: the first and the second of longer keys."""

    characters: Offsets
    firsts: Offsets
    seconds: Offsets


class _Walks(NamedTuple):
    """Walks from the root: where their children lie, the code point read so far, bytes that it lacks, and the first, −1 if it is this."""

    bases: Offsets
    points: Offsets
    lacking: Offsets
    firsts: Offsets

    def where(self, chosen: npt.NDArray[Any]) -> _Walks:
        return _Walks(*(field[chosen] for field in self))


def charsmap(keys: Iterable[int], value: str) -> bytes:
    """Return a table that writes a value for every grapheme that begins with one of some bytes."""
    units = [0] * 768
    units[0] = 256 << 10
    for key in keys:
        units[256 ^ key] = key | 1 << 8 | (256 ^ key ^ (512 + key)) << 10
        units[512 + key] = 1 << 31
    trie = struct.pack("<768I", *units)
    return struct.pack("<I", len(trie)) + trie + value.encode() + b"\0"


def keys_of(table: bytes) -> Keys:
    """Return what the keys of a table begin with.

    Raises
    ------
    ValueError
        The table is no trie, or has keys that end within a character; the message goes on "has …".
    """
    size = int.from_bytes(table[:4], "little")
    if size % 4 or not 4 <= size <= len(table) - 4:
        raise ValueError("another size than it says")
    units = np.frombuffer(table, "<u4", size // 4, 4).astype(np.int64)
    offsets = units >> 10 << ((units & 1 << 9) >> 6)
    labels = units & 0x800000FF
    bases = np.arange(len(units)) ^ offsets
    children = np.flatnonzero((labels > 0) & (labels < 256))
    order = np.argsort(children ^ labels[children], kind="stable")
    children = children[order]
    parents = children ^ labels[children]
    found: list[list[Offsets]] = [[], [], []]
    zero = np.zeros(1, np.int64)
    walks = _Walks(bases[:1], zero, zero, zero - 1)
    for _ in range(_DEPTH):
        if len(walks.bases) > len(units) or (walks.bases | 255 >= len(units)).any():
            raise ValueError("places outside of it, or that several keys share")
        walks = _step(walks, parents, children, units, bases, found)
    characters, firsts, seconds = (np.unique(np.concatenate([np.zeros(0, np.int64), *values])) for values in found)
    return Keys(characters, firsts, seconds)


def _step(
    walks: _Walks,
    parents: Offsets,
    children: Offsets,
    units: Offsets,
    bases: Offsets,
    found: list[list[Offsets]],
) -> _Walks:
    """Go on by one byte, and note characters that are complete. parents: the base that each of the children belongs to, ascending."""
    low, high = (np.searchsorted(parents, walks.bases, side) for side in ("left", "right"))
    counts = high - low
    owners = np.repeat(np.arange(len(counts)), counts)
    nodes = children[np.arange(len(owners)) + np.repeat(low - np.cumsum(counts) + counts, counts)]
    walks = _read(walks.where(owners)._replace(bases=bases[nodes]), units[nodes] & 255)
    valid = walks.lacking >= 0
    walks, leaves = walks.where(valid), (units[nodes] & 1 << 8 != 0)[valid]
    complete = walks.lacking == 0
    if (leaves & ~complete).any():
        raise ValueError("keys that end within a character")
    first = complete & (walks.firsts < 0)
    second = complete & ~first
    found[0].append(walks.points[first & leaves])
    found[1].append(walks.firsts[second])
    found[2].append(walks.points[second])
    walks = walks._replace(firsts=np.where(first, walks.points, walks.firsts))
    return walks.where(~second)


def _read(walks: _Walks, read: Offsets) -> _Walks:
    """Return walks with a byte of UTF-8 read; they lack −1 bytes where it cannot stand."""
    begins = walks.lacking == 0
    lacking = np.select([read < 0x80, read < 0xC2, read < 0xE0, read < 0xF0, read < 0xF5], [0, -1, 1, 2, 3], -1)
    points = np.where(begins, np.where(read < 0x80, read, read & 0x3F >> lacking), walks.points << 6 | read & 0x3F)
    lacking = np.where(begins, lacking, np.where(read >> 6 == 2, walks.lacking - 1, -1))
    lacking[points >= 0x110000] = -1
    return walks._replace(points=points, lacking=lacking)
