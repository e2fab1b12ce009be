"""Annotated ranges and word starts of documents: nested Arrow lists flow in, `Ranges` and `Ragged` points flow out.

Both count Unicode code points of the document's text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from spanmask.blocks import offsets_of
from spanmask.records import Flags, Offsets, Ragged, Ranges, SkipReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Rows that break a rule. bad: (D,), at least one true. kind: of the rule. reason: says what is wrong with a bad row."""

    bad: Flags
    kind: SkipReason
    reason: Callable[[int], str]


def is_list(kind: pa.DataType) -> bool:
    """Tell whether a type is a list of any layout but a view."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_ranges_type(kind: pa.DataType) -> bool:
    """Tell whether a type holds ranges: a list of lists of integers, or of structs with integer start and end."""
    if not is_list(kind):
        return False
    item = kind.value_type
    if is_list(item):
        return bool(pa.types.is_integer(item.value_type))
    if not pa.types.is_struct(item):
        return False
    return all(
        item.get_field_index(name) >= 0 and pa.types.is_integer(item.field(name).type) for name in ("start", "end")
    )


def is_points_type(kind: pa.DataType) -> bool:
    """Tell whether a column's type holds positions: a list of integers."""
    return is_list(kind) and bool(pa.types.is_integer(kind.value_type))


def read_ranges(column: pa.Array, lengths: Offsets) -> tuple[Ranges[Offsets], Fault | None]:
    """Read the ranges of each document, sorted by start, then end.

    Parameters
    ----------
    column
        D rows of a type that `is_ranges_type` accepts; null means no ranges.
    lengths
        (D,) code points of each text.

    Returns
    -------
    tuple of Ranges and Fault or None
        The ranges, sound only where the second is None; else that names the rows with a range that is no pair, empty,
        or outside its text.
    """
    counts = _lengths(column)
    owners = np.repeat(np.arange(len(column)), counts)
    starts, ends, paired = _pairs(column.flatten())
    sound = paired & (starts >= 0) & (starts < ends) & (ends <= lengths[owners])
    # By owner first, so that each document's ranges stay where its offsets say.
    order = np.lexsort((ends, starts, owners))
    ranges = Ranges(offsets=offsets_of(counts), starts=starts[order], ends=ends[order])
    fault = _fault(owners[~sound], len(column), lambda row: _range_reason(column[row].as_py(), int(lengths[row])))
    return ranges, fault


def read_points(column: pa.Array, lengths: Offsets) -> tuple[Ragged[Offsets], Fault | None]:
    """Read the positions of each document, ascending and unique; parameters and results as in `read_ranges`."""
    owners = np.repeat(np.arange(len(column)), _lengths(column))
    values, known = _integers(column.flatten())
    sound = known & (values >= 0) & (values <= lengths[owners])
    pairs = np.unique(np.stack((owners, values)), axis=1) if len(values) else np.zeros((2, 0), np.int64)
    points = Ragged(offsets=offsets_of(np.bincount(pairs[0], minlength=len(column))), values=pairs[1])
    fault = _fault(owners[~sound], len(column), lambda row: _point_reason(column[row].as_py(), int(lengths[row])))
    return points, fault


def _fault(owners: Offsets, rows: int, reason: Callable[[int], str]) -> Fault | None:
    if not len(owners):
        return None
    bad = np.bincount(owners, minlength=rows).astype(np.bool_)
    return Fault(bad=bad, kind=SkipReason.RANGES, reason=reason)


def _lengths(column: pa.Array) -> Offsets:
    """Return (D,) items of each list, 0 for null."""
    import pyarrow.compute as pc

    counts = pc.fill_null(pc.list_value_length(column), 0)
    return np.asarray(counts.to_numpy(zero_copy_only=False), np.int64)


def _integers(values: pa.Array) -> tuple[Offsets, Flags]:
    """Return integers as int64 (0 where null or too large), and which are known."""
    import pyarrow.compute as pc

    try:
        wide = values.cast(pa.int64())
    except pa.ArrowInvalid:
        # Unsigned values that int64 cannot hold: they lie outside any text, and are told as such for their own rows alone.
        wide = pc.if_else(pc.less_equal(values, (1 << 63) - 1), values, None).cast(pa.int64())
    known = np.asarray(wide.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    return np.asarray(pc.fill_null(wide, 0).to_numpy(zero_copy_only=False), np.int64), known


def _pairs(items: pa.Array) -> tuple[Offsets, Offsets, Flags]:
    """Return the starts and ends of A ranges, and which are pairs of integers."""
    import pyarrow.compute as pc

    if pa.types.is_struct(items.type):
        named = [_integers(pc.struct_field(items, name)) for name in ("start", "end")]
        return named[0][0], named[1][0], named[0][1] & named[1][1]
    counts = _lengths(items)
    values, known = _integers(items.flatten())
    first = offsets_of(counts)[:-1]
    paired = counts == 2
    # Where an item is no pair its numbers are not read at all: what lies there belongs to others.
    places = first[paired]
    starts, ends = np.zeros(len(items), np.int64), np.zeros(len(items), np.int64)
    starts[paired], ends[paired] = values[places], values[places + 1]
    paired[paired] = known[places] & known[places + 1]
    return starts, ends, paired


def _range_reason(ranges: list[object], length: int) -> str:
    """Say what is wrong with the first range that is unsound."""
    for item in ranges:
        pair = [item.get("start"), item.get("end")] if isinstance(item, dict) else item
        if not isinstance(pair, list) or len(pair) != 2 or None in pair:
            return f"{_short(item)} is not a pair [start, end]"
        start, end = pair
        if start < 0 or start >= end:
            return f"the range [{start}, {end}] is empty or negative, expected 0 <= start < end"
        if end > length:
            return f"the range [{start}, {end}] ends beyond the text, which has {length} code points"
    return "a range does not fit the text"


def _point_reason(points: list[int | None], length: int) -> str:
    wrong = next((point for point in points if point is None or not 0 <= point <= length), None)
    return f"the word start {wrong} is outside the text, expected 0 to {length} (code points)"


def _short(item: object) -> str:
    text = repr(item)
    return text if len(text) <= 60 else f"{text[:57]}…"
