"""Questions whose answers are waited for, as those to an object store: asked by threads, many at once, answered in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

#: Questions that are asked at once.
_AT_ONCE = 32

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_order(ask: Callable[[Item], Answer], items: Sequence[Item], waits: Callable[[Item], bool]) -> Iterator[Answer]:
    """Yield the answer for each item, in their order; an error ends it, and what was not yet asked is not.

    waits: for which of them it takes a wait and little else: a thread asks these, others are asked here when their turn has come.
    """
    if not any(map(waits, items)):
        yield from map(ask, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    answers = deque[Callable[[], Answer]]()
    pool = ThreadPoolExecutor(_AT_ONCE, "spanmask-asking")
    try:
        for item in items:
            answers.append(pool.submit(ask, item).result if waits(item) else partial(ask, item))
            if len(answers) > 2 * _AT_ONCE:
                yield answers.popleft()()
        while answers:
            yield answers.popleft()()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
