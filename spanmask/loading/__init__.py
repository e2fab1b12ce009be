"""Stored rows in, batches out: an order that any number of ranks goes on from, masks stored or fresh, padded or packed.

::

    ShardSet ─order▶ (dataset, row) ─read▶ MaskedBlock ─pad or pack▶ PaddedBatch | PackedBatch ─▶ a trainer

`Stream` does it with NumPy and compiled kernels; `ShardLoader`, `ShardDataset` and `Collator` are its doors for PyTorch. Names are imported
when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.loading.binning import Capacities
    from spanmask.loading.config import LoadConfig
    from spanmask.loading.position import Position
    from spanmask.loading.share import Share
    from spanmask.loading.stream import Stream
    from spanmask.loading.torch_dataset import Collator, ShardDataset, ShardLoader

__all__ = [
    "Capacities",
    "Collator",
    "LoadConfig",
    "Position",
    "ShardDataset",
    "ShardLoader",
    "Share",
    "Stream",
]

_HOMES = {
    "Capacities": "binning",
    "Collator": "torch_dataset",
    "LoadConfig": "config",
    "Position": "position",
    "ShardDataset": "torch_dataset",
    "ShardLoader": "torch_dataset",
    "Share": "share",
    "Stream": "stream",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
