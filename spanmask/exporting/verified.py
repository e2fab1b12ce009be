"""The rows to export: record batches of a finished dataset, each verified, one shard open at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from spanmask.shard.manifest import Manifest
from spanmask.shard.reader import OnRows, advancing
from spanmask.shard.root import Root
from spanmask.shard.shard_file import ShardFile
from spanmask.shard.table import ShardRecord, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A shard's record, schema and verified record batches."""

    record: ShardRecord
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


class VerifiedRows:
    """The splits to export, in order."""

    def __init__(self, root: Root, manifest: Manifest, splits: tuple[Split, ...], on_progress: OnRows | None) -> None:
        self.manifest = manifest
        self.splits = splits
        self._root = root
        self._advance = advancing(on_progress, sum(split.rows for split in splits))

    def shards(self, split: Split) -> Iterator[Shard]:
        """Yield the shards of a split, each closed when the next one is opened.

        Raises
        ------
        IncompleteShards
            A file is missing.
        ShardError
            It is damaged, or its kept columns have other types than those before.
        """
        first: ShardFile | None = None
        for record in split.shards:
            file = ShardFile(self._root, record, self.manifest)
            first = first or file
            file.require_types_of(first)
            yield Shard(record=record, schema=file.schema, batches=self._batches(file))

    def _batches(self, file: ShardFile) -> Iterator[pa.RecordBatch]:
        for number in range(len(file)):
            batch = file.batch(number)
            yield batch
            self._advance(batch.num_rows)
