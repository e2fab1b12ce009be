"""Slots of a fixed number for targets that vary in theirs, and the arguments that both kinds of batch hand to kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spanmask.batches import IGNORED, SboTargets
from spanmask.blocks import count_up
from spanmask.errors import ConfigError
from spanmask.loading.targets import Edges, SboRule, Targets
from spanmask.records import MaskedBlock, Offsets

if TYPE_CHECKING:
    from spanmask.kernels.batches import Blank, Rule, Sbo

#: Widths and numbers of slots are multiples of this, as matrix units like them.
MULTIPLE = 8


def round_up(value: float) -> int:
    """Return the smallest multiple of 8 that is not below a value."""
    return int(-(-value // MULTIPLE)) * MULTIPLE


def empty_sbo(rows: int, slots: int) -> SboTargets:
    """Return (B, Q) slots that are not written yet."""
    left, right, offsets, labels = (np.empty((rows, slots), np.int32) for _ in range(4))
    return SboTargets(left=left, right=right, offsets=offsets, labels=labels)


def clear_sbo(out: SboTargets, first: int) -> None:
    """Write slots without a target into the rows from ``first`` on."""
    for column in (out.left, out.right, out.offsets):
        column[first:] = 0
    out.labels[first:] = IGNORED


def slots_of(place: Offsets) -> Offsets:
    """Return the slot of each target: 0, 1, … in its row of the batch. place: (n,) that row, equal ones together."""
    return count_up(np.diff(np.flatnonzero(np.diff(place, prepend=-1, append=-1))))


def fill_sbo(targets: Targets, owner: Offsets, shift: Offsets, out: SboTargets) -> None:
    """Write SBO targets into slots, in order.

    owner: (S,) the row of the batch that a row of the block goes to; shift: (S,) the position in it at which that row begins. Targets of
    one owner lie together, in the order in which they are listed.
    """
    clear_sbo(out, 0)
    row = targets.row[targets.sbo]
    place = owner[row]
    slot = slots_of(place)
    out.left[place, slot] = targets.left[targets.sbo] + shift[row]
    out.right[place, slot] = targets.right[targets.sbo] + shift[row]
    out.offsets[place, slot] = targets.offset[targets.sbo]
    out.labels[place, slot] = targets.labels[targets.sbo]


def sbo_argument(out: SboTargets) -> Sbo:
    """Return the slots as kernels take them."""
    from spanmask.kernels.batches import Sbo

    return Sbo(out.left.reshape(-1), out.right.reshape(-1), out.offsets.reshape(-1), out.labels.reshape(-1))


def rule_argument(rule: SboRule | None) -> Rule:
    """Return a rule as kernels take it."""
    from spanmask.kernels.batches import Rule

    return Rule(0, False) if rule is None else Rule(rule.max_span_offset, rule.edges is Edges.DROP)


def blank_argument(pad_id: int) -> Blank:
    """Return what empty slots hold as kernels take it."""
    from spanmask.kernels.batches import Blank

    return Blank(pad_id, IGNORED)


def require_one_each(block: MaskedBlock, rows: Offsets, datasets: Offsets) -> None:
    """Refuse numbers of rows and datasets that do not match a block's rows.

    Raises
    ------
    ConfigError
        They are not as many.
    """
    if not len(block) == len(rows) == len(datasets):
        raise ConfigError(
            f"{len(rows)} rows and {len(datasets)} datasets are named for a block of {len(block)}: name one each"
        )


def name_of(block: MaskedBlock, row: int) -> str:
    """Return a row's identity in words."""
    return f"document {block.document_ids[row]} segment {block.segments[row]}"
