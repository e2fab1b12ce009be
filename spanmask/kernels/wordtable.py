"""A table of words seen and their pieces: what saves matching a word again.

A line is 64 bytes: the word's own bytes (up to 32, zeros after them; no word holds a zero), then up to 30 bytes of ids, then their
number. A word lies in one of four lines, from its home on; each time it is found in another it moves one line to the front, where it is
found sooner. A word that comes where all four are taken takes the last, which holds one seldom found. A word that was replaced, or that
others moved out of its four, is matched again. Between runs a table that is half full is exchanged for a larger one, once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Bytes, inlined, kernel, signed
from spanmask.kernels.wide import WIDTH, Key, holds_key, load_key

#: 64-bit words of a line, and lines in which a word may lie.
LINE, WAYS = 8, 4
#: Homes of a table at first, and of the larger one: 8 and 32 MiB. Of English Wikipedia's words 98 % are found in the first, nearly all of
#: 3 million in the second; to have that at once would cost a run of a few megabytes more than it gains.
LINES, GROWN = 1 << 17, 1 << 19
#: Lines that are looked at to see how full a table is.
_SAMPLE = 256

# Odd constants of SplitMix64 (Steele et al. 2014) and of Fibonacci hashing.
_A, _B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
_C, _D = np.uint64(0x94D049BB133111EB), np.uint64(0xD6E8FEB86659FD93)
_HIGH, _COUNT = np.uint64(40), np.uint64(48)


class WordTable(NamedTuple):
    """lines: (8 · (H + 3),) uint64, on a 64-byte boundary, zeros at first; H, the homes, is a power of two."""

    lines: npt.NDArray[np.uint64]


def word_table() -> WordTable:
    """Return an empty table."""
    return _empty(LINES)


def _empty(homes: int) -> WordTable:
    """Return a table on a 64-byte boundary, so that a line is one line of the processor's cache."""
    room = np.zeros((homes + WAYS) * LINE, np.uint64)
    first = -room.ctypes.data % 64 // 8
    return WordTable(room[first : first + (homes + WAYS - 1) * LINE])


def with_room(table: WordTable) -> WordTable:
    """Return a table that is less than half full, or one of `GROWN` homes that knows the same words."""
    seen = table.lines[:: LINE * max(1, len(table.lines) // (LINE * _SAMPLE))]
    if 2 * np.count_nonzero(seen) < len(seen) or len(table.lines) >= GROWN * LINE:
        return table
    larger = _empty(GROWN)
    with np.errstate(over="ignore"):
        _move(table, larger)
    return larger


@inlined
def key_of(text: Bytes, at: int, stop: int, spaced: int, room: Bytes) -> Key:
    """Return the key of a word of at most 32 bytes. spaced: 1 if there is a space before it that the text lacks; room: (32,)."""
    if spaced == 0 and at + WIDTH <= len(text):
        return load_key(text, at, stop - at, 0)
    room[0] = 0x20
    for i in range(at, stop):
        room[spaced + i - at] = text[i]
    return load_key(room, 0, spaced + stop - at, 0)


@inlined
def home_of(table: WordTable, key: Key) -> int:
    """Return where a word's home lies: the first of its lines."""
    # A product's high bits depend on all bits of a word: the low ones need no mixing in.
    mixed = (key[0] * _A) ^ (key[1] * _B) ^ (key[2] * _C) ^ (key[3] * _D)
    homes = len(table.lines) // LINE - WAYS + 1
    return (signed(mixed >> _HIGH) & (homes - 1)) * LINE


@inlined
def find(table: WordTable, key: Key) -> int:
    """Return where a word's line lies in ``table.lines``, or −1."""
    return find_in(table, home_of(table, key), key)


@inlined
def find_in(table: WordTable, line: int, key: Key) -> int:
    """Return where a word's line lies, whose home is given, or −1."""
    if holds_key(table.lines, line, key):
        return line
    for way in range(1, WAYS):
        other = line + way * LINE
        # A word takes the first empty line: it does not lie behind one.
        if table.lines[other - LINE] == np.uint64(0):
            return -1
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
def _line_for(table: WordTable, key: Key) -> int:
    """Return the line that a new word takes: the first empty one of its four, else the last."""
    line = home_of(table, key)
    last = line + (WAYS - 1) * LINE
    while line < last and table.lines[line] != np.uint64(0):
        line += LINE
    return line


@inlined
def keep(table: WordTable, key: Key, ids: npt.NDArray[Any], position: int, count: int) -> None:
    """Keep a word with its ids, ``ids[position:position + count]``; not where they are more than a line holds."""
    if count * ids.itemsize > 30:
        return
    line = _line_for(table, key)
    for i in range(4):
        table.lines[line + 4 + i] = np.uint64(0)
    table.lines[line], table.lines[line + 1] = key[0], key[1]
    table.lines[line + 2], table.lines[line + 3] = key[2], key[3]
    width = 8 // ids.itemsize
    for i in range(count):
        shift = np.uint64(i % width * ids.itemsize * 8)
        table.lines[line + 4 + i // width] |= np.uint64(ids[position + i]) << shift
    table.lines[line + LINE - 1] |= np.uint64(count) << _COUNT


@kernel
def _move(table: WordTable, larger: WordTable) -> None:
    """Put all words of a table into another."""
    for line in range(0, len(table.lines), LINE):
        if table.lines[line] != np.uint64(0):
            key = table.lines[line], table.lines[line + 1], table.lines[line + 2], table.lines[line + 3]
            to = _line_for(larger, key)
            for i in range(LINE):
                larger.lines[to + i] = table.lines[line + i]
