"""What `spanmask train` shows while it trains: lines for people, and on a terminal a bar below them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from spanmask.errors import ConfigError
from spanmask.escaping import counted
from spanmask.train.watching import Plan, Progress, Watch

from .commands import printable
from .ending import Request, leave_with
from .progress import Bar, duration

#: Seconds between two lines of an evaluation where there is no terminal.
_PATIENCE = 5.0
#: Days on a CPU that a run must not take without ``--yes``.
_DAYS = 7
#: FLOPs of a rank that no CPU takes as long over: of more it is measured.
_TRIED = 1e15
#: Steps, or seconds, after which the whole is estimated.
_STEPS, _SECONDS = 5, 10.0


class Screen:
    """Where lines go, and what is under way: status, and how much of how much."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def say(self, text: str) -> None:
        """Print a line."""
        print(printable(text), file=self._stream, flush=True)

    def report(self, text: str) -> None:
        """Print a line that a bar stands in for, where there is one."""
        self.say(text)

    def show(self, parts: Sequence[str], done: int = 0, total: int | None = None) -> None:
        """Show what is under way, where there is a bar; the first parts are the essential ones."""


class _Terminal(Screen):
    def __init__(self, stream: IO[str], stack: ExitStack) -> None:
        super().__init__(stream)
        self._bar = Bar(stream, stack, threaded=True)

    def say(self, text: str) -> None:
        self._bar.console.print(printable(text), markup=False, highlight=False)

    def report(self, text: str) -> None:
        pass

    def show(self, parts: Sequence[str], done: int = 0, total: int | None = None) -> None:
        self._bar.show(parts, done, total)


@contextmanager
def screen(stream: IO[str]) -> Iterator[Screen]:
    """Yield where to show a run, while the body runs."""
    with ExitStack() as stack:
        yield _Terminal(stream, stack) if stream.isatty() else Screen(stream)


class Display(Watch):
    """Shows a run, and ends it in order when a signal asks for it, from the first update on; before there is nothing to lose.

    Parameters
    ----------
    shown
        Where.
    request
        What signals asked.
    stack
        Left when the run has ended.
    patient
        Whether a run may take as long as it likes.
    on_metrics
        Called with each line of metrics.
    """

    #: What an evaluation goes through.
    _noun = "sequence"

    def __init__(
        self,
        shown: Screen,
        request: Request,
        stack: ExitStack,
        *,
        patient: bool = False,
        on_metrics: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        super().__init__(on_metrics=on_metrics)
        self._shown, self._request, self._stack, self._patient = shown, request, stack, patient
        self._pace, self._rest, self._done = _Pace(), _Pace(), 0
        self._latest: list[str] = []
        self._steps = 0
        self._told = time.monotonic()

    def begin(self, plan: Plan) -> None:
        """Say what the run is about to do; refuse one that a CPU would take too long over."""
        self._steps = plan.steps
        for line in plan_lines(plan):
            self._shown.say(line)
        left = plan.steps - plan.step
        if plan.device == "cpu" and plan.trial and not self._patient and left * plan.update_flops > _TRIED * plan.ranks:
            self._shown.show(["measuring this CPU"])
            require_days(plan, left * plan.trial() * plan.update_tokens / plan.ranks)
        first = "compiling the update, once: this takes a minute or more" if plan.compiled else "the first update"
        if plan.compiled:
            self._shown.say(first)
        self._shown.show([first], plan.step, plan.steps)

    def ready(self) -> None:
        """Note signals from here on, on every rank."""
        self._stack.enter_context(self._request.noting())
        leave_with()

    def step(self, progress: Progress) -> None:
        """Show a step, its metrics where they were due, and once how long the whole will take."""
        left = self._pace.left(progress.step, progress.steps)
        step = f"step {progress.step:,} of {progress.steps:,}"
        parts = [step, *([f"{duration(left)} left"] if left is not None else [])]
        if progress.line is not None:
            self._latest = self._parts(progress.line)
            self._shown.report(" · ".join([step, *self._latest, *parts[1:]]))
        if self._pace.is_known(progress.step):
            self._shown.say(f"about {duration(left or 0)} to the end")
        self._shown.show([*parts, *self._latest], progress.step, progress.steps)

    def _parts(self, line: dict[str, Any]) -> list[str]:
        return metrics_parts(line)

    def evaluating(self, done: int, total: int) -> None:
        """Show how far an evaluation is."""
        if done <= self._done:
            self._rest.restart()
        self._done, left = done, self._rest.left(done, total)
        parts = [f"evaluating: {done:,} of {counted(total, self._noun)}", *([f"{duration(left)} left"] if left else [])]
        self._shown.show(parts, done, total)
        if time.monotonic() - self._told > _PATIENCE:
            self._told = time.monotonic()
            self._shown.report(" · ".join(parts))

    def evaluated(self, line: dict[str, Any]) -> None:
        """Say what an evaluation found; what the last one did is the command's result."""
        super().evaluated(line)
        self._pace.restart()
        if line["step"] < self._steps:
            self._shown.say(f"step {line['step']:,}: {evaluation_text(line)}")

    def stopping(self) -> bool:
        """Return whether a signal asked for the end."""
        return self._request.code is not None


class _Pace:
    """How fast steps go, without the first, which waits for much else."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._known = False

    def restart(self) -> None:
        """Begin anew: what was between two steps was something else."""
        self._first = None

    def left(self, done: int, total: int) -> float | None:
        """Return the seconds that what is left will take, None while that is not known."""
        now = time.monotonic()
        if self._first is None:
            self._first = done, now
        first, began = self._first
        return (total - done) * (now - began) / (done - first) if done > first else None

    def is_known(self, step: int) -> bool:
        """Return whether the estimate is good now for the first time."""
        if self._known or self._first is None or step == self._first[0]:
            return False
        first, began = self._first
        self._known = step - first >= _STEPS or time.monotonic() - began >= _SECONDS
        return self._known


def require_days(plan: Plan, seconds: float) -> None:
    """Refuse a run that would take a CPU more than a week.

    Raises
    ------
    ConfigError
        It would.
    """
    days = seconds / 86_400
    if days > _DAYS:
        raise ConfigError(
            f"this CPU would take about {days:,.0f} days over {counted(plan.steps - plan.step, 'step')} of {plan.update_tokens:,} tokens: "
            "give --preset cpu, a smaller --model, --batch-size or --steps, a machine with a GPU, or --yes to train all the same"
        )


def plan_lines(plan: Plan) -> list[str]:
    """Return what a run is about to do as lines."""
    where = plan.device if plan.ranks == 1 else f"{plan.ranks} ranks, {plan.device}"
    epochs = plan.steps * plan.update_tokens / plan.tokens
    share = f"about {epochs:,.{0 if epochs >= 10 else 2}f} epochs" if epochs >= 0.01 else "less than 0.01 epochs"
    lines = [
        f"training {plan.model}, {plan.parameters:,} parameters, on {where} in {plan.precision}",
        f"data: {counted(plan.rows, 'sequence')}, {plan.tokens:,} tokens; {counted(plan.steps, 'step')} of up to "
        f"{plan.update_tokens:,} tokens: {share}",
    ]
    if plan.note:
        lines.append(plan.note)
    return [*lines, f"going on after step {plan.step:,}"] if plan.step else lines


def metrics_parts(line: dict[str, Any]) -> list[str]:
    """Return a line of metrics as people read it, in parts."""
    parts = [
        f"{name.upper()} {line[f'{name}_loss']:.4f}" for name in ("mlm", "sbo") if line[f"{name}_loss"] is not None
    ]
    parts += [f"{line['tokens_per_second']:,.0f} tokens/s"]
    return [*parts, *([f"MFU {line['mfu']:.1%}"] if line["mfu"] is not None else [])]


def evaluation_text(line: dict[str, Any]) -> str:
    """Return what an evaluation found as people read it."""
    losses = ", ".join(
        f"{name.upper()} loss {line[f'{name}_loss']:.4f}" for name in ("mlm", "sbo") if line[f"{name}_loss"]
    )
    return f"validation: {losses}, MLM accuracy {line['mlm_accuracy'] or 0:.2%}"
