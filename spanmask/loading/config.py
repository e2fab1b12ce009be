"""How samples are loaded: everything that decides which batches come, but for the datasets and the ranks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from spanmask.config import MASK_EPOCH_LIMIT
from spanmask.errors import ConfigError
from spanmask.loading.backend import Backend
from spanmask.loading.binning import Capacities
from spanmask.loading.order import OrderKind
from spanmask.loading.rows import Masks
from spanmask.loading.targets import Edges
from spanmask.options import Form, Options


class BatchLayout(StrEnum):
    """What a batch looks like.

    ``padded``: a sequence a row. ``bucketed``: the same, sequences of about one length together. ``packed``: several sequences in bins of
    constant shape.
    """

    PADDED = "padded"
    BUCKETED = "bucketed"
    PACKED = "packed"


class Last(StrEnum):
    """What becomes of an epoch's last samples where they do not make a whole batch on every rank.

    ``pad``: the batch is filled up with rows of weight 0, or empty bins. ``drop``: they are left out, and counted. ``wrap``: it is filled
    up with the epoch's first ones.
    """

    PAD = "pad"
    DROP = "drop"
    WRAP = "wrap"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadConfig(Options):
    """Options of loading.

    Attributes
    ----------
    batch_size
        Rows, or bins, of a batch, on each rank.
    layout
        What a batch looks like.
    seed, order, shuffle_blocks, weights
        As of `Order`.
    order_key
        What orders the samples in place of the datasets' fingerprints: datasets of as many rows come in one order by one key.
    masks
        Stored ones, or fresh ones each epoch.
    mask_epoch
        Whose masks the first epoch has, where they are fresh.
    last
        What becomes of an epoch's last samples.
    window
        Samples that are sorted, or packed, together. It is fixed for a run.
    width
        Slots of a row (None: as the longest of the batch needs), or of a bin (None: the longest row that the datasets allow).
    capacities
        Of a bin; None chooses by the datasets' histograms.
    sbo
        Whether batches carry targets of the span boundary objective. None: as is the scheme's custom where packed, not where padded.
    edges
        Whether a special token may be a boundary. None: as is the scheme's custom.
    max_span_offset
        Tokens from a span's start that have SBO targets; the rest have MLM targets only (the paper's released code: 20).
    backend
        Who copies and fills.
    """

    batch_size: int
    layout: BatchLayout = BatchLayout.PADDED
    seed: int = 0
    order: OrderKind = OrderKind.AUTO
    shuffle_blocks: int = 16
    weights: Annotated[tuple[float, ...] | None, Form("a list of numbers, one a dataset")] = None
    order_key: str | None = None
    masks: Masks = Masks.STORED
    mask_epoch: int = 0
    last: Last = Last.PAD
    window: int = 4096
    width: int | None = None
    capacities: Capacities | None = None
    sbo: bool | None = None
    edges: Edges | None = None
    max_span_offset: int = 20
    backend: Backend = Backend.AUTO

    def _check(self) -> None:
        counts = ("batch_size", "window", "width", "shuffle_blocks", "max_span_offset")
        self._require(lambda value: value >= 1, "a whole number, 1 or more", *counts)
        self._require(lambda value: 0 <= value < MASK_EPOCH_LIMIT, f"0 to {MASK_EPOCH_LIMIT - 1}", "mask_epoch")
        if self.mask_epoch and self.masks is Masks.STORED:
            raise ConfigError(
                f"mask_epoch is {self.mask_epoch}, and stored masks have that of their dataset: leave it out, or take masks fresh",
                options=("mask_epoch", "masks"),
            )
        if self.capacities is not None and self.layout is not BatchLayout.PACKED:
            raise ConfigError(f"capacities go with layout packed, not with {self.layout}: leave them out")
