"""Shards of object stores, fetched by threads before their rows are read: which come next, the order of samples says."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from spanmask.errors import SpanmaskError
from spanmask.loading.order import Order
from spanmask.shard.cache import shard_cache
from spanmask.shard.reader import ShardSet
from spanmask.shard.root import RemoteRoot

#: Objects that a process fetches at once, and bytes of them, before what is read now, that it has fetched at most.
_THREADS, _AHEAD = 8, 1 << 30
#: Samples whose shards are looked up at once.
_STEP = 4096

T = TypeVar("T")


class Fetching:
    """Fetches what samples of an epoch need, from a place on, in their order, until it is closed.

    What cannot be fetched is left to the reader, who meets the same error when it is there.

    Parameters
    ----------
    order, datasets
        Of the samples.
    epoch, place
        Where reading begins.
    span
        Samples that are read at once.
    """

    def __init__(self, order: Order, datasets: Sequence[ShardSet], epoch: int, place: int, span: int) -> None:
        self._order, self._datasets, self._epoch, self._span = order, datasets, epoch, span
        self._bound = min(_AHEAD, shard_cache().limit // 4)
        self._begun = place
        self._changed = threading.Condition()
        self._needed, self._closed = place + span, False
        #: The first places that need the shards fetched, or being fetched, for what is not read yet, and their bytes.
        self._ahead, self._bytes = deque[tuple[int, int]](), 0
        self._queue: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        for work in (self._look_ahead, *[self._fetch] * _THREADS):
            threading.Thread(target=self._guarded, args=(work,), daemon=True, name="spanmask-fetching").start()

    def tell(self, place: int) -> None:
        """Say that samples before a place have been read.

        Raises
        ------
        BaseException
            Whatever a thread failed with, but for what the reader meets itself.
        """
        if self._error is not None:
            raise self._error
        with self._changed:
            self._needed = place + self._span
            while self._ahead and self._ahead[0][0] < self._needed:
                self._bytes -= self._ahead.popleft()[1]
            self._changed.notify_all()

    def close(self) -> None:
        """End the threads, each with the object it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for _ in range(_THREADS):
            self._queue.put(None)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error

    def _look_ahead(self) -> None:
        seen = set[tuple[int, int]]()
        every = sum(len(one.split.shards) for one in self._datasets if isinstance(one.root, RemoteRoot))
        for first in range(self._begun, self._order.size, _STEP):
            # An order that goes anywhere has soon been everywhere.
            if len(seen) == every:
                return
            for place, number, shard in self._shards_of(first):
                if (number, shard) not in seen:
                    seen.add((number, shard))
                    if not self._wait_for_turn(place, int(self._datasets[number].split.shards.counts("bytes")[shard])):
                        return
                    self._queue.put((number, shard))

    def _shards_of(self, first: int) -> list[tuple[int, int, int]]:
        """Return which shards some samples need: the first place that does, the dataset and the shard, in order of places."""
        places = np.arange(first, min(first + _STEP, self._order.size))
        datasets, rows = self._order(self._epoch, places)
        found = []
        for number, shards in enumerate(self._datasets):
            if isinstance(shards.root, RemoteRoot):
                chosen = np.flatnonzero(datasets == number)
                owners = np.searchsorted(shards.row_offsets, rows[chosen], side="right") - 1
                wanted, at = np.unique(owners, return_index=True)
                found += [(int(places[chosen[i]]), number, int(shard)) for shard, i in zip(wanted, at, strict=True)]
        return sorted(found)

    def _wait_for_turn(self, place: int, size: int) -> bool:
        """Wait until a shard may be fetched that a place needs; return whether there is still reason to."""
        with self._changed:
            while not self._closed and place >= self._needed and self._ahead and self._bytes + size > self._bound:
                self._changed.wait()
            if place >= self._needed:
                self._ahead.append((place, size))
                self._bytes += size
            return not self._closed

    def _fetch(self) -> None:
        while (wanted := self._queue.get()) is not None and not self._closed:
            shards = self._datasets[wanted[0]]
            assert isinstance(shards.root, RemoteRoot)  # noqa: S101
            try:
                shards.root.fetch(shards.split.shards[wanted[1]])
            except SpanmaskError:
                continue


def with_fetching(items: Iterator[T], begin: Callable[[], Fetching], place_of: Callable[[T], int]) -> Iterator[T]:
    """Yield items, and tell of the place after each. begin: called with the first one asked for."""
    fetching = begin()
    try:
        for item in items:
            fetching.tell(place_of(item))
            yield item
    finally:
        fetching.close()
