"""Progress on a terminal: a bar with speed and the time left; nothing when piped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from spanmask.presharding.run import Progress

#: Seconds between two drawings.
_REDRAW = 0.1


@contextmanager
def progress_display(stream: IO[str]) -> Iterator[Callable[[Progress], None] | None]:
    """Show progress on a terminal while the body runs; yield what to call, or None where nobody watches."""
    if not stream.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    from spanmask.kernels.cache import has_compiled_kernels

    console = Console(file=stream)
    columns = (TextColumn("{task.percentage:>3.0f}%"), BarColumn(), TextColumn("{task.fields[status]}"))
    # Drawn by whoever tells of progress: a thread that draws would keep workers from being forks.
    with Bars(*columns, console=console, transient=True, auto_refresh=False) as bars:
        waiting = "planning" if has_compiled_kernels() else "compiling the kernels, once"
        bar = bars.add_task("preshard", total=None, status=waiting)
        bars.refresh()
        began = drawn = time.monotonic()

        def show(progress: Progress) -> None:
            nonlocal drawn
            now = time.monotonic()
            if now - drawn < _REDRAW:
                return
            drawn = now
            status = status_line(progress, now - began)
            bars.update(bar, total=progress.disk_total, completed=progress.disk_bytes, status=status, refresh=True)

        yield show


def status_line(progress: Progress, seconds: float) -> str:
    """Return speed, shards and the time left, for a run that has gone on for some seconds."""
    parts = [f"{progress.text_bytes / 1e6 / seconds:.1f} MB/s", f"{progress.tokens / 1e6 / seconds:.2f} M tokens/s"]
    done = progress.disk_bytes - progress.resumed_disk_bytes
    if done > 0:
        left = (progress.disk_total - progress.disk_bytes) * seconds / done
        parts.append(f"{duration(left)} left")
    return " · ".join([*parts, f"{progress.shards} shards"])


def duration(seconds: float) -> str:
    """Return seconds as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
