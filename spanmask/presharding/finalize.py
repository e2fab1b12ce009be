"""Receipts in, the manifest of the finished dataset out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import reduce
from typing import Any

from spanmask.config import ALGORITHM_VERSION, FORMAT_VERSION
from spanmask.errors import CorpusError
from spanmask.presharding.plan import Plan
from spanmask.presharding.receipt import Receipt
from spanmask.shard.manifest import (
    SPLITS,
    InputRecord,
    Manifest,
    Split,
    config_fingerprint,
    describe_vocabulary,
    seal,
)
from spanmask.statistics import merge_counts


def assemble(plan: Plan, receipts: Sequence[Receipt], digests: Sequence[str]) -> Manifest:
    """Build the manifest from the receipts in order of units, and the SHA-256 of every input.

    Raises
    ------
    CorpusError
        There are no rows, or a field that was named holds nothing in any document.
    """
    conservation: dict[str, Any] = reduce(merge_counts, (receipt.conservation for receipt in receipts), {})
    shards = {name: tuple(record for receipt in receipts for record in receipt.shards.get(name, ())) for name in SPLITS}
    # Receipts come in order of units whatever worker wrote them, so sums and lists are the same for any number of jobs.
    if not any(shards.values()):
        raise CorpusError(_nothing(conservation, plan))
    _check_supplied(plan, receipts)
    splits = {name: Split(name=name, shards=records) for name, records in shards.items() if records}
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "algorithm_version": ALGORITHM_VERSION,
        "config": plan.config.to_json(),
        "config_fingerprint": config_fingerprint(plan.config, plan.vocabulary),
        "vocabulary": describe_vocabulary(plan.vocabulary),
        "words": "stored" if plan.words_stored else "table",
        "inputs": [
            asdict(InputRecord(index=file.index, name=file.name, size=file.size, sha256=sha256))
            for file, sha256 in zip(plan.files, digests, strict=True)
        ],
        "conservation": conservation,
        "statistics": _by_split(splits, [receipt.statistics for receipt in receipts]),
        "sampling": _by_split(splits, [receipt.sampling for receipt in receipts]),
        "splits": {name: split.to_json() for name, split in splits.items()},
    }
    if plan.unigram is not None:
        digest = hashlib.sha256(plan.unigram.astype("<u8").tobytes()).hexdigest()
        content["unigram"] = {"sha256": digest, "counts": plan.unigram.tolist()}
    return seal(content)


def _check_supplied(plan: Plan, receipts: Sequence[Receipt]) -> None:
    """Refuse a corpus in which no document has what a field was named for: the name is likely wrong."""
    for option in ("spans_field", "words_field"):
        name = getattr(plan.config.corpus, option)
        if name is not None and not any(receipt.supplied[option] for receipt in receipts):
            flag = option.replace("_", "-")
            raise CorpusError(
                f"no document has anything in the field {name!r} of --{flag}; name the field that holds it"
            )


def _by_split(splits: Iterable[str], counts: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    return {name: reduce(merge_counts, (known[name] for known in counts if name in known)) for name in splits}


def _nothing(conservation: dict[str, Any], plan: Plan) -> str:
    if not conservation or conservation["documents_in"] == 0:
        return f"every input is empty ({len(plan.files)} read); give files with text"
    short = plan.config.sequence.min_tokens
    return (
        f"no sequence is left of {conservation['documents_in']:,} documents "
        f"({conservation['documents_skipped']:,} skipped, {conservation['documents_empty']:,} empty, "
        f"the rest shorter than {short} tokens); "
        "lower --min-tokens, or give longer texts"
    )
