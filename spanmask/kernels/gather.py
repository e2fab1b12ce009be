"""Rows from anywhere in a shard, copied together: the file and where its columns lie in, one flat array out.

Columns are given by the places of their buffers; a block is an Arrow record batch whose structure was checked. Everything is indexed
within the file's own array, so nothing outside the file is read. What is copied are units of 16 bits, which all columns are made of.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Ints, copy, inlined, kernel
from spanmask.kernels.wide import prefetch

#: Rows between the one that is copied and the one that is fetched into the cache: random rows are as slow as memory answers, one by one.
_AHEAD = 8
#: Units of a cache line.
_LINE = 32

_Units = npt.NDArray[np.uint16]


class Wanted(NamedTuple):
    """R rows of a shard, and where they go. blocks, rows: (R,) the block, and the row in it; targets: (R,) the row of the output."""

    blocks: Ints
    rows: Ints
    targets: Ints


class Columns(NamedTuple):
    """C columns of a shard, numbers before lists.

    offsets, values: (blocks, C) where in the file each block's list offsets begin, in 32-bit words, and its values, in units. widths: (C,)
    units of a value. numbers: how many columns hold a number a row.
    """

    offsets: Ints
    values: Ints
    widths: Ints
    numbers: int


class Cells(NamedTuple):
    """Cells of n rows of the output, (C, n) each: where in the file they begin, in units, and how many values they hold."""

    starts: Ints
    sizes: Ints


@kernel
def find_cells(words: npt.NDArray[np.int32], columns: Columns, wanted: Wanted, cells: Cells) -> None:
    """Find the cells of some rows. words: the file; cells: output."""
    for i in range(len(wanted.rows)):
        block, row, target = wanted.blocks[i], wanted.rows[i], wanted.targets[i]
        for c in range(len(columns.widths)):
            first: Any = row
            size: Any = 1
            if c >= columns.numbers:
                at = columns.offsets[block, c] + row
                first = np.int64(words[at])
                size = words[at + 1] - first
            cells.starts[c, target] = columns.values[block, c] + first * columns.widths[c]
            cells.sizes[c, target] = size


@inlined
def _fetch(file: _Units, cells: Cells, widths: Ints, target: int) -> None:
    for c in range(len(widths)):
        start = cells.starts[c, target]
        for at in range(start, start + cells.sizes[c, target] * widths[c], _LINE):
            prefetch(file, at)


@inlined
def _copy_row(file: _Units, cells: Cells, widths: Ints, target: int, places: Any, values: _Units) -> None:
    bases, offsets = places
    for c in range(len(widths)):
        start, size = cells.starts[c, target], cells.sizes[c, target] * widths[c]
        place = bases[c] + offsets[c, target] * widths[c]
        copy(file[start : start + size], values[place : place + size])


@kernel
def copy_cells(file: _Units, targets: Ints, cells: Cells, widths: Ints, places: Any, values: _Units) -> None:
    """Copy the cells of some rows.

    Parameters
    ----------
    file
        Where they lie.
    targets
        (R,) rows of the output.
    cells, widths
        As `find_cells` found them, and the widths of their columns.
    places
        (C,) where in ``values`` each column begins, in units; (C, n + 1) where in its column each cell goes, in values.
    values
        Output.
    """
    for i in range(len(targets)):
        if i + _AHEAD < len(targets):
            _fetch(file, cells, widths, targets[i + _AHEAD])
        _copy_row(file, cells, widths, targets[i], places, values)
