"""Cutting documents into pairs of segments, and drawing what stands second in each (FORMAT.md §6.8). Oracle: ``pairs``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Flags, Ints, copy, inlined, kernel
from spanmask.kernels.philox import (
    BATCH_DRAWS,
    PAIRS,
    PARTNERS,
    Key,
    RandomStream,
    draw_below,
    next_draw,
    open_stream,
)

#: Layout of ``Chain.counts``: pairs written, tokens dropped, words cut.
WRITTEN, DROPPED, WORDS_CUT = 0, 1, 2

_HALF = np.uint64(1 << 31)
_SHORT = np.uint64((1 << 32) // 10)


class Texts(NamedTuple):
    """D documents of T tokens.

    word_starts: (T,); line_starts: (T,), or (0,) where there are no lines; offsets: (D + 1,); ids: (D,) identities; alone: (D,) whether
    no other document has a pair, so that what follows always stands second.
    """

    word_starts: Flags
    line_starts: Flags
    offsets: Ints
    ids: npt.NDArray[np.uint64]
    alone: Flags


class Chain(NamedTuple):
    """Where S pairs are written: A is the tokens [starts, borders), what follows it [borders, stops).

    targets: the most tokens of both segments. documents: which document; numbers: A's number in it. follows: whether what follows
    stands second. counts: (3,).
    """

    starts: Ints
    borders: Ints
    stops: Ints
    targets: Ints
    documents: Ints
    numbers: Ints
    follows: Flags
    counts: Ints


class Halves(NamedTuple):
    """First and second segments, tokens [starts, ends) and [other_starts, other_ends), (S,) each."""

    starts: Ints
    ends: Ints
    other_starts: Ints
    other_ends: Ints


@kernel
def _new_stream() -> RandomStream:
    return np.empty(6 + BATCH_DRAWS, np.uint64)


@inlined
def _last_start(low: int, high: int, word_starts: Flags) -> int:
    """Return the last word start in [low, high], or else ``high``."""
    for place in range(high, low - 1, -1):
        if word_starts[place]:
            return place
    return high


@inlined
def _draw_start(low: int, high: int, flags: Flags, stream: RandomStream) -> int:
    """Draw one of the starts in [low, high], −1 where there is none."""
    count = 0
    for flag in flags[low : high + 1]:
        count += flag
    if count == 0:
        return -1
    left, place = draw_below(count, stream), low
    while left > 0 or not flags[place]:
        left -= int(flags[place])
        place += 1
    return place


@inlined
def _draw_border(low: int, high: int, texts: Texts, stream: RandomStream) -> int:
    """Draw where the second segment begins, in [low, high]: at a line start if there is one, else at a word start, else anywhere."""
    place = -1
    if len(texts.line_starts) > 0:
        place = _draw_start(low, high, texts.line_starts, stream)
    if place < 0:
        place = _draw_start(low, high, texts.word_starts, stream)
    return place if place >= 0 else low + draw_below(high - low + 1, stream)


@kernel
def cut_pairs(texts: Texts, room: int, least: int, key: Key, out: Chain) -> None:
    """Cut each of D documents into pairs of at most ``room`` tokens and at least ``least`` in each segment.

    Where something else is to stand second, the next pair begins with what follows. What is left of a document and cannot be two segments
    is dropped. Draws: pairs, whether what follows stands second, whether the pair is short, its length then, and where it is divided.
    """
    stream = _new_stream()
    n = 0
    for document in range(len(texts.ids)):
        start, end = texts.offsets[document], texts.offsets[document + 1]
        number = 0
        while end - start >= 2 * least:
            open_stream(texts.ids[document], np.uint64(number), PAIRS, key, stream)
            follows = next_draw(stream) < _HALF or texts.alone[document]
            target = room
            if next_draw(stream) < _SHORT:
                target = 2 * least + draw_below(room - 2 * least + 1, stream)
            stop = end
            if start + target < end:
                stop = _last_start(start + 2 * least, start + target, texts.word_starts)
            border = _draw_border(start + least, stop - least, texts, stream)
            out.starts[n], out.borders[n], out.stops[n], out.targets[n] = start, border, stop, target
            out.documents[n], out.numbers[n] = document, number
            out.follows[n] = follows
            n += 1
            out.counts[WORDS_CUT] += not texts.word_starts[border]
            if follows:
                out.counts[WORDS_CUT] += stop < end and not texts.word_starts[stop]
                start = stop
                number += 2
            else:
                start = border
                number += 1
        out.counts[DROPPED] += end - start
    out.counts[WRITTEN] = n


@kernel
def draw_follows(
    document_ids: npt.NDArray[np.uint64], segments: npt.NDArray[np.uint32], key: Key, follows: Flags
) -> None:
    """Say of S pairs whether what follows is drawn to stand second. follows: output, (S,). Draws: pairs, one each."""
    stream = _new_stream()
    for i in range(len(follows)):
        open_stream(document_ids[i], np.uint64(segments[i]), PAIRS, key, stream)
        follows[i] = next_draw(stream) < _HALF


@kernel
def draw_partners(
    document_ids: npt.NDArray[np.uint64], segments: npt.NDArray[np.uint32], bounds: Ints, key: Key, partners: Ints
) -> None:
    """Draw a number below each of S bounds, of which none is 0, by identity. partners: output, (S,). Draws: partners, one each."""
    stream = _new_stream()
    for i in range(len(bounds)):
        open_stream(document_ids[i], np.uint64(segments[i]), PARTNERS, key, stream)
        partners[i] = draw_below(bounds[i], stream)


@kernel
def cut_partners(word_starts: Flags, starts: Ints, most: Ints, least: int, ends: Ints, out: Ints) -> int:
    """Write where segments end that begin at ``starts`` and have at most ``most`` tokens, (S,) each, in documents that end at ``ends``.

    They end at the last word start that leaves ``least`` tokens, or else full. Returns how many words were cut.
    """
    cut = 0
    for i in range(len(starts)):
        out[i] = ends[i]
        if starts[i] + most[i] < ends[i]:
            out[i] = _last_start(starts[i] + least, starts[i] + most[i], word_starts)
            cut += not word_starts[out[i]]
    return cut


@kernel
def join_halves(
    token_ids: npt.NDArray[Any], word_starts: Flags, halves: Halves, sep: int, ids: npt.NDArray[Any], flags: Flags
) -> None:
    """Write S pairs one after another, ``sep`` between the two segments of each; it starts a word. ids, flags: output, (T,)."""
    at = 0
    for i in range(len(halves.starts)):
        for start, end, last in (
            (halves.starts[i], halves.ends[i], False),
            (halves.other_starts[i], halves.other_ends[i], True),
        ):
            copy(token_ids[start:end], ids[at : at + end - start])
            copy(word_starts[start:end], flags[at : at + end - start])
            at += end - start
            if not last:
                ids[at] = sep
                flags[at] = True
                at += 1
