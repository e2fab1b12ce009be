"""A table of words seen and their pieces: what saves matching a word again.

A line is 64 bytes: the word's own bytes (up to 32, zeros after them; no word holds a zero), then up to 30 bytes of ids, then their
number. A word lies in one of the four lines of its set; each time it is found it moves one line to the front, where it is found sooner.
The table has a fixed size: a word that comes into a full set takes the last line, which holds one seldom found. A word that was replaced
is matched again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import inlined, signed
from spanmask.kernels.wide import Key, holds_key

#: 64-bit words of a line, and lines of a set.
LINE, WAYS = 8, 4
#: Lines of a table, 64 bytes each. Of English Wikipedia's words 98 % are found in 8 MiB; four times that is no faster.
LINES = 1 << 17

# Odd constants of SplitMix64 (Steele et al. 2014) and of Fibonacci hashing.
_A, _B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_C, _D = np.uint64(0x94D049BB133111EB), np.uint64(0xD6E8FEB86659FD93)
_HIGH, _COUNT = np.uint64(44), np.uint64(48)


class WordTable(NamedTuple):
    """lines: (8 · L,) uint64, on a 64-byte boundary, zeros at first; L is a power of two, at least 4."""

    lines: npt.NDArray[np.uint64]


def word_table() -> WordTable:
    """Return an empty table on a 64-byte boundary, so that a line is one line of the processor's cache."""
    room = np.zeros((LINES + 1) * LINE, np.uint64)
    first = -room.ctypes.data % 64 // 8
    return WordTable(room[first : first + LINES * LINE])


@inlined
def set_of(table: WordTable, key: Key) -> int:
    """Return where the first line of a word's set lies."""
    # A product's high bits depend on all bits of a word: the low ones need no mixing in.
    mixed = (key[0] * _A) ^ (key[1] * _B) ^ (key[2] * _C) ^ (key[3] * _D)
    sets = len(table.lines) // (LINE * WAYS)
    return (signed(mixed >> _HIGH) & (sets - 1)) * (LINE * WAYS)


@inlined
def find(table: WordTable, key: Key) -> int:
    """Return where a word's line lies in ``table.lines``, or −1."""
    return find_in(table, set_of(table, key), key)


@inlined
def find_in(table: WordTable, line: int, key: Key) -> int:
    """Return where a word's line lies, of whose set the first line is given, or −1."""
    if holds_key(table.lines, line, key):
        return line
    for way in range(1, WAYS):
        other = line + way * LINE
        if holds_key(table.lines, other, key):
            for i in range(other, other + LINE):
                table.lines[i], table.lines[i - LINE] = table.lines[i - LINE], table.lines[i]
            return other - LINE
    return -1


@inlined
def count_at(table: WordTable, line: int) -> int:
    """Return how many ids a line holds."""
    return signed(table.lines[line + LINE - 1] >> _COUNT)


@inlined
def keep(table: WordTable, key: Key, ids: npt.NDArray[Any], position: int, count: int) -> None:
    """Keep a word with its ids, ``ids[position:position + count]``; not where they are more than a line holds."""
    if count * ids.itemsize > 30:
        return
    line = set_of(table, key)
    last = line + (WAYS - 1) * LINE
    while line < last and table.lines[line] != np.uint64(0):
        line += LINE
    for i in range(4):
        table.lines[line + 4 + i] = np.uint64(0)
    table.lines[line], table.lines[line + 1] = key[0], key[1]
    table.lines[line + 2], table.lines[line + 3] = key[2], key[3]
    width = 8 // ids.itemsize
    for i in range(count):
        shift = np.uint64(i % width * ids.itemsize * 8)
        table.lines[line + 4 + i // width] |= np.uint64(ids[position + i]) << shift
    table.lines[line + LINE - 1] |= np.uint64(count) << _COUNT
