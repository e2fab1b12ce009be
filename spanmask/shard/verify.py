"""Prove a dataset: every digest, every invariant of FORMAT.md, and its statistics counted again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from spanmask.errors import ShardError
from spanmask.shard.invariants import Rows, content_problem
from spanmask.shard.manifest import (
    MANIFEST,
    Manifest,
    describe_vocabulary,
    expected_config_fingerprint,
    read_manifest,
)
from spanmask.shard.parts import SKIPPED, SPLITS
from spanmask.shard.reader import OnRows, ShardSet, advancing
from spanmask.shard.root import RemoteRoot, Root, root_of
from spanmask.shard.schema import content_chunks, from_record_batch
from spanmask.shard.skipped import check_skipped
from spanmask.statistics import RowStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong with a dataset: where, and what."""

    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `verify` found, and how much it looked at."""

    findings: tuple[Finding, ...]
    shards: int
    rows: int
    tokens: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify(folder: str | os.PathLike[str], *, on_progress: OnRows | None = None) -> Verdict:
    """Check a whole dataset; what is wrong is collected, a shard's first fault each, never raised.

    Parameters
    ----------
    folder
        A finished dataset, or its URL: shards are fetched for this, one at a time, whether there are copies of them or not.
    on_progress
        Called with the rows checked, and all rows, after each record batch.

    Raises
    ------
    ConfigError
        The folder does not exist.
    StorageError
        A file cannot be read.
    """
    root = root_of(folder)
    if isinstance(root, RemoteRoot):
        # What lies there now is to be proved, and not what was fetched once.
        root = replace(root, kept=False)
    try:
        manifest = read_manifest(root)
        manifest.vocabulary  # noqa: B018
    except ShardError as error:
        return Verdict(
            findings=(Finding(path=error.path or MANIFEST, message=str(error.args[0])),), shards=0, rows=0, tokens=0
        )
    findings = [
        *_stray_files(root, manifest),
        *_compare_config(manifest),
        *_check_skipped(root, manifest),
    ]
    kept, damaged = 0, False
    advance = advancing(on_progress, sum(split.rows for split in manifest.splits.values()))
    for split in manifest.splits.values():
        counted = RowStatistics()
        # Read, not mapped: whoever cut a shard meanwhile would end this process without a word.
        faults = list(_check_split(ShardSet(root, manifest, split, mapped=False), counted, advance))
        kept, damaged = kept + counted.tokens - (counted.repeated or 0), damaged or bool(faults)
        # Counts over part of the rows would differ for sure, and say nothing beside the fault.
        findings += faults or _compare_statistics(manifest, split.name, counted)
    if not damaged:
        findings += _compare_conservation(manifest, kept)
    splits = manifest.splits.values()
    return Verdict(
        findings=tuple(findings),
        shards=sum(len(split.shards) for split in splits),
        rows=sum(split.rows for split in splits),
        tokens=sum(split.tokens for split in splits),
    )


def _check_split(shards: ShardSet, counted: RowStatistics, advance: Callable[[int], None]) -> Iterator[Finding]:
    """Yield what is wrong with the shards of a split, and count the rows of the others."""
    before = (-1, -1)
    for number, record in enumerate(shards.split.shards):
        try:
            # Of an object store all bytes are compared as they come.
            if isinstance(shards.root, Path):
                shards.check_digest(number)
            _check_shard(shards, number, before, counted, advance)
        except ShardError as error:
            yield Finding(path=record.path, message=_located(error))
        shards.close(number)
        # As the manifest says, so that one damaged shard is not blamed on the next.
        before = record.last


def _located(error: ShardError) -> str:
    return str(error.args[0]) if error.row is None else f"row {error.row}: {error.args[0]}"


def _stray_files(root: Root, manifest: Manifest) -> Iterator[Finding]:
    known = {shard.path for split in manifest.splits.values() for shard in split.shards}
    if isinstance(root, RemoteRoot):
        listed = known | (set() if manifest.skipped is None else {SKIPPED})
        for name in root.names():
            if name not in listed and (name == SKIPPED or name.startswith(tuple(f"{split}/" for split in SPLITS))):
                yield Finding(path=name, message="not in the manifest; remove it")
        return
    for split in SPLITS:
        # Each of its shards is refused for the link already; what lies elsewhere is no part of the dataset.
        if (root / split).is_symlink():
            continue
        for path in sorted((root / split).glob("*")):
            relative = f"{split}/{path.name}"
            if relative not in known:
                yield Finding(path=relative, message="not in the manifest; remove it")


def _check_skipped(root: Root, manifest: Manifest) -> Iterator[Finding]:
    try:
        check_skipped(root, manifest)
    except ShardError as error:
        yield Finding(path=SKIPPED, message=_located(error))


def _compare_config(manifest: Manifest) -> Iterator[Finding]:
    if manifest.parts["vocabulary"] != describe_vocabulary(manifest.vocabulary):
        yield Finding(path=MANIFEST, message="special ids or entries of its vocabulary are not the vocabulary's")
    if manifest.config_fingerprint != expected_config_fingerprint(manifest):
        yield Finding(path=MANIFEST, message="config_fingerprint is not that of its configuration")


def _check_shard(
    shards: ShardSet, number: int, before: tuple[int, int], counted: RowStatistics, advance: Callable[[int], None]
) -> None:
    """Check one shard's batches and record, and count its rows."""
    file, record = shards.file(number), shards.split.shards[number]
    config, vocabulary = shards.manifest.config, shards.manifest.vocabulary
    content = hashlib.sha256()
    rows = tokens = 0
    last, first = before, None
    for k in range(len(file)):
        batch = file.batch(k)
        for chunk in content_chunks(batch):
            content.update(chunk)
        block = from_record_batch(batch)
        identities = list(zip(block.document_ids.tolist(), block.segments.tolist(), strict=True))
        _check_order(record.path, rows, last, identities)
        problem = content_problem(Rows(block=block, config=config, vocabulary=vocabulary))
        if problem is not None:
            raise ShardError(problem.message, path=record.path, row=rows + problem.row)
        counted.add(block, vocabulary, config.masking.mask_fraction)
        first, last = first or identities[0], identities[-1]
        rows, tokens = rows + len(block), tokens + len(block.input_ids.values)
        advance(len(block))
    found = (rows, tokens, content.hexdigest(), first, last)
    if found != (record.rows, record.tokens, record.content_sha256, record.first, record.last):
        raise ShardError(
            "its rows, tokens, content digest or outer identities are not the manifest's", path=record.path
        )


def _check_order(path: str, rows: int, last: tuple[int, int], identities: list[tuple[int, int]]) -> None:
    for k, identity in enumerate(identities):
        if identity <= last:
            raise ShardError(f"identity {identity} does not ascend after {last} (I8)", path=path, row=rows + k)
        last = identity


def _compare_statistics(manifest: Manifest, split: str, counted: RowStatistics) -> Iterator[Finding]:
    stated = manifest.statistics.get(split)
    found = counted.to_json()
    if manifest.format_version == 1:
        del found["tokens_short_of_budget"]
    if stated != found:
        keys = [key for key in found if (stated or {}).get(key) != found[key]]
        yield Finding(path=MANIFEST, message=f"statistics of {split} differ from the rows in {', '.join(keys)}")


def _compare_conservation(manifest: Manifest, kept: int) -> Iterator[Finding]:
    tokens = manifest.conservation["tokens"]
    if tokens["kept"] != kept or tokens["in"] != kept + sum(tokens["dropped"].values()):
        yield Finding(path=MANIFEST, message=f"tokens are not conserved: {tokens}, and the rows hold {kept}, once each")
