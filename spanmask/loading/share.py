"""What plans of batches work with, and what they deliver."""

from __future__ import annotations

from dataclasses import dataclass

from spanmask.batches import PackedBatch, PaddedBatch
from spanmask.errors import ConfigError
from spanmask.loading.backend import Backend
from spanmask.loading.config import LoadConfig
from spanmask.loading.order import Order
from spanmask.loading.position import Position
from spanmask.loading.rows import RowReader
from spanmask.loading.targets import SboRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which part of each global batch is meant: that of one rank among as many as the world has."""

    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ConfigError(f"rank is {self.rank} of {self.world}: give 0 to world - 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How samples become batches. width: slots of a row or bin; None: as the batch needs. special: ids of pad, cls and sep."""

    reader: RowReader
    order: Order
    config: LoadConfig
    width: int | None
    rule: SboRule | None
    backend: Backend
    special: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a batch holds: tokens that are no padding (special ones included), MLM and SBO targets, sequences, and those that are pairs."""

    tokens: int
    mlm: int
    sbo: int
    sequences: int
    pairs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A batch of one rank, and where the stream stands after the global batch.

    counts: of the batch; overall: of the global batch of all ranks, where the plan knows it (packed).
    """

    batch: PaddedBatch | PackedBatch
    after: Position
    counts: Counts
    overall: Counts | None = None
