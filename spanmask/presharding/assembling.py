"""Receipts in, the manifest of the finished dataset out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from spanmask.config import ALGORITHM_VERSION, FORMAT_VERSION
from spanmask.errors import CorpusError, IncompleteShards
from spanmask.presharding.digests import InputDigests, InputRanges
from spanmask.presharding.planning import Plan
from spanmask.presharding.receipt import Receipt
from spanmask.records import SKIPPED_LIMIT
from spanmask.shard.listed import describe_file
from spanmask.shard.manifest import (
    Manifest,
    config_fingerprint,
    describe_vocabulary,
    seal,
)
from spanmask.shard.parts import SKIPPED, SPLITS
from spanmask.shard.skipped import describe_skipped
from spanmask.shard.table import SHARDS, Shards, Split, rows_of, table_bytes
from spanmask.statistics import merge_counts
from spanmask.tokenization.tokenizer import tokenized_by


@dataclass(slots=True)
class _Sums:
    """Receipts added up: counts as numbers, shards as rows of the table, so that many shards take little memory."""

    digests: InputDigests
    conservation: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)
    sampling: dict[str, dict[str, Any]] = field(default_factory=dict)
    supplied: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    shards: dict[str, bytearray] = field(default_factory=lambda: {name: bytearray() for name in SPLITS})
    units: Counter[int] = field(default_factory=Counter)
    blocks: dict[int, int] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        task = int(receipt.unit.partition("-")[0])
        self.units[task] += 1
        if receipt.blocks is not None:
            self.blocks[task] = receipt.blocks
        for name in ("conservation", "statistics", "sampling", "supplied"):
            setattr(self, name, merge_counts(getattr(self, name), getattr(receipt, name)))
        self.digests.add(receipt.hashed)
        self.skipped += receipt.skipped[: SKIPPED_LIMIT - len(self.skipped)]
        for name, records in receipt.shards.items():
            self.shards[name] += rows_of(name, records)

    def splits(self) -> dict[str, Split]:
        """Return the splits that have shards, in their order."""
        return {name: Split(name=name, shards=Shards.of_rows(name, rows)) for name, rows in self.shards.items() if rows}


def assemble(plan: Plan, receipts: Iterable[Receipt]) -> tuple[Manifest, bytes]:
    """Build the manifest, and the bytes of `skipped.jsonl`, from the receipts in order of units.

    Raises
    ------
    CorpusError
        There are no rows, or a field that was named holds nothing in any document.
    IncompleteShards
        Receipts are missing.
    """
    sums = _Sums(InputDigests(InputRanges(plan)))
    # Receipts come in order of units whatever worker wrote them, so sums and lists are the same for any number of jobs.
    for receipt in receipts:
        sums.add(receipt)
    _check_whole(plan, sums)
    if plan.config.corpus.exclude:
        sums.conservation.setdefault("documents_excluded", 0)
    splits = sums.splits()
    if not splits:
        raise CorpusError(_nothing(sums.conservation, plan))
    _check_supplied(plan, sums.supplied)
    skipped = "".join(f"{line}\n" for line in sums.skipped).encode()
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "algorithm_version": ALGORITHM_VERSION,
        "config": plan.config.to_json(),
        "config_fingerprint": config_fingerprint(plan.config, plan.vocabulary),
        "vocabulary": describe_vocabulary(plan.vocabulary),
        "tokenized_by": tokenized_by(plan.vocabulary),
        "words": "stored" if plan.words_stored else "table",
        "inputs": [record.to_json() for record in sums.digests.records()],
        "conservation": sums.conservation,
        "statistics": sums.statistics,
        "sampling": sums.sampling,
        "splits": {name: split.to_json() for name, split in splits.items()},
        "files": {SHARDS: describe_file(table_bytes(splits))}
        | ({SKIPPED: describe_skipped(skipped)} if skipped else {}),
    }
    if plan.unigram is not None:
        digest = hashlib.sha256(plan.unigram.astype("<u8").tobytes()).hexdigest()
        content["unigram"] = {"sha256": digest, "counts": plan.unigram.tolist()}
    return seal(content, splits), skipped


def _check_whole(plan: Plan, sums: _Sums) -> None:
    """Refuse to finish what lacks a unit: a task is one, a streamed one as many as it has blocks, and its end."""
    wanted = {task.number: sums.blocks.get(task.number, -1) + 1 if task.streamed else 1 for task in plan.tasks}
    missing = [number for number, count in wanted.items() if sums.units[number] != max(count, 1)]
    if missing:
        raise IncompleteShards(
            f"{len(missing):,} tasks are not done ({', '.join(map(str, missing[:5]))}); run the same command again"
        )


def _check_supplied(plan: Plan, supplied: dict[str, int]) -> None:
    """Refuse a corpus in which no document has what a field was named for: the name is likely wrong."""
    for option in ("spans_field", "words_field"):
        name = getattr(plan.config.corpus, option)
        if name is not None and not supplied[option]:
            flag = option.replace("_", "-")
            raise CorpusError(
                f"no document has anything in the field {name!r} of --{flag}; name the field that holds it"
            )


def _nothing(conservation: dict[str, Any], plan: Plan) -> str:
    if not conservation.get("documents_in"):
        return f"every input is empty ({len(plan.files)} read); give files with text"
    short = plan.config.sequence.min_tokens
    excluded = f"{conservation['documents_excluded']:,} excluded, " if plan.config.corpus.exclude else ""
    return (
        f"no sequence is left of {conservation['documents_in']:,} documents "
        f"({conservation['documents_skipped']:,} skipped, {excluded}{conservation['documents_empty']:,} empty, "
        f"the rest shorter than {short} tokens); "
        "lower --min-tokens, or give longer texts"
    )
