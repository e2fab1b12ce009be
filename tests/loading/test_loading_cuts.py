"""Shards that somebody cuts while they are read: what was read stays, an error names the shard, and no signal ends the one who asked."""

from __future__ import annotations

import os
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading.conftest import Make

import spanmask
from spanmask import ShardSet
from spanmask.errors import ShardError
from spanmask.loading import ShardDataset, ShardLoader
from spanmask.shard import reader

pytestmark = pytest.mark.faults

OPTIONS: dict[str, Any] = {"batch_size": 4, "layout": "packed", "window": 100, "seed": 3}


@pytest.fixture
def shards(dataset: Make) -> ShardSet:
    return dataset(max_tokens=64, shard_bytes=32 << 10)


@pytest.fixture
def copy(shards: ShardSet, tmp_path: Path) -> Path:
    shutil.copytree(shards.root, tmp_path / "copy")
    return tmp_path / "copy"


def cut(folder: Path, *numbers: int) -> list[str]:
    """Cut shards of a dataset to nothing, and return their names."""
    paths = [spanmask.open(folder).split.shards[number].path for number in numbers]
    for path in paths:
        os.truncate(folder / path, 0)
    return paths


def same(found: list[Any], wanted: list[Any]) -> bool:
    return len(found) == len(wanted) and all(
        torch.equal(one[name], two[name]) for one, two in zip(found, wanted, strict=True) for name in one
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_what_was_read_without_maps_outlives_a_cut(
    shards: ShardSet, copy: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LOOK_SECONDS", 3600)
    batches = iter(ShardLoader(copy, mmap=False, workers=workers, **OPTIONS))
    found = list(islice(batches, 1))
    cut(copy, 0, 1)
    found.extend(batches)
    assert same(found, list(ShardLoader(shards, **OPTIONS)))


@pytest.mark.parametrize("backend", ["numpy", "compiled"])
def test_a_cut_of_what_is_read_without_maps_is_told_by_the_shards_name(
    copy: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LOOK_SECONDS", 0)
    rows = ShardDataset(copy, mmap=False, backend=backend)
    before = rows[0]
    (path,) = cut(copy, 0)
    with pytest.raises(ShardError, match=f"^{path}: it changed since it was opened: nothing may write to a dataset"):
        rows[0]
    assert len(before.original()), "what was handed out stays"
    with pytest.raises(ShardError, match=f"^{path}: 0 bytes, the manifest says"):
        ShardDataset(copy, mmap=False, backend=backend)[0]


@pytest.mark.parametrize("backend", ["numpy", "compiled"])
def test_of_shards_that_are_read_few_stay_in_memory(copy: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = spanmask.open(copy)
    largest = int(wanted.split.shards.counts("bytes").max())
    monkeypatch.setattr(reader, "HELD_LIMIT", 2 * largest + 1)
    shards = spanmask.open(copy, mmap=False)
    rows = ShardDataset(shards, backend=backend)
    for row in np.random.default_rng(0).permutation(len(wanted))[:40].tolist():
        assert np.array_equal(rows[row].input_ids, wanted[row].input_ids)
        assert len(shards._files) <= 2


def test_a_shard_of_any_size_is_not_read_into_memory(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one record batch, a manifest may say as many bytes as it likes, and a file have holes for them."""
    size = int(spanmask.open(copy).split.shards.counts("bytes")[0])
    for limit, mapped in ((size, False), (size - 1, True)):
        monkeypatch.setattr(reader, "SHARD_LIMIT", limit)
        shards = spanmask.open(copy, mmap=False)
        assert len(shards[0].input_ids)
        assert (f"{copy}/{shards.split.shards[0].path}" in Path("/proc/self/maps").read_text()) is mapped


# --- Mapped, in worker processes


@pytest.mark.parametrize(("workers", "numbers"), [(1, [2]), (2, [0, 3, 5])])
def test_a_worker_that_a_cut_ends_is_told_with_the_shards_that_were_cut(
    shards: ShardSet, copy: Path, workers: int, numbers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it torch says that shared memory may be too small, and names nothing."""
    # Looked at again, a shard that changed is refused before it is touched.
    monkeypatch.setattr(reader, "LOOK_SECONDS", 3600)
    loader = ShardLoader(copy, workers=workers, **OPTIONS)
    batches = iter(loader)
    # One of each worker, that all have opened their shards.
    found = list(islice(batches, workers))
    first, *others = cut(copy, *numbers)
    with pytest.raises(ShardError) as told:
        found.extend(batches)
    assert str(told.value).startswith(f"{first}: 0 bytes, and the manifest of {copy} says ")
    assert all(f"{path} of {copy}" in str(told.value) for path in others)
    assert "SIGBUS" in str(told.value)
    assert "mmap=False" in str(told.value)
    again = ShardLoader(shards, **OPTIONS)
    again.load_state_dict(loader.state_dict())
    assert same([*found, *again], list(ShardLoader(shards, **OPTIONS)))
