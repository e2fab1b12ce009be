"""Looking at stored rows: their originals, their words, and counts over them."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Flags, Ints, copy, inlined, kernel, signed
from spanmask.kernels.words import count_words, split_long

_Totals = namedtuple(
    "_Totals",
    (
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
        "tokens_short_of_budget",
    ),
)
#: Where each of ``Counts.totals`` stands.
TOTALS = _Totals(*range(len(_Totals._fields)))


class Stored(NamedTuple):
    """S stored rows.

    input_ids: (T + 2·S,); input_offsets, span_offsets, label_offsets: (S + 1,); span_starts, span_ends: (N,); borders: (S,) position of
    the second segment's first token, 0 in a row of one: ``[SEP]`` before it counts as a word that is never masked.
    """

    input_ids: npt.NDArray[Any]
    input_offsets: Ints
    span_starts: npt.NDArray[np.uint16]
    span_ends: npt.NDArray[np.uint16]
    span_offsets: Ints
    labels: npt.NDArray[Any]
    label_offsets: Ints
    borders: Ints


class Counts(NamedTuple):
    """Where counts are added: totals, each at its place in `TOTALS`; histograms indexed by value, the last bin holding all beyond it."""

    totals: Ints
    row_tokens: Ints
    row_masked: Ints
    row_spans: Ints
    span_tokens: Ints
    span_words: Ints


@inlined
def _look_up(ids: npt.NDArray[Any], table: Flags, flags: Flags) -> None:
    for i in range(len(ids)):
        flags[i] = table[ids[i]]


@inlined
def _largest(ids: npt.NDArray[Any]) -> int:
    largest = 0
    for i in range(len(ids)):
        largest = max(largest, signed(ids[i]))
    return largest


@inlined
def _settle(flags: Flags, border: int, stop: int, longest: int) -> None:
    """Bring the flags of a row, (L,), under what holds beside the table: its segments start words, and none is too long. stop: L − 1."""
    first = 1
    if border > 0:
        flags[first] = flags[border - 1] = True
        split_long(flags, first, border - 1, longest)
        first = border
    flags[first] = True
    split_long(flags, first, stop, longest)


@kernel
def restore_rows(rows: Stored, table: Flags, longest: int, originals: npt.NDArray[Any], flags: Flags) -> int:
    """Write the rows with their labels put back, and where words start by a table of ids (V,), words over ``longest`` tokens split.

    originals, flags: like input_ids. The first token of a row starts a word.
    Returns the first row with an id that the table lacks, from which on nothing is written; −1 for none.
    """
    for i in range(len(rows.input_offsets) - 1):
        base, stop = rows.input_offsets[i], rows.input_offsets[i + 1]
        label = rows.label_offsets[i]
        hidden = rows.labels[label : rows.label_offsets[i + 1]]
        ids = rows.input_ids[base:stop]
        # Before anything is looked up: the table is indexed by these ids, and a kernel reads out of bounds without a word. One maximum is a
        # few wide instructions, a comparison for each token would not be.
        if max(_largest(ids), _largest(hidden)) >= len(table):
            return i
        copy(ids, originals[base:stop])
        _look_up(ids, table, flags[base:stop])
        for n in range(rows.span_offsets[i], rows.span_offsets[i + 1]):
            start, size = base + np.int64(rows.span_starts[n]), signed(rows.span_ends[n]) - signed(rows.span_starts[n])
            hidden = rows.labels[label : label + size]
            copy(hidden, originals[start : start + size])
            _look_up(hidden, table, flags[start : start + size])
            # Kept: labels before `label` are put back, those of the row's spans in order, since they are stored one after another.
            label += size
        _settle(flags[base:stop], rows.borders[i], stop - base - 1, longest)
    return -1


class Words(NamedTuple):
    """Where words start: by id, table (V,), words over ``longest`` tokens split; or, where stored, by place, like input_ids, else (0,)."""

    table: Flags
    longest: int
    stored: Flags


@inlined
def _bump(histogram: Ints, value: int) -> None:
    histogram[min(value, len(histogram) - 1)] += 1


@inlined
def _count_span(rows: Stored, flags: Flags, base: int, label: int, span: int, ids: Any, counts: Counts) -> Any:
    """Count one span of the row at ``base``; return how many more unknown tokens it hides than it shows. flags: (L,) where words start."""
    mask, unk = ids
    start: Any = np.int64(rows.span_starts[span])
    end: Any = np.int64(rows.span_ends[span])
    masked, random, kept, inside, unknown = 0, 0, 0, 1, 0
    for position in range(start, end):
        found, original = rows.input_ids[base + position], rows.labels[label + position - start]
        masked += found == mask
        random += (found != mask) & (found != original)
        kept += (found != mask) & (found == original)
        inside += (position > start) & flags[position]
        unknown += int(original == unk) - int(found == unk)
    counts.totals[TOTALS.replaced_by_mask] += masked
    counts.totals[TOTALS.replaced_by_random] += random
    counts.totals[TOTALS.kept] += kept
    _bump(counts.span_tokens, end - start)
    _bump(counts.span_words, inside)
    return unknown


@inlined
def _count_edges(rows: Stored, flags: Flags, size: int, span: int, counts: Counts) -> None:
    """Count whether a span touches an end of its row, and whether it begins or ends inside a word."""
    start: Any = np.int64(rows.span_starts[span])
    end: Any = np.int64(rows.span_ends[span])
    counts.totals[TOTALS.spans_at_first_word] += start == 1
    counts.totals[TOTALS.spans_at_last_word] += end == size + 1
    cut_in, cut_out = not flags[start], end <= size and not flags[end]
    counts.totals[TOTALS.words_cut_by_spans] += np.int64(cut_in) + np.int64(cut_out)


@inlined
def _find_words(rows: Stored, words: Words, i: int, flags: Flags) -> int:
    """Write where words of row i start, (L,), and return how many there are."""
    base, stop = rows.input_offsets[i], rows.input_offsets[i + 1]
    if len(words.stored) > 0:
        copy(words.stored[base:stop], flags)
    else:
        _look_up(rows.input_ids[base:stop], words.table, flags)
        label = rows.label_offsets[i]
        for n in range(rows.span_offsets[i], rows.span_offsets[i + 1]):
            start, end = signed(rows.span_starts[n]), signed(rows.span_ends[n])
            _look_up(rows.labels[label : label + end - start], words.table, flags[start:end])
            label += end - start
        _settle(flags, rows.borders[i], stop - base - 1, words.longest)
    return count_words(flags[1 : stop - base - 1]) - int(rows.borders[i] > 0)


@inlined
def _count_unknown(ids: npt.NDArray[Any], unk: int) -> int:
    count = 0
    for token in ids:
        count += token == unk
    return count


@kernel
def count_rows(rows: Stored, words: Words, numerator: int, denominator: int, ids: Any, counts: Counts) -> None:
    """Add what S valid rows hold to the counts. ids: (mask, unk).

    Unknown originals are counted without being put together: as the rows stand, and then what the spans hide.
    """
    _, unk = ids
    longest = 0
    for i in range(len(rows.input_offsets) - 1):
        longest = max(longest, rows.input_offsets[i + 1] - rows.input_offsets[i])
    room = np.empty(longest, np.bool_)
    for i in range(len(rows.input_offsets) - 1):
        base = rows.input_offsets[i]
        size = rows.input_offsets[i + 1] - base - 2
        flags = room[: size + 2]
        count = _find_words(rows, words, i, flags)
        unknown = _count_unknown(rows.input_ids[base + 1 : base + size + 1], unk)
        label = rows.label_offsets[i]
        for span in range(rows.span_offsets[i], rows.span_offsets[i + 1]):
            unknown += _count_span(rows, flags, base, label, span, ids, counts)
            _count_edges(rows, flags, size, span, counts)
            label += np.int64(rows.span_ends[span]) - np.int64(rows.span_starts[span])
        masked = label - rows.label_offsets[i]
        tokens = size - (rows.borders[i] > 0)
        spans = rows.span_offsets[i + 1] - rows.span_offsets[i]
        budget = (numerator * tokens + denominator - 1) // denominator
        counts.totals[TOTALS.tokens] += tokens
        counts.totals[TOTALS.words] += count
        counts.totals[TOTALS.masked_tokens] += masked
        counts.totals[TOTALS.budget_tokens] += budget
        counts.totals[TOTALS.spans] += spans
        counts.totals[TOTALS.rows_without_spans] += spans == 0
        counts.totals[TOTALS.rows_short_of_budget] += masked < budget
        counts.totals[TOTALS.tokens_short_of_budget] += max(budget - masked, 0)
        counts.totals[TOTALS.unknown_tokens] += unknown
        _bump(counts.row_tokens, size + 2)
        _bump(counts.row_masked, masked)
        _bump(counts.row_spans, spans)


@kernel
def count_coverage(rows: Stored, flags: Flags, first: Ints, last: Ints) -> None:
    """Count, for words by their place from the front and from the back, how many rows have one there and how many mask it.

    ``[SEP]`` between two segments is none.

    first, last: (K, 2): rows with a word there, rows in which its first token is masked.
    """
    width = len(first)
    for i in range(len(rows.input_offsets) - 1):
        base = rows.input_offsets[i]
        size = rows.input_offsets[i + 1] - base - 2
        # Counted first: a word's place from the back is known only then.
        words = 0
        between = rows.borders[i] - 1
        for position in range(1, size + 1):
            words += ((position == 1) | flags[base + position]) & (position != between)
        word = -1
        n = rows.span_offsets[i]
        for position in range(1, size + 1):
            if (position > 1 and not flags[base + position]) or position == between:
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
