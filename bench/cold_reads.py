"""What loading reads from the disk when nothing of the shards is in memory, in a process of its own.

Blocks that are read one after another lie far apart in a dataset larger than memory. So that a small one shows what that costs, the pages
are dropped before each group of blocks: what is read around it in vain, and again later, counts twice.
"""

from __future__ import annotations

import gc
import os
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import spanmask
from spanmask.loading.config import LoadConfig
from spanmask.loading.order import Order, OrderKind, Source
from spanmask.loading.position import Position
from spanmask.loading.shelves import locate
from spanmask.loading.stream import Stream
from spanmask.shard.reader import ShardSet

from . import protocol

#: Blocks whose rows are shuffled together: few, so that a small dataset has many groups of them.
GROUP_BLOCKS = 4
#: The share of the bytes wanted that must have come from the disk for the pages to count as dropped.
_DROPPED = 0.9


def run(*, folder: str, rounds: int) -> dict[str, Any]:
    """Read one epoch of a dataset with ``order = block``, padded, from the disk.

    Returns
    -------
    dict
        ``useful_bytes`` of the shards; ``disk_bytes`` of each round, and ``counted_by`` whose reads are counted, those of the ``process``
        or, where these are not, of the whole ``system``: None where neither is, or where the pages could not be dropped; ``seconds`` of
        each round, without dropping.
    """
    # The first epoch reads kernels and modules, too.
    _epoch(folder)
    useful = sum(record.bytes for record in spanmask.open(folder).split.shards)
    taken = [_epoch(folder) for _ in range(rounds)]
    found = {"useful_bytes": useful, "seconds": [seconds for _, seconds in taken]}
    for name in ("process", "system"):
        counts = [count[name] for count, _ in taken]
        if all(bytes_read is not None and bytes_read >= _DROPPED * useful for bytes_read in counts):
            return {**found, "disk_bytes": counts, "counted_by": name}
    return {**found, "disk_bytes": None, "counted_by": None}


def _epoch(folder: str) -> tuple[dict[str, int | None], float]:
    """Return the bytes that came from the disk, by who counted, and the seconds that reading took."""
    bounds = group_bounds(spanmask.open(folder))
    before, spent = disk_bytes(), 0.0
    for start, end in pairwise(bounds):
        drop(folder)
        spent += protocol.seconds(partial(_group, folder, start, end))
    after = disk_bytes()
    return {name: _less(after[name], before[name]) for name in after}, spent


def _less(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


def group_bounds(shards: ShardSet) -> list[int]:
    """Return the places of an epoch at which a group of blocks begins, and its end."""
    order = Order([Source.of(shards)], seed=0, kind=OrderKind.BLOCK, shuffle_blocks=GROUP_BLOCKS)
    _, blocks, _ = locate(shards, order(0, np.arange(order.size))[1])
    _, firsts = np.unique(blocks, return_index=True)
    return [*np.sort(firsts)[::GROUP_BLOCKS].tolist(), order.size]


def _group(folder: str, start: int, end: int) -> None:
    """Take the samples [start, end) of an epoch as one batch, so that no row of another group is read with them.

    That holds for groups of more than 2,048 rows: a stream reads 4,096 at once where batches are smaller.
    """
    config = LoadConfig(batch_size=end - start, order=OrderKind.BLOCK, shuffle_blocks=GROUP_BLOCKS)
    next(Stream([spanmask.open(folder)], config).batches(Position(unit=start)))


def drop(folder: str) -> None:
    """Have the system forget the shards' pages, which it does for a file that is written out and that no process has mapped."""
    gc.collect()
    for path in sorted(Path(folder).rglob("*.arrow")):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def disk_bytes() -> dict[str, int | None]:
    """Return the bytes read from disks so far: by this process, and by all; None where the system does not say."""
    return {
        "process": _value("/proc/self/io", "read_bytes:", 1),
        # In KiB, whatever the page size.
        "system": _value("/proc/vmstat", "pgpgin ", 1024),
    }


def _value(path: str, name: str, unit: int) -> int | None:
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError:
        return None
    values = [int(line.removeprefix(name)) for line in lines if line.startswith(name)]
    return values[0] * unit if values else None
