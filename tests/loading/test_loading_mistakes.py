"""Loaders put into others by mistake say so, and tell how many batches an epoch has before any is made."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils.data import DataLoader

from spanmask.errors import ConfigError
from spanmask.loading import ShardLoader


@pytest.fixture
def opened(dataset: Any) -> Any:
    return dataset()


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_a_dataloader_that_would_batch_batches_is_refused_with_what_to_give_it(opened: Any, layout: str) -> None:
    loader = ShardLoader(opened, batch_size=4, layout=layout)
    with pytest.raises(ConfigError, match=r"give it batch_size=None, and the size of a batch to ShardLoader"):
        next(iter(DataLoader(loader, batch_size=8)))
    batch = next(iter(DataLoader(ShardLoader(opened, batch_size=4, layout=layout), batch_size=None)))
    assert len(batch["input_ids"]) == 4


@pytest.mark.parametrize("last", ["pad", "drop", "wrap"])
@pytest.mark.parametrize("layout", ["padded", "bucketed", "packed"])
@pytest.mark.parametrize("world", [1, 2])
def test_the_steps_of_an_epoch_are_those_that_come(opened: Any, layout: str, last: str, world: int) -> None:
    share = {"rank": world - 1, "world": world}
    loader = ShardLoader(opened, batch_size=3, layout=layout, last=last, masks="fresh", window=16, **share)
    for epoch in range(2):
        loader.set_epoch(epoch)
        told = loader.steps_per_epoch()
        batches = iter(loader)
        next(batches)
        assert loader.steps_per_epoch() == told
        assert 1 + sum(1 for _ in batches) == told
