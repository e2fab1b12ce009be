"""Batches: what loading hands to a trainer, as arrays.

Shapes, beside those of `spanmask.records`: B rows or bins of a batch, L slots (a padded row, or a bin), K sequences that fit in a bin,
P and Q slots for the MLM and the SBO targets of a packed batch. Positions of targets count from the start of their padded row, or from
that of a packed batch: there they are numbers of its B·L slots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Narrow = npt.NDArray[np.int32]

#: The label of a slot without a target: what `torch.nn.functional.cross_entropy` leaves out.
IGNORED = -100


@dataclass(frozen=True, slots=True, kw_only=True)
class SboTargets:
    """Targets of the span boundary objective (paper §3.2): (Q,) of a packed batch, and as many for each row, (B, Q), of a padded one.

    left, right: positions of the two tokens outside the span, start − 1 and end. offsets: place of the target in its span, from 0.
    labels: original ids, `IGNORED` in a slot without a target, whose other values are 0.
    """

    left: Narrow
    right: Narrow
    offsets: Narrow
    labels: Narrow


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedBatch:
    """B sequences, each in a row of L slots.

    input_ids: (B, L), the padding id after a sequence's end. attention_mask: (B, L) 1 on a sequence's tokens, else 0.
    labels: (B, L) original ids under the spans, else `IGNORED`. weights: (B,) float32, 1, and 0 for a row that only makes the batch whole:
    it holds ``[CLS] [SEP]`` and no target. rows: (B,) the row of the dataset, −1 where the weight is 0; datasets: (B,) which dataset.
    sbo: targets of the span boundary objective, when asked for. token_types: (B, L) 1 on the second segment of a pair and on the ``[SEP]``
    behind it, else 0; nsp_labels: (B,) 0 where the second segment follows the first, 1 where it does not, `IGNORED` in a row of one;
    both of datasets of pairs only.
    """

    input_ids: Ids
    attention_mask: Ids
    labels: Ids
    weights: npt.NDArray[np.float32]
    rows: Ids
    datasets: Ids
    sbo: SboTargets | None = None
    token_types: Ids | None = None
    nsp_labels: Ids | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """B bins of L slots, each holding up to K sequences one after another from its first slot on.

    Shapes are constant through a run, but for P and Q, which have two values: the usual one, and one that holds any batch.

    input_ids: (B, L), the padding id behind the last sequence. sequence_index: (B, L), 1 for the slots of a bin's first sequence, 2 for the
    second's and so on, 0 for padding: attention stays within equal indices. positions: (B, L), from 0 in each sequence; in padding from 0,
    too. cu_seqlens: (B·(K + 1) + 1,), over the B·L slots in order: where each sequence starts, padding at a bin's end counting as one more;
    its last value, B·L, is repeated to fill it. mlm_positions, mlm_labels: (P,), ascending, then position 0 and label `IGNORED` in slots
    without a target. sbo: (Q,) likewise; Q may be 0. sequences: (B,) how many a bin holds. rows: (B, K) their rows in the dataset, −1
    beyond; datasets: (B, K) which dataset. Of datasets of pairs only: token_types: (B, L) as of a padded batch; nsp_positions: (B·K,) the
    first slot of each sequence a bin has room for, 0 where there is none; nsp_labels: (B·K,) as of a padded batch.
    """

    input_ids: Narrow
    sequence_index: Narrow
    positions: Narrow
    cu_seqlens: Narrow
    mlm_positions: Narrow
    mlm_labels: Narrow
    sbo: SboTargets
    sequences: Narrow
    rows: Ids
    datasets: Ids
    token_types: Narrow | None = None
    nsp_positions: Narrow | None = None
    nsp_labels: Narrow | None = None
