"""A run from its start, or from where it was ended, to its end: `train`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from spanmask.errors import ConfigError, MismatchError
from spanmask.escaping import short_digest
from spanmask.loading.position import Position, read_state
from spanmask.loading.rows import require_targets
from spanmask.loading.torch_dataset.tensors import Datasets, open_datasets
from spanmask.model.attention import resolve_attention
from spanmask.model.tokenizer_files import read_tokenizer
from spanmask.shard.reader import ShardSet
from spanmask.shard.root import name_of
from spanmask.train.checking import read_chosen
from spanmask.train.checkpoint import checkpoints_in
from spanmask.train.config import TrainConfig
from spanmask.train.distributed import World, joined
from spanmask.train.loop import Loop, Started
from spanmask.train.planning import as_told, plan_of, trial_seconds
from spanmask.train.record import Run
from spanmask.train.run_folder import RunFolder
from spanmask.train.starting import begin_model, require_casing, resumed_model, stream_of
from spanmask.train.step import TrainStep, is_compiled
from spanmask.train.updating import precision_of
from spanmask.train.watching import Finished, Progress, Watch


def train(  # noqa: PLR0913 - the one door
    datasets: Datasets,
    out: str | Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    allow_other_data: bool = False,
    stop_at: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_metrics: Callable[[dict[str, Any]], None] | None = None,
    watch: Watch | None = None,
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
    stop_at
        End after this step, with a checkpoint, and the schedule as it is.
    on_progress
        Called on the first rank after each step.
    on_metrics
        Called on the first rank with each line of metrics; see `Watch`.
    watch
        Told more, and asked whether to go on; instead of the two.

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
    folder, watch = RunFolder(out), watch or Watch(on_progress, on_metrics)
    with joined(config.device) as world, threads(config.threads):
        shards = open_datasets(datasets, "train", "first", mmap=config.mmap)
        require_targets(shards)
        # The first rank writes, for all.
        with folder.claimed(resume=resume) if world.first else nullcontext():
            started = _start(folder, config, shards, world, resume)
            position = _position(started, allow_other_data=allow_other_data)
            held_out = _held_out(shards, mmap=config.mmap) if config.evaluate or config.eval_every else []
            if world.first:
                run = started.run
                plan = plan_of(config, run.model, run.parameters, shards, world, started.step)
                plan = as_told(plan, config, started.batches, packed=started.model.packed)
                watch.begin(replace(plan, trial=partial(trial_seconds, started.model, config, shards, world)))
            loop = Loop(folder, config, started, held_out, watch)
            if world.first:
                folder.begin(started.run, shards)
                folder.metrics.cut(started.step)
                folder.evaluations.cut(started.step)
            # Where the first rank has failed meanwhile, no other is ready.
            world.broadcast_object(None)
            watch.ready()
            return loop.run(position, stop_at)


@contextmanager
def threads(wanted: int | None) -> Iterator[None]:
    """Have torch compute in so many threads while the body runs; None: as it does anyway."""
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _held_out(shards: Sequence[ShardSet], *, mmap: bool) -> list[ShardSet]:
    for one in shards:
        if "validation" not in one.manifest.splits:
            raise ConfigError(
                f"{one.root} has no validation split to evaluate on: preshard with --holdout 0.01, say, a larger share of few documents"
            )
    held_out = open_datasets([one.root for one in shards], "validation", "first", mmap=mmap)
    require_targets(held_out)
    return held_out


def _start(folder: RunFolder, config: TrainConfig, shards: Sequence[ShardSet], world: World, resume: bool) -> Started:
    """Build all that trains. The first rank reads the checkpoint, and the others have its values from there."""
    found = checkpoints_in(folder.checkpoints) if resume and world.first else {}
    if found:
        require_casing(folder.path, read_tokenizer(folder.tokenizer), shards[0])
    checkpoint = read_chosen(found, max(found)) if found else None
    state: dict[str, Any] | None = world.broadcast_object(checkpoint.state if checkpoint else None)
    begun = begin_model(config, shards, tell=world.first) if state is None else resumed_model(state, config, shards)
    model = begun.model
    if checkpoint:
        model.load_state_dict(checkpoint.model)
    model.to(world.device).train()
    world.broadcast(parameter.detach() for parameter in model.parameters())
    # Refused now: the first update would be when the run has begun.
    resolve_attention(
        model.config.attention,
        world.device,
        precision_of(config.dtype, world.device),
        model.config.attention_dropout,
        compiled=is_compiled(config, world.device),
    )
    update = TrainStep(model, config, world)
    if state is not None:
        world.broadcast(update.resume(state["step"], checkpoint.optimizer if checkpoint else {}).values())
    run = Run(
        config=config,
        model=model.config,
        datasets=tuple(one.manifest.fingerprint for one in shards),
        names={one.manifest.fingerprint: name_of(one.root) for one in shards},
        vocabulary=shards[0].manifest.stated_vocabulary.sha256,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        new_heads=begun.new_heads,
        dropped_rows=begun.dropped,
        backbone=begun.backbone,
    )
    stream = stream_of(shards, config, model.config, world, packed=model.packed)
    return Started(run=run, world=world, model=model, update=update, stream=stream, state=state, batches=begun.batches)


def _position(started: Started, *, allow_other_data: bool) -> Position:
    """Return where the stream goes on."""
    state = started.state
    if state is None:
        return Position()
    if state["datasets"] != list(started.run.datasets):
        if allow_other_data:
            return Position()
        there, here = (", ".join(map(short_digest, names)) for names in (state["datasets"], started.run.datasets))
        raise MismatchError(
            f"the checkpoint was trained on {there}, given is {here}: "
            "give the run's own dataset, or --allow-other-data to go on with this one from its start"
        )
    stream = started.stream
    return read_state(state["stream"], stream.config.layout, stream.settings, samples=stream.samples)[0]
