"""How far arms are trained: minutes become tokens once, by short trainings that are timed, and tokens become updates of each arm."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError, MismatchError
from spanmask.loading.position import Position
from spanmask.reproduction.arms import Arm, Equal
from spanmask.reproduction.grid import Grid
from spanmask.reproduction.lock import Schedule
from spanmask.shard.reader import ShardSet
from spanmask.train.config import Device, TrainConfig
from spanmask.train.distributed import World, device_of
from spanmask.train.run import train
from spanmask.train.starting import initial_model, model_config, stream_of
from spanmask.train.watching import Watch

#: Updates, the first ones, whose tokens are counted; seconds of a timed training; updates of a training at least.
_COUNTED, _TIMED, _LEAST = 200, 10.0, 10


def schedule(grid: Grid, scratch: Path) -> Schedule:
    """Return how far every arm is trained. scratch: a folder for trainings that are timed.

    Raises
    ------
    ConfigError
        Neither tokens nor a budget is known, or that is too little.
    MismatchError
        Arms that share their texts do not have the same ones.
    """
    plan = grid.plan
    require_alike(grid)
    budget = plan.config.budget if grid.lock.budget is None else grid.lock.budget
    first = plan.config.seed_numbers[0]
    configs = {arm.name: grid.training(arm, first) for arm in plan.arms}
    shards = {arm.name: grid.shards(arm.shards) for arm in plan.arms}
    sizes = {name: tokens_of_update(config, shards[name]) for name, config in configs.items()}
    timed = budget is not None or any(arm.equal is Equal.SECONDS for arm in plan.arms)
    seconds = {}
    for number, (name, config) in enumerate(configs.items() if timed else ()):
        grid.watch.progress(f"timing {name}", number, len(configs))
        seconds[name] = seconds_of_token(config, shards[name], scratch / name)
    tokens = (
        plan.config.tokens
        if budget is None
        else tokens_of_budget(budget, plan.arms, seconds, len(plan.config.seed_numbers))
    )
    if tokens is None:
        raise ConfigError("the plan gives neither tokens nor budget: give --budget MINUTES, or one of them in it")
    wanted = {arm.name: tokens * _share(arm, seconds) for arm in plan.arms}
    updates = {name: round(wanted[name] / sizes[name]) for name in configs}
    least = min(updates, key=lambda name: updates[name])
    if updates[least] < _LEAST:
        raise ConfigError(
            f"{tokens:,} tokens are {updates[least]} updates of arm {least}, of about {sizes[least]:,.0f} tokens: give {_LEAST} at least, "
            "by more tokens, a larger budget or a smaller batch_size"
        )
    return Schedule(
        tokens=tokens,
        budget=budget,
        updates=updates,
        update_tokens=sizes,
        seconds=seconds,
        same_start={
            arm.name: shared_start(*((configs[name], shards[name]) for name in (arm.name, arm.against)))
            for arm in plan.arms
            if arm.against
        },
    )


def _share(arm: Arm, seconds: Mapping[str, float]) -> float:
    """Return how many tokens an arm is trained for, of as many as others are."""
    if arm.equal is Equal.TOKENS or arm.against is None:
        return 1.0
    return seconds[arm.against] / seconds[arm.name]


def tokens_of_budget(minutes: float, arms: Sequence[Arm], seconds: Mapping[str, float], seeds: int) -> int:
    """Return the tokens of each training for which all of them take so many minutes. seconds: of a token, by arm."""
    each = sum(_share(arm, seconds) * seconds[arm.name] for arm in arms)
    return int(60 * minutes / (seeds * each))


def tokens_of_update(config: TrainConfig, shards: ShardSet) -> float:
    """Return the tokens of an update, on average over the first ones, or all of an epoch that has fewer."""
    world = World(device=device_of(Device.CPU))
    stream = stream_of([shards], config, model_config(config, [shards]), world)
    batches = islice(stream.batches(Position()), _COUNTED * config.accumulate)
    counts = [(one.overall or one.counts).tokens for one in batches]
    # An epoch's last batches may be fewer than an update's.
    return sum(counts) / -(-len(counts) // config.accumulate)


class _Timer(Watch):
    """Ends a training when it was timed for long enough, and keeps its lines of metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self._began = 0.0

    def metrics(self, line: dict[str, Any]) -> None:
        """Keep a line."""
        self._began = self._began or time.perf_counter()
        self.lines.append(line)

    def stopping(self) -> bool:
        """Return whether two intervals are known, and the seconds are over: the first one waits for much else."""
        return len(self.lines) > 1 and time.perf_counter() - self._began > _TIMED


def seconds_of_token(config: TrainConfig, shards: ShardSet, scratch: Path) -> float:
    """Return how many seconds a token of training takes, by a short training in a folder, which then goes."""
    timer = _Timer()
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        train([shards], scratch, config.changed(steps=10_000_000, save_every=0, warmup=None, log_every=5), watch=timer)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    tokens: list[int] = [line["tokens"] for line in timer.lines]
    intervals = [after - before for before, after in pairwise(tokens)]
    speeds: list[float] = [line["tokens_per_second"] for line in timer.lines[1:]]
    return sum(each / speed for each, speed in zip(intervals, speeds, strict=True)) / sum(intervals)


def shared_start(one: tuple[TrainConfig, ShardSet], other: tuple[TrainConfig, ShardSet]) -> tuple[int, int]:
    """Return of how many tensors the initial weights of two trainings are the same, and how many both have by name and shape."""
    first, second = (initial_model(config, [shards]).state_dict() for config, shards in (one, other))
    both = [key for key in first if key in second and first[key].shape == second[key].shape]
    return sum(bool((first[key] == second[key]).all()) for key in both), len(both)


def require_alike(grid: Grid) -> None:
    """Refuse arms that are not presharded from the same texts, or whose sequences are cut alike and are not the same in number.

    Raises
    ------
    MismatchError
        There are some.
    """
    arms = grid.plan.arms
    manifests = {arm.name: grid.shards(arm.shards).manifest for arm in arms}
    for first, arm in pairwise([arm for arm in arms if not arm.texts]):
        one, other = ([(file.name, file.sha256) for file in manifests[name].inputs] for name in (first.name, arm.name))
        if one != other:
            raise MismatchError(
                f"{grid.folder}: shards of {first.name} and {arm.name} are of other texts; remove those of one, and do them again"
            )
    known: dict[Any, Arm] = {}
    for arm in arms:
        manifest = manifests[arm.name]
        cut = (tuple(manifest.config.sequence.to_json().values()), manifest.stated_vocabulary.sha256)
        first = known.setdefault(cut, arm)
        sizes = [
            {name: (split.rows, split.tokens) for name, split in manifests[one.name].splits.items()}
            for one in (first, arm)
        ]
        if sizes[0] != sizes[1]:
            raise MismatchError(
                f"arms {first.name} and {arm.name} have other sequences: {_told(sizes[0])}, and {_told(sizes[1])}; give them texts that "
                "differ in their annotations alone"
            )


def _told(sizes: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{rows:,} of {tokens:,} tokens in {name}" for name, (rows, tokens) in sizes.items())
