"""Batches as tensors: those of `spanmask.batches`, under the same names and in the same shapes, and the token types of pairs.

Named tuples, since `torch.compile` takes them apart without a guard on anything but shapes.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from spanmask.batches import PackedBatch
from spanmask.errors import ConfigError


class SboTensors(NamedTuple):
    """(Q,) integers each: boundaries start − 1 and end as numbers of the B·L slots, place in the span from 0, and label or `IGNORED`.

    Of a padded batch (B, Q) each, and boundaries are positions in their row.
    """

    left: Tensor
    right: Tensor
    offsets: Tensor
    labels: Tensor

    @classmethod
    def taken_from(cls, batch: MutableMapping[str, Any]) -> Self:
        """Take the four out of a batch of `spanmask.loading`, whose other tensors are then what a model takes.

        Raises
        ------
        ConfigError
            The batch has none.
        """
        names = [f"sbo_{name}" for name in cls._fields]
        missing = [name for name in names if name not in batch]
        if missing:
            raise ConfigError(
                f"the batch has no {missing[0]}: ask for boundary targets (ShardLoader(…, sbo=True), Collator(…, boundaries=True))"
            )
        return cls(*(batch.pop(name) for name in names))


class NspTensors(NamedTuple):
    """(S,) integers each: first slots of sequences as numbers of the B·L slots; 0 where the second segment follows, 1, or `IGNORED`."""

    positions: Tensor
    labels: Tensor


class PackedTensors(NamedTuple):
    """B bins of L slots as integer tensors; fields but the last are those of `spanmask.batches.PackedBatch`.

    input_ids, sequence_index (0 in padding), positions: (B, L). cu_seqlens: int32, where each run of slots starts in the B·L slots, the
    last value, B·L, repeated at will. mlm_positions (numbers of the B·L slots), mlm_labels (or `IGNORED`): (P,). token_types: (B, L), 1 on
    the second part of a pair, 0 on its first and in padding; None where all are 0, as in pre-training on single segments. nsp: of pairs.
    """

    input_ids: Tensor
    sequence_index: Tensor
    positions: Tensor
    cu_seqlens: Tensor
    mlm_positions: Tensor
    mlm_labels: Tensor
    sbo: SboTensors
    token_types: Tensor | None = None
    nsp: NspTensors | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the batch on a device."""
        tensors = {name: value for name, value in self._asdict().items() if isinstance(value, Tensor)}
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in tensors.items()}
        sbo = SboTensors(*(tensor.to(device, non_blocking=non_blocking) for tensor in self.sbo))
        nsp = self.nsp and NspTensors(*(tensor.to(device, non_blocking=non_blocking) for tensor in self.nsp))
        return self._replace(**moved, sbo=sbo, nsp=nsp)


def bins_of(batch: PackedTensors, begin: int, end: int) -> PackedTensors:
    """Return the bins [begin, end) of a batch without targets of pre-training, in which bins begin runs of slots."""
    width = batch.input_ids.shape[1]
    runs = batch.cu_seqlens
    inside = (runs >= begin * width) & (runs <= end * width)
    types = None if batch.token_types is None else batch.token_types[begin:end]
    return batch._replace(
        input_ids=batch.input_ids[begin:end],
        sequence_index=batch.sequence_index[begin:end],
        positions=batch.positions[begin:end],
        cu_seqlens=runs[inside] - begin * width,
        token_types=types,
    )


def packed_tensors(batch: PackedBatch) -> PackedTensors:
    """Return a packed batch's arrays as tensors over the same memory."""
    sbo = SboTensors(*(torch.from_numpy(getattr(batch.sbo, name)) for name in SboTensors._fields))
    others = [torch.from_numpy(getattr(batch, name)) for name in PackedTensors._fields[:-3]]
    types, positions, labels = batch.token_types, batch.nsp_positions, batch.nsp_labels
    if types is None or positions is None or labels is None:
        return PackedTensors._make([*others, sbo, None, None])
    nsp = NspTensors(torch.from_numpy(positions), torch.from_numpy(labels))
    return PackedTensors._make([*others, sbo, torch.from_numpy(types), nsp])


def padded_tensors(input_ids: Tensor, attention_mask: Tensor, token_types: Tensor | None = None) -> PackedTensors:
    """Return sequences that fill a row each, padded at its end, as bins without targets.

    Parameters
    ----------
    input_ids
        (B, L) integers.
    attention_mask
        (B, L), 1 on a sequence's tokens, else 0: ones first.
    token_types
        (B, L), 1 on the second part of a pair, else 0; None where all are 0.
    """
    rows, width = input_ids.shape
    sequence_index = attention_mask.to(torch.int32)
    lengths = sequence_index.sum(1, dtype=torch.int32)
    starts = torch.arange(0, rows * width, width, dtype=torch.int32, device=input_ids.device)
    last = torch.full((1,), rows * width, dtype=torch.int32, device=input_ids.device)
    slots = torch.arange(width, dtype=torch.int32, device=input_ids.device).expand(rows, width)
    none = torch.empty(0, dtype=torch.int32, device=input_ids.device)
    return PackedTensors(
        input_ids=input_ids,
        sequence_index=sequence_index,
        positions=torch.where(attention_mask > 0, slots, slots - lengths[:, None]),
        cu_seqlens=torch.cat([torch.stack([starts, starts + lengths], dim=1).flatten(), last]),
        mlm_positions=none,
        mlm_labels=none,
        sbo=SboTensors(none, none, none, none),
        token_types=token_types,
    )
