"""Choosing and joining rows in memory, with NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.records import MaskedBlock, Offsets, Points, Ranges


def offsets_of(lengths: Offsets) -> Offsets:
    """Return where items of some lengths begin when they lie one after another, (n + 1,)."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def take(values: npt.NDArray[Any], offsets: Offsets, chosen: Offsets) -> tuple[npt.NDArray[Any], Offsets]:
    """Return chosen items of ragged data, (n,) of them, as values and offsets."""
    lengths = np.diff(offsets)[chosen]
    found = offsets_of(lengths)
    index = np.repeat(offsets[chosen] - found[:-1], lengths) + np.arange(found[-1])
    return values[index], found


def select(block: MaskedBlock, chosen: Offsets) -> MaskedBlock:
    """Return chosen rows of a block, in the order chosen."""
    input_ids, input_offsets = take(block.input_ids, block.input_offsets, chosen)
    span_starts, span_offsets = take(block.span_starts, block.span_offsets, chosen)
    labels, label_offsets = take(block.labels, block.label_offsets, chosen)
    words, ranges = block.word_starts, block.annotations
    return MaskedBlock(
        document_ids=block.document_ids[chosen],
        segments=block.segments[chosen],
        input_ids=input_ids,
        input_offsets=input_offsets,
        span_starts=span_starts,
        span_ends=take(block.span_ends, block.span_offsets, chosen)[0],
        span_offsets=span_offsets,
        labels=labels,
        label_offsets=label_offsets,
        word_starts=words and _points(*take(words.values, words.offsets, chosen)),
        annotations=ranges and _ranges(ranges, chosen),
    )


def _points(values: npt.NDArray[Any], offsets: Offsets) -> Points:
    return Points(offsets=offsets, values=values)


def _ranges(ranges: Ranges, chosen: Offsets) -> Ranges:
    starts, offsets = take(ranges.starts, ranges.offsets, chosen)
    return Ranges(offsets=offsets, starts=starts, ends=take(ranges.ends, ranges.offsets, chosen)[0])


def join(blocks: Sequence[MaskedBlock]) -> MaskedBlock:
    """Return the rows of blocks, one block after another; all carry the same columns."""
    if len(blocks) == 1:
        return blocks[0]

    def flat(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(block, name) for block in blocks])

    def offsets(parts: Sequence[Offsets]) -> Offsets:
        return offsets_of(np.concatenate([np.diff(part) for part in parts]))

    words = [block.word_starts for block in blocks if block.word_starts is not None]
    ranges = [block.annotations for block in blocks if block.annotations is not None]
    return MaskedBlock(
        document_ids=flat("document_ids"),
        segments=flat("segments"),
        input_ids=flat("input_ids"),
        input_offsets=offsets([block.input_offsets for block in blocks]),
        span_starts=flat("span_starts"),
        span_ends=flat("span_ends"),
        span_offsets=offsets([block.span_offsets for block in blocks]),
        labels=flat("labels"),
        label_offsets=offsets([block.label_offsets for block in blocks]),
        word_starts=_points(np.concatenate([p.values for p in words]), offsets([p.offsets for p in words]))
        if words
        else None,
        annotations=Ranges(
            offsets=offsets([r.offsets for r in ranges]),
            starts=np.concatenate([r.starts for r in ranges]),
            ends=np.concatenate([r.ends for r in ranges]),
        )
        if ranges
        else None,
    )


def part(block: MaskedBlock, first: int, stop: int) -> MaskedBlock:
    """Return the rows [first, stop) of a block, as views of it."""
    words, ranges = block.word_starts, block.annotations

    def cut(values: npt.NDArray[Any], offsets: Offsets) -> npt.NDArray[Any]:
        return values[offsets[first] : offsets[stop]]

    def rebased(offsets: Offsets) -> Offsets:
        found: Offsets = offsets[first : stop + 1] - offsets[first]
        return found

    return MaskedBlock(
        document_ids=block.document_ids[first:stop],
        segments=block.segments[first:stop],
        input_ids=cut(block.input_ids, block.input_offsets),
        input_offsets=rebased(block.input_offsets),
        span_starts=cut(block.span_starts, block.span_offsets),
        span_ends=cut(block.span_ends, block.span_offsets),
        span_offsets=rebased(block.span_offsets),
        labels=cut(block.labels, block.label_offsets),
        label_offsets=rebased(block.label_offsets),
        word_starts=words and _points(cut(words.values, words.offsets), rebased(words.offsets)),
        annotations=ranges
        and Ranges(
            offsets=rebased(ranges.offsets),
            starts=cut(ranges.starts, ranges.offsets),
            ends=cut(ranges.ends, ranges.offsets),
        ),
    )
