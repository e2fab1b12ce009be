"""The receipt of a unit of work: counted while it runs, kept as a file when it is done, summed into the manifest at the end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any, Self

from spanmask.masking import Draws
from spanmask.presharding.digests import Hashed
from spanmask.records import SKIPPED_LIMIT, DocumentBlock, MaskedBlock, SequenceBlock
from spanmask.shard.parts import SPLITS
from spanmask.shard.skipped import skipped_line
from spanmask.shard.stated import is_count, require, require_counts, require_histograms
from spanmask.shard.table import ShardRecord, Split
from spanmask.statistics import RowStatistics, merge_counts
from spanmask.vocab import Vocabulary

#: The name of a unit: its task, and its block of that.
UNIT = re.compile(r"[0-9]{5,}-[0-9]{5,}")


def unit_order(name: str) -> tuple[int, ...]:
    """Return what units are sorted by, from a unit's name."""
    return tuple(map(int, name.split("-")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A unit that is done: its published shards, and what was counted.

    unit: its name. shards, statistics, sampling: by split, of those that have some; counts as the manifest writes them, conservation too.
    source_bytes: decompressed input bytes. disk_bytes: input bytes on disk. supplied: how much the documents held in the fields of
    ``spans_field`` and ``words_field``. skipped: lines of `skipped.jsonl`, at most `SKIPPED_LIMIT`. through_library: why text went
    through the `tokenizers` library, where it did. hashed: of the inputs. blocks: of a streamed task's end: how many other units it has.
    plan: its `Plan.key`, where that was saved.
    """

    unit: str
    shards: dict[str, tuple[ShardRecord, ...]]
    statistics: dict[str, dict[str, Any]]
    sampling: dict[str, dict[str, Any]]
    conservation: dict[str, Any]
    source_bytes: int
    disk_bytes: int
    supplied: dict[str, int]
    skipped: tuple[str, ...]
    hashed: tuple[Hashed, ...] = ()
    through_library: str | None = None
    blocks: int | None = None
    plan: str = ""

    @property
    def records(self) -> tuple[ShardRecord, ...]:
        """The shards of all splits."""
        return tuple(record for records in self.shards.values() for record in records)

    def to_json(self) -> dict[str, Any]:
        """Return the receipt as its file holds it: without what it does not tell of, as before there was any."""
        absent = {"hashed": (), "through_library": None, "blocks": None, "plan": ""}
        return {name: value for name, value in asdict(self).items() if name not in absent or value != absent[name]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Build what `to_json` and JSON made of a receipt.

        Raises
        ------
        ValueError
            Something in it is no receipt's.
        """
        try:
            shards = {name: tuple(map(ShardRecord.from_json, records)) for name, records in content["shards"].items()}
            hashed = tuple(map(Hashed.from_json, content.get("hashed", ())))
            receipt = cls(**{**content, "shards": shards, "skipped": tuple(content["skipped"]), "hashed": hashed})
            receipt._check()
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"no receipt ({error})") from None
        return receipt

    def _check(self) -> None:
        require(UNIT.fullmatch(self.unit) is not None, "no unit")
        require_counts(self.conservation, self.statistics, self.sampling)
        require(self.statistics.keys() == self.sampling.keys() == self.shards.keys() <= set(SPLITS), "no such splits")
        for name, records in self.shards.items():
            split = Split.of(name, records)
            split.check()
            require(
                bool((split.shards.columns["task"] == int(self.unit.split("-")[0])).all()), "shards of another unit"
            )
            require_histograms(self.statistics[name], name)
        require(all(map(is_count, (self.source_bytes, self.disk_bytes, *self.supplied.values()))), "no counts")
        require(all(type(line) is str for line in self.skipped), "no lines")
        require(self.blocks is None or is_count(self.blocks), "no blocks")
        require(type(self.plan) is str, "no plan")
        require(self.through_library is None or type(self.through_library) is str, "no reason")


def summed(receipts: Sequence[Receipt]) -> Receipt:
    """Return the receipt of a task from those of its units: the only one, or under the task's number what all of them count."""
    if len(receipts) == 1:
        return receipts[0]
    ordered = sorted(receipts, key=lambda receipt: unit_order(receipt.unit))
    counts: dict[str, Any] = {}
    shards: dict[str, tuple[ShardRecord, ...]] = {}
    for receipt in ordered:
        told = {name: getattr(receipt, name) for name in ("statistics", "sampling", "conservation", "supplied")}
        counts = merge_counts(counts, {**told, "source_bytes": receipt.source_bytes, "disk_bytes": receipt.disk_bytes})
        shards |= {name: (*shards.get(name, ()), *records) for name, records in receipt.shards.items()}
    skipped = tuple(line for receipt in ordered for line in receipt.skipped)[:SKIPPED_LIMIT]
    hashed = tuple(one for receipt in ordered for one in receipt.hashed)
    unit, last = f"{unit_order(ordered[0].unit)[0]:05}", ordered[-1]
    return replace(ordered[0], unit=unit, shards=shards, skipped=skipped, hashed=hashed, blocks=last.blocks, **counts)


def _nothing_counted() -> dict[str, Any]:
    documents = dict.fromkeys(("documents_in", "documents_skipped", "documents_empty"), 0)
    return {"tokens": {"in": 0, "dropped": {}}, **documents, "words_cut": 0, "word_rule": {}}


@dataclass(slots=True)
class Ledger:
    """What a unit's receipt will say, while it is being counted."""

    statistics: dict[str, RowStatistics] = field(default_factory=dict)
    sampling: dict[str, dict[str, Any]] = field(default_factory=dict)
    conservation: dict[str, Any] = field(default_factory=_nothing_counted)
    skipped: list[str] = field(default_factory=list)
    source_bytes: int = 0
    supplied: dict[str, int] = field(default_factory=lambda: {"spans_field": 0, "words_field": 0})

    def add_documents(self, documents: DocumentBlock) -> None:
        """Count a block of documents."""
        left = documents.skipped + documents.excluded
        self._count(documents_in=len(documents) + left, documents_skipped=documents.skipped)
        if documents.excluded:
            self._count(documents_excluded=documents.excluded)
        self.skipped += map(skipped_line, documents.skipped_documents[: SKIPPED_LIMIT - len(self.skipped)])
        self.source_bytes += documents.source_bytes
        self.supplied["spans_field"] += 0 if documents.annotations is None else len(documents.annotations.starts)
        self.supplied["words_field"] += 0 if documents.words is None else len(documents.words.values)

    def add_segments(self, segments: SequenceBlock, tokens: int, empty: int) -> None:
        """Count the segments of a block of documents, the tokens they were cut from, and the documents that have none."""
        counts = {"in": tokens, "dropped": segments.dropped}
        self._count(tokens=counts, documents_empty=empty, words_cut=segments.words_cut, word_rule=segments.word_rule)

    def _count(self, **counts: Any) -> None:
        self.conservation = merge_counts(self.conservation, counts)

    def add_rows(self, split: str, block: MaskedBlock, draws: Draws, vocabulary: Vocabulary, ratio: Fraction) -> None:
        """Count masked rows of a split, whose budget is ``ratio`` of their tokens."""
        self.statistics.setdefault(split, RowStatistics()).add(block, vocabulary, ratio)
        self.add_draws(split, draws.to_json())

    def add_draws(self, split: str, counts: Mapping[str, Any]) -> None:
        """Count what was drawn for rows of a split."""
        self.sampling[split] = merge_counts(self.sampling.get(split, {}), dict(counts))

    def receipt(
        self,
        unit: str,
        disk_bytes: int,
        shards: Mapping[str, Sequence[ShardRecord]],
        **told: Any,
    ) -> Receipt:
        """Return the receipt of a unit that is done, and published these shards. told: what else it says; see `Receipt`."""
        repeated = [statistics.repeated for statistics in self.statistics.values()]
        tokens = {
            "kept": sum(statistics.tokens for statistics in self.statistics.values()) - sum(filter(None, repeated))
        }
        if any(count is not None for count in repeated):
            tokens["repeated"] = sum(filter(None, repeated))
        return Receipt(
            unit=unit,
            shards={name: tuple(records) for name, records in shards.items() if records},
            statistics={name: statistics.to_json() for name, statistics in self.statistics.items()},
            sampling=self.sampling,
            conservation=merge_counts(self.conservation, {"tokens": tokens}),
            source_bytes=self.source_bytes,
            disk_bytes=disk_bytes,
            supplied=self.supplied,
            skipped=tuple(self.skipped),
            **told,
        )
