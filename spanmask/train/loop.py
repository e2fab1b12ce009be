"""The training loop: what happens when. The host looks at the device only where something is due: metrics, an evaluation, a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from spanmask.errors import SpanmaskError
from spanmask.loading.position import Position
from spanmask.loading.stream import Stream
from spanmask.model.pretraining import PretrainingModel
from spanmask.shard.reader import ShardSet
from spanmask.train.agreeing import Wishes
from spanmask.train.checkpoint import Checkpoint, CheckpointWriter, latest_checkpoint
from spanmask.train.config import TrainConfig
from spanmask.train.distributed import World
from spanmask.train.evaluation import AbandonedError, evaluate
from spanmask.train.feeding import StepBatches, added_up, step_batches
from spanmask.train.metrics import Meter
from spanmask.train.record import Run
from spanmask.train.run_folder import RunFolder
from spanmask.train.step import Reading, TrainStep
from spanmask.train.watching import Finished, Progress, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A run as it begins, or goes on. state: of the checkpoint it goes on from, None at the start. batches: how they are made, and why."""

    run: Run
    world: World
    model: PretrainingModel
    update: TrainStep
    stream: Stream
    state: dict[str, Any] | None
    batches: str = ""

    @property
    def step(self) -> int:
        """The updates that were made."""
        return 0 if self.state is None else int(self.state["step"])


class Loop:
    """Steps, and what is due after some of them."""

    def __init__(
        self,
        folder: RunFolder,
        config: TrainConfig,
        started: Started,
        held_out: Sequence[ShardSet],
        watch: Watch,
    ) -> None:
        self._folder, self._config, self._held_out = folder, config, held_out
        self._started, self._world = started, started.world
        self._watch, self._teller = watch, watch if self._world.first else Watch()
        self._writer: CheckpointWriter | None = None
        if self._world.first:
            self._writer = CheckpointWriter(folder.checkpoints, config.keep_last, config.keep_every)
        self._meter = Meter(config, started.model.config, self._world.device)
        if started.state is not None:
            self._meter.load_state(started.state["meter"])
        self._unread: dict[int, Position] = {}
        self._unsaved: Position | None = None
        self._line: dict[str, Any] | None = None
        self._began = self._saved = time.perf_counter()
        self._stopped = False

    def run(self, position: Position, stop_at: int | None = None) -> Finished:
        """Go from where the run stands to its end, or to where it is stopped."""
        config, stream, number = self._config, self._started.stream, self._started.step
        feed = step_batches(
            stream,
            position,
            accumulate=config.accumulate,
            sbo_weight=config.sbo_weight,
            device=self._world.device,
            # Ranks end after the same step: one alone cannot know that the others, too, would wait for theirs.
            stopping=self._watch.stopping if self._world.size == 1 else lambda: False,
        )
        try:
            with closing(feed):
                self._catch_up()
                end = min(config.steps, stop_at or config.steps)
                while number < end and not self._stopped:
                    began = time.perf_counter()
                    batches = next(feed, None)
                    if batches is None:
                        self._stop_waiting(number)
                        break
                    if not stream.knows_overall:
                        batches = added_up(batches, self._world, config.sbo_weight)
                    number += 1
                    self._step(number, batches, time.perf_counter() - began, last=number == end)
            return self._end(number)
        finally:
            if self._writer is not None:
                self._writer.wait()

    def _catch_up(self) -> None:
        """Evaluate where the run goes on, if that was due and given up."""
        step = self._started.step
        if self._held_out and 0 < step < self._config.steps and self._is(step, self._config.eval_every):
            self._evaluate_anew(step)

    def _stop_waiting(self, number: int) -> None:
        """Stop before a step whose data does not come, with a checkpoint of the one before."""
        self._stopped = True
        if self._unsaved is not None:
            self._read()
            if self._writer is not None:
                self._writer.check()
                self._writer.begin(self._checkpoint(number, self._unsaved))

    def _step(self, number: int, batches: StepBatches, waited: float, *, last: bool) -> None:
        self._unread[number] = batches.before
        update = self._started.update
        update(number, batches, Wishes(stop=self._watch.stopping(), save=self._saving()))
        self._meter.add(batches, waited)
        stop, save = update.agreement.heard()
        self._stopped = stop and number < self._config.steps
        save = save or last or self._stopped
        self._unsaved = batches.after
        line = self._look(number, batches.after, save=save) if save or self._due(number) else None
        self._teller.step(
            Progress(
                step=number,
                steps=self._config.steps,
                first=self._started.step,
                seconds=time.perf_counter() - self._began,
                line=line,
            )
        )

    def _saving(self) -> bool:
        """Return whether a checkpoint is due by time, on the first rank, once."""
        now, minutes = time.perf_counter(), self._config.save_minutes
        due = self._writer is not None and 0 < 60 * minutes <= now - self._saved
        if due:
            self._saved = now
        return due

    def _tells(self, number: int) -> bool:
        """Return whether a line of metrics is due: every so often, and before that at growing distances, from the fifth update on."""
        every = self._config.log_every
        early = number < every and number >= 5 and str(number).rstrip("0") in {"1", "2", "5"}
        return early or self._is(number, every)

    def _is(self, number: int, every: int) -> bool:
        return number == self._config.steps or bool(every and number % every == 0)

    def _due(self, number: int) -> bool:
        config = self._config
        return self._tells(number) or any(self._is(number, every) for every in (config.save_every, config.eval_every))

    def _look(self, number: int, after: Position, *, save: bool) -> dict[str, Any] | None:
        """Read what the device has, and do what is due; return the line of metrics, if that was."""
        config, line = self._config, None
        reading = self._read()
        if self._tells(number):
            line = self._line = self._meter.line(number, reading)
            if self._world.first:
                self._folder.metrics.append(line)
            self._teller.metrics(line)
        evaluating = bool(self._held_out) and self._is(number, config.eval_every)
        if evaluating:
            began = time.perf_counter()
            self._evaluate(number)
            self._meter.pause(time.perf_counter() - began)
        if self._writer is not None:
            self._writer.check()
            if save or self._stopped or self._is(number, config.save_every):
                self._unsaved = None
                self._writer.begin(self._checkpoint(number, after))
            if evaluating:
                self._folder.draw(self._started.run)
        return line

    def _read(self) -> Reading:
        """Return what the device did since this was last called, which is then counted."""
        reading = self._started.update.read()
        if reading.failed:
            raise self._failure(reading.failed)
        self._unread.clear()
        self._meter.add_reading(reading)
        return reading

    def _failure(self, step: int) -> SpanmaskError:
        at = self._unread[step]
        latest = latest_checkpoint(self._folder.path)
        kept = f"the latest checkpoint is {latest.name}" if latest else "there is no checkpoint yet"
        return SpanmaskError(
            f"step {step}: the loss or a gradient is not finite, in the batch that begins at epoch {at.epoch}, window {at.window}, "
            f"bin {at.unit}; no such value reached the model, and {kept}: look at that batch, or lower --lr or set --clip 1, then --resume"
        )

    def _evaluate(self, number: int) -> None:
        """Measure the model; a run that is stopping meanwhile does so when it goes on."""
        try:
            found = evaluate(self._started.model, self._held_out, self._config, self._world, self._watch)
        except AbandonedError:
            self._stopped = True
            return
        if self._world.first:
            line = {"step": number, **found.to_json()}
            self._folder.evaluations.append(line)
            self._watch.evaluated(line)

    def _checkpoint(self, number: int, after: Position) -> Checkpoint:
        """Return a copy of all that a run goes on from."""
        started = self._started
        stream = after.to_state(started.stream.config.layout, started.stream.settings)
        state = {**started.run.to_json(), "step": number, "stream": stream, "meter": self._meter.to_state()}
        return started.update.checkpoint(state)

    def _evaluate_anew(self, step: int) -> None:
        """Measure the model if that was not done at this step."""
        done = [line["step"] for line in self._folder.evaluations.read()] if self._world.first else []
        if self._world.broadcast_object(step not in done):
            self._evaluate(step)

    def _end(self, step: int) -> Finished:
        """Evaluate if that was not done at the last step, write the page of curves, and wait for the last checkpoint."""
        self._stopped = self._stopped or step < self._config.steps
        if self._held_out and not self._stopped:
            self._evaluate_anew(step)
        if self._writer is not None:
            self._writer.finish()
            self._folder.draw(self._started.run)
        lines = self._folder.evaluations.read()
        return Finished(
            rank=self._world.rank,
            step=step,
            parameters=self._started.run.parameters,
            metrics=self._line,
            evaluation=lines[-1] if lines else None,
            checkpoint=latest_checkpoint(self._folder.path),
            stopped=self._stopped,
        )
