"""`ShardDataset` and `Collator`: rows for trainers that draw and collate themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from spanmask import blocks
from spanmask.loading.config import LoadConfig
from spanmask.loading.padding import pad
from spanmask.loading.rows import RowReader
from spanmask.loading.targets import resolve_rule
from spanmask.loading.torch_dataset.sharing import SharedNumbers
from spanmask.loading.torch_dataset.tensors import Tensors, open_datasets, to_tensors
from spanmask.records import Row
from spanmask.shard.reader import ShardSet


class ShardDataset(Dataset[Row]):
    """The rows of a split by number, for trainers that draw them in an order of their own; `Collator` makes batches of them.

    Parameters
    ----------
    dataset
        A folder that ``spanmask preshard`` wrote, or an open `ShardSet`.
    split, verify, mmap
        Of a folder; see `spanmask.open`.
    masks
        ``stored``, or ``fresh`` ones for the epoch that `set_epoch` names; until then, those of epoch 0. PyTorch tells a dataset of rows
        nothing of epochs; Hugging Face's Trainer calls `set_epoch`.
    """

    def __init__(
        self,
        dataset: str | os.PathLike[str] | ShardSet,
        split: str = "train",
        *,
        verify: str = "first",
        mmap: bool = True,
        masks: str = "stored",
        backend: str = "auto",
    ) -> None:
        options = LoadConfig.of(batch_size=1, masks=masks, backend=backend)
        self.shards = open_datasets(dataset, split, verify, mmap=mmap)[0]
        self._reader = RowReader([self.shards], masks=options.masks, backend=options.backend.resolved)
        self._epoch = SharedNumbers(torch.zeros(1, dtype=torch.int64))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose masks rows have, where these are fresh; persistent workers of a DataLoader go by it, too."""
        self._epoch.values[0] = epoch

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> Row:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Row]:
        """Return several rows at once."""
        wanted = np.asarray(indices, np.int64)
        size = len(self)
        if len(wanted) and not -size <= int(wanted.min()) <= int(wanted.max()) < size:
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of {size}")
        if not len(wanted):
            return []
        block = self._reader.read(np.zeros(len(wanted), np.int64), wanted % size, int(self._epoch.values[0]))
        return [blocks.row_of(block, number) for number in range(len(block))]


class Collator:
    """Makes a padded batch of rows: ``input_ids``, ``attention_mask``, and ``labels`` with −100 outside the spans.

    A batch of rows without spans has one target nevertheless, its first token; see `ShardLoader`.

    Parameters
    ----------
    dataset
        What the rows come from; its vocabulary names the padding id, its scheme the custom of boundaries.
    width
        Slots of a row; None: as the longest needs, rounded up to a multiple of 8.
    boundaries
        Whether ``sbo_left``, ``sbo_right``, ``sbo_offsets`` and ``sbo_labels`` are given, too, (B, Q) each: targets of the span boundary
        objective.
    edges, max_span_offset
        Which masked tokens are such targets; see `LoadConfig`.
    """

    def __init__(
        self,
        dataset: ShardDataset | ShardSet,
        *,
        width: int | None = None,
        boundaries: bool = False,
        edges: str | None = None,
        max_span_offset: int = 20,
    ) -> None:
        shards = dataset.shards if isinstance(dataset, ShardDataset) else dataset
        manifest = shards.manifest
        special = manifest.stated_vocabulary.special.as_dict()
        self._special = tuple(special[role] or 0 for role in ("pad", "cls", "sep"))
        options = LoadConfig.of(batch_size=1, width=width, edges=edges, max_span_offset=max_span_offset)
        self._width = options.width
        self._rule = resolve_rule(
            [manifest.config.masking], wanted=boundaries, edges=options.edges, max_span_offset=options.max_span_offset
        )

    def __call__(self, rows: Sequence[Row]) -> Tensors:
        """Return a batch of B rows as tensors, int64 but for the boundaries' int32."""
        pad_id, cls_id, sep_id = self._special
        batch = pad(
            blocks.block_of(rows),
            np.arange(len(rows)),
            np.zeros(len(rows), np.int64),
            rows_wanted=len(rows),
            width=self._width,
            pad_id=pad_id,
            cls_id=cls_id,
            sep_id=sep_id,
            rule=self._rule,
        )
        return to_tensors(batch, targets=sum(len(row.labels) for row in rows))
