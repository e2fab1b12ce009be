"""The invariants of FORMAT.md §2 that concern offsets, positions and ids alone; they must hold before any kernel reads the rows.

NumPy only, so that stored rows are read without numba.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spanmask.records import Flags, MaskedBlock, Offsets, Positions, Ragged, Ranges, TokenIds

#: An invariant's number, what it is when a row breaks it, and the (S,) flags of the rows that do.
Check = tuple[str, str, Callable[[], Flags]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The first row of a block that breaks an invariant."""

    invariant: str
    message: str
    row: int


def rows_with(flags: Flags, owner: Offsets, size: int) -> Flags:
    """(S,) rows to which a flagged item belongs; owner: the row of each item."""
    return np.bincount(owner[flags], minlength=size) > 0


def _ranges_outside(ranges: Ranges[Positions], lengths: Offsets) -> Flags:
    """(S,) rows with a range that is empty, or not between [CLS] and [SEP]."""
    owner, start, end = ranges.owners, ranges.starts.astype(np.int64), ranges.ends.astype(np.int64)
    return rows_with((start < 1) | (start >= end) | (end > lengths[owner] - 1), owner, len(lengths))


def _ranges_disordered(ranges: Ranges[Positions], gap: int) -> Flags:
    """(S,) rows in which a range starts less than ``gap`` after the end of the one before."""
    owner, start, end = ranges.owners, ranges.starts.astype(np.int64), ranges.ends.astype(np.int64)
    same = owner[1:] == owner[:-1]
    return rows_with(same & (start[1:] < end[:-1] + gap), owner[1:], len(ranges))


def structure_problem(block: MaskedBlock, vocabulary_size: int) -> Problem | None:
    """Return what would make a kernel read outside its arrays, if anything.

    These are I1, I3, I4, I5, I11, I12, I14 and I15 without the configuration, and the ids of I2 and I6.
    """
    lengths, spans = block.input_ids.lengths, block.spans
    sized = len(spans.starts) == len(spans.ends)
    checks: list[Check] = [
        ("I1", "a row is shorter than three tokens", lambda: lengths < 3),
        ("I3", "span_starts and span_ends differ in length", lambda: np.full(len(block), not sized)),
        ("I3", "a span is not inside its row", lambda: _ranges_outside(spans, lengths)),
        ("I4", "spans overlap, touch or do not ascend", lambda: _ranges_disordered(spans, 1)),
        ("I5", "labels do not match the spans", lambda: _labels_unmatched(block)),
        ("I2", "an input id is not in the vocabulary", lambda: _foreign(block.input_ids, vocabulary_size)),
        ("I6", "a label is not in the vocabulary", lambda: _foreign(block.labels, vocabulary_size)),
        ("I11", "word_starts are not positions of the row that ascend from 1", lambda: _words_wrong(block, lengths)),
        ("I12", "annotated ranges are not ascending ranges of the row", lambda: _annotations_wrong(block, lengths)),
        ("I14", "a border is not inside its row, or lies in a span or a range", lambda: _borders_wrong(block, lengths)),
        ("I15", "a label does not go with the second segment's identity", lambda: _pairs_wrong(block)),
    ]
    return first_problem(checks)


def first_problem(checks: list[Check]) -> Problem | None:
    """Return the first of some checks that finds a row; each is an invariant's number, what is wrong, and a function that flags rows."""
    for invariant, message, check in checks:
        bad = check()
        if bad.any():
            return Problem(invariant=invariant, message=f"{message} ({invariant})", row=int(np.argmax(bad)))
    return None


def _labels_unmatched(block: MaskedBlock) -> Flags:
    masked = np.bincount(block.spans.owners, weights=block.spans.sizes, minlength=len(block)).astype(np.int64)
    bad: Flags = masked != block.labels.lengths
    return bad


def _foreign(ids: Ragged[TokenIds], size: int) -> Flags:
    if not len(ids.values) or ids.values.max() < size:
        return np.zeros(len(ids), np.bool_)
    return rows_with(ids.values >= size, ids.owners, len(ids))


def _words_wrong(block: MaskedBlock, lengths: Offsets) -> Flags:
    words = block.word_starts
    if words is None:
        return np.zeros(len(block), np.bool_)
    owner, values = words.owners, words.values.astype(np.int64)
    first = np.zeros(len(values), np.bool_)
    first[words.offsets[:-1][words.lengths > 0]] = True
    rising = np.diff(values, prepend=0) > 0
    wrong = (first & (values != 1)) | (~first & ~rising) | (values > lengths[owner] - 2)
    bad: Flags = rows_with(wrong, owner, len(block)) | (words.lengths == 0)
    return bad


def _annotations_wrong(block: MaskedBlock, lengths: Offsets) -> Flags:
    ranges = block.annotations
    if ranges is None:
        return np.zeros(len(block), np.bool_)
    return _ranges_outside(ranges, lengths) | _ranges_disordered(ranges, 0)


def _borders_wrong(block: MaskedBlock, lengths: Offsets) -> Flags:
    if block.pairs is None:
        return np.zeros(len(block), np.bool_)
    borders = block.pairs.borders.astype(np.int64)
    bad: Flags = (borders > 0) & ((borders < 3) | (borders > lengths - 2))
    for ranges in (block.spans, block.annotations):
        if ranges is not None:
            between = borders[ranges.owners] - 1
            bad |= rows_with((ranges.starts <= between) & (between < ranges.ends), ranges.owners, len(block))
    return bad


def _pairs_wrong(block: MaskedBlock) -> Flags:
    pairs = block.pairs
    if pairs is None:
        return np.zeros(len(block), np.bool_)
    none = (pairs.labels == 0) & (pairs.document_ids == 0) & (pairs.segments == 0)
    follows = (pairs.labels == 1) & (pairs.document_ids == block.document_ids) & (pairs.segments == block.segments + 1)
    other = (pairs.labels == 0) & (pairs.document_ids != block.document_ids)
    bad: Flags = np.where(pairs.borders == 0, ~none, ~(follows | other))
    return bad
