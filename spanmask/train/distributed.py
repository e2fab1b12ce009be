"""Ranks, as torchrun starts them: each a process with its device; torch's own collectives add up what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed

from spanmask.errors import ConfigError
from spanmask.train.config import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A process among as many. device: where it computes."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> None:
        """Put the sum over all ranks in a tensor's place."""
        if self.size > 1:
            distributed.all_reduce(tensor)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Put the first rank's values in tensors' place."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def broadcast_object(self, value: Any) -> Any:
        """Return the first rank's value, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]


@contextmanager
def joined(policy: Device) -> Iterator[World]:
    """Join the processes that torchrun started, if it did, while the body runs.

    Raises
    ------
    ConfigError
        CUDA is asked for, and there is none.
    """
    device = device_of(policy)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if "WORLD_SIZE" not in os.environ or distributed.is_initialized():
        rank, size = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
        yield World(device=device, rank=rank, size=size)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(device=device, rank=distributed.get_rank(), size=distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def device_of(policy: Device) -> torch.device:
    """Return where this process computes.

    Raises
    ------
    ConfigError
        CUDA is asked for, and there is none.
    """
    there = torch.cuda.is_available()
    if policy is Device.CUDA and not there:
        raise ConfigError(
            "device is cuda, and torch finds none: give --device cpu, or install a torch for this GPU",
            options=("device",),
        )
    if policy is Device.CPU or not there:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
