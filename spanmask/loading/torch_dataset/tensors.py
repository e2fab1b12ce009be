"""Batches as tensors: over the arrays' memory, or copied to a CUDA device while the batch before is worked on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from spanmask.batches import PackedBatch, PaddedBatch
from spanmask.errors import ConfigError
from spanmask.loading.share import Share
from spanmask.loading.torch_dataset.collating import Batch
from spanmask.shard.reader import ShardSet, open_shards

Tensors = dict[str, torch.Tensor]
B = TypeVar("B")
Datasets = str | os.PathLike[str] | ShardSet | Sequence[str | os.PathLike[str] | ShardSet]

#: Of a padded batch, what models take; the rest is given on request.
_MODEL_INPUTS = ("input_ids", "attention_mask", "labels")
_DETAILS = ("weights", "rows", "datasets")
#: Of a packed batch, what datasets of pairs have beside the rest.
_PAIRS = ("token_types", "nsp_positions", "nsp_labels")


def open_datasets(datasets: Datasets, split: str, verify: str, *, mmap: bool) -> list[ShardSet]:
    """Return open splits of folders, or of what is open already; one or several."""
    given = [datasets] if isinstance(datasets, (str, os.PathLike, ShardSet)) else list(datasets)
    return [one if isinstance(one, ShardSet) else open_shards(one, split, verify=verify, mmap=mmap) for one in given]


def share_of(rank: int | None, world: int | None) -> Share:
    """Return the share that is given, or else this process's in torch's process group, or all."""
    if (rank is None) != (world is None):
        raise ConfigError("rank and world go together: give both or neither")
    if rank is not None and world is not None:
        return Share(rank=rank, world=world)
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return Share(rank=distributed.get_rank(), world=distributed.get_world_size())
    return Share()


def to_tensors(batch: PaddedBatch | PackedBatch, *, targets: int, details: bool = False) -> Tensors:
    """Return a batch's arrays as tensors over the same memory.

    Parameters
    ----------
    batch
        What is written to where it has no target; see `ShardLoader`.
    targets
        The MLM targets that it has.
    details
        Of a padded batch: weights, rows and datasets too.
    """
    if not targets:
        labels = batch.labels if isinstance(batch, PaddedBatch) else batch.mlm_labels
        # The first of mlm_positions is 0 where there are no targets.
        labels.reshape(-1)[:1] = batch.input_ids.reshape(-1)[:1]
    if isinstance(batch, PaddedBatch):
        names: tuple[str, ...] = _MODEL_INPUTS + (_DETAILS if details else ())
        pairs = {"token_type_ids": batch.token_types, "next_sentence_label": batch.nsp_labels}
    else:
        names = tuple(name for name in PackedBatch.__dataclass_fields__ if name not in ("sbo", *_PAIRS))
        pairs = {name: getattr(batch, name) for name in _PAIRS}
    tensors = {name: torch.from_numpy(getattr(batch, name)) for name in names}
    tensors |= {name: torch.from_numpy(values) for name, values in pairs.items() if values is not None}
    if batch.sbo is not None:
        tensors |= {
            f"sbo_{name}": torch.from_numpy(getattr(batch.sbo, name)) for name in batch.sbo.__dataclass_fields__
        }
    return Batch(tensors)


class Transfer:
    """Copies batches to a device: tensors, or None, in dicts, tuples and named tuples, which come back as they are.

    To a CUDA device, `begin` copies through pinned memory on a stream of its own, and `finish` has the current stream wait for that; the
    two may run in different threads.
    """

    def __init__(self, device: torch.device | None) -> None:
        self._device = device
        cuda: Any = torch.cuda
        self._stream = cuda.Stream(device) if device is not None and device.type == "cuda" else None

    def __reduce__(self) -> tuple[Any, ...]:
        return Transfer, (self._device,)

    def begin(self, batch: B) -> tuple[B, torch.cuda.Event | None]:
        """Start copying a batch; return where it will be, and what `finish` waits for."""
        if self._device is None:
            return batch, None
        if self._stream is None:
            return _each(lambda tensor: tensor.to(self._device), batch), None
        with torch.cuda.stream(self._stream):
            moved = _each(lambda tensor: tensor.pin_memory().to(self._device, non_blocking=True), batch)
            return moved, self._stream.record_event()

    def finish(self, batch: Any, copied: torch.cuda.Event | None) -> None:
        """Let the current stream use a batch."""
        if copied is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(copied)
            _each(lambda tensor: tensor.record_stream(stream), batch)


def _each(function: Callable[[torch.Tensor], Any], batch: Any) -> Any:
    """Return a batch with what a function makes of each tensor in its place."""
    if isinstance(batch, torch.Tensor):
        return function(batch)
    if batch is None:
        return None
    if isinstance(batch, dict):
        return {name: _each(function, value) for name, value in batch.items()}
    values = [_each(function, value) for value in batch]
    return batch._make(values) if hasattr(batch, "_make") else tuple(values)
