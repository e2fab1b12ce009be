"""What resuming costs in a dataset of 10⁸ rows, which is a manifest only: loading a state, and the order of the samples that come next."""

from __future__ import annotations

from typing import Any

import numpy as np

from spanmask.loading.config import BatchLayout
from spanmask.loading.order import Order, OrderKind, Source
from spanmask.loading.position import Position
from spanmask.shard.manifest import seal
from spanmask.shard.reader import ShardSet
from spanmask.shard.table import ShardRecord, Split

from . import peers, protocol

#: Shards and rows of each: 10⁸ rows.
SHARDS, SHARD_ROWS = 2000, 50_000
#: Where a run stopped: three quarters through an epoch that is not the first.
PLACES = {
    BatchLayout.PADDED: Position(epoch=2, unit=77_777_777),
    BatchLayout.PACKED: Position(epoch=2, window=18_988, unit=77),
}
#: How often each is done, and samples whose order is asked for.
_TIMES, _SAMPLES = 21, 4096


def measure(shards: ShardSet) -> dict[str, Any]:
    """Measure.

    Parameters
    ----------
    shards
        A dataset whose configuration the huge one takes.

    Returns
    -------
    dict
        ``rows``; ``load_state_dict`` by layout and ``next_order`` by order, each the spread of milliseconds.
    """
    vast = huge(shards)
    return {
        "rows": len(vast),
        "load_state_dict": {str(layout): _milliseconds(*_loading(vast, layout)) for layout in PLACES},
        "next_order": {
            str(kind): _milliseconds(*_ordering(vast, kind)) for kind in (OrderKind.GLOBAL, OrderKind.BLOCK)
        },
    }


def huge(shards: ShardSet) -> ShardSet:
    """Return a dataset of 10⁸ rows with the configuration of another; none of its shards is there."""
    record = ShardRecord(
        path="train/shard-00000-00000.arrow",
        rows=SHARD_ROWS,
        tokens=25_000_000,
        bytes=60 << 20,
        sha256="0" * 64,
        content_sha256="0" * 64,
        first=(0, 0),
        last=(1, 0),
    )
    split = Split.of(shards.split.name, [record] * SHARDS)
    content = {key: value for key, value in shards.manifest.content.items() if key not in ("digest", "fingerprint")}
    return ShardSet(shards.root, seal({**content, "splits": {split.name: split.to_json()}}, {split.name: split}), split)


def _loading(shards: ShardSet, layout: BatchLayout) -> tuple[Any, Any]:
    """Return what makes a loader ready, and what loads a state into it."""
    from spanmask.loading import ShardLoader

    peers.require(["torch"])
    loader = ShardLoader(shards, batch_size=256, layout=layout)
    state = PLACES[layout].to_state(layout, loader.stream.settings)
    return loader, lambda: loader.load_state_dict(state)


def _ordering(shards: ShardSet, kind: OrderKind) -> tuple[Any, Any]:
    """Return places of the epoch, and what gives their order, from nothing."""
    source, places = Source.of(shards), PLACES[BatchLayout.PADDED].unit + np.arange(_SAMPLES)
    return places, lambda: Order([source], seed=7, kind=kind)(2, places)


def _milliseconds(_held: Any, function: Any) -> dict[str, float]:
    function()
    return protocol.spread([1000 * protocol.seconds(function) for _ in range(_TIMES)])
