"""Cutting documents into segments, and annotated ranges with them."""

from __future__ import annotations

from typing import NamedTuple

from spanmask.kernels._jit import Flags, Ints, kernel

#: Layout of ``Cut.counts``: segments written, tokens dropped, words split.
WRITTEN, DROPPED, WORDS_CUT = 0, 1, 2


class Cut(NamedTuple):
    """Where segments are written: starts, ends, document_index, numbers (≥ S,); counts (3,)."""

    starts: Ints
    ends: Ints
    document_index: Ints
    numbers: Ints
    counts: Ints


@kernel
def _cut_end(start: int, end: int, room: int, word_starts: Flags, line_starts: Flags) -> int:
    """Return where a segment from ``start`` ends: at the last line start that fits (when lines are given), else word start, else full."""
    stop = start + room
    if stop >= end:
        return end
    # Kept: the segment [start, place) fits. A line start is looked for as far back as the segment goes, before any word start is: short
    # segments that end where sentences do are wanted more than full ones.
    place = stop
    while len(line_starts) > 0 and place > start:
        if line_starts[place]:
            return place
        place -= 1
    place = stop
    while place > start:
        if word_starts[place]:
            return place
        place -= 1
    return stop


@kernel
def cut_documents(
    word_starts: Flags,
    line_starts: Flags,
    offsets: Ints,
    room: int,
    shortest: int,
    out: Cut,
) -> None:
    """Cut each of D documents into consecutive segments of at most ``room`` tokens; those below ``shortest`` are dropped.

    word_starts: (T,); line_starts: (T,) to cut at lines, (0,) to cut at words; offsets: (D + 1,). Oracle: ``cut``.
    """
    n = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        number = 0
        while start < end:
            stop = _cut_end(start, end, room, word_starts, line_starts)
            splits_word = stop < end and not word_starts[stop]
            # A word cut into many segments counts once, at its first cut.
            if splits_word and (start == offsets[document] or word_starts[start]):
                out.counts[WORDS_CUT] += 1
            # Ordinals go on over segments that are dropped: an identity does not depend on the shortest that is kept.
            if stop - start >= shortest:
                out.starts[n], out.ends[n], out.document_index[n], out.numbers[n] = start, stop, document, number
                n += 1
            else:
                out.counts[DROPPED] += stop - start
            start = stop
            number += 1
    out.counts[WRITTEN] = n


@kernel
def cut_ranges(
    segments: Cut,
    document_offsets: Ints,
    ranges: Ints,
    range_starts: Ints,
    range_ends: Ints,
    out_offsets: Ints,
    out_starts: Ints,
    out_ends: Ints,
) -> None:
    """Give each segment the parts of its document's ranges that lie in it.

    ranges: (D + 1,) offsets into range_starts, range_ends (A,), token positions in the document.
    Outputs: (S + 1,), (≥ A + S,) twice, token positions in the segment.
    """
    n = 0
    for i in range(len(out_offsets) - 1):
        document = segments.document_index[i]
        start = segments.starts[i] - document_offsets[document]
        end = segments.ends[i] - document_offsets[document]
        # A range may lie in several segments, and each gets its part. A document's ranges are apart, so that a border between two segments
        # lies in one of them at most and adds one part: A + S are room enough.
        for k in range(ranges[document], ranges[document + 1]):
            if range_starts[k] < end and range_ends[k] > start:
                out_starts[n] = max(range_starts[k], start) - start
                out_ends[n] = min(range_ends[k], end) - start
                n += 1
        out_offsets[i + 1] = n
