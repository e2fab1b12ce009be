"""Filling batches with stored rows. The NumPy twins are in `spanmask.loading.padding` and `spanmask.loading.packing`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.kernels._jit import Ints, copy, inlined, kernel
from spanmask.kernels.binning import Rooms
from spanmask.kernels.rows import Stored
from spanmask.kernels.wide import LANES, prefetch, put_ids, put_series

#: Rows between the one that is written and the one that is fetched into the cache: bins take rows from all over a block.
_AHEAD = 4
#: Bytes of a cache line.
_LINE = 64

_Narrow = npt.NDArray[np.int32]


class Blank(NamedTuple):
    """What empty slots hold: the padding id, and the label of a slot without a target."""

    id: int
    label: int


class Rule(NamedTuple):
    """Which masked tokens are SBO targets: at an offset below ``limit`` (0: none), spans at an edge only without ``drop_edges``."""

    limit: int
    drop_edges: bool


class Sbo(NamedTuple):
    """Slots of SBO targets, all (B·Q,) int32, or (Q,) of a packed batch: positions of both boundaries, offset in the span, label."""

    left: _Narrow
    right: _Narrow
    offsets: _Narrow
    labels: _Narrow


class Padded(NamedTuple):
    """Where padded rows are written. input_ids, attention_mask, labels: (B, L) int64; sbo: (B·Q,)."""

    input_ids: Ints
    attention_mask: Ints
    labels: Ints
    sbo: Sbo


class Packed(NamedTuple):
    """Where bins are written.

    input_ids, sequence_index, positions: (B·L,); cu_seqlens: (B·(K + 1) + 1,); mlm_positions, mlm_labels: (P,); sbo: (Q,);
    sequences: (B,); all int32. rows, datasets: (B, K) int64.
    """

    input_ids: _Narrow
    sequence_index: _Narrow
    positions: _Narrow
    cu_seqlens: _Narrow
    mlm_positions: _Narrow
    mlm_labels: _Narrow
    sbo: Sbo
    sequences: _Narrow
    rows: Ints
    datasets: Ints


class Owners(NamedTuple):
    """What is said of S rows: their row in their dataset, and which dataset; (S,) each."""

    rows: Ints
    datasets: Ints


@inlined
def _fill(target: npt.NDArray[Any], value: int) -> None:
    for i in range(len(target)):
        target[i] = value


@inlined
def _count(target: npt.NDArray[Any]) -> None:
    for i in range(len(target)):
        target[i] = i


@inlined
def _sbo_targets(start: int, end: int, edges: Any, rule: Rule) -> int:
    """Return how many SBO targets the span [start, end) of a row has. edges: its last position, and where its second segment begins."""
    last, border = edges
    if rule.drop_edges and (start == 1 or end == last or start == border or end == border - 1):
        return 0
    return min(end - start, rule.limit)


@inlined
def _put_sbo(ids: npt.NDArray[Any], label: int, span: Any, wanted: int, place: int, sbo: Sbo) -> None:
    """Write the first tokens of the span (start, end), as many as are wanted, into slots from ``place`` on, and anything behind them.

    Spans are short and end anywhere: eight tokens at once, whatever is wanted, cost less than to guess wrong where they end.
    """
    start, end = span
    if place + wanted + LANES <= len(sbo.labels) and label + wanted + LANES <= len(ids):
        for k in range(0, wanted, LANES):
            put_series(sbo.left, place + k, start - 1, 0)
            put_series(sbo.right, place + k, end, 0)
            put_series(sbo.offsets, place + k, k, 1)
            put_ids(ids, label + k, sbo.labels, place + k)
    else:
        for k in range(wanted):
            slot = np.uint64(place + k)
            sbo.left[slot], sbo.right[slot], sbo.offsets[slot] = start - 1, end, k
            sbo.labels[slot] = ids[label + k]


@inlined
def _close_sbo(first: int, end: int, label: int, sbo: Sbo) -> None:
    """Write slots without a target."""
    _fill(sbo.left[first:end], 0)
    _fill(sbo.right[first:end], 0)
    _fill(sbo.offsets[first:end], 0)
    _fill(sbo.labels[first:end], label)


@inlined
def _fetch_cell(values: npt.NDArray[Any], offsets: Ints, row: int) -> None:
    for at in range(offsets[row], offsets[row + 1], _LINE // values.itemsize):
        prefetch(values, at)


@inlined
def _fetch_row(rows: Stored, row: int) -> None:
    """Have a row read into the cache, if it is one: it was not looked at yet."""
    if row < 0 or row >= len(rows.input_offsets) - 1:
        return
    _fetch_cell(rows.input_ids, rows.input_offsets, row)
    _fetch_cell(rows.labels, rows.label_offsets, row)
    _fetch_cell(rows.span_starts, rows.span_offsets, row)
    _fetch_cell(rows.span_ends, rows.span_offsets, row)


@inlined
def _put_labels(ids: npt.NDArray[Any], label: int, start: int, end: int, blank: int, labels: Ints) -> None:
    """Write the labels of the span [start, end) into a row's, which hold no others from there on."""
    if end + 2 * LANES <= len(labels) and label + end - start + LANES <= len(ids):
        for k in range(0, end - start, LANES):
            put_ids(ids, label + k, labels, start + k)
        put_series(labels, end, blank, 0)
    else:
        for k in range(end - start):
            labels[np.uint64(start + k)] = ids[np.uint64(label + k)]


@kernel
def pad_rows(rows: Stored, rule: Rule, slots: int, blank: Blank, out: Padded) -> None:
    """Write S rows, each no longer than L and with no more than ``slots`` (Q) SBO targets, into the first S rows of a batch."""
    for i in range(len(rows.input_offsets) - 1):
        base = rows.input_offsets[i]
        size = rows.input_offsets[i + 1] - base
        copy(rows.input_ids[base : base + size], out.input_ids[i, :size])
        _fill(out.input_ids[i, size:], blank.id)
        _fill(out.attention_mask[i, :size], 1)
        _fill(out.attention_mask[i, size:], 0)
        labels = out.labels[i]
        _fill(labels, blank.label)
        label, place = rows.label_offsets[i], i * slots
        for n in range(rows.span_offsets[i], rows.span_offsets[i + 1]):
            start: Any = np.int64(rows.span_starts[n])
            end: Any = np.int64(rows.span_ends[n])
            wanted = _sbo_targets(start, end, (size - 1, rows.borders[i]), rule)
            _put_labels(rows.labels, label, start, end, blank.label, labels)
            _put_sbo(rows.labels, label, (start, end), wanted, place, out.sbo)
            label += end - start
            place += wanted
        _close_sbo(place, (i + 1) * slots, blank.label, out.sbo)


@inlined
def _fits(rows: Stored, members: Ints, rooms: Rooms) -> bool:
    """Return whether there are such rows and a bin has room for them."""
    tokens = 0
    for row in members:
        if row < 0 or row >= len(rows.input_offsets) - 1:
            return False
        tokens += rows.input_offsets[row + 1] - rows.input_offsets[row]
    return tokens <= rooms.tokens and len(members) <= rooms.sequences


@inlined
def _put_positions(start: int, end: int, place: int, positions: _Narrow) -> None:
    """Write the positions of the span [start, end) into slots from ``place`` on, and anything behind them."""
    if place + end - start + LANES <= len(positions):
        for k in range(0, end - start, LANES):
            put_series(positions, place + k, start + k, 1)
    else:
        for k in range(end - start):
            positions[np.uint64(place + k)] = start + k


@inlined
def _pack_targets(rows: Stored, row: int, shift: int, slots: Any, rule: Rule, out: Packed) -> Any:
    """Write the targets of a row that begins at slot ``shift`` of the batch, from the given (MLM, SBO) slots on; return the next ones.

    Where slots do not suffice, those returned are beyond the last.
    """
    mlm, sbo = slots
    label = rows.label_offsets[row]
    labels = rows.labels[label : rows.label_offsets[row + 1]]
    if mlm + len(labels) > len(out.mlm_labels):
        return mlm + len(labels), sbo
    copy(labels, out.mlm_labels[mlm : mlm + len(labels)])
    last = rows.input_offsets[row + 1] - rows.input_offsets[row] - 1
    for n in range(rows.span_offsets[row], rows.span_offsets[row + 1]):
        start: Any = np.int64(rows.span_starts[n])
        end: Any = np.int64(rows.span_ends[n])
        wanted = _sbo_targets(start, end, (last, rows.borders[row]), rule)
        if sbo + wanted > len(out.sbo.labels):
            return mlm, sbo + wanted
        start, end = shift + start, shift + end
        _put_positions(start, end, mlm, out.mlm_positions)
        _put_sbo(rows.labels, label, (start, end), wanted, sbo, out.sbo)
        label += end - start
        mlm += end - start
        sbo += wanted
    return mlm, sbo


@inlined
def _pack_tokens(ids: npt.NDArray[Any], number: int, place: int, out: Packed) -> None:
    """Write a bin's sequence of that number, from 1, into slots from ``place`` on."""
    end = place + len(ids)
    copy(ids, out.input_ids[place:end])
    _fill(out.sequence_index[place:end], number)
    _count(out.positions[place:end])


@inlined
def _close_bin(number: int, size: int, blank: Blank, rooms: Rooms, out: Packed) -> None:
    """Write what of the bin of that number, from 0, is padding. size: its tokens."""
    place, end = number * rooms.tokens + size, (number + 1) * rooms.tokens
    _fill(out.input_ids[place:end], blank.id)
    _fill(out.sequence_index[place:end], 0)
    _count(out.positions[place:end])
    _fill(out.rows[number, out.sequences[number] :], -1)
    _fill(out.datasets[number, out.sequences[number] :], -1)


@inlined
def _close_targets(slots: Any, blank: Blank, out: Packed) -> None:
    """Write the (MLM, SBO) slots behind the last targets."""
    _fill(out.mlm_positions[slots[0] :], 0)
    _fill(out.mlm_labels[slots[0] :], blank.label)
    _close_sbo(slots[1], len(out.sbo.labels), blank.label, out.sbo)


@kernel
def pack_rows(
    rows: Stored, owners: Owners, offsets: Ints, members: Ints, rule: Rule, blank: Blank, rooms: Rooms, out: Packed
) -> bool:
    """Write bins of rows; those beyond the n given stay empty.

    offsets: (n + 1,); members: the rows of each bin. Returns whether all was written: not where a bin has no room for its rows or names one
    that there is not, nor where the batch has too few slots for targets; what was written is then worthless.
    """
    mark = 0
    slots = (0, 0)
    for number in range(len(out.sequences)):
        first = offsets[min(number, len(offsets) - 1)]
        inside = members[first : offsets[min(number + 1, len(offsets) - 1)]]
        if not _fits(rows, inside, rooms):
            return False
        base, size = number * rooms.tokens, 0
        out.sequences[number] = len(inside)
        for k in range(len(inside)):
            row = inside[k]
            _fetch_row(rows, members[min(first + k + _AHEAD, len(members) - 1)])
            ids = rows.input_ids[rows.input_offsets[row] : rows.input_offsets[row + 1]]
            out.rows[number, k], out.datasets[number, k] = owners.rows[row], owners.datasets[row]
            out.cu_seqlens[mark + k] = base + size
            _pack_tokens(ids, k + 1, base + size, out)
            slots = _pack_targets(rows, row, base + size, slots, rule, out)
            if slots[0] > len(out.mlm_labels) or slots[1] > len(out.sbo.labels):
                return False
            size += len(ids)
        mark += len(inside)
        if size < rooms.tokens:
            out.cu_seqlens[mark] = base + size
            mark += 1
        _close_bin(number, size, blank, rooms, out)
    _close_targets(slots, blank, out)
    _fill(out.cu_seqlens[mark:], len(out.sequences) * rooms.tokens)
    return True
