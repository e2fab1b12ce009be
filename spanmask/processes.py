"""Child processes that stand still: stopped (SIGSTOP, a debugger) and not continued, so that whoever waits for them waits for ever."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

#: Seconds between two looks, and for how long a child may stand still.
LOOK, PATIENCE = 1.0, 60.0


def is_stopped(pid: int) -> bool:
    """Tell whether a child of this process is stopped; where the system does not say (macOS before Python 3.13), none is."""
    wait = getattr(os, "waitid", None)
    if wait is None:
        return False
    try:
        # Without taking the news away from whoever waits for the child's end.
        return wait(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


class Stillness:
    """For how long children have been standing still. What this process did not live through itself, as in a shell's Ctrl-Z, is no time."""

    def __init__(self) -> None:
        self._looked = time.monotonic()
        self._still: dict[int, float] = {}

    def look(self, children: Iterable[int]) -> int | None:
        """Return one of the children that was stopped for longer than it may be, None as long as there is none; to be called often."""
        passed = time.monotonic() - self._looked
        if passed < LOOK:
            return None
        self._looked += passed
        known = self._still
        self._still = {pid: known.get(pid, 0.0) + min(passed, 2 * LOOK) for pid in children if is_stopped(pid)}
        return next((pid for pid, seconds in self._still.items() if seconds > PATIENCE), None)


@contextmanager
def ending_still(children: Collection[int]) -> Iterator[list[int]]:
    """End children that stand still while the body runs, which may wait for one of them; yield the list of those that were ended."""
    ended: list[int] = []
    done = threading.Event()

    def watch() -> None:
        stillness = Stillness()
        while not done.wait(LOOK):
            still = stillness.look(children)
            if still is not None and still not in ended:
                ended.append(still)
                with suppress(ProcessLookupError):
                    os.kill(still, signal.SIGKILL)

    thread = threading.Thread(target=watch, name="spanmask-stillness", daemon=True)
    thread.start()
    try:
        yield ended
    finally:
        done.set()
        thread.join()
