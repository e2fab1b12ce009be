"""Progress on a terminal: a bar with speed and the time left; nothing when piped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from .summary import counted

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
        waiting = "starting" if has_compiled_kernels() else "compiling the kernels, once"
        bar = bars.add_task("preshard", total=None, status="planning")
        bars.refresh()
        drawn, began, first = 0.0, 0.0, None

        def show(progress: Progress) -> None:
            nonlocal drawn, began, first
            now = time.monotonic()
            if first is None and progress.text_bytes:
                began, first = now, progress
            elif drawn and now - drawn < _REDRAW:
                return
            drawn = now
            status = waiting if first is None else status_line(progress, first, now - began)
            bars.update(bar, total=progress.disk_total, completed=progress.disk_bytes, status=status, refresh=True)

        yield show


def status_line(progress: Progress, first: Progress, seconds: float) -> str:
    """Return speed, shards and the time left. first: the progress so many seconds ago, when text first came: starting takes no part."""
    parts = []
    done = progress.disk_bytes - first.disk_bytes
    if done > 0 and seconds > 0:
        text, tokens = progress.text_bytes - first.text_bytes, progress.tokens - first.tokens
        left = (progress.disk_total - progress.disk_bytes) * seconds / done
        parts = [
            f"{text / 1e6 / seconds:.1f} MB/s",
            f"{tokens / 1e6 / seconds:.2f} M tokens/s",
            f"{duration(left)} left",
        ]
    return " · ".join([*parts, counted(progress.shards, "shard")])


def duration(seconds: float) -> str:
    """Return seconds as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
