"""The one process that writes a run's folder, and what it does not write over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spanmask.errors import ConfigError, StorageError
from spanmask.folders import claimed, refuse_links
from spanmask.storage import AGAIN

_STATE = ".spanmask"


@contextmanager
def claimed_run(record: Path, mine: Sequence[Path], behind: Sequence[Path], *, resume: bool) -> Iterator[None]:
    """Be the only process that writes a run while the body runs; else refuse, and leave all as it was.

    Parameters
    ----------
    record
        The file that a run in this folder has, written after all others that it begins with.
    mine
        What else the run writes: a run's own are there only where the record is.
    behind
        What must be no links, since files would be written and removed behind them.
    resume
        Whether the run is to be gone on with.

    Raises
    ------
    ConfigError
        A run is there and is not to be resumed, or none is to go on with, or something would be written behind a link
        or over what is no run's.
    MismatchError
        Another process is writing it.
    StorageError
        The file system refused.
    """
    folder = record.parent
    with claimed(folder, folder / _STATE):
        _require(record, resume=resume)
        refuse_links(*behind)
        there = [] if record.exists() else [str(path.relative_to(folder)) for path in mine if path.exists()]
        if there:
            raise ConfigError(f"{folder}: it holds {there[0]}, which is no run's; give another folder, or move it away")
        try:
            yield
        except StorageError as error:
            if not record.exists():
                raise
            raise StorageError(str(error).replace(AGAIN, "go on with --resume")) from error


def _require(record: Path, *, resume: bool) -> None:
    begun, folder = record.exists(), record.parent
    if begun and not resume:
        raise ConfigError(f"{folder}: it holds a run already; go on with it (--resume), or give another folder")
    if resume and not begun:
        raise ConfigError(f"{folder}: no {record.name} there, so there is no run to resume; leave out --resume")
