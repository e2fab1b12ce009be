"""Progress of presharding, which signals end in order: at the ends of the shards under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING

from .ending import Request
from .progress import progress_display

if TYPE_CHECKING:
    from spanmask.presharding.progress import Progress

#: Seconds that shards under way have to be done once a signal came.
_PATIENCE = 10


@contextmanager
def stoppable_display(stream: IO[str]) -> Iterator[tuple[Callable[[Progress], bool], Request]]:
    """Show progress while the body runs; yield what to call, which tells whether to end, and what signals ask for."""
    request = Request(f"ending when the shards under way are done, or after {_PATIENCE} seconds", patience=_PATIENCE)
    with progress_display(stream) as show, ExitStack() as noting:

        def on_progress(progress: Progress) -> bool:
            # Not before the first time: until then there is nothing to wait for.
            request.note_within(noting)
            if show is not None:
                show(progress)
            return request.code is not None

        yield on_progress, request
