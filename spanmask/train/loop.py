"""The training loop: what happens when. The host looks at the device only where something is due: metrics, an evaluation, a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spanmask.errors import ConfigError, MismatchError, SpanmaskError
from spanmask.loading.config import BatchLayout
from spanmask.loading.position import Position, read_state
from spanmask.loading.rows import require_targets
from spanmask.loading.stream import Stream
from spanmask.loading.torch_dataset.tensors import Datasets, open_datasets
from spanmask.model.pretraining import SpanBertForPreTraining
from spanmask.model.tokenizer_files import read_tokenizer
from spanmask.shard.reader import ShardSet
from spanmask.train.checking import read_run_checkpoint
from spanmask.train.checkpoint import Checkpoint, CheckpointWriter, latest_checkpoint, on_host
from spanmask.train.config import TrainConfig
from spanmask.train.distributed import World, joined
from spanmask.train.evaluation import evaluate
from spanmask.train.feeding import StepBatches, step_batches
from spanmask.train.metrics import Meter
from spanmask.train.optimizer import begin_moments, moments
from spanmask.train.record import Run
from spanmask.train.run_folder import RunFolder
from spanmask.train.starting import begin_model, require_casing, resumed_model, stream_of
from spanmask.train.step import TrainStep


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
    """A run's end, on a rank. metrics, evaluation: the last line and measurement, if there are any. checkpoint: the folder of the last."""

    rank: int
    step: int
    parameters: int
    metrics: dict[str, Any] | None
    evaluation: dict[str, Any] | None
    checkpoint: Path | None


def train(
    datasets: Datasets,
    out: str | Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    allow_other_data: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Finished:
    """Train a model on datasets; under torchrun, on all its processes together.

    Parameters
    ----------
    datasets
        A folder that ``spanmask preshard`` wrote, or several that share a vocabulary.
    out
        The run's folder: new, or one to go on with.
    config
        Options.
    resume
        Go on from the latest checkpoint in the folder, or from the start if the run was ended before its first.
    allow_other_data
        Go on with other datasets than the checkpoint's, from their start.
    on_progress
        Called on the first rank after each step.

    Raises
    ------
    ConfigError
        Options do not fit, or the folder holds a run and is not to be resumed, or the reverse.
    MismatchError
        Vocabularies, datasets or shapes that must agree do not, a checkpoint is not what was written, or another process trains there.
    SpanmaskError
        A loss or gradient was not finite; the model was left as it was before.
    StorageError
        The file system refused; earlier checkpoints are whole.
    """
    folder = RunFolder(out)
    with joined(config.device) as world, _threads(config.threads):
        shards = open_datasets(datasets, "train", "first")
        held_out = _held_out(shards) if config.evaluate or config.eval_every else []
        require_targets([*shards, *held_out])
        # The first rank writes, for all.
        with folder.claimed(resume=resume) if world.first else nullcontext():
            started = _start(folder, config, shards, world, resume)
            position = _position(started, allow_other_data=allow_other_data)
            loop = _Loop(folder, config, started, held_out, on_progress)
            if world.first:
                folder.begin(started.run, shards)
                folder.metrics.cut(started.step)
                folder.evaluations.cut(started.step)
            return loop.run(position)


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _held_out(shards: Sequence[ShardSet]) -> list[ShardSet]:
    for one in shards:
        if "validation" not in one.manifest.splits:
            raise ConfigError(f"{one.root} has no validation split to evaluate on: preshard with --holdout 0.01, say")
    return open_datasets([one.root for one in shards], "validation", "first")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Started:
    """A run as it begins, or goes on. state: of the checkpoint it goes on from, None at the start."""

    run: Run
    world: World
    model: SpanBertForPreTraining
    update: TrainStep
    stream: Stream
    state: dict[str, Any] | None

    @property
    def step(self) -> int:
        return 0 if self.state is None else int(self.state["step"])


def _start(folder: RunFolder, config: TrainConfig, shards: Sequence[ShardSet], world: World, resume: bool) -> _Started:
    """Build all that trains. The first rank reads the checkpoint, and the others have its values from there."""
    latest = latest_checkpoint(folder.path) if resume and world.first else None
    if latest:
        require_casing(folder.path, read_tokenizer(folder.tokenizer), shards[0])
    checkpoint = read_run_checkpoint(latest) if latest else None
    state: dict[str, Any] | None = world.broadcast_object(checkpoint.state if checkpoint else None)
    if state is None:
        begun = begin_model(config, shards, tell=world.first)
        model, new_heads, dropped_rows = begun.model, begun.new_heads, begun.dropped
    else:
        model = resumed_model(state, config, shards)
        new_heads, dropped_rows = tuple(state.get("new_heads", ())), state.get("dropped_rows", 0)
    if checkpoint:
        model.load_state_dict(checkpoint.model)
    model.to(world.device).train()
    world.broadcast(parameter.detach() for parameter in model.parameters())
    update = TrainStep(model, config, world)
    if state is not None:
        places = begin_moments(model, update.optimizer, state["step"])
        for name, tensor in (checkpoint.optimizer if checkpoint else {}).items():
            places[name].copy_(tensor)
        world.broadcast(places.values())
    run = Run(
        config=config,
        model=model.config,
        datasets=tuple(one.manifest.fingerprint for one in shards),
        vocabulary=shards[0].manifest.stated_vocabulary.sha256,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        new_heads=new_heads,
        dropped_rows=dropped_rows,
    )
    stream = stream_of(shards, config, model.config, world)
    return _Started(run=run, world=world, model=model, update=update, stream=stream, state=state)


def _position(started: _Started, *, allow_other_data: bool) -> Position:
    """Return where the stream goes on."""
    state = started.state
    if state is None:
        return Position()
    if state["datasets"] != list(started.run.datasets):
        if allow_other_data:
            return Position()
        raise MismatchError(
            f"the checkpoint was trained on {', '.join(state['datasets'])}, given is {', '.join(started.run.datasets)}: "
            "give the run's own dataset, or --allow-other-data to go on with this one from its start"
        )
    stream = started.stream
    return read_state(state["stream"], BatchLayout.PACKED, stream.settings, samples=stream.samples)[0]


class _Loop:
    """Steps, and what is due after some of them."""

    def __init__(
        self,
        folder: RunFolder,
        config: TrainConfig,
        started: _Started,
        held_out: Sequence[ShardSet],
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._folder, self._config, self._held_out = folder, config, held_out
        self._started, self._world = started, started.world
        self._on_progress = on_progress if self._world.first else None
        self._writer = CheckpointWriter(folder.checkpoints, config.keep_last) if self._world.first else None
        self._meter = Meter(config, started.model.config, self._world.device)
        if started.state is not None:
            self._meter.load_state(started.state["meter"])
        self._unread: dict[int, Position] = {}
        self._line: dict[str, Any] | None = None
        self._began = time.perf_counter()

    def run(self, position: Position) -> Finished:
        """Go from where the run stands to its end."""
        config, stream = self._config, self._started.stream
        feed = step_batches(
            stream,
            position,
            accumulate=config.accumulate,
            sbo_weight=config.sbo_weight,
            device=self._world.device,
        )
        try:
            with closing(feed):
                for number in range(self._started.step + 1, config.steps + 1):
                    self._step(number, feed)
            return self._end()
        finally:
            if self._writer is not None:
                self._writer.wait()

    def _step(self, number: int, feed: Generator[StepBatches]) -> None:
        began = time.perf_counter()
        batches = next(feed)
        waited = time.perf_counter() - began
        self._unread[number] = batches.before
        self._started.update(number, batches)
        self._meter.add(batches, waited)
        line = self._look(number, batches.after) if self._due(number) else None
        if self._on_progress is not None:
            self._on_progress(
                Progress(
                    step=number,
                    steps=self._config.steps,
                    first=self._started.step,
                    seconds=time.perf_counter() - self._began,
                    line=line,
                )
            )

    def _is(self, number: int, every: int) -> bool:
        return number == self._config.steps or bool(every and number % every == 0)

    def _due(self, number: int) -> bool:
        config = self._config
        return any(self._is(number, every) for every in (config.log_every, config.save_every, config.eval_every))

    def _look(self, number: int, after: Position) -> dict[str, Any] | None:
        """Read what the device has, and do what is due; return the line of metrics, if that was."""
        config, line = self._config, None
        reading = self._started.update.read()
        if reading.failed:
            raise self._failure(reading.failed)
        self._unread.clear()
        self._meter.add_reading(reading)
        if self._is(number, config.log_every):
            line = self._line = self._meter.line(number, reading)
            if self._world.first:
                self._folder.metrics.append(line)
        evaluating = bool(self._held_out) and self._is(number, config.eval_every)
        if evaluating:
            began = time.perf_counter()
            self._evaluate(number)
            self._meter.pause(time.perf_counter() - began)
        if self._writer is not None:
            self._writer.check()
            if self._is(number, config.save_every):
                self._writer.begin(self._checkpoint(number, after))
            if evaluating:
                self._folder.draw(self._started.run)
        return line

    def _failure(self, step: int) -> SpanmaskError:
        at = self._unread[step]
        latest = latest_checkpoint(self._folder.path)
        kept = f"the latest checkpoint is {latest.name}" if latest else "there is no checkpoint yet"
        return SpanmaskError(
            f"step {step}: the loss or a gradient is not finite, in the batch that begins at epoch {at.epoch}, window {at.window}, "
            f"bin {at.unit}; no such value reached the model, and {kept}: look at that batch, or lower --lr or set --clip 1, then --resume"
        )

    def _evaluate(self, number: int) -> None:
        found = evaluate(self._started.model, self._held_out, self._config, self._world)
        if self._world.first:
            self._folder.evaluations.append({"step": number, **found.to_json()})

    def _checkpoint(self, number: int, after: Position) -> Checkpoint:
        """Return a copy of all that a run goes on from."""
        started = self._started
        stream = after.to_state(BatchLayout.PACKED, started.stream.settings)
        state = {**started.run.to_json(), "step": number, "stream": stream, "meter": self._meter.to_state()}
        return Checkpoint(
            model=on_host(started.model.state_dict()),
            optimizer=on_host(moments(started.model, started.update.optimizer)),
            state=state,
        )

    def _end(self) -> Finished:
        """Evaluate if that was not done at the last step, write the page of curves, and wait for the last checkpoint."""
        step = max(self._started.step, self._config.steps)
        done = [line["step"] for line in self._folder.evaluations.read()] if self._world.first else []
        if self._held_out and self._world.broadcast_object(step not in done):
            self._evaluate(step)
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
        )
