"""Drawing spans: segments of words in, ascending spans out (FORMAT.md §6.2 to §6.4; annotated ones: `kernels.annotated`).

Every sampler fills the same outputs. Positions are those of a stored row: token i of a segment stands at i + 1, after ``[CLS]``.
Oracle of each: ``sample``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Flags, Ints, inlined, kernel, signed
from spanmask.kernels.philox import (
    BATCH_DRAWS,
    LENGTHS,
    STARTS,
    Key,
    RandomStream,
    draw_below,
    draw_length,
    open_stream,
)

#: Failed trials after which a length, or an annotated unit, is given up.
MAX_TRIALS = 100
#: Why a trial fails: the order in which ties for a shortfall's cause are settled.
LONG_WORD, PAST_END, OCCUPIED = 0, 1, 2
CAUSES = ("long_word", "past_end", "occupied")

#: Up to how many spans are put in order by counting those before each; more are found by looking through all words.
FEW_SPANS = 256

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_1, _6, _63 = np.uint64(1), np.uint64(6), np.uint64(63)

Marks = npt.NDArray[np.int32]
#: Which words are masked: bit w + 1 stands for word w, so that there is one before and after each.
Bits = npt.NDArray[np.uint64]


class Segments(NamedTuple):
    """S segments of a token array.

    word_starts: (T,) bool; starts, ends: (S,); document_ids: (S,) uint64; segments: (S,) uint32. borders: (S,) where a segment is two with
    ``[SEP]`` between them, the position in its row at which the second begins, else 0; ``[SEP]`` is a word of its own, the *wall*.
    """

    word_starts: Flags
    starts: Ints
    ends: Ints
    document_ids: npt.NDArray[np.uint64]
    segments: npt.NDArray[np.uint32]
    borders: Ints


class Law(NamedTuple):
    """The budget's exact ratio and the length law's thresholds (max_words − 1,) as uint64."""

    numerator: int
    denominator: int
    thresholds: RandomStream


class Tally(NamedTuple):
    """What is counted on the way, by cause (3,): trials that failed, sequences that ended short. too_long: (1,) ranges over the budget."""

    failed: Ints
    short: Ints
    too_long: Ints


class Spans(NamedTuple):
    """Where samplers write.

    starts, ends: (≥ N,) uint16; offsets: (S + 1,); first: (S,) the first start drawn, −1 for none;
    drawn: (max_words + 1,) lengths drawn.
    """

    starts: npt.NDArray[np.uint16]
    ends: npt.NDArray[np.uint16]
    offsets: Ints
    first: Ints
    drawn: Ints
    tally: Tally


@inlined
def budget_of(tokens: int, law: Law) -> int:
    """Return ⌈ratio · tokens⌉."""
    return (law.numerator * tokens + law.denominator - 1) // law.denominator


@inlined
def index_words(segments: Segments, i: int, words: Marks) -> int:
    """Write the token at which each word of segment i starts, then its length in tokens; return the number of words.

    words: (≥ tokens + 2,). The first token always starts a word.
    """
    flags = segments.word_starts[segments.starts[i] : segments.ends[i]].view(np.uint8)
    words[0] = 0
    count = np.uint64(1)
    for token in range(1, len(flags)):
        words[count] = token  # Kept only where the token starts a word: no branch to foresee.
        count += np.uint64(flags[token])
    words[count] = len(flags)
    return np.int64(count)  # type: ignore[return-value]


@inlined
def wall_of(border: int, words: Marks, count: int) -> int:
    """Return which of the words is the wall, ``count`` for none."""
    if border == 0:
        return count
    wall = 0
    while words[wall] < border - 2:
        wall += 1
    return wall


@inlined
def tokens_of(words: Marks, count: int, wall: int) -> int:
    """Return how many tokens there are that may be masked."""
    return signed(words[count]) - int(wall < count)


@inlined
def longest_of(starts: Ints, ends: Ints) -> int:
    """Return the length of the longest of some ranges."""
    longest = 0
    for i in range(len(starts)):
        longest = max(longest, ends[i] - starts[i])
    return longest


@kernel
def new_stream() -> RandomStream:
    """Return a stream that `open_purpose` opens."""
    return np.empty(6 + BATCH_DRAWS, np.uint64)


@inlined
def open_purpose(segments: Segments, i: int, purpose: int, key: Key, stream: RandomStream) -> None:
    """Make a stream that of a purpose of segment i."""
    open_stream(segments.document_ids[i], np.uint64(segments.segments[i]), purpose, key, stream)


@inlined
def _emit(start: int, end: int, n: int, spans: Spans) -> int:
    spans.starts[n] = start + 1
    spans.ends[n] = end + 1
    return n + 1


@inlined
def _is_masked(word: int, masks: Bits) -> bool:
    bit = np.uint64(word + 1)
    return bool(masks[bit >> _6] >> (bit & _63) & _1)


@inlined
def is_free(first: int, end: int, masks: Bits) -> bool:
    """Tell whether words first − 1 to end, both included, are all unmasked: 64 at a time, nearly always once."""
    hits = np.uint64(0)
    for bit in range(first, end + 2, 64):
        # 64 bits from `bit` on lie in two words of the array; shifting by 1 and then by 63 − shift drops all of the second where shift is
        # 0, which one shift by 64 would not do. Kept: the array has a word more than bits are asked for.
        window = _ALL >> np.uint64(64 - min(end + 2 - bit, 64))
        place, shift = np.uint64(bit) >> _6, np.uint64(bit) & _63
        hits |= (masks[place] >> shift | masks[place + _1] << _1 << (_63 - shift)) & window
    return bool(hits == 0)


@inlined
def mask_words(first: int, end: int, masks: Bits) -> None:
    """Note words first to end − 1 as masked."""
    for bit in range(first + 1, end + 1, 64):
        run = _ALL >> np.uint64(64 - min(end + 1 - bit, 64))
        place, shift = np.uint64(bit) >> _6, np.uint64(bit) & _63
        masks[place] |= run << shift
        masks[place + _1] |= run >> _1 >> (_63 - shift)


@inlined
def _walk(words: Marks, count: int, first: int, length: int, budget: int, masked: int, masks: Bits) -> int:
    """Walk words from ``first``; return the word after the last, or −1 − cause."""
    if _is_masked(first - 1, masks):
        return -1 - OCCUPIED
    word = first
    stop = words[first] + budget - masked
    # The order of the checks decides which cause is counted: FORMAT.md §6.2, as the oracle walks. Kept: words first to word − 1 are
    # unmasked and the budget is not reached by them.
    while True:
        if word == count:
            return -1 - PAST_END
        if words[word + 1] - words[word] > budget:
            return -1 - LONG_WORD
        if _is_masked(word, masks):
            return -1 - OCCUPIED
        word += 1
        if word - first == length or words[word] >= stop:
            break
    # The word after the last must be free too: spans never touch, so that both boundaries of each are observed.
    return -1 - OCCUPIED if _is_masked(word, masks) else word


@inlined
def _emit_few(words: Marks, placed: Ints, size: int, n: int, spans: Spans) -> int:
    """Emit spans placed in any order, (≥ size,) each its first word · 2³² + the word after its last."""
    # Each goes straight to its rank among all: no sort, no branch, and starts are never equal since spans are disjoint.
    for i in range(size):
        rank = n
        for j in range(size):
            rank += placed[j] < placed[i]
        _emit(words[placed[i] >> 32], words[placed[i] & 0xFFFFFFFF], rank, spans)
    return n + size


@inlined
def emit_masked(words: Marks, count: int, masks: Bits, n: int, spans: Spans) -> int:
    """Emit the maximal runs of masked words."""
    first = -1
    # Runs are the spans, since no two touch; word `count` is never masked and ends the last one.
    for word in range(count + 1):
        masked = _is_masked(word, masks)
        if masked and first < 0:
            first = word
        elif first >= 0 and not masked:
            n = _emit(words[first], words[word], n, spans)
            first = -1
    return n


@inlined
def place_span(
    words: Marks, sizes: Any, length: int, budget: int, masked: int, masks: Bits, starts: RandomStream, failed: Ints
) -> Any:
    """Try starts for one length; return the words placed [first, end), end −1 when all trials failed, and the first start.

    sizes: how many words there are, and which is the wall.
    """
    count, wall = sizes
    failed[:] = 0
    tried = -1
    for _ in range(MAX_TRIALS):
        first = draw_below(count - (wall < count), starts)
        if tried < 0:
            tried = first
        # The wall is passed over in the draw, and ends what is walked before it.
        first += first >= wall
        stop = wall if first < wall else count
        end = first + length
        # All words there, the budget not reached (so none longer than it), nothing masked: then the walk would end here.
        if end <= stop and words[end] - words[first] < budget - masked and is_free(first, end, masks):
            return first, end, tried
        end = _walk(words, stop, first, length, budget, masked, masks)
        if end > 0:
            return first, end, tried
        failed[-1 - end] += 1
    return 0, -1, tried


@inlined
def count_failed(failed: Ints, short: bool, tally: Tally) -> None:
    """Add failed trials, by cause, and whether a sequence ended short by them."""
    for cause in range(len(failed)):
        tally.failed[cause] += failed[cause]
    if short:
        tally.short[np.argmax(failed)] += 1


@kernel
def sample_paper(segments: Segments, law: Law, key: Key, spans: Spans) -> None:
    """Draw spans of geometric word lengths that never touch (§6.2; paper §3.1).

    Draws: lengths, one a span and one for a shortfall; starts, one a trial.
    """
    longest = longest_of(segments.starts, segments.ends)
    words, masks, placed = (
        np.empty(longest + 3, np.int32),
        np.empty(longest // 64 + 3, np.uint64),
        np.empty(longest, np.int64),
    )
    lengths, starts, failed = new_stream(), new_stream(), np.zeros(3, np.int64)
    n = 0
    for i in range(len(segments.starts)):
        count = index_words(segments, i, words)
        wall = wall_of(segments.borders[i], words, count)
        budget = budget_of(tokens_of(words, count, wall), law)
        masks[: count // 64 + 3] = 0
        open_purpose(segments, i, LENGTHS, key, lengths)
        open_purpose(segments, i, STARTS, key, starts)
        spans.first[i] = -1
        masked, size = 0, 0
        # Kept: `masked` tokens lie under `size` spans, none of which touch. The length is drawn once and kept through its trials: drawing
        # it again on failure would favour short spans, which fit more often.
        while masked < budget:
            length = draw_length(law.thresholds, lengths)
            spans.drawn[length] += 1
            first, end, tried = place_span(words, (count, wall), length, budget, masked, masks, starts, failed)
            if size == 0:
                spans.first[i] = tried
            count_failed(failed, end < 0, spans.tally)
            if end < 0:
                break
            mask_words(first, end, masks)
            placed[size] = first << 32 | end
            size += 1
            masked += words[end] - words[first]
        few = size <= FEW_SPANS
        n = _emit_few(words, placed, size, n, spans) if few else emit_masked(words, count, masks, n, spans)
        spans.offsets[i + 1] = n


@inlined
def _emit_runs(masked: Marks, size: int, n: int, spans: Spans) -> int:
    """Emit the maximal runs of masked tokens. masked: (≥ size + 1,)."""
    masked[size] = 0  # The array is longer than the segment, and what lies there is the one before's.
    start = -1
    for token in range(size + 1):
        if masked[token] != 0 and start < 0:
            start = token
        elif masked[token] == 0 and start >= 0:
            n = _emit(start, token, n, spans)
            start = -1
    return n


@inlined
def _mask_right(segments: Segments, i: int, anchor: int, length: int, room: int, masked: Marks) -> int:
    """Mask from the start of the anchor's word up to ``length`` words or ``room`` new tokens; return the new tokens."""
    base = segments.starts[i]
    size = segments.ends[i] - base
    if anchor < segments.borders[i] - 2:
        size = segments.borders[i] - 2
    token = anchor
    # The anchor is uniform over tokens and snapped back, so words are chosen in proportion to their tokens: this sampler's law.
    while token > 0 and not segments.word_starts[base + token]:
        token -= 1
    entered = 1
    new = 0
    # Tokens that were masked already are walked over and count for nothing: spans may overlap here, and merge. The budget is exact, so
    # that a word may be cut where it is reached.
    while new < room:
        if masked[token] == 0:
            masked[token] = 1
            new += 1
        token += 1
        if token == size:
            break
        if segments.word_starts[base + token]:
            if entered == length:
                break
            entered += 1
    return new


@kernel
def sample_reference(segments: Segments, law: Law, key: Key, spans: Spans) -> None:
    """Draw spans as the paper's released implementation distributes them (§6.3). Draws: lengths and starts, one a trial."""
    masked = np.zeros(longest_of(segments.starts, segments.ends) + 1, np.int32)
    lengths, starts = new_stream(), new_stream()
    n = 0
    for i in range(len(segments.starts)):
        size = segments.ends[i] - segments.starts[i]
        wall = segments.borders[i] - 2 if segments.borders[i] > 0 else size
        tokens = size - (wall < size)
        budget = budget_of(tokens, law)
        masked[:size] = 0
        open_purpose(segments, i, LENGTHS, key, lengths)
        open_purpose(segments, i, STARTS, key, starts)
        spans.first[i] = -1
        total = 0
        while total < budget:
            length = draw_length(law.thresholds, lengths)
            spans.drawn[length] += 1
            # Only the anchor must be unmasked. Some token is while the budget is not reached, so that a draw meets one in the end.
            anchor = draw_below(tokens, starts)
            if spans.first[i] < 0:
                spans.first[i] = anchor
            anchor += anchor >= wall
            if masked[anchor] != 0:
                spans.tally.failed[OCCUPIED] += 1
                continue
            total += _mask_right(segments, i, anchor, length, budget - total, masked)
        n = _emit_runs(masked, size, n, spans)
        spans.offsets[i + 1] = n


@inlined
def _draw_words(
    words: Marks, sizes: Any, budget: int, order: Marks, masked: Marks, starts: RandomStream, tally: Tally
) -> Any:
    """Mask words drawn without replacement until the budget is reached; return the first word drawn. sizes: as of `place_span`."""
    count, wall = sizes
    count -= wall < count
    for word in range(count):
        order[word] = word
    total = 0
    for k in range(count):
        if total >= budget:
            break
        # Fisher–Yates, one step a draw: order[:k] has been drawn, the rest is as likely each.
        j = k + draw_below(count - k, starts)
        order[k], order[j] = order[j], order[k]
        word = order[k] + (order[k] >= wall)
        size = words[word + 1] - words[word]
        if size > budget:
            tally.failed[LONG_WORD] += 1
            continue
        masked[words[word] : words[word + 1]] = 1
        total += size
    tally.short[LONG_WORD] += total < budget
    return order[0]


@kernel
def sample_words(segments: Segments, law: Law, single_tokens: bool, key: Key, spans: Spans) -> None:
    """Draw whole words, or single tokens, uniformly without replacement (§6.4). Draws: starts, one a unit."""
    size = longest_of(segments.starts, segments.ends) + 3
    words, order, masked = np.empty(size, np.int32), np.empty(size, np.int32), np.zeros(size, np.int32)
    starts = new_stream()
    n = 0
    for i in range(len(segments.starts)):
        count = index_words(segments, i, words)
        tokens = words[count]
        if single_tokens:  # Every token its own word: no word is then longer than a budget, which is met exactly.
            count = tokens
            for token in range(tokens + 1):
                words[token] = token
        wall = wall_of(segments.borders[i], words, count)
        budget = budget_of(tokens_of(words, count, wall), law)
        masked[:tokens] = 0
        open_purpose(segments, i, STARTS, key, starts)
        spans.first[i] = _draw_words(words, (count, wall), budget, order, masked, starts, spans.tally)
        n = _emit_runs(masked, tokens, n, spans)
        spans.offsets[i + 1] = n
