"""What an export writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from spanmask.errors import ConfigError


class Target(StrEnum):
    """A format: the columns as Parquet, as lines of JSON or for ``datasets.load_from_disk``, or T5's inputs and targets as Parquet."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    DATASETS = "datasets"
    T5 = "t5"


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelConfig:
    """How T5's rows are written.

    first: id of the sentinel of a row's first span; by default the vocabulary's size V, the first id that no token has. descending: whether
    that of span k is ``first - k`` (as in T5's own vocabulary, where ``<extra_id_0>`` is 32099) rather than ``first + k``.
    specials: whether inputs keep ``[CLS]`` and ``[SEP]``.

    Raises
    ------
    ConfigError
        An id is negative.
    """

    first: int | None = None
    descending: bool = False
    specials: bool = False

    def __post_init__(self) -> None:
        if self.first is not None and self.first < 0:
            raise ConfigError(f"first_sentinel is {self.first}: give an id, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """A format, the splits to write (all, where none is named), and for T5 its sentinels."""

    target: Target
    splits: tuple[str, ...] = ()
    sentinels: SentinelConfig = field(default_factory=SentinelConfig)
