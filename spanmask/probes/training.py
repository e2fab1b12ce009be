"""One training of a grid: from the model's own weights through its epochs, and the best of what its evaluations found.

::

    examples ─pack▶ passes ─forward, backward▶ gradients ─clip▶ AdamW ─▶ parameters ─every so often▶ the share that chooses is scored
                                                                              └▶ checkpoints: the newest, and the best

A training is a function of its model, examples, configuration and seed: dropout is seeded by (seed, update, pass), and the order by
(seed, epoch).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from spanmask.errors import MismatchError, SpanmaskError
from spanmask.model.finetuning import FineTuned
from spanmask.probes.batching import Batch, Packing, examples_of
from spanmask.probes.predicting import predict
from spanmask.probes.tasks import HeldOut, Judged, Settings, Task, arguments
from spanmask.probes.watching import Watch
from spanmask.records import Offsets
from spanmask.storage import make_folder
from spanmask.train.checking import require_tensors
from spanmask.train.checkpoint import (
    STATE,
    Checkpoint,
    CheckpointWriter,
    checkpoints_in,
    latest_checkpoint,
    read_checkpoint,
)
from spanmask.train.config import TrainConfig
from spanmask.train.distributed import World
from spanmask.train.evaluation import AbandonedError
from spanmask.train.lines import JsonLines
from spanmask.train.metrics import peak_memory
from spanmask.train.optimizer import learning_rate, trained
from spanmask.train.updating import Updater, forward_of, precision_of
from spanmask.train.watching import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What the share that chooses found after a step: figures, and the settings chosen by it. epoch: passes made by then."""

    step: int
    epoch: float
    figures: dict[str, float]
    settings: dict[str, float]

    def __post_init__(self) -> None:
        numbers = [self.epoch, *self.figures.values(), *self.settings.values()]
        if type(self.step) is not int or not all(type(number) in (int, float) for number in numbers):
            raise TypeError(f"expected numbers alone in {self!r:.300}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What one training is.

    folder: its own. identity: a digest of all that decides it. evaluations: how many. before, overall: updates of the run's trainings
    before this one, and of all. head_lr: peak of the learning rate of all but the encoder, where it is another.
    """

    folder: Path
    identity: str
    config: TrainConfig
    evaluations: int
    before: int
    overall: int
    head_lr: float | None = None

    def is_due(self, step: int) -> bool:
        """Tell whether the model is scored after a step: evaluations divide the updates evenly, and the last comes at the end."""
        steps, count = self.config.steps, self.evaluations
        return step > 0 and step * count // steps > (step - 1) * count // steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What the trainings of a run share. dtype: what is computed in. training, selection: what makes batches of the two sets."""

    task: Task
    world: World
    watch: Watch
    dtype: torch.dtype
    training: Packing
    selection: Packing


class FinetuneStep(Updater):
    """A model with its optimizer; called with a step's number, from 1, and the passes over its examples.

    head_lr: peak of the learning rate of all but the encoder, where it is another.
    """

    def __init__(
        self, model: FineTuned, task: Task, config: TrainConfig, world: World, head_lr: float | None = None
    ) -> None:
        times = 1.0 if head_lr is None else head_lr / config.lr
        super().__init__(model, config, world, 1, lambda name: 1.0 if name.startswith("encoder.") else times)
        self._task = task
        self._forward = forward_of(model, precision_of(config.dtype, world.device))

    def __call__(self, number: int, passes: Sequence[Batch]) -> None:
        """Update the parameters by the mean loss over the examples, or groups, of all passes."""
        self.begin()
        count = sum(batch.units for batch in passes)
        for place, batch in enumerate(passes):
            self.seed(number, place)
            total = self._task.loss(self._forward(*arguments(self._task, batch, self._world.device)), batch)
            self.add(total / count, [total.detach()])
        self.end(number)


class Training:
    """One training, from where its folder stands.

    Parameters
    ----------
    model
        As it begins, on the world's device; where the folder has a checkpoint, its weights take the place of the model's.

    Raises
    ------
    ConfigError, MismatchError
        The checkpoint is damaged, or another training's.
    """

    def __init__(self, plan: TrainingPlan, ground: Ground, model: FineTuned) -> None:
        self._plan, self._ground, self._config, self._model = plan, ground, plan.config, model.train()
        self._update = FinetuneStep(model, ground.task, plan.config, ground.world, plan.head_lr)
        self._step, self._evaluated = 0, 0
        self._best: Selected | None = None
        self._meter = _Meter()
        make_folder(plan.folder)
        self._metrics, self._found = (JsonLines(plan.folder / f"{name}.jsonl") for name in ("metrics", "selection"))
        self._resume()
        self._first = self._step
        self._writer = CheckpointWriter(plan.folder / "checkpoints", keep=1)
        self._began = self._saved = time.perf_counter()

    def _resume(self) -> None:
        latest = latest_checkpoint(self._plan.folder)
        if latest is not None:
            self._load(read_checkpoint(latest), latest)
        for lines in (self._metrics, self._found):
            lines.cut(self._step)

    def _load(self, checkpoint: Checkpoint, folder: Path) -> None:
        state = checkpoint.state
        if state.get("training") != self._plan.identity:
            raise MismatchError(
                f"{folder / STATE}: it is another training's than this run's; remove its folder to train anew"
            )
        shapes = {name: tuple(tensor.shape) for name, tensor in self._model.state_dict().items()}
        require_tensors(folder, checkpoint, shapes, "the run", trained={name for name, _ in trained(self._model)})
        self._model.load_state_dict(checkpoint.model)
        self._update.resume(checkpoint.step, checkpoint.optimizer)
        self._step, self._evaluated = checkpoint.step, int(state["evaluated"])
        self._best = None if state["best"] is None else Selected(**state["best"])
        self._meter.load_state(state["meter"])

    def run(self) -> Selected | None:
        """Go to the end, and return the best of the evaluations; None where the watch wanted to stop, with a checkpoint to go on from."""
        watch = self._ground.watch
        try:
            while not watch.stopping() and self._evaluated_if_due():
                if self._step == self._config.steps:
                    self._writer.finish()
                    return self._best
                self._advance()
            if self._step > self._first:
                self._save()
            self._writer.finish()
        finally:
            self._writer.wait()
        return None

    def _evaluated_if_due(self) -> bool:
        """Score the share that chooses where that is due and not done; return False where the watch wanted to stop meanwhile."""
        if self._evaluated == self._step or not self._plan.is_due(self._step):
            return True
        try:
            self._evaluate()
        except AbandonedError:
            return False
        self._save()
        return True

    def _advance(self) -> None:
        """Make the next update, and what is due after it but for an evaluation."""
        config, ground = self._config, self._ground
        self._step += 1
        which = self._examples(self._step)
        passes = [batch.to(ground.world.device) for batch in ground.training.batches(which, (config.seed, self._step))]
        self._update(self._step, passes)
        lengths = ground.training.examples.input_ids.lengths
        self._meter.add(len(which), sum(int(lengths[batch.which].sum()) for batch in passes))
        line = self._tell() if self._step == config.steps or self._step % config.log_every == 0 else None
        ground.watch.step(
            Progress(
                step=self._plan.before + self._step,
                steps=self._plan.overall,
                first=self._plan.before + self._first,
                seconds=time.perf_counter() - self._began,
                line=line,
            )
        )
        self._writer.check()
        minutes, every = config.save_minutes, config.save_every
        by_time = 0 < 60 * minutes <= time.perf_counter() - self._saved
        if by_time or (every and self._step % every == 0):
            self._save()

    def _examples(self, step: int) -> Offsets:
        config = self._config
        return examples_of(step, count=len(self._ground.training), batch_size=config.batch_size, seed=config.seed)

    def _look(self) -> float:
        """Read what the device has; return the latest gradient's norm."""
        totals = self._update.totals()
        if totals.failed:
            raise self._failure(totals.failed)
        self._meter.add_loss(totals.sums[0])
        return totals.gradient_norm

    def _failure(self, step: int) -> SpanmaskError:
        latest = max(checkpoints_in(self._plan.folder / "checkpoints"), default=0)
        kept = f"the latest checkpoint is of step {latest}" if latest else "there is no checkpoint yet"
        first = ", ".join(map(str, self._examples(step)[:8].tolist()))
        return SpanmaskError(
            f"{self._plan.folder}: step {step}: the loss or a gradient is not finite, in the update that begins with the examples {first}; "
            f"no such value reached the model, and {kept}: look at these examples, or give another folder and a lower --lr"
        )

    def _tell(self) -> dict[str, Any]:
        """Write the line of metrics that is due."""
        norm = self._look()
        line = {
            "step": self._step,
            "epoch": self._epoch,
            "lr": learning_rate(self._step, self._config),
            "gradient_norm": norm,
            **self._meter.line(),
            "memory": peak_memory(self._ground.world.device),
        }
        self._metrics.append(line)
        self._ground.watch.metrics(line)
        return line

    @property
    def _epoch(self) -> float:
        """Passes over the examples so far."""
        return self._step * self._config.batch_size / len(self._ground.training)

    def _evaluate(self) -> None:
        began, ground = time.perf_counter(), self._ground
        self._look()
        judged = judge(self._model, ground, ground.task.selection, ground.selection)
        found = Selected(
            step=self._step, epoch=self._epoch, figures=dict(judged.figures), settings=dict(judged.settings)
        )
        metric = ground.task.metric
        # Of equals the earliest, so that a run which goes on chooses as one that went through.
        if self._best is None or found.figures[metric] > self._best.figures[metric]:
            self._best = found
        self._evaluated = self._step
        line = {**asdict(found), "best": self._best.step}
        self._found.append(line)
        ground.watch.selected(line)
        self._meter.pause(time.perf_counter() - began)

    def _save(self) -> None:
        """Begin to write a checkpoint; beside it the best one so far stays, and no other."""
        self._look()
        self._saved = time.perf_counter()
        best = self._best
        state = {
            "training": self._plan.identity,
            "step": self._step,
            "evaluated": self._evaluated,
            "best": None if best is None else asdict(best),
            "meter": self._meter.to_state(),
        }
        self._writer.begin(self._update.checkpoint(state), () if best is None else (best.step,))


def judge(
    model: FineTuned, ground: Ground, held: HeldOut, packing: Packing, settings: Settings | None = None
) -> Judged:
    """Return what examples that are not trained on find in a model; raises as `spanmask.probes.predicting.predict` does.

    Parameters
    ----------
    model
        The model.
    ground
        Of the run.
    held, packing
        The examples, and what makes batches of them.
    settings
        Those chosen before; None: they are chosen now.
    """
    outputs = predict(model, ground.task, packing, dtype=ground.dtype, watch=ground.watch)
    return held.judge(outputs, settings)


class _Meter:
    """Adds up what happens between two lines of metrics; sums go into checkpoints, times and speeds do not."""

    def __init__(self) -> None:
        self._loss, self._examples, self._tokens = 0.0, 0, 0
        self._begin()

    def _begin(self) -> None:
        self._began, self._seen = time.perf_counter(), 0

    def add(self, examples: int, tokens: int) -> None:
        """Count an update."""
        self._examples += examples
        self._tokens += tokens
        self._seen += tokens

    def add_loss(self, total: float) -> None:
        """Count what the device told."""
        self._loss += total

    def pause(self, seconds: float) -> None:
        """Leave out seconds that went to something else than training."""
        self._began += seconds

    def line(self) -> dict[str, Any]:
        """Return the mean loss of an example since the last line, tokens trained on so far, and the speed; begin the next interval."""
        line = {
            "loss": self._loss / self._examples,
            "tokens": self._tokens,
            "tokens_per_second": self._seen / (time.perf_counter() - self._began),
        }
        self._loss, self._examples = 0.0, 0
        self._begin()
        return line

    def to_state(self) -> dict[str, Any]:
        """Return the sums so far, as plain values."""
        return {"loss": self._loss, "examples": self._examples, "tokens": self._tokens}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `to_state` returned."""
        self._loss, self._examples, self._tokens = (state[name] for name in ("loss", "examples", "tokens"))
