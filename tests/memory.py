"""What a work takes of this process's memory, as the process itself is told, and as Python's allocators count."""

from __future__ import annotations

import ctypes
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")

#: Writing 5 here sets a process's peak back to what it holds (Linux).
RESET_PEAK = Path("/proc/self/clear_refs")


def with_peak(work: Callable[[], T]) -> tuple[T, int]:
    """Return what a work returns, and the most bytes that this process held meanwhile beyond those before.

    What earlier work freed is given back first: allocators keep it, and it would hide as much of what this one takes.
    """
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    RESET_PEAK.write_text("5")
    before = _resident("VmRSS")
    found = work()
    return found, _resident("VmHWM") - before


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


@dataclass
class Traced:
    """Bytes that were handed out and are held at the end, and at most at once."""

    kept: int = 0
    peak: int = 0


@contextmanager
def traced() -> Iterator[Traced]:
    """Trace what Python and numpy allocate within; what is found stands there afterwards."""
    found = Traced()
    tracemalloc.start()
    try:
        yield found
        found.kept, found.peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
