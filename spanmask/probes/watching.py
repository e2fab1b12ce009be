"""What fine-tuning tells whoever watches it, beside what any training does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spanmask.probes.results import SeedResult
from spanmask.train import watching


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePlan:
    """What a run is about to do.

    task, model: their names. metric: the figure that chooses. device, precision: where updates are computed, and in what. parameters: of
    the model, its head included. initialised: what of it is drawn anew. examples, tokens: of training; selection, evaluation: examples of
    both. trained_on: evaluation files that are trained on too. trainings: of all seeds and points of the grid. step, steps: updates
    made, and all.
    """

    task: str
    metric: str
    model: str
    device: str
    precision: str
    parameters: int
    initialised: tuple[str, ...]
    examples: int
    tokens: int
    selection: int
    evaluation: int
    trained_on: tuple[str, ...]
    trainings: int
    step: int
    steps: int


class Watch(watching.Watch):
    """Told what happens, and asked whether to go on; steps are counted through all trainings of a run."""

    def plan(self, plan: ProbePlan) -> None:
        """Know that all is ready, and nothing written yet; an error raised here ends the run."""

    def training(self, name: str, number: int, count: int) -> None:
        """Know that a training begins or goes on: its folder's name, and which of how many it is, from 1."""

    def selected(self, line: dict[str, Any]) -> None:
        """Know what the share that chooses found, as selection.jsonl has it."""

    def scoring(self, name: str) -> None:
        """Know that an evaluation file is scored."""

    def scored(self, result: SeedResult) -> None:
        """Know what a seed came to."""
