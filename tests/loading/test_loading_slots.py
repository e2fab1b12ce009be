"""A batch of more targets than usual takes the second slots, with every target; a dataset that breaks its own masking is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import uneven

import spanmask
from spanmask import ShardSet
from spanmask.errors import ShardError
from spanmask.loading import Capacities, LoadConfig, Position, ShardLoader, Share, Stream
from spanmask.shard.manifest import seal


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return spanmask.open(uneven.write(tmp_path_factory.mktemp("slots")))


@pytest.mark.parametrize("backend", ["numpy", "compiled"])
def test_batches_have_two_shapes_and_lack_no_target(shards: ShardSet, backend: str) -> None:
    stream = Stream([shards], LoadConfig(**uneven.OPTIONS, backend=backend))
    usual, most = stream.slots
    assert usual.mlm < most.mlm
    delivered = list(stream.batches(Position()))
    shapes = [(one.batch.mlm_labels.size, one.batch.sbo.labels.size) for one in delivered]
    assert set(shapes) == {(usual.mlm, usual.sbo), (most.mlm, most.sbo)}
    assert shapes[0] == (usual.mlm, usual.sbo)
    masked = sum(len(row.labels) for row in shards)
    assert sum(int((one.batch.mlm_labels >= 0).sum()) for one in delivered) == masked
    assert sum(one.counts.mlm for one in delivered) == masked
    for one in delivered:
        assert int((one.batch.sbo.labels >= 0).sum()) == one.counts.sbo
        fits = one.counts.mlm <= usual.mlm and one.counts.sbo <= usual.sbo
        assert one.batch.mlm_labels.size == (usual if fits else most).mlm


def test_ranks_may_have_different_shapes_of_one_global_batch(shards: ShardSet) -> None:
    ranks = [Stream([shards], LoadConfig(**uneven.OPTIONS), Share(rank=rank, world=2)) for rank in (0, 1)]
    assert ranks[0].slots == ranks[1].slots
    pairs = list(zip(*(stream.batches(Position()) for stream in ranks), strict=True))
    assert any(one.batch.mlm_labels.size != other.batch.mlm_labels.size for one, other in pairs)
    assert all(one.overall == other.overall for one, other in pairs)


def test_slots_are_no_part_of_the_state(shards: ShardSet) -> None:
    """A state goes on in batches of any size, though their slots differ."""
    one, other = (ShardLoader(shards, **{**uneven.OPTIONS, "batch_size": size}) for size in (16, 5))
    assert one.stream.slots != other.stream.slots
    assert one.state_dict() == other.state_dict()


def test_positions_are_numbers_of_the_slots_of_the_whole_batch(shards: ShardSet) -> None:
    stream = Stream([shards], LoadConfig(**uneven.OPTIONS))
    batch: Any = next(iter(stream.batches(Position()))).batch
    originals = batch.input_ids.reshape(-1).copy()
    there = batch.mlm_labels >= 0
    originals[batch.mlm_positions[there]] = batch.mlm_labels[there]
    bins = originals.reshape(batch.input_ids.shape)
    for number, place in zip(*np.nonzero(batch.rows >= 0), strict=True):
        inside = batch.sequence_index[number] == place + 1
        assert bins[number][inside].tolist() == shards[int(batch.rows[number, place])].original().tolist()


def test_a_row_with_more_masked_tokens_than_its_masking_allows_is_named(shards: ShardSet) -> None:
    """As if another program had masked it: the manifest says one token in fifty."""
    content = {key: value for key, value in shards.manifest.content.items() if key not in ("digest", "fingerprint")}
    config = content["config"]
    foreign = seal(
        {**content, "config": {**config, "masking": {**config["masking"], "mask_ratio": 0.02}}}, shards.manifest.splits
    )
    options = {**uneven.OPTIONS, "capacities": Capacities(tokens=48, sequences=1)}
    stream = Stream([ShardSet(shards.root, foreign, shards.split)], LoadConfig(**options))
    with pytest.raises(ShardError, match=r"document \d+ segment \d+ has \d+ masked tokens of \d+, more than .*verify"):
        next(iter(stream.batches(Position())))
