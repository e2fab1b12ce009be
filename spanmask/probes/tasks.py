"""What a task is to the engine that fine-tunes: its head, its loss, and how its predictions are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from spanmask.errors import ConfigError
from spanmask.model.config import SpanBertConfig
from spanmask.probes.batching import Batch
from spanmask.probes.examples import Examples
from spanmask.probes.results import Figures, Named, Questions

#: What a model says of N examples of T tokens, one after another, as `Rows` has it.
Outputs = npt.NDArray[np.float32]
#: What is chosen by predictions beside grid point and epoch: thresholds, by name.
Settings = Mapping[str, float]


class Rows(Enum):
    """What a head's outputs are rows of.

    TOKEN: each token, (T, K). EXAMPLE: each example, by what a pooler makes of it, (N, K). GROUP: whatever the head finds in a group of
    examples, which it sees at once, (R, 1 + K), the group's number first; see `GroupTask`.
    """

    TOKEN = auto()
    EXAMPLE = auto()
    GROUP = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What predictions are worth.

    figures: as the official program has them; none of examples without labels, whose predictions are written alone. settings: those that
    applied. files: predictions in official layouts, by name.
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


def require_finite(outputs: Outputs) -> None:
    """Refuse what a model says where it is no number: a label would be told of it all the same.

    Raises
    ------
    ConfigError
        A value is no finite number.
    """
    if not np.isfinite(outputs).all():
        raise ConfigError("the model's scores are not all finite, so nothing can be told; fine-tune with a lower lr")


class Reading(Protocol):
    """What a model reads and says something of."""

    @property
    def rows(self) -> Rows:
        """What the head's outputs are rows of."""


class Task(Reading, Protocol):
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
    def train_files(self) -> tuple[Named, ...]:
        """What examples come from."""

    @property
    def eval_files(self) -> tuple[Named, ...]:
        """What evaluations that have figures come from, named like them."""

    @property
    def training(self) -> Examples:
        """What is trained on."""

    @property
    def selection(self) -> HeldOut:
        """What chooses."""

    @property
    def evaluations(self) -> tuple[HeldOut, ...]:
        """What is scored, or predicted alone, once."""

    def head(self, config: SpanBertConfig) -> nn.Module:
        """Return a new head, its weights drawn from torch's global generator."""

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Return the loss of a batch, summed over its examples or groups, (). scores: (B·L, K), (n, K), or what a head over groups says."""


@runtime_checkable
class Recipe(Protocol):
    """A task whose models read more than texts as they stand, such as tokens that stand for something, or have a head of their own."""

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Plain JSON values by which texts become what a model reads, and a head is made; stored with it, under the task's name."""


class GroupReading(Reading, Protocol):
    """Examples that are seen in groups, such as the segments of a document: a batch is a group, each example a bin of its own.

    The head has a method ``predict``, which maps `spanmask.model.finetuning.GroupStates` and what is given to rows, (r, K).
    """

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """Return what the head knows of a batch's slots, on the host. batch: n examples of one group, in order."""


class GroupTask(GroupReading, Task, Protocol):
    """A task whose examples are seen in groups. Its head maps hidden states (B·L, H) and what is given to what `loss` takes."""

    @property
    def most_examples(self) -> int | None:
        """How many neighbouring examples of a group are trained on at once; None: all."""


def arguments(task: Reading, batch: Batch, device: torch.device) -> tuple[Any, ...]:
    """Return what a model reads of a batch that is on its device."""
    if task.rows is not Rows.GROUP:
        return batch.packed, batch.firsts
    given = cast(GroupReading, task).given(batch)
    return batch.packed, batch.firsts, {name: value.to(device) for name, value in given.items()}
