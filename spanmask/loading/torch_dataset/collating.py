"""Batches as a `DataLoader` meets them, which would make batches of batches if it were not told otherwise."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

from spanmask.errors import ConfigError


class Batch(dict[str, Tensor]):
    """A batch by the names of its arrays."""


def _refuse(_batches: list[Batch], **_options: Any) -> NoReturn:
    raise ConfigError(
        "a DataLoader collects batches of a ShardLoader into larger ones: give it batch_size=None, and the size of a batch to ShardLoader"
    )


# What torch's default collate function looks up the type of what it is given in.
default_collate_fn_map[Batch] = _refuse
