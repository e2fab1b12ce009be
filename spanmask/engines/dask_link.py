"""What a run says to its Dask cluster, and hears of it: calls of workers, what becomes of them, and which workers there are."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any

from spanmask.engines.dask_cluster import ANSWER
from spanmask.errors import StorageError

#: Seconds between two looks at which workers there are.
LOOK = 0.5

#: What a call's result is lost by: it was cancelled, by the client where it loses its scheduler, or the way to it broke.
_LOST = (asyncio.CancelledError, CancelledError, OSError)


class Link:
    """A run's link to its cluster. Events come at least every `LOOK` seconds."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._events: queue.SimpleQueue[tuple[str, Any, Any]] = queue.SimpleQueue()
        self._loop = client.loop.asyncio_loop
        self._wanted: Any = None
        self._watching = asyncio.run_coroutine_threadsafe(self._watch(), self._loop)

    @property
    def address(self) -> str:
        """Where the scheduler is."""
        return str(self._client.scheduler.address)

    def next(self) -> tuple[str, Any, Any]:
        """Return the next event: its kind, the call it is of, if any, and what there is to say.

        ``workers``: threads of each worker, by address. ``ended``: what a call returned. ``died``: its worker did. ``lost``: what
        it returned. ``failed``: the error for which it could not be made.

        Raises
        ------
        StorageError
            The scheduler is gone.
        """
        kind, call, content = self._events.get()
        if kind == "gone":
            raise StorageError(
                f"the Dask scheduler {self.address} is gone ({content}); what is done is kept: start it, and run the same command "
                "again, which goes on from there"
            )
        return kind, call, content

    def call(self, call: object, key: str, worker: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Have one worker, and no other, call a function; return the future. call: what events of it are about."""
        future = self._client.submit(
            function, *arguments, key=key, workers=[worker], allow_other_workers=False, pure=False
        )
        asyncio.run_coroutine_threadsafe(self._follow(call, future), self._loop)
        return future

    def forget(self, futures: Sequence[Any]) -> None:
        """Have the cluster forget what calls returned, or that they were to be made."""
        under_way = [future for future in futures if not future.done()]
        if under_way and self._client.status == "running":
            self._client.cancel(under_way, force=True)
        for future in futures:
            future.release()

    def want_worker(self, key: str | None) -> None:
        """Ask for a worker, any, by a task: a cluster that grows as it is asked to starts one then. None: that is over."""
        self._wanted = None if key is None else self._client.submit(int, key=key, pure=False)

    def end(self) -> None:
        """Hear no more."""
        self._watching.cancel()

    async def _watch(self) -> None:
        try:
            while True:
                async with asyncio.timeout(ANSWER):
                    workers = await self._client.nthreads()
                self._events.put(("workers", None, workers))
                await asyncio.sleep(LOOK)
        except Exception as error:
            self._events.put(("gone", None, str(error) or type(error).__name__))

    async def _follow(self, call: object, future: Any) -> None:
        from distributed import KilledWorker

        try:
            event = "ended", call, await future.result()
        except KilledWorker as error:
            event = "died", call, error
        except _LOST as error:
            event = "lost", call, error
        except Exception as error:
            event = "failed", call, error
        if event[0] in ("lost", "failed"):
            # No worker is to blame where the scheduler is gone: that shows in many ways, and soon in this one.
            await asyncio.sleep(LOOK)
            if self._client.status != "running":
                event = "gone", call, "the connection was lost"
        self._events.put(event)
