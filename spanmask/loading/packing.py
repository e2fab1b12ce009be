"""Rows in memory → bins of constant shape, each of several sequences.

`spanmask.loading.capacities` chooses what a bin holds, `spanmask.loading.binning` which rows share one; `fill` writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from spanmask.batches import IGNORED, PackedBatch
from spanmask.blocks import as_stored, borders_of, count_up, offsets_of, select
from spanmask.errors import ConfigError
from spanmask.loading.backend import Backend
from spanmask.loading.binning import Bins, Capacities, TargetSlots
from spanmask.loading.slots import (
    blank_argument,
    clear_sbo,
    empty_sbo,
    fill_sbo,
    labels_of,
    require_one_each,
    rule_argument,
    sbo_argument,
)
from spanmask.loading.targets import SboRule, Targets, count_targets, list_targets
from spanmask.records import MaskedBlock, Offsets, Pairs


def fill(  # noqa: PLR0913 - the one door to packed batches
    block: MaskedBlock,
    rows: Offsets,
    datasets: Offsets,
    bins: Bins | Sequence[Offsets],
    *,
    bins_wanted: int,
    capacities: Capacities,
    slots: TargetSlots,
    pad_id: int,
    rule: SboRule | None,
    backend: Backend = Backend.AUTO,
) -> PackedBatch:
    """Write rows of a block into bins.

    Parameters
    ----------
    block
        S rows; their offsets begin at 0.
    rows, datasets
        (S,) what the batch says of each: its row in its dataset, and which dataset. Beyond a bin's sequences it says −1.
    bins
        At most B: the rows of each bin, as numbers in the block, in the order in which they are to lie; `Bins` or one array each.
        The rest of the batch's bins stays empty.
    bins_wanted
        B.
    capacities
        L and K.
    slots
        P and Q.
    pad_id
        The padding id.
    rule
        Which masked tokens are SBO targets; None: none.
    backend
        Who fills the batch; the arrays are the same, bit for bit.

    Raises
    ------
    ConfigError
        There are more bins than are wanted, a bin is over a capacity, or names a row that the block lacks, or slots do not suffice.
    """
    require_one_each(block, rows, datasets)
    if len(bins) > bins_wanted:
        raise ConfigError(f"{len(bins)} bins do not fit a batch of {bins_wanted}: want more, or give fewer")
    plan = bins if isinstance(bins, Bins) else Bins.of(bins)
    batch = _allot(bins_wanted, capacities, slots)
    owners = (np.ascontiguousarray(rows, np.int64), np.ascontiguousarray(datasets, np.int64))
    if backend.resolved is Backend.COMPILED:
        fits = _fill_compiled(block, owners, plan, (rule, pad_id, capacities), batch)
    else:
        fits = not _problem(block, plan, rule, capacities, slots)
        if fits:
            _fill_numpy(block, owners, plan, (rule, pad_id), batch)
    if not fits:
        raise ConfigError(_problem(block, plan, rule, capacities, slots))
    return batch if block.pairs is None else _with_pairs(block, block.pairs, plan, batch)


def _with_pairs(block: MaskedBlock, pairs: Pairs, plan: Bins, batch: PackedBatch) -> PackedBatch:
    """Return a batch with what there is to say of pairs."""
    lengths, borders = block.input_ids.lengths[plan.members], borders_of(block)[plan.members]
    placed = _placed(lengths, plan)
    first = placed.bin * batch.input_ids.shape[1] + placed.shift
    types = np.zeros(batch.input_ids.shape, np.int32)
    seconds = np.where(borders > 0, lengths - borders, 0)
    types.reshape(-1)[np.repeat(first + borders, seconds) + count_up(seconds)] = 1
    positions, labels = np.zeros(batch.rows.shape, np.int32), np.full(batch.rows.shape, IGNORED, np.int32)
    positions[placed.bin, placed.number] = first
    labels[placed.bin, placed.number] = labels_of(pairs)[plan.members]
    return replace(batch, token_types=types, nsp_positions=positions.reshape(-1), nsp_labels=labels.reshape(-1))


def _problem(block: MaskedBlock, plan: Bins, rule: SboRule | None, capacities: Capacities, slots: TargetSlots) -> str:
    """Return what is wrong with bins, if anything: a row that the block lacks, a bin over a capacity, too few slots for targets."""
    members = plan.members
    if len(members) and not 0 <= int(members.min()) <= int(members.max()) < len(block):
        return f"bins name rows {members.min()} to {members.max()}, the block has {len(block)}: number them from 0"
    tokens = np.diff(offsets_of(block.input_ids.lengths[members])[plan.offsets])
    for name, used in {"tokens": tokens, "sequences": np.diff(plan.offsets)}.items():
        capacity = getattr(capacities, name)
        if int(used.max(initial=0)) > capacity:
            return f"bin {used.argmax()} takes {used.max()} of {name}, its capacity is {capacity}: assign rows under it"
    targets = {"MLM": block.labels.lengths, "SBO": count_targets(block, rule).sbo}
    for (name, of_rows), there in zip(targets.items(), (slots.mlm, slots.sbo), strict=True):
        wanted = int(of_rows[members].sum())
        if wanted > there:
            return f"the bins hold {wanted} {name} targets, the batch has {there} slots for them: give {wanted} or more"
    return ""


def _allot(bins: int, capacities: Capacities, slots: TargetSlots) -> PackedBatch:
    sequences = capacities.sequences
    tokens = np.empty((3, bins, capacities.tokens), np.int32)  # One array, as `padding` says why.
    mlm, owners = np.empty((2, slots.mlm), np.int32), np.empty((2, bins, sequences), np.int64)
    return PackedBatch(
        input_ids=tokens[0],
        sequence_index=tokens[1],
        positions=tokens[2],
        cu_seqlens=np.empty(bins * (sequences + 1) + 1, np.int32),
        mlm_positions=mlm[0],
        mlm_labels=mlm[1],
        sbo=empty_sbo(slots.sbo),
        sequences=np.empty(bins, np.int32),
        rows=owners[0],
        datasets=owners[1],
    )


def _fill_compiled(
    block: MaskedBlock,
    owners: tuple[Offsets, Offsets],
    plan: Bins,
    how: tuple[SboRule | None, int, Capacities],
    batch: PackedBatch,
) -> bool:
    """Write the bins; return whether they fit."""
    from spanmask.kernels.batches import Owners, Packed, pack_rows
    from spanmask.kernels.binning import Rooms

    rule, pad_id, capacities = how
    out = Packed(
        batch.input_ids.reshape(-1),
        batch.sequence_index.reshape(-1),
        batch.positions.reshape(-1),
        batch.cu_seqlens,
        batch.mlm_positions,
        batch.mlm_labels,
        sbo_argument(batch.sbo),
        batch.sequences,
        batch.rows,
        batch.datasets,
    )
    rooms, blank = Rooms(capacities.tokens, capacities.sequences), blank_argument(pad_id)
    return pack_rows(
        as_stored(block), Owners(*owners), plan.offsets, plan.members, rule_argument(rule), blank, rooms, out
    )


def _fill_numpy(
    block: MaskedBlock,
    owners: tuple[Offsets, Offsets],
    plan: Bins,
    how: tuple[SboRule | None, int],
    batch: PackedBatch,
) -> None:
    taken = select(replace(block, word_starts=None, annotations=None), plan.members)
    placed = _placed(taken.input_ids.lengths, plan)
    targets = list_targets(taken, how[0])
    _write_tokens(taken, placed, how[1], batch)
    _write_sequences(owners, plan, placed, batch)
    _write_bounds(taken, plan, placed, batch)
    _write_targets(targets, placed.bin * batch.input_ids.shape[1] + placed.shift, batch)


class _Places(NamedTuple):
    """Where n rows go: their bin, their number in it from 0, and the slot of the bin in which they begin; (n,) each."""

    bin: Offsets
    number: Offsets
    shift: Offsets


def _placed(lengths: Offsets, plan: Bins) -> _Places:
    """Return where n rows of some lengths go."""
    counts, starts = np.diff(plan.offsets), offsets_of(lengths)
    owner = np.repeat(np.arange(len(counts)), counts)
    return _Places(owner, count_up(counts), starts[:-1] - starts[plan.offsets[:-1]][owner])


def _write_tokens(taken: MaskedBlock, placed: _Places, pad_id: int, batch: PackedBatch) -> None:
    """Write what there is of each slot."""
    width = batch.input_ids.shape[1]
    sizes = taken.input_ids.lengths
    places = count_up(sizes)
    slots = np.repeat(placed.bin * width + placed.shift, sizes) + places
    used = np.bincount(placed.bin, weights=sizes, minlength=len(batch.input_ids)).astype(np.int64)
    batch.input_ids[:], batch.sequence_index[:] = pad_id, 0
    batch.positions[:] = np.arange(width) - used[:, None]
    batch.input_ids.reshape(-1)[slots] = taken.input_ids.values
    batch.sequence_index.reshape(-1)[slots] = np.repeat(placed.number + 1, sizes)
    batch.positions.reshape(-1)[slots] = places


def _write_sequences(owners: tuple[Offsets, Offsets], plan: Bins, placed: _Places, batch: PackedBatch) -> None:
    counts = np.diff(plan.offsets)
    batch.sequences[: len(counts)], batch.sequences[len(counts) :] = counts, 0
    for column, values in zip((batch.rows, batch.datasets), owners, strict=True):
        column[:] = -1
        column[placed.bin, placed.number] = values[plan.members]


def _write_bounds(taken: MaskedBlock, plan: Bins, placed: _Places, batch: PackedBatch) -> None:
    bins, width = batch.input_ids.shape
    used = np.zeros(bins, np.int64)
    used[: len(plan)] = np.diff(taken.input_ids.offsets[plan.offsets])
    ends = np.arange(bins) * width + used
    marks = np.sort(np.concatenate((placed.bin * width + placed.shift, ends[used < width])))
    batch.cu_seqlens[: len(marks)], batch.cu_seqlens[len(marks) :] = marks, bins * width


def _write_targets(targets: Targets, starts: Offsets, batch: PackedBatch) -> None:
    """Write targets. starts: (n,) the slot of the batch at which each row begins."""
    mlm, sbo = len(targets.position), int(targets.sbo.sum())
    batch.mlm_positions[:mlm], batch.mlm_positions[mlm:] = targets.position + starts[targets.row], 0
    batch.mlm_labels[:mlm], batch.mlm_labels[mlm:] = targets.labels, IGNORED
    fill_sbo(targets, slice(sbo), starts, batch.sbo)
    clear_sbo(batch.sbo, sbo)
