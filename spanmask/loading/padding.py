"""Rows in memory → a padded batch: one sequence a row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spanmask.batches import IGNORED, Ids, PackedBatch, PaddedBatch, SboTargets
from spanmask.blocks import as_stored, borders_of, count_up
from spanmask.errors import ConfigError
from spanmask.loading.backend import Backend
from spanmask.loading.slots import (
    blank_argument,
    clear_sbo,
    empty_sbo,
    fill_sbo,
    labels_of,
    name_of,
    require_one_each,
    round_up,
    rule_argument,
    sbo_argument,
)
from spanmask.loading.targets import SboRule, count_targets, list_targets
from spanmask.records import MaskedBlock, Offsets, Pairs

_NO_TARGETS = empty_sbo(0, 0)


def pad(  # noqa: PLR0913 - the one door to padded batches
    block: MaskedBlock,
    rows: Offsets,
    datasets: Offsets,
    *,
    rows_wanted: int,
    width: int | None,
    pad_id: int,
    cls_id: int,
    sep_id: int,
    rule: SboRule | None,
    backend: Backend = Backend.AUTO,
) -> PaddedBatch:
    """Write each row of a block into a row of a batch.

    Parameters
    ----------
    block
        S rows; their offsets begin at 0.
    rows, datasets
        (S,) what the batch says of each: its row in its dataset, and which dataset.
    rows_wanted
        B, at least S. The rows from S on have weight 0, hold ``[CLS] [SEP]``, and are row −1 of dataset −1.
    width
        L; None for the longest row's, rounded up to a multiple of 8.
    pad_id, cls_id, sep_id
        Special ids.
    rule
        Which masked tokens are SBO targets; Q is the most of them that a row has, rounded up to a multiple of 8. None for no slots at all.
    backend
        Who fills the batch; the arrays are the same, bit for bit.

    Raises
    ------
    ConfigError
        The block has more rows than are wanted, or a row is longer than ``width``.
    """
    lengths = block.input_ids.lengths
    require_one_each(block, rows, datasets)
    if len(block) > rows_wanted:
        raise ConfigError(f"{len(block)} rows do not fit a batch of {rows_wanted}: want more, or give fewer")
    width = _width(block, lengths, width)
    slots = None if rule is None else round_up(int(count_targets(block, rule).sbo.max(initial=0)))
    batch = _allot(rows_wanted, width, slots)
    fill = _fill_compiled if backend.resolved is Backend.COMPILED else _fill_numpy
    fill(block, rule, pad_id, batch)
    _name_rows(batch, rows, datasets)
    if block.pairs is not None:
        batch = replace(batch, token_types=_types(block, batch), nsp_labels=_nsp_labels(block.pairs, rows_wanted))
    if len(block) < rows_wanted:
        _fill_blank(len(block), (cls_id, sep_id), pad_id, batch)
    return batch


def as_bins(batch: PaddedBatch) -> PackedBatch:
    """Return the rows of a padded batch as bins of one sequence each, whose P and Q are the targets there are."""
    rows, width = batch.input_ids.shape
    inside = batch.attention_mask > 0
    lengths = inside.sum(axis=1)
    starts = np.arange(rows) * width
    slots = np.arange(width)
    places = np.flatnonzero(batch.labels.reshape(-1) != IGNORED)
    return PackedBatch(
        input_ids=batch.input_ids.astype(np.int32),
        sequence_index=inside.astype(np.int32),
        positions=np.where(inside, slots, slots - lengths[:, None]).astype(np.int32),
        cu_seqlens=np.append(np.stack((starts, starts + lengths), axis=1), rows * width).astype(np.int32),
        mlm_positions=places.astype(np.int32),
        mlm_labels=batch.labels.reshape(-1)[places].astype(np.int32),
        sbo=_numbered(batch.sbo or _NO_TARGETS, starts[: rows if batch.sbo is not None else 0]),
        sequences=(batch.weights > 0).astype(np.int32),
        rows=batch.rows[:, None],
        datasets=batch.datasets[:, None],
    )


def _numbered(targets: SboTargets, starts: Offsets) -> SboTargets:
    """Return the targets of rows that start at these slots, one after another, their positions as numbers of slots."""
    there = targets.labels != IGNORED
    left, right = ((places + starts[:, None]).astype(np.int32)[there] for places in (targets.left, targets.right))
    return SboTargets(left=left, right=right, offsets=targets.offsets[there], labels=targets.labels[there])


def _width(block: MaskedBlock, lengths: Offsets, width: int | None) -> int:
    """Return the width wanted, or that of the longest row."""
    longest = int(lengths.max(initial=2))
    if width is None:
        return round_up(longest)
    if longest > width:
        who = name_of(block, int(lengths.argmax())) if len(block) else "a row that makes the batch whole"
        raise ConfigError(f"{who} has {longest} tokens, the batch is {width} wide: give a width of {longest} or more")
    return width


def _allot(rows: int, width: int, slots: int | None) -> PaddedBatch:
    # One array, not three: what is freed at once is not handed back to the system, to be cleared page by page for the next batch.
    tokens: Ids = np.empty((3, rows, width), np.int64)
    return PaddedBatch(
        input_ids=tokens[0],
        attention_mask=tokens[1],
        labels=tokens[2],
        weights=np.empty(rows, np.float32),
        rows=np.empty(rows, np.int64),
        datasets=np.empty(rows, np.int64),
        sbo=None if slots is None else empty_sbo(rows, slots),
    )


def _fill_compiled(block: MaskedBlock, rule: SboRule | None, pad_id: int, batch: PaddedBatch) -> None:
    from spanmask.kernels.batches import Padded, pad_rows

    targets = batch.sbo or _NO_TARGETS
    out = Padded(batch.input_ids, batch.attention_mask, batch.labels, sbo_argument(targets))
    pad_rows(as_stored(block), rule_argument(rule), targets.labels.shape[1], blank_argument(pad_id), out)


def _fill_numpy(block: MaskedBlock, rule: SboRule | None, pad_id: int, batch: PaddedBatch) -> None:
    size = len(block)
    inside = np.arange(batch.input_ids.shape[1]) < block.input_ids.lengths[:, None]
    batch.input_ids[:size] = pad_id
    batch.input_ids[:size][inside] = block.input_ids.values
    batch.attention_mask[:size] = inside
    batch.labels[:size] = IGNORED
    targets = list_targets(block, rule)
    batch.labels[targets.row, targets.position] = targets.labels
    if batch.sbo is not None:
        clear_sbo(batch.sbo, 0)
        row = targets.row[targets.sbo]
        fill_sbo(targets, (row, count_up(np.bincount(row, minlength=size))), np.zeros(size, np.int64), batch.sbo)


def _types(block: MaskedBlock, batch: PaddedBatch) -> Ids:
    types, places = np.zeros_like(batch.input_ids), np.arange(batch.input_ids.shape[1])
    borders = borders_of(block)[:, None]
    types[: len(block)] = (borders > 0) & (borders <= places) & (places < block.input_ids.lengths[:, None])
    return types


def _nsp_labels(pairs: Pairs, rows: int) -> Ids:
    labels = np.full(rows, IGNORED, np.int64)
    labels[: len(pairs)] = labels_of(pairs)
    return labels


def _name_rows(batch: PaddedBatch, rows: Offsets, datasets: Offsets) -> None:
    size = len(rows)
    batch.weights[:size], batch.weights[size:] = 1, 0
    batch.rows[:size], batch.rows[size:] = rows, -1
    batch.datasets[:size], batch.datasets[size:] = datasets, -1


def _fill_blank(first: int, special: tuple[int, int], pad_id: int, batch: PaddedBatch) -> None:
    """Write the rows from ``first`` on, which have no weight."""
    batch.input_ids[first:, :2], batch.input_ids[first:, 2:] = special, pad_id
    batch.attention_mask[first:, :2], batch.attention_mask[first:, 2:] = 1, 0
    batch.labels[first:] = IGNORED
    if batch.sbo is not None:
        clear_sbo(batch.sbo, first)
