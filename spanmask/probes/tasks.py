"""What a task is to the engine that fine-tunes: its head, its loss, and how its predictions are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from spanmask.model.config import SpanBertConfig
from spanmask.probes.batching import Batch
from spanmask.probes.examples import Examples
from spanmask.probes.results import Figures, Named, Questions

#: What a model says of N examples of T tokens, one after another: (T, K) of each token, or (N, K) of each example.
Outputs = npt.NDArray[np.float32]
#: What is chosen by predictions beside grid point and epoch: thresholds, by name.
Settings = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What predictions are worth.

    figures: as the official program has them. settings: those that applied. files: predictions in official layouts, by name.
    questions: what was right of each, None where the task has none.
    """

    figures: Figures
    settings: Settings = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    questions: Questions | None = None


class HeldOut(Protocol):
    """Examples that are predicted and not trained on: the share that chooses, or an evaluation file."""

    @property
    def name(self) -> str:
        """What results call it: of an evaluation file, no other's name."""

    @property
    def examples(self) -> Examples:
        """The examples; their targets, if they have any, are not looked at."""

    def judge(self, outputs: Outputs, settings: Settings | None) -> Judged:
        """Score outputs. settings: those chosen on the share that chooses; None: choose them by these outputs."""


class Task(Protocol):
    """A task with its files read: what is to be learnt, and what is scored."""

    @property
    def name(self) -> str:
        """Such as ``qa``."""

    @property
    def metric(self) -> str:
        """The figure, the higher the better, that chooses."""

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Plain JSON values that must be alike for figures of two runs to be compared."""

    @property
    def width(self) -> int:
        """Slots of a bin; no example is longer."""

    @property
    def tokenwise(self) -> bool:
        """Whether the head scores each token; else what a pooler makes of each example."""

    @property
    def train_files(self) -> tuple[Named, ...]:
        """What examples come from."""

    @property
    def eval_files(self) -> tuple[Named, ...]:
        """What evaluations come from, named like them."""

    @property
    def training(self) -> Examples:
        """What is trained on."""

    @property
    def selection(self) -> HeldOut:
        """What chooses."""

    @property
    def evaluations(self) -> tuple[HeldOut, ...]:
        """What is scored once."""

    def head(self, config: SpanBertConfig) -> nn.Module:
        """Return a new head, its weights drawn from torch's global generator."""

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Return the loss of a batch, summed over its examples, (). scores: (B·L, K) or (n, K)."""
