"""Loaders in the worker processes of others: every row once an epoch, epochs that move on, whatever the start method."""

from __future__ import annotations

import copy
import itertools
import multiprocessing
import pickle
from functools import cache
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from figures import figure
from loading.conftest import Make
from loading.test_loading_state import LAYOUTS, Unit, units_of
from together import each_two, each_two_or_all
from torch.utils.data import DataLoader

from spanmask import PreshardConfig, ShardSet, preshard
from spanmask import open as open_shards
from spanmask.errors import ConfigError
from spanmask.loading import Collator, ShardDataset, ShardLoader, Stream
from spanmask.loading.position import Position
from spanmask.loading.torch_dataset.sharing import MOST_WORKERS, Iterations

OPTIONS: dict[str, Any] = {"masks": "fresh", "seed": 3, "window": 100, "details": True}

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
    # A loader's length is that of what is left; torch compares it with the next epoch's.
    pytest.mark.filterwarnings("ignore:Length of IterableDataset"),
]


@pytest.fixture(scope="module")
def shards(dataset: Make) -> ShardSet:
    return dataset(max_tokens=64, shard_bytes=32 << 10)


def loader_of(shards: ShardSet, layout: str = "padded", **options: Any) -> ShardLoader:
    return ShardLoader(shards, batch_size=16, layout=layout, **OPTIONS | options)


@cache
def own_epochs(shards: ShardSet, layout: str, count: int) -> list[list[Any]]:
    """Return the batches of some epochs, as the loader makes them alone."""
    loader = loader_of(shards, layout)
    return [list(loader) for _ in range(count)]


def same(found: list[Any], wanted: list[Any]) -> bool:
    return len(found) == len(wanted) and all(
        one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)
        for one, two in zip(found, wanted, strict=True)
    )


def rows_of(batches: list[Any]) -> list[int]:
    units: list[Unit] = [unit for batch in batches for unit in units_of(batch["rows"])]
    return [row for unit in units for row in unit]


def around(kind: str, loader: ShardLoader, **options: Any) -> Any:
    """Return a loader of another library around ours."""
    if kind == "DataLoader":
        return DataLoader(loader, batch_size=None, **options)
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata belongs to the extra test")
    return stateful.StatefulDataLoader(loader, batch_size=None, **options)


# --- Every row once an epoch, and epochs that move on


#: Workers that stay alive, which lost rows, by default; new ones for each iteration in the slow leg.
either_kind = pytest.mark.parametrize(
    "persistent", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["persistent", "new"]
)


@either_kind
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_iteration_of_workers_is_the_next_epoch_whole(shards: ShardSet, layout: str, persistent: bool) -> None:
    wanted = own_epochs(shards, layout, 3)
    other = DataLoader(loader_of(shards, layout), batch_size=None, num_workers=2, persistent_workers=persistent)
    for epoch in range(3):
        found = list(other)
        assert sorted(rows_of(found)) == list(range(len(shards)))
        assert same(found, wanted[epoch])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "workers", "layout", "persistent"),
    each_two(["DataLoader", "StatefulDataLoader"], [0, 1, 2, 3, 40], LAYOUTS, [True, False]),
)
def test_each_iteration_is_the_next_epoch_for_any_number_of_workers(
    shards: ShardSet, kind: str, workers: int, layout: str, persistent: bool
) -> None:
    wanted = own_epochs(shards, layout, 3)
    other = around(kind, loader_of(shards, layout), num_workers=workers, persistent_workers=persistent and workers > 0)
    assert [same(list(other), wanted[epoch]) for epoch in range(3)] == [True] * 3


@either_kind
def test_after_a_break_workers_begin_the_next_epoch(shards: ShardSet, persistent: bool) -> None:
    wanted = own_epochs(shards, "packed", 4)
    other = DataLoader(loader_of(shards, "packed"), batch_size=None, num_workers=3, persistent_workers=persistent)
    for epoch, steps in enumerate((1, 4, None, None)):
        assert same(list(itertools.islice(other, steps)), wanted[epoch][:steps])


@either_kind
def test_workers_begin_where_the_loader_is_told_to_be(shards: ShardSet, persistent: bool) -> None:
    wanted = own_epochs(shards, "padded", 8)
    loader = loader_of(shards)
    state = copy.deepcopy(loader)
    state.set_epoch(5)
    list(itertools.islice(state, 7))
    other = DataLoader(loader, batch_size=None, num_workers=2, persistent_workers=persistent)
    assert same(list(other), wanted[0])
    loader.set_epoch(3)
    assert (loader.epoch, len(loader)) == (3, len(wanted[3]))
    assert same(list(other), wanted[3])
    assert same(list(other), wanted[4])
    loader.load_state_dict(state.state_dict())
    assert same(list(other), wanted[5][7:])
    assert loader.epoch == 6
    assert same(list(other), wanted[6])
    loader.set_epoch(0)
    assert same(list(other), wanted[0])
    assert same(list(loader), wanted[1])
    assert same(list(other), wanted[2])


def test_equal_seeds_of_torch_do_not_repeat_an_epoch(shards: ShardSet) -> None:
    wanted = own_epochs(shards, "padded", 3)
    other = DataLoader(loader_of(shards), batch_size=None, num_workers=2)
    for epoch in range(3):
        torch.manual_seed(0)
        assert same(list(other), wanted[epoch])


def test_what_a_data_loader_hides_is_an_error(shards: ShardSet) -> None:
    loader = loader_of(shards)
    next(iter(DataLoader(loader, batch_size=None, num_workers=1)))
    with pytest.raises(ConfigError, match="StatefulDataLoader"):
        loader.state_dict()
    loader.set_epoch(1)
    assert loader.state_dict()["epoch"] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "workers", "persistent", "steps"),
    each_two_or_all(LAYOUTS, [0, 1, 2, 3], [True, False], [0, 1, 5, -2, -1, "all", "end"]),
)
def test_a_stateful_data_loader_resumes_anywhere_and_goes_on_with_the_next_epoch(
    shards: ShardSet, layout: str, workers: int, persistent: bool, steps: int | str
) -> None:
    """After so many batches (below 0: all but so many), after the last, or once the end was seen."""
    wanted = own_epochs(shards, layout, 4)

    def make() -> Any:
        options = {"num_workers": workers, "persistent_workers": persistent and workers > 0}
        return around("StatefulDataLoader", loader_of(shards, layout), **options)

    count = len(wanted[1])
    stop = {"all": count, "end": None}[steps] if isinstance(steps, str) else steps % count
    first = make()
    assert same(list(first), wanted[0])
    taken = list(itertools.islice(iter(first), stop))
    again = make()
    again.load_state_dict(first.state_dict())
    # After the last batch, workers have yet to say that it was; without workers, and after the end, the next epoch is due.
    if stop is not None and (stop < count or workers):
        taken += list(again)
    assert same(taken, wanted[1])
    assert same(list(again), wanted[2])
    assert same(list(again), wanted[3])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [None, 0, 2], ids=["alone", "no workers", "workers"])
def test_lightning_sees_every_row_once_an_epoch(shards: ShardSet, tmp_path: Path, workers: int | None) -> None:
    lightning = pytest.importorskip("lightning", reason="lightning is not in the extra test: pip install lightning")
    epochs: list[list[Any]] = []

    class Module(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def on_train_epoch_start(self) -> None:
            epochs.append([])

        def training_step(self, batch: Any, _: int) -> Any:
            epochs[-1].append(batch)
            return self.weight * 1.0

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    loader: Any = loader_of(shards)
    if workers is not None:
        loader = DataLoader(loader, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Module(), loader)
    assert [same(*pair) for pair in zip(epochs, own_epochs(shards, "padded", 3), strict=True)] == [True] * 3


def test_workers_agree_on_an_iteration_in_whatever_order_they_come() -> None:
    """Stragglers, iterators side by side, more and fewer workers: an iterator's workers have one epoch, and another than the last one's."""
    generator = np.random.default_rng(5)
    for _ in range(50):
        iterations, epochs = Iterations(), []
        for first in range(1, 20, 2):
            # Two iterators overlap: the first's workers may come after the second's, but the very first.
            waiting = [(worker, first) for worker in range(1, generator.integers(2, 6))]
            waiting += [(worker, first + 1) for worker in range(generator.integers(1, 6))]
            found: dict[int, set[int]] = {first: {iterations.join(0, first).epoch}, first + 1: set()}
            for worker, seed in generator.permutation(waiting).tolist():
                found[seed].add(iterations.join(worker, seed).epoch)
            assert all(len(one) == 1 for one in found.values())
            epochs += [one.pop() for one in found.values()]
        assert epochs == list(range(20))


def join_often(iterations: Iterations, worker: int, together: Any, found: Any) -> None:
    epochs = []
    for seed in range(200):
        together.wait()
        epochs.append(iterations.join(worker, seed // 5).epoch)
    found.put(epochs)


def test_workers_that_begin_at_one_moment_agree() -> None:
    """In 200 iterations, of which five have a seed each, as persistent workers do; four processes on a barrier."""
    context: Any = multiprocessing.get_context("fork")
    iterations, together, found = Iterations(), context.Barrier(4), context.SimpleQueue()
    processes = [context.Process(target=join_often, args=(iterations, one, together, found)) for one in range(4)]
    for process in processes:
        process.start()
    assert [found.get() for _ in processes] == [list(range(200))] * 4
    for process in processes:
        process.join()


def test_a_worker_that_starts_after_set_epoch_is_an_error_where_others_began_before() -> None:
    iterations = Iterations()
    assert iterations.join(0, 77) == Position()
    iterations.tell(Position(epoch=4, unit=2))
    with pytest.raises(ConfigError, match="while workers started"):
        iterations.join(1, 77)
    assert [iterations.join(worker, 78) for worker in range(2)] == [Position(epoch=4, unit=2)] * 2
    with pytest.raises(ConfigError, match="more than 1024"):
        iterations.join(MOST_WORKERS, 78)


# --- Rows by number


@either_kind
def test_workers_go_by_the_epoch_that_is_set(shards: ShardSet, persistent: bool) -> None:
    rows, alone = ShardDataset(shards, masks="fresh"), ShardDataset(shards, masks="fresh")
    collate = Collator(rows, width=64)
    other = DataLoader(rows, batch_size=32, num_workers=2, collate_fn=collate, persistent_workers=persistent)
    for epoch in (0, 1, 5, 1):
        rows.set_epoch(epoch)
        alone.set_epoch(epoch)
        wanted = list(DataLoader(alone, batch_size=32, collate_fn=collate))
        assert same(list(other), wanted)


# --- Pickled, spawned


def doors(shards: ShardSet, backend: str) -> dict[str, Any]:
    rows = ShardDataset(shards, masks="fresh", backend=backend)
    return {
        "shards": shards,
        "rows": rows,
        "collator": Collator(rows, boundaries=True),
        "stream": Stream([shards], loader_of(shards).config),
        "loader": ShardLoader(shards, batch_size=16, layout="packed", device="cpu", prefetch=2, **OPTIONS),
    }


def use(door: Any, shards: ShardSet) -> list[Any]:
    """Return something that a door gives, as plain values."""
    if isinstance(door, Stream):
        return [one.batch.rows.tolist() for one in itertools.islice(door.batches(Position(epoch=1)), 3)]
    if isinstance(door, ShardLoader):
        return [door.state_dict(), *[batch["input_ids"].tolist() for batch in itertools.islice(door, 3)]]
    rows = [door[number] for number in (5, 1)] if not isinstance(door, Collator) else [shards[5], shards[1]]
    return (
        [row.labels.tolist() for row in rows] if not isinstance(door, Collator) else [door(rows)["sbo_labels"].tolist()]
    )


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
@pytest.mark.parametrize("backend", ["compiled", "numpy"])
def test_all_doors_are_pickled_before_and_after_use(dataset: Make, copied: Any, backend: str) -> None:
    shards = open_shards(dataset(max_tokens=64, shard_bytes=32 << 10).root)
    for name, door in doors(shards, backend).items():
        new = copied(door)
        assert use(new, shards) == use(door, shards), name
        if name == "rows":
            door.set_epoch(3)
        used = copied(door)
        assert use(used, shards) == use(door, shards), name
        if name == "rows":
            door.set_epoch(4)
            assert use(used, shards) != use(door, shards)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "used", "persistent"), each_two_or_all(["spawn", "forkserver"], [False, True], [True, False])
)
def test_workers_start_with_any_method(shards: ShardSet, method: str, used: bool, persistent: bool) -> None:
    wanted = own_epochs(shards, "packed", 3)
    loader = loader_of(shards, "packed")
    if used:
        list(itertools.islice(loader, 3))
        loader.set_epoch(0)
    other = DataLoader(
        loader, batch_size=None, num_workers=2, persistent_workers=persistent, multiprocessing_context=method
    )
    assert [same(list(other), wanted[epoch]) for epoch in range(2)] == [True] * 2
    loader.set_epoch(2)
    assert same(list(other), wanted[2])
    rows = ShardDataset(shards, masks="fresh")
    by_number = DataLoader(
        rows,
        batch_size=200,
        num_workers=1,
        collate_fn=Collator(rows),
        persistent_workers=persistent,
        multiprocessing_context=method,
    )
    first = list(by_number)
    rows.set_epoch(1)
    second = list(by_number)
    assert not same(first, second)
    assert same(second, list(DataLoader(rows, batch_size=200, collate_fn=Collator(rows))))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_own_workers_start_with_any_method(shards: ShardSet, method: str) -> None:
    wanted = own_epochs(shards, "bucketed", 2)
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:
        loader = loader_of(shards, "bucketed", workers=2, prefetch=1)
        taken = list(itertools.islice(loader, 5))
        again = loader_of(shards, "bucketed", workers=2)
        again.load_state_dict(loader.state_dict())
        assert same(taken + list(again), wanted[0])
        assert same(list(again), wanted[1])
    finally:
        multiprocessing.set_start_method(before, force=True)


# --- No batch without a target


_LASTS = ["pad", "drop", "wrap"]
_EACH_ONCE = [("padded", "pad"), ("bucketed", "wrap"), ("packed", "drop")]


def loss_of(batch: Any) -> torch.Tensor:
    """Return the loss of a plain model, the mean over targets, as transformers reckons it; of two entries, for speed."""
    labels = (batch["labels"] if "labels" in batch else batch["mlm_labels"].long()).view(-1)
    return torch.nn.functional.cross_entropy(torch.zeros((len(labels), 2)), labels.clamp(max=1))


@pytest.mark.parametrize(
    ("layout", "last", "workers"),
    [
        *((*case, 0) for case in itertools.product(LAYOUTS, _LASTS)),
        *(
            pytest.param(*case, 2, marks=pytest.mark.slow)
            for case in figure(_EACH_ONCE, [*itertools.product(LAYOUTS, _LASTS)])
        ),
    ],
)
def test_no_rank_ever_has_a_loss_that_is_no_number(shards: ShardSet, layout: str, last: str, workers: int) -> None:
    # In the last global batch, some ranks have nothing of their own.
    world, size = 8, 3 if layout == "packed" else 7
    without = 0
    counts = set()
    for rank in range(world):
        loader = ShardLoader(
            shards, batch_size=size, layout=layout, last=last, rank=rank, world=world, workers=workers, **OPTIONS
        )
        batches = list(loader)
        counts.add(len(batches))
        assert all(loss_of(batch).isfinite() for batch in batches)
        for batch in batches:
            without += not rows_of([batch])
            if layout != "packed" and not rows_of([batch]):
                assert batch["weights"].tolist() == [0] * size
                assert batch["labels"].ravel()[0] == batch["input_ids"].ravel()[0]
                assert (batch["labels"] != -100).sum() == 1
    assert len(counts) == 1
    assert (without > 0) == (last == "pad")


@pytest.fixture(scope="module")
def spanless(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """A dataset most rows of which are one word longer than the budget, so that they have no span."""
    folder = tmp_path_factory.mktemp("spanless")
    words = ["x" * 12 + str(number) for number in range(60)]
    (folder / "text.txt").write_text("\n\n".join([*words, "a few short words that have a span at least"]))
    config = PreshardConfig.of(seed=7, min_tokens=2, max_tokens=64)
    preshard([folder / "text.txt"], folder / "out", config, jobs=1)
    return open_shards(folder / "out")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_without_spans_have_a_loss_that_is_a_number(spanless: ShardSet, layout: str) -> None:
    assert sum(not len(row.span_starts) for row in spanless) > 50
    for masks in ("stored", "fresh"):
        batches = list(ShardLoader(spanless, batch_size=1, layout=layout, masks=masks))
        assert all(loss_of(batch).isfinite() for batch in batches)
    rows = ShardDataset(spanless)
    other = DataLoader(rows, batch_size=2, collate_fn=Collator(rows))
    assert all(loss_of(batch).isfinite() for batch in other)


def test_batches_for_our_own_training_have_only_true_targets(spanless: ShardSet) -> None:
    stream = Stream([spanless], ShardLoader(spanless, batch_size=1).config)
    for one in stream.batches(Position()):
        assert (one.batch.labels != -100).sum() == one.counts.mlm  # type: ignore[union-attr]


def test_numbers_are_shared_with_spawned_processes_and_copied_otherwise() -> None:
    iterations = Iterations()
    iterations.tell(Position(epoch=2))
    apart = pickle.loads(pickle.dumps(iterations))
    together = pickle.loads(ForkingPickler.dumps(iterations))
    assert apart.join(0, 5) == Position(epoch=2)
    assert iterations.following() is None
    assert together.join(0, 5) == Position(epoch=2)
    assert iterations.following() == Position(epoch=3)
