"""Replacing what is under the spans: segments and spans in, stored rows out (FORMAT.md §6.6)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Ints, copy, inlined, kernel
from spanmask.kernels.philox import (
    BATCH_DRAWS,
    RANDOM,
    REPLACEMENT,
    Key,
    RandomStream,
    draw_below,
    next_draw,
    open_stream,
)
from spanmask.kernels.spans import Segments, Spans

#: What is replaced as one.
UNIT_SPAN, UNIT_WORD, UNIT_TOKEN = 0, 1, 2
#: What becomes of a unit; the layout of ``Corrupted.units``.
MASKED, RANDOMISED, KEPT = 0, 1, 2

_MASK_BELOW = np.uint64((1 << 32) * 8 // 10)
_RANDOM_BELOW = np.uint64((1 << 32) * 9 // 10)


class Replacement(NamedTuple):
    """How masked tokens are replaced.

    unit: UNIT_*. mask, cls, sep: ids. ordinary: (K,) ids that random ones are drawn from.
    cumulative: (K,) cumulative counts of them for unigram draws, or (0,) for uniform ones.
    """

    unit: int
    mask: int
    cls: int
    sep: int
    ordinary: npt.NDArray[Any]
    cumulative: Ints


class Corrupted(NamedTuple):
    """Where rows are written. input_ids: (T + 2·S,); input_offsets: (S + 1,); labels: (≥ M,); label_offsets: (S + 1,); units: (3,)."""

    input_ids: npt.NDArray[Any]
    input_offsets: Ints
    labels: npt.NDArray[Any]
    label_offsets: Ints
    units: Ints


@inlined
def _draw_kind(stream: RandomStream) -> int:
    u = next_draw(stream)
    return MASKED if u < _MASK_BELOW else RANDOMISED if u < _RANDOM_BELOW else KEPT


@inlined
def _draw_id(rule: Replacement, stream: RandomStream) -> Any:
    """Draw an ordinary id: uniformly, or the first whose cumulative count exceeds a draw below the total."""
    if len(rule.cumulative) == 0:
        return rule.ordinary[draw_below(len(rule.ordinary), stream)]
    target = draw_below(rule.cumulative[-1], stream)
    # Ids that were never counted share their cumulative count with the one before, so never win.
    return rule.ordinary[np.searchsorted(rule.cumulative, target, side="right")]


@kernel
def replace_rows(
    token_ids: npt.NDArray[Any], segments: Segments, spans: Spans, rule: Replacement, key: Key, rows: Corrupted
) -> None:
    """Write each segment between ``[CLS]`` and ``[SEP]``, what is under its spans replaced, and the labels.

    Draws: replacement, one a unit; random ids, one a token of a randomised unit. Oracle: ``replace``.
    """
    kinds, ids = np.empty(6 + BATCH_DRAWS, np.uint64), np.empty(6 + BATCH_DRAWS, np.uint64)
    at, label = 0, 0
    for i in range(len(segments.starts)):
        start, end = segments.starts[i], segments.ends[i]
        rows.input_ids[at] = rule.cls
        row = rows.input_ids[at + 1 : at + 1 + end - start]
        copy(token_ids[start:end], row)
        rows.input_ids[at + 1 + end - start] = rule.sep
        document_id, segment = segments.document_ids[i], np.uint64(segments.segments[i])
        # Two streams, so that how many random ids a unit takes never changes what becomes of the next.
        open_stream(document_id, segment, REPLACEMENT, key, kinds)
        open_stream(document_id, segment, RANDOM, key, ids)
        for n in range(spans.offsets[i], spans.offsets[i + 1]):
            kind = KEPT
            first = np.int64(spans.starts[n]) - 1
            for token in range(first, np.int64(spans.ends[n]) - 1):
                starts_word = rule.unit == UNIT_WORD and segments.word_starts[start + token]
                if token == first or rule.unit == UNIT_TOKEN or starts_word:
                    kind = _draw_kind(kinds)
                    rows.units[kind] += 1
                # The label first: row[token] is still the original here. It is kept whatever becomes of the token.
                rows.labels[label] = row[token]
                label += 1
                if kind == MASKED:
                    row[token] = rule.mask
                elif kind == RANDOMISED:
                    row[token] = _draw_id(rule, ids)
        at += end - start + 2
        rows.input_offsets[i + 1] = at
        rows.label_offsets[i + 1] = label
