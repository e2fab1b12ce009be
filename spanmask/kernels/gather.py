"""Rows from anywhere in a shard, copied together: the file's bytes and where its columns lie in, flat arrays out.

Columns are given by the places of their buffers; a block is an Arrow record batch whose structure was checked. Everything is indexed
within the file's own array, so nothing outside the file is read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import copy, kernel

_Integers = npt.NDArray[np.int64]


class Wanted(NamedTuple):
    """R rows of a shard, and where they go. blocks, rows: (R,) the block, and the row in it; targets: (R,) the row of the output."""

    blocks: _Integers
    rows: _Integers
    targets: _Integers


@kernel
def measure_lists(words: npt.NDArray[np.int32], places: _Integers, wanted: Wanted, lengths: _Integers) -> None:
    """Write how long a list column's cells are.

    Parameters
    ----------
    words
        The file as 32-bit words.
    places
        (blocks,) in words, where the column's offsets of each block begin.
    wanted
        Which rows.
    lengths
        Output, indexed by target.
    """
    for i in range(len(wanted.rows)):
        at = places[wanted.blocks[i]] + wanted.rows[i]
        lengths[wanted.targets[i]] = words[at + 1] - words[at]


@kernel
def copy_lists(
    words: npt.NDArray[np.int32],
    places: _Integers,
    items: npt.NDArray[Any],
    item_places: _Integers,
    wanted: Wanted,
    offsets: _Integers,
    values: npt.NDArray[Any],
) -> None:
    """Copy a list column's cells.

    Parameters
    ----------
    words, places, wanted
        As for `measure_lists`.
    items
        The file as items of the column's width.
    item_places
        (blocks,) in items, where the column's values of each block begin.
    offsets
        (rows of the output + 1,) where cells go in ``values``.
    values
        Output.
    """
    for i in range(len(wanted.rows)):
        at = places[wanted.blocks[i]] + wanted.rows[i]
        start = item_places[wanted.blocks[i]] + words[at]
        target = wanted.targets[i]
        size = offsets[target + 1] - offsets[target]
        copy(items[start : start + size], values[offsets[target] : offsets[target] + size])


@kernel
def copy_numbers(items: npt.NDArray[Any], places: _Integers, wanted: Wanted, values: npt.NDArray[Any]) -> None:
    """Copy a column of numbers. items: the file as such numbers; places: (blocks,) where each block's begin; values: output, by target."""
    for i in range(len(wanted.rows)):
        values[wanted.targets[i]] = items[places[wanted.blocks[i]] + wanted.rows[i]]
