"""The doors for PyTorch; the only modules of loading that import torch."""

from spanmask.loading.torch_dataset.loader import ShardLoader
from spanmask.loading.torch_dataset.rows import Collator, ShardDataset

__all__ = ["Collator", "ShardDataset", "ShardLoader"]
