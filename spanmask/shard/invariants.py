"""The invariants of FORMAT.md §2 as functions of a block of rows, one a number; each returns (S,) flags of the rows that break it.

Those of structure look at offsets and positions alone, and must hold before any kernel reads the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from spanmask.config import PreshardConfig, ReplacementUnit, Sampler, Scheme
from spanmask.records import Flags, MaskedBlock, Offsets, TokenIds
from spanmask.statistics import restore, word_flags
from spanmask.vocab import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The first row of a block that breaks an invariant."""

    invariant: str
    message: str
    row: int


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A block with what its dataset says of it, and what follows from both."""

    block: MaskedBlock
    config: PreshardConfig
    vocabulary: Vocabulary

    @cached_property
    def lengths(self) -> Offsets:
        """(S,) tokens of each row, special ones included."""
        return np.diff(self.block.input_offsets)

    @cached_property
    def span_owner(self) -> Offsets:
        """(N,) the row of each span."""
        return owners(self.block.span_offsets)

    @cached_property
    def originals(self) -> TokenIds:
        """The rows with their labels put back."""
        return restore(self.block)

    @cached_property
    def flags(self) -> Flags:
        """Whether a word starts, like input_ids."""
        return word_flags(self.block, self.originals, self.vocabulary)

    @cached_property
    def masked(self) -> Offsets:
        """(S,) masked tokens of each row."""
        return np.diff(self.block.label_offsets)

    @cached_property
    def budgets(self) -> Offsets:
        """(S,) the budget of each row."""
        ratio = self.config.masking.mask_fraction
        return -(-ratio.numerator * (self.lengths - 2) // ratio.denominator)


def owners(offsets: Offsets) -> Offsets:
    """Return which item each flat value belongs to."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _any(flags: Flags, owner: Offsets, size: int) -> Flags:
    return np.bincount(owner[flags], minlength=size) > 0


def ranges_out_of_place(
    offsets: Offsets, starts: npt.NDArray[np.integer], ends: npt.NDArray[np.integer], lengths: Offsets
) -> Flags:
    """(S,) rows with a range that is empty, or not between [CLS] and [SEP]."""
    owner = owners(offsets)
    start, end = starts.astype(np.int64), ends.astype(np.int64)
    return _any((start < 1) | (start >= end) | (end > lengths[owner] - 1), owner, len(lengths))


def ranges_out_of_order(
    offsets: Offsets, starts: npt.NDArray[np.integer], ends: npt.NDArray[np.integer], gap: int
) -> Flags:
    """(S,) rows in which a range starts less than ``gap`` after the end of the one before."""
    owner = owners(offsets)
    start, end = starts.astype(np.int64), ends.astype(np.int64)
    same = owner[1:] == owner[:-1]
    return _any(same & (start[1:] < end[:-1] + gap), owner[1:], len(offsets) - 1)


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
    return _first(checks)


def _first(checks: list[tuple[str, str, Callable[[], Flags]]]) -> Problem | None:
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
    bad: Flags = _any(wrong, owner, len(block)) | (np.diff(words.offsets) == 0)
    return bad


def _annotations_wrong(block: MaskedBlock, lengths: Offsets) -> Flags:
    ranges = block.annotations
    if ranges is None:
        return np.zeros(len(block), np.bool_)
    outside = ranges_out_of_place(ranges.offsets, ranges.starts, ranges.ends, lengths)
    return outside | ranges_out_of_order(ranges.offsets, ranges.starts, ranges.ends, 0)


def content_problem(rows: Rows) -> Problem | None:
    """Return the first invariant that a block of sound structure breaks (I1, I2, I6, I9, I10, I13), if any."""
    return _first(
        [
            ("I1", "a row's length is outside min_tokens to max_tokens", lambda: _length_wrong(rows)),
            ("I2", "a row does not stand between [CLS] and [SEP]", lambda: _frame_wrong(rows)),
            ("I2", "an input id is not in the vocabulary", lambda: _ids_wrong(rows)),
            ("I6", "a label is not in the vocabulary", lambda: _labels_wrong(rows)),
            ("I9", "a span is partly [MASK]", lambda: _mixed_spans(rows)),
            ("I10", "masked tokens do not fit the budget", lambda: _budget_wrong(rows)),
            ("I13", "a span does not cover whole words", lambda: _words_cut(rows)),
        ]
    )


def foreign_id(rows: Rows) -> Problem | None:
    """Return the first row with an id that the vocabulary does not have (I2, I6): tables must not be indexed with it."""
    return _first(
        [
            ("I2", "an input id is not in the vocabulary", lambda: _ids_wrong(rows)),
            ("I6", "a label is not in the vocabulary", lambda: _labels_wrong(rows)),
        ]
    )


def _length_wrong(rows: Rows) -> Flags:
    sequence = rows.config.sequence
    bad: Flags = (rows.lengths > sequence.max_tokens) | (rows.lengths < sequence.min_tokens)
    return bad


def _frame_wrong(rows: Rows) -> Flags:
    block, special = rows.block, rows.vocabulary.special
    first, last = block.input_ids[block.input_offsets[:-1]], block.input_ids[block.input_offsets[1:] - 1]
    bad: Flags = (first != special.cls) | (last != special.sep)
    return bad


def _ids_wrong(rows: Rows) -> Flags:
    return _any(rows.block.input_ids >= len(rows.vocabulary), owners(rows.block.input_offsets), len(rows.block))


def _labels_wrong(rows: Rows) -> Flags:
    return _any(rows.block.labels >= len(rows.vocabulary), owners(rows.block.label_offsets), len(rows.block))


def _mixed_spans(rows: Rows) -> Flags:
    if rows.config.masking.replacement_unit is not ReplacementUnit.SPAN:
        return np.zeros(len(rows.block), np.bool_)
    return _any(span_is_mixed(rows), rows.span_owner, len(rows.block))


def span_is_mixed(rows: Rows) -> Flags:
    """(N,) spans that are partly [MASK], their own original [MASK] tokens apart."""
    block, mask = rows.block, rows.vocabulary.special.mask
    sizes = block.span_ends.astype(np.int64) - block.span_starts
    span_offsets = np.concatenate(([0], np.cumsum(sizes)))
    bases = np.repeat(block.input_offsets[:-1][rows.span_owner] + block.span_starts - span_offsets[:-1], sizes)
    found = block.input_ids[bases + np.arange(span_offsets[-1])]
    owner = owners(span_offsets)
    shown = np.bincount(owner[found == mask], minlength=len(sizes))
    mixed: Flags = _any((found == mask) & (block.labels != mask), owner, len(sizes)) & (shown < sizes)
    return mixed


def _budget_wrong(rows: Rows) -> Flags:
    masking = rows.config.masking
    if masking.scheme is Scheme.TOKEN or masking.sampler is Sampler.REFERENCE:
        unlike: Flags = rows.masked != rows.budgets
        return unlike
    starts = np.flatnonzero(rows.flags)
    inner = owners(rows.block.input_offsets)[starts]
    stops = np.append(starts[1:], len(rows.flags))
    stops = np.minimum(stops, rows.block.input_offsets[1:][inner] - 1)
    longest = np.zeros(len(rows.block), np.int64)
    np.maximum.at(longest, inner, stops - starts)
    if rows.block.annotations is not None:
        ranges = rows.block.annotations
        np.maximum.at(longest, owners(ranges.offsets), ranges.ends - ranges.starts)
    bad: Flags = rows.masked >= rows.budgets + np.minimum(longest, rows.budgets)
    return bad


def _words_cut(rows: Rows) -> Flags:
    masking = rows.config.masking
    if masking.scheme is Scheme.TOKEN or masking.sampler is Sampler.REFERENCE:
        return np.zeros(len(rows.block), np.bool_)
    block = rows.block
    bases = block.input_offsets[:-1][rows.span_owner]
    flags = rows.flags.copy()
    flags[block.input_offsets[1:] - 1] = True
    return _any(~flags[bases + block.span_starts] | ~flags[bases + block.span_ends], rows.span_owner, len(block))
