"""The stream goes on where it was: whatever was saved, killed, loaded or changed in between, every sample comes once an epoch, in order."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from figures import figure
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from json_values import changed, changes
from loading.conftest import Make

from spanmask import ShardSet
from spanmask.batches import IGNORED, PackedBatch
from spanmask.errors import ConfigError, MismatchError
from spanmask.loading import LoadConfig, Position, ShardLoader, Share, Stream
from spanmask.loading.order import Order, OrderKind, Source
from spanmask.loading.position import read_state
from spanmask.shard.manifest import Manifest, seal
from spanmask.shard.table import ShardRecord, Split

LAYOUTS = ["padded", "bucketed", "packed"]
OPTIONS: dict[str, Any] = {"seed": 11, "masks": "fresh", "window": 100}

Unit = tuple[int, ...]

#: Torch warns of more workers than there are cores.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(scope="module")
def shards(dataset: Make) -> ShardSet:
    return dataset(max_tokens=64, shard_bytes=32 << 10)


@cache
def reference(shards: ShardSet, layout: str, epoch: int, window: int = OPTIONS["window"]) -> list[Unit]:
    """Return the rows of each unit of an epoch: from the order alone where padded, else as one rank with batches of one unit sees them."""
    if layout == "padded":
        order = Order([Source.of(shards)], seed=OPTIONS["seed"], kind=OrderKind.GLOBAL)
        return [(row,) for row in order(epoch, np.arange(order.size))[1].tolist()]
    stream = Stream([shards], LoadConfig(batch_size=1, layout=layout, **OPTIONS | {"window": window}))  # type: ignore[arg-type]
    return [unit for one in stream.batches(Position(epoch=epoch)) for unit in units_of(one.batch.rows)]


def units_of(rows: Any) -> list[Unit]:
    """Return the units of a batch, those that only fill it up left out."""
    found = np.asarray(rows)
    units = [tuple(int(row) for row in np.atleast_1d(unit) if row >= 0) for unit in found]
    return [unit for unit in units if unit]


class World:
    """Loaders of all ranks, stepping together."""

    def __init__(self, shards: ShardSet, layout: str, world: int, batch: int, workers: int, state: Any) -> None:
        self.loaders = [
            ShardLoader(
                shards,
                batch_size=batch,
                layout=layout,
                rank=rank,
                world=world,
                workers=workers,
                details=True,
                **OPTIONS,
            )
            for rank in range(world)
        ]
        for loader in self.loaders:
            if state is not None:
                loader.load_state_dict(state)
        self.iterators = [iter(loader) for loader in self.loaders]

    def step(self) -> list[Unit] | None:
        """Return the units of the next global batch, or None at the end of the epoch, which comes to all ranks at once."""
        batches = [next(iterator, None) for iterator in self.iterators]
        if any(batch is None for batch in batches):
            assert all(batch is None for batch in batches)
            return None
        return [unit for batch in batches if batch is not None for unit in units_of(batch["rows"])]

    def state(self) -> dict[str, Any]:
        states = [loader.state_dict() for loader in self.loaders]
        assert all(state == states[0] for state in states)
        return states[0]

    def close(self) -> None:
        self.iterators.clear()


class Resuming(RuleBasedStateMachine):
    """next, save, kill, load, change of world, workers and batch, end of epoch, second resume."""

    shards: ShardSet
    workers: tuple[int, ...] = (0,)

    @initialize(layout=st.sampled_from(LAYOUTS))
    def begin(self, layout: str) -> None:
        self.layout = layout
        self.epoch = 0
        self.seen: list[Unit] = []
        self.saved: tuple[Any, int, list[Unit]] | None = None
        self.world = World(self.shards, layout, 1, 8, 0, None)

    @rule(steps=st.integers(1, 20))
    def proceed(self, steps: int) -> None:
        for _ in range(steps):
            units = self.world.step()
            if units is None:
                self.end()
                return
            self.seen += units

    def end(self) -> None:
        assert self.seen == reference(self.shards, self.layout, self.epoch)
        assert sorted(row for unit in self.seen for row in unit) == list(range(len(self.shards)))
        self.epoch, self.seen = self.epoch + 1, []
        self.world.iterators = [iter(loader) for loader in self.world.loaders]

    @rule()
    def finish_the_epoch(self) -> None:
        epoch = self.epoch
        while self.epoch == epoch:
            self.proceed(20)

    @rule()
    def save(self) -> None:
        whole = len(self.seen) == len(reference(self.shards, self.layout, self.epoch))
        # After an epoch's last batch the state is the start of the next.
        self.saved = (self.world.state(), self.epoch + whole, [] if whole else list(self.seen))

    @rule(world=st.sampled_from([1, 2, 4]), batch=st.integers(1, 24), pick=st.integers(0, 3))
    def go_on_otherwise(self, world: int, batch: int, pick: int) -> None:
        """Save, and go on with another number of ranks, batch and workers."""
        self.save()
        self.kill_and_load(world, batch, pick)

    @precondition(lambda self: self.saved is not None)
    @rule(world=st.sampled_from([1, 2, 4]), batch=st.integers(1, 24), pick=st.integers(0, 3))
    def kill_and_load(self, world: int, batch: int, pick: int) -> None:
        """Lose what came since the last save, and go on from there."""
        assert self.saved is not None
        state, self.epoch, seen = self.saved
        self.seen = list(seen)
        self.world.close()
        workers = self.workers[pick % len(self.workers)]
        self.world = World(self.shards, self.layout, world, batch, workers, state)

    @invariant()
    def what_was_seen_is_the_start_of_the_reference(self) -> None:
        wanted = reference(self.shards, self.layout, self.epoch)
        assert self.seen == wanted[: len(self.seen)]

    def teardown(self) -> None:
        self.world.close()


Count = Callable[[int], None]


def run_machine(shards: ShardSet, workers: tuple[int, ...], examples: int, steps: int) -> None:
    machine = type("Machine", (Resuming,), {"shards": shards, "workers": workers}).TestCase
    machine.settings = settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    machine().runTest()


def test_a_run_goes_on_whatever_happens_to_it(shards: ShardSet, count: Count) -> None:
    run_machine(shards, (0,), 20, 20)
    count(20)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_long_run_goes_on_whatever_happens_to_it(shards: ShardSet, count: Count) -> None:
    run_machine(shards, (0,), figure(175, 2000), figure(30, 50))
    count(figure(175, 2000))


@pytest.mark.slow
def test_a_run_with_workers_goes_on_whatever_happens_to_it(shards: ShardSet, count: Count) -> None:
    examples = figure(5, 25)
    run_machine(shards, (0, 1, 2, 3), examples, 15)
    count(examples)


def mismatches(shards: ShardSet, points: int, workers: tuple[int, ...]) -> int:
    """Return at how many of some random points a resumed run does not give the reference's next units."""
    rng = random.Random(5)
    wrong = 0
    for _ in range(points):
        layout, epoch = rng.choice(LAYOUTS), rng.randrange(3)
        wanted = reference(shards, layout, epoch)
        batch, after, world = rng.randint(1, 24), rng.randint(1, 24), rng.choice([1, 2, 4])
        first = ShardLoader(shards, batch_size=batch, layout=layout, details=True, **OPTIONS)
        first.set_epoch(epoch)
        steps = rng.randrange(-(-len(wanted) // batch))
        for _ in itertools.islice(first, steps):
            pass
        done = min(steps * batch, len(wanted))
        resumed = World(shards, layout, world, after, rng.choice(workers), first.state_dict())
        units = [resumed.step() or [] for _ in range(2)]
        resumed.close()
        wrong += [unit for step in units for unit in step] != wanted[done : done + 2 * after * world]
    return wrong


def test_resuming_at_random_points_gives_what_comes_next(shards: ShardSet, count: Count) -> None:
    assert mismatches(shards, 60, (0,)) == 0
    count(60)


def test_a_state_that_is_one_unit_behind_is_found(shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence taken out: that what was delivered last is counted."""
    told = Position.to_state

    def behind(place: Position, *arguments: Any) -> dict[str, Any]:
        return told(replace(place, unit=max(0, place.unit - 1)), *arguments)

    monkeypatch.setattr(Position, "to_state", behind)
    assert mismatches(shards, 8, (0,)) > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_resuming_at_a_thousand_points_gives_what_comes_next(shards: ShardSet, count: Count) -> None:
    count(1000)
    assert mismatches(shards, 940, (0,)) == 0
    assert mismatches(shards, 60, (0, 1, 2, 3)) == 0


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_worker_processes_do_not_change_the_batches(shards: ShardSet, layout: str, workers: int) -> None:
    plain = ShardLoader(shards, batch_size=16, layout=layout, **OPTIONS)
    other = ShardLoader(shards, batch_size=16, layout=layout, workers=workers, prefetch=2, **OPTIONS)
    count = 0
    for one, two in zip(plain, other, strict=True):
        assert one.keys() == two.keys()
        assert all(one[name].equal(two[name]) for name in one)
        assert plain.state_dict() == other.state_dict()
        count += 1
    assert count > 10
    assert plain.epoch == other.epoch == 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("last", ["pad", "drop", "wrap"])
@pytest.mark.parametrize("window", [100, 4096], ids=["many windows", "one window"])
def test_the_last_samples_are_padded_dropped_or_wrapped(shards: ShardSet, layout: str, last: str, window: int) -> None:
    """Every rank has as many batches; what is left out is counted."""
    wanted = reference(shards, layout, 0, window)
    width, world = 7, 4
    config = LoadConfig(batch_size=width, layout=layout, last=last, **OPTIONS | {"window": window})  # type: ignore[arg-type]
    streams = [Stream([shards], config, Share(rank=rank, world=world)) for rank in range(world)]
    delivered = [list(stream.batches(Position())) for stream in streams]
    assert all(batches[-1].after == Position(epoch=1) for batches in delivered)
    by_rank = [[one.batch.rows for one in batches] for batches in delivered]
    assert len({len(batches) for batches in by_rank}) == 1
    units = [unit for step in zip(*by_rank, strict=True) for rows in step for unit in units_of(rows)]
    rest = len(wanted) % (width * world)
    assert rest
    expected = {
        "pad": wanted,
        "drop": wanted[: len(wanted) - rest],
        "wrap": [*wanted, *wanted[: width * world - rest]],
    }
    assert units == expected[last]
    assert [stream.dropped for stream in streams] == [rest if last == "drop" else 0] * world


def test_the_end_of_an_epoch_is_a_place_to_resume_from(shards: ShardSet) -> None:
    loader = ShardLoader(shards, batch_size=50, details=True, **OPTIONS)
    for _ in loader:
        pass
    again = ShardLoader(shards, batch_size=9, details=True, **OPTIONS)
    again.load_state_dict(loader.state_dict())
    units = [unit for batch in again for unit in units_of(batch["rows"])]
    assert units == reference(shards, "padded", 1)


def test_the_state_says_where_it_stands_in_few_words(shards: ShardSet) -> None:
    padded = ShardLoader(shards, batch_size=10, **OPTIONS)
    assert len(list(itertools.islice(padded, 3))) == 3
    assert {name: padded.state_dict()[name] for name in ("epoch", "samples")} == {"epoch": 0, "samples": 30}
    packed = ShardLoader(shards, batch_size=10, layout="packed", **OPTIONS)
    assert len(list(itertools.islice(packed, 12))) == 12
    state = packed.state_dict()
    assert (state["epoch"], state["window"] > 0, state["bin"] < OPTIONS["window"]) == (0, True, True)


@pytest.mark.parametrize(
    "change",
    [
        *({"seed": 12}, {"masks": "stored"}, {"layout": "packed"}, {"order": "block"}, {"weights": [0.5]}),
        *({"mask_epoch": 1}, {"order_key": "one"}),
    ],
)
def test_a_state_of_another_stream_is_refused(shards: ShardSet, change: dict[str, Any]) -> None:
    state = ShardLoader(shards, batch_size=4, **OPTIONS).state_dict()
    other = ShardLoader(shards, **{"batch_size": 4, **OPTIONS, **change})
    with pytest.raises(MismatchError, match=next(iter(change))):
        other.load_state_dict(state)


def restored(batch: PackedBatch) -> list[int]:
    """The ids of a batch's bins before they were masked."""
    ids = batch.input_ids.copy().reshape(-1)
    there = batch.mlm_labels != IGNORED
    ids[batch.mlm_positions[there]] = batch.mlm_labels[there]
    return ids.tolist()


@pytest.mark.parametrize("order", ["global", "block"])
def test_datasets_of_the_same_sequences_come_in_one_order_by_one_key(dataset: Make, order: str) -> None:
    spans, tokens = dataset(), dataset(scheme="token")

    def originals(shards: ShardSet, key: str | None) -> list[list[int]]:
        config = LoadConfig(batch_size=4, layout="packed", window=64, masks="fresh", order=order, order_key=key)
        batches = itertools.islice(Stream([shards], config).batches(Position(epoch=1)), 6)
        return [restored(delivered.batch) for delivered in batches]

    assert originals(spans, "grid") == originals(tokens, "grid")
    assert originals(spans, None) != originals(tokens, None)
    assert originals(spans, "grid") != originals(spans, "other")


def test_a_state_of_another_dataset_is_refused_by_the_beginnings_of_fingerprints(shards: ShardSet) -> None:
    loader = ShardLoader(shards, batch_size=4, **OPTIONS)
    state = loader.state_dict()
    known = state["settings"]["datasets"][0]
    state["settings"]["datasets"] = ["0123456789abcdef" * 4]
    told = rf"\(datasets: \['0123456789abcdef'\], now \['{known[:16]}'\]\): load"
    with pytest.raises(MismatchError, match=told):
        loader.load_state_dict(state)


@pytest.mark.parametrize("version", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_state_of_another_version_is_refused_with_what_to_do(shards: ShardSet, layout: str, version: int) -> None:
    loader = ShardLoader(shards, batch_size=4, layout=layout, **OPTIONS)
    message = f"state is of version {version}, this spanmask goes on from version 2: .*set_epoch"
    with pytest.raises(ConfigError, match=message):
        loader.load_state_dict({**loader.state_dict(), "version": version})


@pytest.mark.parametrize("broken", [{}, {"version": 2}, {"version": "2"}, None, {"samples": -1}, {"samples": "many"}])
def test_what_is_no_state_is_refused(shards: ShardSet, broken: Any) -> None:
    loader = ShardLoader(shards, batch_size=4, **OPTIONS)
    state = {**loader.state_dict(), **broken} if broken and "samples" in broken else broken
    with pytest.raises(ConfigError, match="state"):
        loader.load_state_dict(state)


@pytest.mark.faults
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_value_in_a_state_is_a_place_in_the_stream_or_refused(
    shards: ShardSet, layout: str, tell: Callable[[str], None]
) -> None:
    """A state is plain values that a user keeps with a model: it decides what is read, and how far."""
    loader = ShardLoader(shards, batch_size=64, layout=layout, **OPTIONS)
    next(iter(loader))
    state = loader.state_dict()
    loaded = tried = 0
    for place, new in [*changes(state), (("epoch",), 1 << 61), (("epoch",), (1 << 62) - 1), (("ahead",), 1 << 40)]:
        again = ShardLoader(shards, batch_size=64, layout=layout, **OPTIONS)
        tried += 1
        with contextlib.suppress(ConfigError, MismatchError):
            again.load_state_dict(changed(state, place, new))
            loaded += 1
            if place[0] in ("epoch", "samples", "window", "bin"):
                next(iter(again), None)
    tell(f"{tried} values put into a state, {loaded} loaded")


def huge(shards: ShardSet, count: int) -> ShardSet:
    """Return a dataset of ``count`` shards of 50,000 rows that is a manifest only."""
    record = ShardRecord(
        path="train/shard-00000-00000.arrow",
        rows=50_000,
        tokens=25_000_000,
        bytes=60 << 20,
        sha256="0" * 64,
        content_sha256="0" * 64,
        first=(0, 0),
        last=(1, 0),
    )
    split = Split.of("train", [record] * count)
    content = {key: value for key, value in shards.manifest.content.items() if key not in ("digest", "fingerprint")}
    manifest: Manifest = seal({**content, "splits": {"train": split.to_json()}}, {"train": split})
    return ShardSet(shards.root, manifest, split)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_loading_a_state_in_a_hundred_million_rows_takes_milliseconds(shards: ShardSet, layout: str) -> None:
    loader = ShardLoader(huge(shards, 2000), batch_size=256, layout=layout, width=512 if layout == "packed" else None)
    assert loader.stream.samples == 100_000_000
    place = Position(epoch=2, unit=77_777_777) if layout == "padded" else Position(epoch=2, window=18_000, unit=77)
    state = place.to_state(loader.config.layout, loader.stream.settings)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        loader.load_state_dict(state)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.01
    stream, layout = loader.stream, loader.config.layout
    assert read_state(loader.state_dict(), layout, stream.settings, samples=stream.samples)[0] == place


def test_stored_masks_warn_when_they_come_again(shards: ShardSet) -> None:
    loader = ShardLoader(shards, batch_size=400)
    for _ in loader:
        pass
    with pytest.warns(UserWarning, match="masks='fresh'"):
        next(iter(loader))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("worker", "workers"), ("batchsize", "batch_size"), ("device_", "device"), ("layouts", "layout")],
)
def test_a_mistyped_option_of_a_loader_names_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown option '{typed}'; did you mean '{meant}'?"):
        ShardLoader("nowhere", batch_size=1, **{typed: 2})
