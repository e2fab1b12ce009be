"""Batches made ahead, by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

#: Seconds between two questions whether to go on waiting, and for which the thread's end is waited for.
_LOOK, _PATIENCE = 0.2, 3.0

T = TypeVar("T")


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class Ahead(Generic[T]):
    """Iterates over what a function yields, which a thread of its own calls, some items ahead.

    Kernels and copies run without Python's lock, so the thread works beside whoever takes the items. An error there is raised here. The
    thread ends with the items, or when `close` is called.

    Parameters
    ----------
    make
        What the thread calls.
    items
        How many it makes ahead.
    stopping
        Asked while none is ready: whether to wait no more, so that the items end here.
    """

    def __init__(
        self, make: Callable[[], Iterator[T]], items: int, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._stopping = stopping
        self._queue: queue.Queue[T | _Failure | None] = queue.Queue(maxsize=items)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(make,), daemon=True, name="spanmask-prefetch")
        self._thread.start()

    def _work(self, make: Callable[[], Iterator[T]]) -> None:
        last: _Failure | None = None
        try:
            for item in make():
                self._put(item)
                if self._closed.is_set():
                    return
        except BaseException as error:
            last = _Failure(error)
        self._put(last)

    def _put(self, item: T | _Failure | None) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return

    def __iter__(self) -> Iterator[T]:
        try:
            while (item := self._next()) is not None:
                if isinstance(item, _Failure):
                    raise item.error
                yield item
        finally:
            self.close()

    def _next(self) -> T | _Failure | None:
        while True:
            with suppress(queue.Empty):
                return self._queue.get(timeout=_LOOK)
            if self._stopping():
                return None

    def close(self) -> None:
        """End the thread: at once, or when it has what it waits for, as an object of a store that stumbles."""
        if not self._closed.is_set():
            self._closed.set()
            self._thread.join(_PATIENCE)
