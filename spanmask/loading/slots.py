"""Slots of a fixed number for targets that vary in theirs, and the arguments that both kinds of batch hand to kernels."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from spanmask.batches import IGNORED, SboTargets
from spanmask.errors import ConfigError
from spanmask.loading.targets import Edges, SboRule, Targets
from spanmask.records import MaskedBlock, Offsets, Pairs

if TYPE_CHECKING:
    from spanmask.kernels.batches import Blank, Rule, Sbo

#: Widths and numbers of slots are multiples of this, as matrix units like them.
MULTIPLE = 8


def round_up(value: float) -> int:
    """Return the smallest multiple of 8 that is not below a value."""
    return int(-(-value // MULTIPLE)) * MULTIPLE


def empty_sbo(*shape: int) -> SboTargets:
    """Return (B, Q) or (Q,) slots that are not written yet."""
    left, right, offsets, labels = np.empty((4, *shape), np.int32)
    return SboTargets(left=left, right=right, offsets=offsets, labels=labels)


def clear_sbo(out: SboTargets, first: int) -> None:
    """Write slots without a target into the rows, or the slots, from ``first`` on."""
    for column in (out.left, out.right, out.offsets):
        column[first:] = 0
    out.labels[first:] = IGNORED


def fill_sbo(targets: Targets, slots: Any, shift: Offsets, out: SboTargets) -> None:
    """Write SBO targets, in order, into slots. slots: their index; shift: (S,) what is added to the positions in each row of the block."""
    row = targets.row[targets.sbo]
    out.left[slots] = targets.left[targets.sbo] + shift[row]
    out.right[slots] = targets.right[targets.sbo] + shift[row]
    out.offsets[slots] = targets.offset[targets.sbo]
    out.labels[slots] = targets.labels[targets.sbo]


def sbo_argument(out: SboTargets) -> Sbo:
    """Return the slots as kernels take them."""
    from spanmask.kernels.batches import Sbo

    return Sbo(out.left.reshape(-1), out.right.reshape(-1), out.offsets.reshape(-1), out.labels.reshape(-1))


@cache
def rule_argument(rule: SboRule | None) -> Rule:
    """Return a rule as kernels take it."""
    from spanmask.kernels.batches import Rule

    return Rule(0, False) if rule is None else Rule(rule.max_span_offset, rule.edges is Edges.DROP)


@cache
def blank_argument(pad_id: int) -> Blank:
    """Return what empty slots hold as kernels take it."""
    from spanmask.kernels.batches import Blank

    return Blank(pad_id, IGNORED)


def labels_of(pairs: Pairs) -> Offsets:
    """Return BERT's labels of S rows: 0 where the second segment follows the first, 1 where it does not, `IGNORED` in a row of one."""
    labels: Offsets = np.where(pairs.borders > 0, 1 - pairs.labels.astype(np.int64), IGNORED)
    return labels


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
