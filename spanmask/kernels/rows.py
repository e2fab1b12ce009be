"""Looking at stored rows: their originals, their words, and counts over them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import kernel
from spanmask.kernels.spans import Ints

#: Layout of ``Counts.totals``.
TOTALS = (
    "tokens",
    "words",
    "masked_tokens",
    "budget_tokens",
    "spans",
    "rows_without_spans",
    "rows_short_of_budget",
    "spans_at_first_word",
    "spans_at_last_word",
    "words_cut_by_spans",
    "replaced_by_mask",
    "replaced_by_random",
    "kept",
    "unknown_tokens",
)


class Stored(NamedTuple):
    """S stored rows. input_ids: (T + 2·S,); input_offsets, span_offsets, label_offsets: (S + 1,); span_starts, span_ends: (N,)."""

    input_ids: npt.NDArray[Any]
    input_offsets: Ints
    span_starts: npt.NDArray[np.uint16]
    span_ends: npt.NDArray[np.uint16]
    span_offsets: Ints
    labels: npt.NDArray[Any]
    label_offsets: Ints


class Counts(NamedTuple):
    """Where counts are added: totals (14,); histograms indexed by value, the last bin holding all beyond it."""

    totals: Ints
    row_tokens: Ints
    row_masked: Ints
    row_spans: Ints
    span_tokens: Ints
    span_words: Ints


@kernel
def restore_rows(rows: Stored, originals: npt.NDArray[Any]) -> None:
    """Write the rows with their labels put back. originals: like input_ids."""
    originals[:] = rows.input_ids
    for i in range(len(rows.input_offsets) - 1):
        base = rows.input_offsets[i]
        label = rows.label_offsets[i]
        for n in range(rows.span_offsets[i], rows.span_offsets[i + 1]):
            for position in range(np.int64(rows.span_starts[n]), np.int64(rows.span_ends[n])):
                originals[base + position] = rows.labels[label]
                label += 1


@kernel
def _bump(histogram: Ints, value: int) -> None:
    histogram[min(value, len(histogram) - 1)] += 1


@kernel
def _count_span(
    rows: Stored, base: int, label: int, start: int, end: int, flags: npt.NDArray[np.bool_], mask: int, counts: Counts
) -> int:
    """Count one span of the row at ``base``; return its words, a cut one included."""
    words = 0
    for position in range(start, end):
        words += (position == start) | flags[base + position]
        found, original = rows.input_ids[base + position], rows.labels[label + position - start]
        if found == mask:
            counts.totals[10] += 1
        elif found != original:
            counts.totals[11] += 1
        else:
            counts.totals[12] += 1
    _bump(counts.span_tokens, end - start)
    _bump(counts.span_words, words)
    return words


@kernel
def count_rows(
    rows: Stored,
    originals: npt.NDArray[Any],
    flags: npt.NDArray[np.bool_],
    numerator: int,
    denominator: int,
    ids: Any,
    counts: Counts,
) -> None:
    """Add what S rows hold to the counts. originals, flags (word starts): like input_ids; ids: (mask, unk)."""
    mask, unk = ids
    for i in range(len(rows.input_offsets) - 1):
        base = rows.input_offsets[i]
        size = rows.input_offsets[i + 1] - base - 2
        for position in range(1, size + 1):
            counts.totals[1] += (position == 1) | flags[base + position]
            counts.totals[13] += originals[base + position] == unk
        label = rows.label_offsets[i]
        for n in range(rows.span_offsets[i], rows.span_offsets[i + 1]):
            start: Any = np.int64(rows.span_starts[n])
            end: Any = np.int64(rows.span_ends[n])
            _count_span(rows, base, label, start, end, flags, mask, counts)
            cut_in = start > 1 and not flags[base + start]
            cut_out = end <= size and not flags[base + end]
            counts.totals[7] += start == 1
            counts.totals[8] += end == size + 1
            counts.totals[9] += np.int64(cut_in) + np.int64(cut_out)
            label += end - start
        masked = label - rows.label_offsets[i]
        spans = rows.span_offsets[i + 1] - rows.span_offsets[i]
        budget = (numerator * size + denominator - 1) // denominator
        counts.totals[0] += size
        counts.totals[2] += masked
        counts.totals[3] += budget
        counts.totals[4] += spans
        counts.totals[5] += spans == 0
        counts.totals[6] += masked < budget
        _bump(counts.row_tokens, size + 2)
        _bump(counts.row_masked, masked)
        _bump(counts.row_spans, spans)


@kernel
def count_coverage(rows: Stored, flags: npt.NDArray[np.bool_], first: Ints, last: Ints) -> None:
    """Count, for words by their place from the front and from the back, how many rows have one there and how many mask it.

    first, last: (K, 2): rows with a word there, rows in which its first token is masked.
    """
    width = len(first)
    for i in range(len(rows.input_offsets) - 1):
        base = rows.input_offsets[i]
        size = rows.input_offsets[i + 1] - base - 2
        words = 0
        for position in range(1, size + 1):
            words += (position == 1) | flags[base + position]
        word = -1
        n = rows.span_offsets[i]
        for position in range(1, size + 1):
            if position > 1 and not flags[base + position]:
                continue
            word += 1
            while n < rows.span_offsets[i + 1] and np.int64(rows.span_ends[n]) <= position:
                n += 1
            masked = n < rows.span_offsets[i + 1] and np.int64(rows.span_starts[n]) <= position
            if word < width:
                first[word, 0] += 1
                first[word, 1] += masked
            if words - 1 - word < width:
                last[words - 1 - word, 0] += 1
                last[words - 1 - word, 1] += masked
