"""What a run tells whoever watches it, and what it asks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A step that was handed to the device. line: metrics, where they were due; seconds: since this process's first step."""

    step: int
    steps: int
    first: int
    seconds: float
    line: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run's end, on a rank. metrics, evaluation: the last line and measurement, if there are any. checkpoint: the folder of the last.

    stopped: whether it was asked to end before it was done, and goes on when it is resumed.
    """

    rank: int
    step: int
    parameters: int
    metrics: dict[str, Any] | None
    evaluation: dict[str, Any] | None
    checkpoint: Path | None
    stopped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is about to do.

    device, precision: where updates are computed, and in what; compiled: whether the first one is compiled. model: its name, or the folder
    it comes from. rows, tokens: of the data, special tokens included. update_tokens: of an update, at most; update_flops: what it takes, on
    all ranks. step, steps: where the run stands and ends. note: what else there is to know; empty if nothing. trial: measures how many
    seconds a rank takes over a token, by some passes that change nothing.
    """

    device: str
    ranks: int
    precision: str
    compiled: bool
    model: str
    parameters: int
    rows: int
    tokens: int
    update_tokens: int
    update_flops: float
    step: int
    steps: int
    note: str = ""
    trial: Callable[[], float] | None = None


class Watch:
    """Told on the first rank what happens, and asked on all whether to go on; subclasses say more than these two hooks do.

    Parameters
    ----------
    on_progress
        Called after each step.
    on_metrics
        Called with each line of metrics.jsonl as it is written, and with ``{"step": …, "evaluation": …}`` for one of evaluation.jsonl.
    """

    def __init__(
        self,
        on_progress: Callable[[Progress], None] | None = None,
        on_metrics: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._on_progress, self._on_metrics = on_progress, on_metrics

    def begin(self, plan: Plan) -> None:
        """Know that all is ready for the first update, and nothing written yet; an error raised here ends the run."""

    def ready(self) -> None:
        """Know, on all ranks, that all are about to make the first update: from here on `stopping` is asked."""

    def step(self, progress: Progress) -> None:
        """Know that a step was made."""
        if self._on_progress is not None:
            self._on_progress(progress)

    def metrics(self, line: dict[str, Any]) -> None:
        """Know that a line of metrics was written."""
        if self._on_metrics is not None:
            self._on_metrics(line)

    def evaluating(self, done: int, total: int) -> None:
        """Know how many sequences of an evaluation are done, on all ranks."""

    def evaluated(self, line: dict[str, Any]) -> None:
        """Know what an evaluation found, as evaluation.jsonl has it."""
        if self._on_metrics is not None:
            self._on_metrics({"step": line["step"], "evaluation": line})

    def stopping(self) -> bool:
        """Return whether the run shall end after the update under way; all ranks then do, after the same one."""
        return False
