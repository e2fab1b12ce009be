"""What an export writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from spanmask.errors import ConfigError
from spanmask.options import Form, Options


class Target(StrEnum):
    """A format: the columns as Parquet, as lines of JSON or for ``datasets.load_from_disk``, or T5's inputs and targets as Parquet."""

    PARQUET = "parquet"
    JSONL = "jsonl"
    DATASETS = "datasets"
    T5 = "t5"


@dataclass(frozen=True, slots=True, kw_only=True)
class SentinelConfig(Options):
    """How T5's rows are written.

    Attributes
    ----------
    first_sentinel
        t5: sentinel of a row's first span. [the vocabulary's size]
    sentinels_descend
        t5: sentinel ids go down from the first, as in T5's vocabulary, where <extra_id_0> is 32099.
    keep_specials
        t5: leave [CLS] and [SEP] in the inputs.
    """

    first_sentinel: Annotated[int | None, Form("an id", "ID")] = None
    sentinels_descend: bool = False
    keep_specials: bool = False

    def _check(self) -> None:
        self._require(lambda value: value >= 0, "an id, 0 or more", "first_sentinel")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig(Options):
    """What is written of a dataset.

    Attributes
    ----------
    target
        The format.
    splits
        Split to write; may be repeated. [all]
    """

    target: Annotated[Target, Form(f"--to {'|'.join(Target)}")]
    splits: Annotated[tuple[str, ...], Form("a list of splits", "NAME")] = ()
    sentinels: SentinelConfig = field(default_factory=SentinelConfig)

    def _check(self) -> None:
        if self.target is not Target.T5 and self.sentinels != SentinelConfig():
            raise ConfigError("--first-sentinel, --sentinels-descend and --keep-specials go with --to t5")
