"""The order of samples: a bijection of every epoch, shuffled as if drawn, and the same for whoever asks."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory import traced

from spanmask.errors import ConfigError
from spanmask.loading.order import BlockOrder, Order, OrderKind, Source
from spanmask.loading.permutation import Permutation
from spanmask.statistics import chi_square

#: The chance that a sound order fails one of the tests of its distribution; their seeds are fixed, so that they fail always or never.
FALSE_ALARM = 1e-6


def source(shard_rows: list[int], name: str = "data") -> Source:
    rows = np.concatenate(([0], np.cumsum(shard_rows))).astype(np.int64)
    blocks = np.concatenate(([0], np.cumsum([-(-count // 1024) for count in shard_rows]))).astype(np.int64)
    return Source(fingerprint=name, row_offsets=rows, block_offsets=blocks)


def test_small_permutations_are_bijective_and_invert() -> None:
    for size, key in itertools.product([*range(1, 200), 1023, 1024, 1025], range(3)):
        permutation = Permutation(size, ["key", key])
        numbers = permutation(np.arange(size))
        assert np.array_equal(np.sort(numbers), np.arange(size))
        assert np.array_equal(permutation.inverse(numbers), np.arange(size))


@given(st.integers(1, (1 << 62) - 1), st.integers(), st.data())
def test_large_permutations_stay_in_range_and_invert(size: int, key: int, data: st.DataObject) -> None:
    places = np.unique(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20)))
    numbers = Permutation(size, key)(places)
    assert ((numbers >= 0) & (numbers < size)).all()
    assert len(np.unique(numbers)) == len(places)
    assert np.array_equal(Permutation(size, key).inverse(numbers), places)


def test_every_permutation_of_four_comes_equally_often() -> None:
    counts = dict.fromkeys(itertools.permutations(range(4)), 0)
    for key in range(12_000):
        counts[tuple(Permutation(4, key)(np.arange(4)).tolist())] += 1  # type: ignore[index]
    test = chi_square(list(counts.values()), [500.0] * 24)
    assert test.p_value > FALSE_ALARM


def distances_are_uniform(rows: Any, size: int) -> float:
    """Return the p-value of the distances, on a ring, between samples that follow one another: uniform on 1 to size − 1."""
    steps = np.diff(rows) % size
    counts = np.histogram(steps, bins=40, range=(1, size))[0]
    edges = np.ceil(np.linspace(1, size, 41))
    expected = np.diff(edges) / (size - 1) * len(steps)
    return chi_square(counts, expected).p_value


@pytest.mark.parametrize("kind", [OrderKind.GLOBAL, OrderKind.BLOCK])
def test_neighbours_in_the_corpus_end_up_uniformly_apart(kind: OrderKind) -> None:
    shards = source([5000] * 8)
    order = Order([shards], seed=1, kind=kind, shuffle_blocks=64)
    rows = order(0, np.arange(order.size))[1]
    assert distances_are_uniform(rows, order.size) > FALSE_ALARM
    assert distances_are_uniform(np.argsort(rows), order.size) > FALSE_ALARM
    stored = Order([shards], seed=1, kind=OrderKind.NONE)(0, np.arange(order.size))[1]
    assert distances_are_uniform(stored, order.size) < FALSE_ALARM


def test_rows_of_a_group_of_blocks_are_uniformly_apart_and_groups_follow_one_another() -> None:
    order = Order([source([4096] * 8)], seed=3, kind=OrderKind.BLOCK, shuffle_blocks=4)
    rows = order(0, np.arange(order.size))[1]
    for group in rows.reshape(-1, 4096):
        blocks = np.unique(group // 1024)
        assert len(blocks) == 4
        inside = np.searchsorted(blocks, group // 1024) * 1024 + group % 1024
        assert distances_are_uniform(inside, 4096) > FALSE_ALARM


@pytest.mark.parametrize("kind", [OrderKind.GLOBAL, OrderKind.BLOCK])
def test_epochs_and_seeds_are_uncorrelated(kind: OrderKind) -> None:
    """The correlation of two orders of n rows is about normal with variance 1/(n − 1)."""
    shards = source([9_000, 11_000, 20_000])

    def rows(seed: int, epoch: int) -> Any:
        order = Order([shards], seed=seed, kind=kind, shuffle_blocks=64)
        return order(epoch, np.arange(order.size))[1]

    orders = [rows(1, 0), rows(1, 1), rows(1, 2), rows(2, 0)]
    for one, other in itertools.combinations(orders, 2):
        correlation = np.corrcoef(one, other)[0, 1]
        assert abs(correlation) * np.sqrt(len(one) - 1) < 4.9
        assert (
            chi_square(np.histogram((one - other) % len(one), bins=40)[0], [len(one) / 40] * 40).p_value > FALSE_ALARM
        )


@given(
    st.lists(st.integers(1, 3000), min_size=1, max_size=6),
    st.integers(1, 5),
    st.sampled_from([OrderKind.GLOBAL, OrderKind.BLOCK, OrderKind.NONE]),
    st.integers(0, 3),
)
def test_every_epoch_takes_every_row_once(shards: list[int], width: int, kind: OrderKind, epoch: int) -> None:
    order = Order([source(shards)], seed=9, kind=kind, shuffle_blocks=width)
    rows = order(epoch, np.arange(order.size))[1]
    assert np.array_equal(np.sort(rows), np.arange(sum(shards)))
    some = np.arange(order.size)[::-3]
    assert np.array_equal(order(epoch, some)[1], rows[some])


def test_blocks_are_read_group_by_group() -> None:
    shards = source([1500, 700, 4096, 3000])
    rows = BlockOrder(shards, 3, "key")(np.arange(shards.rows))
    starts = np.concatenate([shards.first_rows(np.arange(shards.blocks)), [shards.rows]])
    blocks = np.searchsorted(starts, rows, side="right") - 1
    order = list(dict.fromkeys(blocks.tolist()))
    sizes = np.diff(starts)
    at = 0
    for group in range(0, len(order), 3):
        members = set()
        size = 0
        while len(members) < min(3, len(order) - group):
            members.add(int(blocks[at + size]))
            size += 1
        size = int(sum(sizes[sorted(members)]))
        assert set(blocks[at : at + size].tolist()) == members
        at += size


def test_weights_deal_datasets_evenly_and_take_each_row_as_often_as_they_say() -> None:
    datasets = [source([3000], "a"), source([1000], "b"), source([500, 500], "c")]
    order = Order(datasets, seed=5, kind=OrderKind.BLOCK, weights=[1, 0.5, 2.5])
    assert order.size == 3000 + 500 + 2500
    seen: list[list[int]] = [[], [], []]
    for epoch in range(2):
        numbers, rows = order(epoch, np.arange(order.size))
        for number in range(3):
            seen[number] += rows[numbers == number].tolist()
        # At equal distances: any run of samples has its share of each, but for one or two.
        for number, share in enumerate((3000, 500, 2500)):
            counts = np.cumsum(numbers == number)
            expected = np.arange(1, order.size + 1) * share / order.size
            assert np.abs(counts - expected).max() < 2
    for rows, size, times in zip(seen, (3000, 1000, 1000), (2, 1, 5), strict=True):
        assert np.array_equal(np.bincount(rows, minlength=size), np.full(size, times))


def test_a_place_in_a_hundred_million_rows_is_found_at_once_in_little_memory() -> None:
    def peak(shards: int) -> tuple[int, float]:
        data = source([50_000] * shards)
        with traced() as found:
            began = time.perf_counter()
            order = Order([data], seed=1, kind=OrderKind.BLOCK)
            order(3, np.arange(data.rows - 64, data.rows))
            seconds = time.perf_counter() - began
        return found.peak, seconds

    (small, _), (large, seconds) = peak(20), peak(2000)
    assert seconds < 0.1
    assert large - small < 2000 * 200  # a few numbers a shard; nothing a row


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1, 2]}, "give one above 0"),
        ({"weights": [0]}, "give one above 0"),
        ({"shuffle_blocks": 0}, "give 1 or more"),
    ],
)
def test_what_cannot_be_ordered_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Order([source([10])], seed=1, **options)
    with pytest.raises(ConfigError, match="no rows"):
        Order([], seed=1)
