"""How far a run is: counted while units run, told to whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from spanmask.presharding.receipt import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    disk_bytes of disk_total input bytes; text_bytes decompressed and tokens since it began; units done before it. through_library: why text
    goes through the `tokenizers` library, where it does. preparing: whether kernels are loaded, or compiled, which takes a while.
    """

    disk_total: int
    disk_bytes: int = 0
    text_bytes: int = 0
    tokens: int = 0
    shards: int = 0
    resumed_disk_bytes: int = 0
    through_library: str | None = None
    preparing: bool = False


#: Told of progress after every few MiB of text; once it returns True, no unit is begun any more.
OnProgress = Callable[[Progress], bool | None]


class Teller:
    """Counts the progress of a run of so many input bytes on disk, and tells it. stopping: whether whoever is told wants it to end."""

    def __init__(self, on_progress: OnProgress | None, disk_total: int) -> None:
        self.progress = Progress(disk_total=disk_total)
        self.stopping = False
        self._on_progress = on_progress

    def advance(self, disk_bytes: int = 0, text_bytes: int = 0, tokens: int = 0) -> None:
        """Count what was read and tokenized since the last time."""
        progress = self.progress
        self._tell(
            disk_bytes=progress.disk_bytes + disk_bytes,
            text_bytes=progress.text_bytes + text_bytes,
            tokens=progress.tokens + tokens,
        )

    def done(self, receipt: Receipt, *, before: bool) -> None:
        """Count a unit that is done. before: by an earlier run, so that its input was not counted yet."""
        progress, resumed = self.progress, receipt.disk_bytes if before else 0
        self.progress = replace(
            progress,
            disk_bytes=progress.disk_bytes + resumed,
            resumed_disk_bytes=progress.resumed_disk_bytes + resumed,
        )
        self.told(len(receipt.records), receipt.through_library)

    def told(self, shards: int, through_library: str | None) -> None:
        """Count what a unit wrote, whose input was counted."""
        self._tell(shards=self.progress.shards + shards, through_library=through_library)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Tell that kernels are made ready while the body runs."""
        self._tell(preparing=True)
        yield
        self._tell(preparing=False)

    def _tell(self, **changes: Any) -> None:
        self.progress = replace(self.progress, **changes)
        if self._on_progress is not None and self._on_progress(self.progress):
            self.stopping = True
