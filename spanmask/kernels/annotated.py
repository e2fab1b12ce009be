"""Drawing spans that a corpus supplied, and words between them: segments in, ascending spans out (FORMAT.md §6.5). Oracle: ``sample``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from spanmask.kernels._jit import Ints, inlined, kernel
from spanmask.kernels.philox import LENGTHS, STARTS, Key, RandomStream, draw_below, next_draw
from spanmask.kernels.spans import (
    OCCUPIED,
    Bits,
    Law,
    Marks,
    Segments,
    Spans,
    Tally,
    budget_of,
    count_failed,
    emit_masked,
    index_words,
    is_free,
    longest_of,
    mask_words,
    new_stream,
    open_purpose,
    place_span,
    tokens_of,
    wall_of,
)

_HALF = np.uint64(1 << 31)


class Annotated(NamedTuple):
    """Ranges of S segments, token positions in the segment. offsets: (S + 1,); starts, ends: (A,)."""

    offsets: Ints
    starts: Ints
    ends: Ints


@inlined
def _fill_pool(ranges: Annotated, i: int, budget: int, words: Marks, pool: Ints, tally: Tally) -> int:
    """Write segment i's ranges as words [first, end) into pool (A, 2), without those longer than the budget; return how many."""
    size = 0
    word = 0
    for k in range(ranges.offsets[i], ranges.offsets[i + 1]):
        if ranges.ends[k] - ranges.starts[k] > budget:
            tally.too_long[0] += 1
            continue
        # Ranges ascend and begin and end where words do, so one walk over the words serves all of them.
        while words[word] < ranges.starts[k]:
            word += 1
        pool[size, 0] = word
        while words[word] < ranges.ends[k]:
            word += 1
        pool[size, 1] = word
        size += 1
    return size


@inlined
def _annotated_unit(
    words: Marks,
    sizes: Any,
    budget: int,
    size: int,
    pool: Ints,
    masks: Bits,
    lengths: RandomStream,
    starts: RandomStream,
    failed: Ints,
) -> Any:
    """Draw one unit; return its words [first, end), end −1 for none placed, the pool's size after it, and the first draw.

    sizes: as of `place_span`; size: of the pool.
    """
    failed[:] = 0
    if size > 0 and next_draw(lengths) < _HALF:
        k = draw_below(size, starts)
        first, end = pool[k, 0], pool[k, 1]
        # Drawn without replacement, placed or not: the last one takes its place in the pool.
        pool[k, 0], pool[k, 1] = pool[size - 1, 0], pool[size - 1, 1]
        if is_free(first, end, masks):
            return first, end, size - 1, k
        failed[OCCUPIED] = 1
        return first, -1, size - 1, k
    first, end, tried = place_span(words, sizes, 1, budget, 0, masks, starts, failed)
    return first, end, size, tried


@kernel
def sample_annotated(segments: Segments, ranges: Annotated, law: Law, key: Key, spans: Spans) -> None:
    """Draw, half and half, annotated ranges and single words that never touch (§6.5; paper §6.1).

    Draws: lengths, one a unit while ranges are left; starts, one a range and one a trial of a word.
    """
    longest = longest_of(segments.starts, segments.ends) + 3
    words, masks = np.empty(longest, np.int32), np.empty(longest // 64 + 3, np.uint64)
    pool = np.empty((longest_of(ranges.offsets[:-1], ranges.offsets[1:]) + 1, 2), np.int64)
    lengths, starts, failed = new_stream(), new_stream(), np.zeros(3, np.int64)
    n = 0
    for i in range(len(segments.starts)):
        count = index_words(segments, i, words)
        wall = wall_of(segments.borders[i], words, count)
        sizes = (count, wall)
        budget = budget_of(tokens_of(words, count, wall), law)
        masks[: count // 64 + 3] = 0
        size = _fill_pool(ranges, i, budget, words, pool, spans.tally)
        open_purpose(segments, i, LENGTHS, key, lengths)
        open_purpose(segments, i, STARTS, key, starts)
        spans.first[i] = -1
        masked = 0
        while masked < budget:
            before = size
            first, end, size, tried = _annotated_unit(words, sizes, budget, size, pool, masks, lengths, starts, failed)
            if spans.first[i] < 0:
                spans.first[i] = tried
            given_up = end < 0 and size == before
            count_failed(failed, given_up, spans.tally)
            if given_up:
                break
            if end > 0:
                mask_words(first, end, masks)
                masked += words[end] - words[first]
        n = emit_masked(words, count, masks, n, spans)
        spans.offsets[i + 1] = n
