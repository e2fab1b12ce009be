"""Run units on a Dask cluster, which is asked for as little as can be: to run one call on one worker, and to say which workers there are.

Which worker gets which unit, and how often one is tried, is decided here. Dask's own scheduler would try the unit of a worker that died as
often as its owner configured, and blame whatever waited beside it.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from spanmask.engines.dask_cluster import connected, difference
from spanmask.engines.dask_link import LOOK, Link
from spanmask.engines.dask_worker import own_versions, run_unit
from spanmask.engines.local import TRIES, Outcome
from spanmask.engines.workers import Report, Work
from spanmask.errors import MismatchError

#: Units that a thread of a worker is given: one that it runs, and one that waits there, so that it never waits for us.
WINDOW = 2
#: Seconds that a unit may take in any case, and how many times as long as the longest one so far.
PATIENCE, LONGEST = 60.0, 10.0
#: Seconds without any worker after which that is told.
_ALONE = 5.0


@dataclass(slots=True, eq=False)
class _Item:
    """A unit. tries: how many workers died over it; sent: how often; runs: under way; doubled: whether a second worker was given it."""

    unit: Any
    name: str
    size: float
    tries: int = 0
    sent: int = 0
    runs: int = 0
    doubled: bool = False
    done: bool = False


@dataclass(slots=True, eq=False)
class _Flight:
    """A unit at a worker."""

    item: _Item
    worker: _Worker
    future: Any = None


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker.

    alone: what it runs next, with nothing beside it. heard: when it last ended a unit, or was given its first. still: whether that is
    longer ago than it may be.
    """

    address: str
    threads: int
    flights: list[_Flight] = field(default_factory=list)
    alone: _Item | None = None
    heard: float = 0.0
    still: bool = False

    @property
    def load(self) -> float:
        """Its units a thread."""
        return len(self.flights) / self.threads

    @property
    def takes_more(self) -> bool:
        """Whether it takes one more unit."""
        closed = self.still or self.alone is not None or any(flight.item.tries for flight in self.flights)
        return not closed and self.load < WINDOW


def run_dask(  # noqa: PLR0913 - who runs it, and how
    work: Work,
    units: Iterator[Any],
    report: Report,
    *,
    key: str,
    scheduler: str | None = None,
    jobs: int = 1,
    name: Callable[[Any], str] = str,
    size: Callable[[Any], float] = lambda _: 1.0,
    patience: float = PATIENCE,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Run units on a Dask cluster.

    A unit whose worker dies is tried up to three times, then its outcome has no result. What a worker has that takes far longer than others
    is given to a second one, with a warning: units must be such that this does no harm.

    Parameters
    ----------
    work
        Small, since it travels with each unit; what a worker prepares is kept for the next unit of an equal one.
    units
        What is run; small, too.
    report
        Told once a unit, when it is done.
    key
        Names the run on the cluster: two of the same key are the same run.
    scheduler, jobs
        See `spanmask.engines.dask_cluster.connected`.
    name, size
        Of a unit: what it is called on the cluster, and for how long it may run beside others.
    patience
        Seconds that a unit may take whatever others take.
    stopping
        Whether no unit is begun any more; those under way are ended. Asked every `LOOK` seconds.

    Raises
    ------
    ConfigError
        The ``dask`` extra is missing, or no scheduler answers.
    MismatchError
        A worker has other versions of what decides bytes.
    StorageError
        The scheduler is gone.
    SpanmaskError
        The first error that a unit met.
    """
    items = (_Item(unit, name(unit), size(unit)) for unit in units)
    first = list(itertools.islice(items, 1))
    if not first:
        return
    with connected(scheduler, jobs) as client:
        run = _Run(Link(client), work, itertools.chain(first, items), f"spanmask-{key}", patience, stopping)
        try:
            yield from run.outcomes(report)
        finally:
            run.end()


class _Run:
    """One run: what its workers have, what is to be given to others, and what is heard of both."""

    def __init__(
        self,
        link: Link,
        work: Work,
        items: Iterator[_Item],
        key: str,
        patience: float,
        stopping: Callable[[], bool],
    ) -> None:
        self._link, self._work, self._items, self._key = link, work, items, key
        self._stopping, self._stopped = stopping, False
        # Seconds and size of the unit that took longest.
        self._patience, self._longest, self._size = patience, 0.0, 1.0
        self._workers: dict[str, _Worker] = {}
        self._refused: set[str] = set()
        self._back: list[_Item] = []
        self._open = 0
        # When there was a worker last, until it is told that there is none.
        self._manned: float | None = time.monotonic()

    def outcomes(self, report: Report) -> Iterator[Outcome]:
        """Give units to workers, and yield what they came to.

        Raises
        ------
        SpanmaskError
            The first error that a unit met, or that the scheduler is gone.
        """
        while self._look_ahead() or self._open:
            kind, flight, content = self._link.next()
            if not self._stopped and self._stopping():
                self._stop()
            if kind == "workers":
                yield from self._bury([address for address in self._workers if address not in content])
                self._meet(content)
                self._look_for_stillness()
            elif flight not in flight.worker.flights:
                continue
            elif kind == "ended":
                yield from self._land(flight, content, report)
            elif kind == "died":
                yield from self._bury([flight.worker.address])
            else:
                yield from self._lose(flight)
                if kind == "failed":
                    self._refuse(flight.worker, f"could not run a unit ({type(content).__name__}: {content})")
            self._feed()

    def end(self) -> None:
        """Take back what is under way."""
        self._link.end()
        for worker in self._workers.values():
            self._forget(*worker.flights)

    def _stop(self) -> None:
        """Begin nothing any more."""
        self._stopped, self._items = True, iter(())
        for worker in self._workers.values():
            self._spare(worker)
            for flight in worker.flights[worker.threads :]:
                self._take_back(flight)
        self._open -= sum(not item.done and not item.runs for item in self._back)
        self._back.clear()

    def _take_back(self, flight: _Flight) -> None:
        self._forget(flight)
        if not flight.item.runs and flight.item not in self._back:
            self._back.append(flight.item)

    def _meet(self, threads: dict[str, int]) -> None:
        """Know the workers that there are."""
        for address in threads.keys() - self._workers.keys() - self._refused:
            self._workers[address] = _Worker(address, threads[address])
        if self._workers:
            self._manned = time.monotonic()
            self._link.want_worker(None)
            return
        self._link.want_worker(f"{self._key}-wanted")
        if self._manned is not None and time.monotonic() - self._manned > _ALONE:
            self._manned = None
            where = self._link.address
            warnings.warn(f"no workers at {where}: waiting for some (dask worker {where})", stacklevel=2)

    def _bury(self, addresses: Iterable[str]) -> Iterator[Outcome]:
        """Give the units of workers that died to others, or up."""
        for address in addresses:
            worker = self._workers.pop(address, None)
            if worker is None:
                continue
            self._spare(worker)
            for flight in worker.flights[:]:
                yield from self._lose(flight)

    def _spare(self, worker: _Worker) -> None:
        """Take back what a worker was to run alone."""
        if worker.alone is not None:
            self._back.insert(0, worker.alone)
            worker.alone = None

    def _lose(self, flight: _Flight) -> Iterator[Outcome]:
        """Take a unit back that its worker did not live to end."""
        item = flight.item
        self._forget(flight)
        item.tries += 1
        if item.done or item.runs or item in self._back:
            return
        if self._stopped:
            self._open -= 1
            return
        if item.tries < TRIES:
            # First in line: a unit that kills its worker every time is known soon.
            self._back.insert(0, item)
            return
        yield self._close(item, None)

    def _land(self, flight: _Flight, message: tuple[Any, ...], report: Report) -> Iterator[Outcome]:
        """Take what a worker, or Dask for it, says of a unit.

        Raises
        ------
        SpanmaskError
            The error that the unit met.
        """
        item, worker, (kind, content, *sums) = flight.item, flight.worker, message
        took, worker.heard = time.monotonic() - worker.heard, time.monotonic()
        worker.still = worker.address in self._refused
        self._forget(flight)
        if kind == "versions":
            self._back.append(item)
            self._refuse(worker, f"has {difference(content)}")
        elif item.done:
            return
        elif kind == "error":
            raise content
        else:
            if took > self._longest:
                self._longest, self._size = took, item.size
            if sums[0]:
                report(*sums[0])
            yield self._close(item, content)

    def _refuse(self, worker: _Worker, reason: str) -> None:
        """Give a worker nothing more.

        Raises
        ------
        MismatchError
            There is no other one.
        """
        self._refused.add(worker.address)
        worker.still = True
        self._spare(worker)
        if self._refused >= self._workers.keys():
            raise MismatchError(f"worker {worker.address} {reason}, and there is no other; install the same on both")
        warnings.warn(f"worker {worker.address} {reason}: it is given no work", stacklevel=2)

    def _look_for_stillness(self) -> None:
        """Have what a worker has run once more elsewhere, where it takes far longer than others."""
        for worker in self._workers.values():
            late = [flight.item for flight in worker.flights if not flight.item.doubled]
            silent = time.monotonic() - worker.heard
            if not late or silent <= max(map(self._limit, late)):
                continue
            worker.still = True
            self._spare(worker)
            self._back[:0] = late
            for item in late:
                item.doubled = True
            warnings.warn(
                f"worker {worker.address} has not answered for {silent:.0f} s, and no unit took longer than {self._longest:.0f} s: what "
                "it has is run once more elsewhere",
                stacklevel=2,
            )

    def _limit(self, item: _Item) -> float:
        """Return how many seconds a unit may take."""
        # Before any is done, kernels may be compiling.
        longest = self._longest * max(item.size / self._size, 1.0) or self._patience
        return max(self._patience, LONGEST * longest)

    def _look_ahead(self) -> bool:
        """Have a unit ready if there is one left; say whether there is."""
        if not self._back:
            self._back += itertools.islice(self._items, 1)
            self._open += len(self._back)
        return bool(self._back)

    def _feed(self) -> None:
        """Give units to workers, to each as many as it takes."""
        for worker in self._workers.values():
            if worker.alone is not None and not worker.flights:
                item, worker.alone = worker.alone, None
                self._send(item, worker)
        while self._look_ahead():
            takers = [worker for worker in self._workers.values() if worker.takes_more]
            if not takers:
                return
            worker = min(takers, key=lambda one: one.load)
            item = self._back.pop(0)
            if item.done:
                continue
            # A unit over which a worker died has one alone, so that no other dies with it; until that has ended the rest, it takes no more.
            if item.tries and worker.flights:
                worker.alone = item
            else:
                self._send(item, worker)
        self._even_out()

    def _even_out(self) -> None:
        """At the end, give what waits at a worker to one that has nothing to do."""
        idle = [worker for worker in self._workers.values() if worker.takes_more and not worker.flights]
        # It has not begun: its worker would have been heard of, or be known to have died.
        since = time.monotonic() - 2 * LOOK
        waiting = [worker.flights[-1] for worker in self._workers.values() if worker.load > 1 and worker.heard < since]
        for worker, flight in zip(idle, waiting, strict=False):
            self._forget(flight)
            if not flight.item.done:
                self._send(flight.item, worker)

    def _send(self, item: _Item, worker: _Worker) -> None:
        item.sent, item.runs = item.sent + 1, item.runs + 1
        if not worker.flights:
            worker.heard = time.monotonic()
        flight = _Flight(item, worker)
        key = f"{self._key}-{item.name}-{item.sent}"
        arguments = self._work, item.unit, own_versions()
        flight.future = self._link.call(flight, key, worker.address, run_unit, *arguments)
        worker.flights.append(flight)

    def _forget(self, *flights: _Flight) -> None:
        self._link.forget([flight.future for flight in flights])
        for flight in flights:
            flight.item.runs -= 1
            flight.worker.flights.remove(flight)

    def _close(self, item: _Item, result: Any) -> Outcome:
        item.done = True
        self._open -= 1
        return Outcome(unit=item.unit, result=result)
