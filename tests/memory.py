"""What a work takes of this process's memory, as the process itself is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: Writing 5 here sets a process's peak back to what it holds (Linux).
RESET_PEAK = Path("/proc/self/clear_refs")


def with_peak(work: Callable[[], T]) -> tuple[T, int]:
    """Return what a work returns, and the most bytes that this process held meanwhile beyond those before."""
    RESET_PEAK.write_text("5")
    before = _resident("VmRSS")
    found = work()
    return found, _resident("VmHWM") - before


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
