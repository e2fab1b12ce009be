"""transformers' BERT or ModernBERT for masks, as its Trainer trains it: rows padded to the longest in the batch, a head over every token.

Favourable to the peer: a plain loop instead of the Trainer, so without its callbacks, logging and device handling; rows tokenized, masked
and held as arrays; a collator that only copies; the fused AdamW. ``masked_rows`` is a re-implementation of what spanmask does: the head
sees only the tokens that have a label. ``compiled`` pads all batches alike, which a compiled model needs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from spanmask.batches import IGNORED
from spanmask.records import Row
from spanmask.train.config import TrainConfig
from spanmask.train.optimizer import learning_rate, make_optimizer

from .. import peers
from ..training_variants import Way

#: What of the ``bench`` extra this needs.
PACKAGES = ("transformers",)
#: Processes that collate for a GPU.
_WORKERS = 8

Ids = npt.NDArray[np.int64]
#: A row's ids and labels, (n,) each.
Example = tuple[Ids, Ids]
#: An optimizer step: micro-batches of rows.
Step = tuple[tuple[Example, ...], ...]
Batch = dict[str, Tensor]


def example_of(row: Row) -> Example:
    """Return a stored row as the peer's dataset has it: corrupted ids, and labels, `IGNORED` where there is none."""
    ids = row.input_ids.astype(np.int64)
    labels = np.full(len(ids), IGNORED)
    places = [np.arange(start, end) for start, end in zip(row.span_starts, row.span_ends, strict=True)]
    if places:
        labels[np.concatenate(places)] = row.labels
    return ids, labels


def collate(examples: Sequence[Example], shape: tuple[int, int] | None = None) -> Batch:
    """Pad rows at their end: to the longest, or to a shape (rows, slots), of which rows that are not there are one slot long."""
    rows, width = shape or (len(examples), max(len(ids) for ids, _ in examples))
    ids, labels, mask = (np.full((rows, width), value) for value in (0, IGNORED, 0))
    mask[:, 0] = 1
    for place, (tokens, targets) in enumerate(examples):
        size = len(tokens)
        ids[place, :size], labels[place, :size], mask[place, :size] = tokens, targets, 1
    arrays = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class Collated(Dataset[list[Batch]]):
    """Steps, collated when they are asked for, each as its micro-batches."""

    def __init__(self, steps: Sequence[Step], shape: tuple[int, int] | None) -> None:
        self._steps, self._shape = steps, shape

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> list[Batch]:
        return [collate(examples, self._shape) for examples in self._steps[index]]


class HuggingFaceTrainer:
    """The peer, which takes one optimizer step a call.

    Parameters
    ----------
    folder
        The model to begin with, as `spanmask.model.export` writes it.
    steps
        What it trains on, over and over.
    config
        Learning rates and AdamW's options: those of the contestant beside it.
    device
        Where; on CUDA it computes under autocast to bfloat16, as the Trainer's ``bf16`` does.
    way
        How.
    """

    def __init__(
        self, folder: Path, steps: Sequence[Step], config: TrainConfig, device: torch.device, way: Way
    ) -> None:
        loaded = peers.load("transformers").AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="sdpa")
        for part in loaded.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        self._model = loaded.to(device).train()
        self._optimizer = make_optimizer(self._model, config)
        self._config, self._device = config, device
        self._dataset = Collated(steps, shape_of(steps) if way.compiled else None)
        self._feed = self._endless()
        score: Callable[[Batch], Tensor] = self._masked_rows if way.masked_rows else self._every_token
        self._loss = torch.compile(score, dynamic=False) if way.compiled else score
        self._number, self._targets = 0, 0
        self._total = torch.zeros((), device=device)
        self.waited = 0.0

    def _every_token(self, batch: Batch) -> Tensor:
        loss: Tensor = self._model(**batch).loss
        return loss

    def _masked_rows(self, batch: Batch) -> Tensor:
        labels = batch["labels"]
        model = self._model
        hidden = model.base_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
        chosen = labels != IGNORED
        scores = model.cls(hidden[chosen]) if hasattr(model, "cls") else model.decoder(model.head(hidden[chosen]))
        return functional.cross_entropy(scores.float(), labels[chosen])

    def step(self) -> None:
        """Take the next step."""
        began = time.perf_counter()
        batches = next(self._feed)
        self.waited += time.perf_counter() - began
        self._number += 1
        counts = [int((batch["labels"] != IGNORED).sum()) for batch in batches]
        for batch, count in zip(batches, counts, strict=True):
            moved = {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}
            with self._precision():
                loss = self._loss(moved)
            (loss * (count / sum(counts))).backward()  # type: ignore[no-untyped-call]
            self._total += loss.detach() * count
        self._targets += sum(counts)
        nn.utils.clip_grad_norm_(self._model.parameters(), self._config.clip)
        self._optimizer.param_groups[0]["lr"].fill_(learning_rate(self._number, self._config))
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _precision(self) -> AbstractContextManager[Any]:
        cuda = self._device.type == "cuda"
        return torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext()

    def _endless(self) -> Iterator[list[Batch]]:
        """Yield the steps over and over: on CUDA from worker processes, through pinned memory."""
        cuda = self._device.type == "cuda"
        workers = min(_WORKERS, os.cpu_count() or 1) if cuda else 0
        loader = DataLoader(
            self._dataset, batch_size=None, num_workers=workers, pin_memory=cuda, persistent_workers=workers > 0
        )
        while True:
            yield from loader

    def loss(self) -> float:
        """Return the mean loss since this was last called; waits for the device."""
        mean = float(self._total) / self._targets
        self._total.zero_()
        self._targets = 0
        return mean

    def load(self, steps: int) -> None:
        """Collate so many steps, and do nothing with them."""
        for number in range(steps):
            self._dataset[number % len(self._dataset)]

    def slots(self) -> int:
        """Return the slots of all steps, padding included."""
        return sum(batch["input_ids"].numel() for step in self._dataset for batch in step)  # type: ignore[attr-defined]


def shape_of(steps: Sequence[Step]) -> tuple[int, int]:
    """Return the most rows of a micro-batch, and the longest row."""
    batches = [examples for step in steps for examples in step]
    return max(map(len, batches)), max(len(ids) for examples in batches for ids, _ in examples)
