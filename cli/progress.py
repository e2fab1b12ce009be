"""Progress on a terminal: a bar with speed and the time left; nothing when piped."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import IO, TYPE_CHECKING, Protocol

from spanmask.escaping import counted

if TYPE_CHECKING:
    from spanmask.presharding.progress import Progress

#: Returns how much is done, of how much, for people.
Told = Callable[[int, int], str]


class OnAmount(Protocol):
    """Called with how much is done and of how much, and with what and in which words where those change."""

    def __call__(self, done: int, total: int, doing: str = ..., told: Told = ...) -> None:
        """Show it."""


#: Seconds between two drawings; between those while nothing is told; and after which what starts is compiling.
_REDRAW, _TICK, _LONG = 0.1, 1.0, 3.0
_STARTING, _COMPILING = "starting", "compiling the kernels, once"


class Bar:
    """A line on a terminal: a percentage, a bar, and as much of what is told as there is room for.

    Parameters
    ----------
    stream
        The terminal.
    stack
        The line is gone when it is left.
    threaded
        Whether a thread draws, also while nothing is told: it would keep workers from being forks.
    """

    def __init__(self, stream: IO[str], stack: ExitStack, *, threaded: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        self.console = Console(file=stream)
        width = self.console.width
        bar_width = 6 if width < 60 else width // 6
        # Beside it: the percentage, the bar and the spaces between them.
        self._room = width - bar_width - 7
        columns = (
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(bar_width),
            TextColumn("{task.fields[status]}", markup=False),
        )
        self._bars = stack.enter_context(Bars(*columns, console=self.console, transient=True, auto_refresh=threaded))
        self._bar = self._bars.add_task("", total=None, status="")
        self._waiting: tuple[Thread, Event] | None = None
        stack.callback(self.waited)

    def wait(self, doing: str) -> None:
        """Show for how long something is under way, until more is shown: a thread does, and no worker can be a fork meanwhile."""
        self.show([doing])
        done = Event()
        self._waiting = Thread(target=self._tick, args=(doing, done), daemon=True), done
        self._waiting[0].start()

    def waited(self) -> None:
        """Have the thread of `wait` end, if there is one."""
        if self._waiting is not None:
            thread, done = self._waiting
            self._waiting = None
            done.set()
            thread.join()

    def _tick(self, doing: str, done: Event) -> None:
        began = time.monotonic()
        while not done.wait(_TICK):
            seconds = time.monotonic() - began
            # Nothing else takes so long before there is something to count.
            self._draw([_COMPILING if doing == _STARTING and seconds > _LONG else doing, duration(seconds)])

    def show(self, parts: Sequence[str], done: int = 0, total: int | None = None) -> None:
        """Show what is under way, the first parts being the essential ones, and how much of how much."""
        self.waited()
        self._draw(parts, done, total)

    def _draw(self, parts: Sequence[str], done: int = 0, total: int | None = None) -> None:
        status = fitting(parts, self._room)
        self._bars.update(
            self._bar, total=total, completed=done, status=status, refresh=not self._bars.live.auto_refresh
        )


def fitting(parts: Sequence[str], room: int) -> str:
    """Return as many of the first parts as a line has room for, one at least."""
    for count in range(len(parts), 1, -1):
        text = " · ".join(parts[:count])
        if len(text) <= room:
            return text
    return parts[0][:room]


@contextmanager
def bar_on(stream: IO[str], *, threaded: bool = False) -> Iterator[Bar | None]:
    """Have a `Bar` while the body runs, where the stream is a terminal."""
    with ExitStack() as stack:
        yield Bar(stream, stack, threaded=threaded) if stream.isatty() else None


@contextmanager
def waiting_display(stream: IO[str], doing: str) -> Iterator[None]:
    """Show on a terminal for how long something is under way while the body runs."""
    with bar_on(stream) as bar:
        if bar is not None:
            bar.wait(doing)
        yield


@contextmanager
def progress_display(stream: IO[str]) -> Iterator[Callable[[Progress], None] | None]:
    """Show progress on a terminal while the body runs; yield what to call, or None where nobody watches."""
    with bar_on(stream) as bar:
        if bar is None:
            yield None
            return
        bar.wait("planning")
        drawn, began, first = 0.0, 0.0, None

        def show(progress: Progress) -> None:
            nonlocal drawn, began, first
            now = time.monotonic()
            if progress.preparing:
                bar.wait(_or_compiling(_STARTING))
                return
            bar.waited()
            if first is None and progress.text_bytes:
                began, first = now, progress
            elif drawn and now - drawn < _REDRAW:
                return
            drawn = now
            parts = [_STARTING] if first is None else status_parts(progress, first, now - began)
            bar.show(parts, progress.disk_bytes, progress.disk_total)

        yield show


@contextmanager
def rows_display(stream: IO[str], doing: str) -> Iterator[OnAmount | None]:
    """Show on a terminal how many rows are done, of how many; yield what to call with both, or None where nobody watches."""
    with bar_on(stream) as bar:
        if bar is None:
            yield None
            return
        bar.wait(_or_compiling(doing))
        drawn = defaultdict[str, float](float)

        def show(done: int, total: int, doing: str = doing, told: Told = _sequences) -> None:
            now = time.monotonic()
            if now - drawn[doing] >= _REDRAW:
                drawn[doing] = now
                bar.show([doing, told(done, total)], done, total)

        yield show


def _sequences(done: int, total: int) -> str:
    return f"{done:,} of {counted(total, 'sequence')}"


def megabytes(done: int, total: int) -> str:
    """Return how many bytes are done, of how many."""
    return f"{done / 1e6:,.1f} of {total / 1e6:,.1f} MB"


def _or_compiling(doing: str) -> str:
    from spanmask.kernels.cache import has_compiled_kernels

    return doing if has_compiled_kernels() else _COMPILING


def status_parts(progress: Progress, first: Progress, seconds: float) -> list[str]:
    """Return the time left, speed and shards. first: the progress so many seconds ago, when text first came: starting takes no part."""
    parts = []
    done = progress.disk_bytes - first.disk_bytes
    if done > 0 and seconds > 0:
        text, tokens = progress.text_bytes - first.text_bytes, progress.tokens - first.tokens
        left = (progress.disk_total - progress.disk_bytes) * seconds / done
        parts = [
            f"{duration(left)} left",
            f"{text / 1e6 / seconds:.1f} MB/s",
            f"{tokens / 1e6 / seconds:.2f} M tokens/s",
        ]
    return [*parts, counted(progress.shards, "shard")]


def duration(seconds: float) -> str:
    """Return seconds as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
