"""The invariants of FORMAT.md §2 that concern offsets and positions alone; they must hold before any kernel reads the rows.

NumPy only, so that stored rows are read without numba.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spanmask.records import Flags, MaskedBlock, Offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The first row of a block that breaks an invariant."""

    invariant: str
    message: str
    row: int


def owners(offsets: Offsets) -> Offsets:
    """Return which item each flat value belongs to."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def rows_with(flags: Flags, owner: Offsets, size: int) -> Flags:
    """(S,) rows to which a flagged item belongs; owner: the row of each item."""
    return np.bincount(owner[flags], minlength=size) > 0


def ranges_out_of_place(
    offsets: Offsets, starts: npt.NDArray[np.integer], ends: npt.NDArray[np.integer], lengths: Offsets
) -> Flags:
    """(S,) rows with a range that is empty, or not between [CLS] and [SEP]."""
    owner = owners(offsets)
    start, end = starts.astype(np.int64), ends.astype(np.int64)
    return rows_with((start < 1) | (start >= end) | (end > lengths[owner] - 1), owner, len(lengths))


def ranges_out_of_order(
    offsets: Offsets, starts: npt.NDArray[np.integer], ends: npt.NDArray[np.integer], gap: int
) -> Flags:
    """(S,) rows in which a range starts less than ``gap`` after the end of the one before."""
    owner = owners(offsets)
    start, end = starts.astype(np.int64), ends.astype(np.int64)
    same = owner[1:] == owner[:-1]
    return rows_with(same & (start[1:] < end[:-1] + gap), owner[1:], len(offsets) - 1)


def structure_problem(block: MaskedBlock) -> Problem | None:
    """Return what would make a kernel read outside its arrays (I1, I3, I4, I5, I11, I12 without the configuration), if anything."""
    lengths = np.diff(block.input_offsets)
    sized = len(block.span_starts) == len(block.span_ends)
    checks: list[tuple[str, str, Callable[[], Flags]]] = [
        ("I1", "a row is shorter than three tokens", lambda: lengths < 3),
        ("I3", "span_starts and span_ends differ in length", lambda: np.full(len(block), not sized)),
        ("I3", "a span is not inside its row", lambda: _spans_outside(block, lengths)),
        ("I4", "spans overlap, touch or do not ascend", lambda: _spans_touching(block)),
        ("I5", "labels do not match the spans", lambda: _labels_unmatched(block)),
        ("I11", "word_starts are not positions of the row that ascend from 1", lambda: _words_wrong(block, lengths)),
        ("I12", "annotated ranges are not ascending ranges of the row", lambda: _annotations_wrong(block, lengths)),
    ]
    return first_problem(checks)


def first_problem(checks: list[tuple[str, str, Callable[[], Flags]]]) -> Problem | None:
    """Return the first of some checks that finds a row; each is an invariant's number, what is wrong, and a function that flags rows."""
    for invariant, message, check in checks:
        bad = check()
        if bad.any():
            return Problem(invariant=invariant, message=f"{message} ({invariant})", row=int(np.argmax(bad)))
    return None


def _spans_outside(block: MaskedBlock, lengths: Offsets) -> Flags:
    return ranges_out_of_place(block.span_offsets, block.span_starts, block.span_ends, lengths)


def _spans_touching(block: MaskedBlock) -> Flags:
    return ranges_out_of_order(block.span_offsets, block.span_starts, block.span_ends, 1)


def _labels_unmatched(block: MaskedBlock) -> Flags:
    sizes = block.span_ends.astype(np.int64) - block.span_starts
    masked = np.bincount(owners(block.span_offsets), weights=sizes, minlength=len(block)).astype(np.int64)
    bad: Flags = masked != np.diff(block.label_offsets)
    return bad


def _words_wrong(block: MaskedBlock, lengths: Offsets) -> Flags:
    words = block.word_starts
    if words is None:
        return np.zeros(len(block), np.bool_)
    owner = owners(words.offsets)
    values = words.values.astype(np.int64)
    first = np.zeros(len(values), np.bool_)
    first[words.offsets[:-1][np.diff(words.offsets) > 0]] = True
    rising = np.diff(values, prepend=0) > 0
    wrong = (first & (values != 1)) | (~first & ~rising) | (values > lengths[owner] - 2)
    bad: Flags = rows_with(wrong, owner, len(block)) | (np.diff(words.offsets) == 0)
    return bad


def _annotations_wrong(block: MaskedBlock, lengths: Offsets) -> Flags:
    ranges = block.annotations
    if ranges is None:
        return np.zeros(len(block), np.bool_)
    outside = ranges_out_of_place(ranges.offsets, ranges.starts, ranges.ends, lengths)
    return outside | ranges_out_of_order(ranges.offsets, ranges.starts, ranges.ends, 0)
