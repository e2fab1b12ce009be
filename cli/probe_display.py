"""What `spanmask probe` shows while it fine-tunes, and what it tells at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spanmask.escaping import counted
from spanmask.probes.results import Results, SeedResult, trained_on
from spanmask.probes.watching import ProbePlan, Watch

from .train_display import Display

#: Of more figures than so many, so many are shown.
_MOST, _SHOWN = 12, 4


class ProbeDisplay(Display, Watch):
    """Shows a run of trainings, and ends it in order when a signal asks for it."""

    _noun = "example"
    _metric = ""

    def plan(self, plan: ProbePlan) -> None:
        """Say what the run is about to do."""
        self._steps, self._metric = plan.steps, plan.metric
        for line in plan_lines(plan):
            self._shown.say(line)
        self._shown.show(["the first update"], plan.step, plan.steps)

    def _parts(self, line: dict[str, Any]) -> list[str]:
        return [f"loss {line['loss']:.4f}", f"{line['tokens_per_second']:,.0f} tokens/s"]

    def training(self, name: str, number: int, count: int) -> None:
        """Say which training begins or goes on."""
        self._pace.restart()
        self._shown.say(f"training {number} of {count}: {name}")

    def selected(self, line: dict[str, Any]) -> None:
        """Say what the share that chooses found."""
        self._pace.restart()
        best = "; the best so far" if line["best"] == line["step"] else ""
        self._shown.say(
            f"epoch {line['epoch']:.2f}: {self._metric} {_number(line['figures'][self._metric])} on the share that chooses{best}"
        )

    def scoring(self, name: str) -> None:
        """Say which evaluation file is scored."""
        self._shown.show([f"scoring {name}"])

    def scored(self, result: SeedResult) -> None:
        """Say what a seed came to."""
        self._pace.restart()
        for line in seed_lines(result):
            self._shown.say(line)


def plan_lines(plan: ProbePlan) -> list[str]:
    """Return what a run is about to do as lines."""
    lines = [
        f"fine-tuning {plan.model}, {plan.parameters:,} parameters, on {plan.device} in {plan.precision}: {plan.task}",
        f"drawn anew: {', '.join(plan.initialised)}",
        f"data: {counted(plan.examples, 'example')} of {plan.tokens:,} tokens to train on, {plan.selection:,} that choose, "
        f"{plan.evaluation:,} to score; {counted(plan.trainings, 'training')}, {counted(plan.steps, 'update')}",
        *_seen_lines(plan.trained_on),
    ]
    return [*lines, f"going on after update {plan.step:,}"] if plan.step else lines


def seed_lines(result: SeedResult) -> list[str]:
    """Return what a seed came to as lines."""
    chosen = ", ".join(f"{name} {_shown(value)}" for name, value in result.chosen.items())
    scores = [f"seed {result.seed}, {name}: {_figures(figures)}" for name, figures in result.scores.items()]
    return [f"seed {result.seed} chose {chosen}", *scores]


def result_lines(results: Results) -> list[str]:
    """Return what a run found as lines: figures of one seed or means and deviations of several, and what those are worth."""
    scores, count = results.seeds[0].scores, len(results.seeds)
    if count == 1:
        lines = [f"{name}: {_figures(figures)}" for name, figures in scores.items()]
    else:
        spreads = {name: _joined([f"{one} {_spread(results, name, one)}" for one in scores[name]]) for name in scores}
        lines = [f"{name}: {told} (mean ± standard deviation of {count} seeds)" for name, told in spreads.items()]
    seen = trained_on(results.train, results.eval, results.protocol)
    return [*lines, *_seen_lines(seen), *floor_lines(results)]


def floor_lines(results: Results) -> list[str]:
    """Return what is reached without an encoder, where the task has reckoned that."""
    floor = results.protocol.get("floor") or {"figures": {}}
    return [f"{name}: {_figures(figures)} by {floor['by']}" for name, figures in floor["figures"].items()]


def _seen_lines(names: Sequence[str]) -> list[str]:
    return [
        f"{name}: trained on too, so that its figures say nothing of other texts; score another file" for name in names
    ]


def _spread(results: Results, name: str, figure: str) -> str:
    """Return a figure's mean and deviation; of a count, which is every seed's, that alone."""
    found = results.seeds[0].scores[name][figure]
    if isinstance(found, int):
        return _number(found)
    mean = results.mean[name][figure]
    return f"{_number(mean)} ± {results.deviation[name][figure]:.{_digits(mean)}f}"


def _figures(figures: Mapping[str, float]) -> str:
    return _joined([f"{name} {_number(value)}" for name, value in figures.items()])


def _joined(told: list[str]) -> str:
    return ", ".join(told if len(told) <= _MOST else [*told[:_SHOWN], f"{len(told) - _SHOWN} more in results.json"])


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.{_digits(value)}f}"


def _digits(value: float) -> int:
    """Return how many digits of a figure are shown: more of one in [-1, 1], of which two would say little."""
    return 4 if abs(value) <= 1 else 2


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value}"
