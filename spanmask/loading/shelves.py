"""The rows of one dataset, by number: with NumPy alone, or copied by kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from spanmask.blocks import from_columns, join, offsets_of, select
from spanmask.records import MaskedBlock, Offsets, Ragged
from spanmask.shard.reader import ShardSet
from spanmask.shard.schema import BATCH_ROWS, shard_schema
from spanmask.shard.shard_file import Verify
from spanmask.vocab import token_dtype

if TYPE_CHECKING:
    from spanmask.kernels.gather import Wanted

#: Record batches that the NumPy shelf keeps at hand.
_BLOCKS_KEPT = 256


class Shelf:
    """The rows of one dataset, with NumPy alone."""

    def __init__(self, shards: ShardSet) -> None:
        self.shards = shards
        kept = 0 if shards.verify is Verify.ALWAYS else _BLOCKS_KEPT
        self._block = lru_cache(maxsize=kept)(lambda number: shards.blocks[number])

    def read(self, rows: Offsets, *, whole: bool) -> MaskedBlock:
        """Return rows in the order asked for; word starts and annotated ranges only where ``whole`` is set."""
        parts, places = [], []
        for block, chosen, inside in self._by_block(rows):
            stored = self._block(block)
            parts.append(select(stored if whole else replace(stored, word_starts=None, annotations=None), inside))
            places.append(chosen)
        return select(join(parts), np.argsort(np.concatenate(places)))

    def lengths(self, rows: Offsets) -> Offsets:
        """Return the tokens of rows, (R,)."""
        lengths = np.empty(len(rows), np.int64)
        for block, chosen, inside in self._by_block(rows):
            lengths[chosen] = self._block(block).input_ids.lengths[inside]
        return lengths

    def _by_block(self, rows: Offsets) -> Iterator[tuple[int, Offsets, Offsets]]:
        """Yield each block that rows lie in, which of them do, and where in it."""
        blocks, inside = locate(self.shards, rows)
        for block in np.unique(blocks).tolist():
            chosen = np.flatnonzero(blocks == block)
            yield block, chosen, inside[chosen]


def locate(shards: ShardSet, rows: Offsets) -> tuple[Offsets, Offsets]:
    """Return the blocks that rows lie in, and where in them, (R,) each."""
    shard = np.searchsorted(shards.row_offsets, rows, side="right") - 1
    block, inside = np.divmod(rows - shards.row_offsets[shard], BATCH_ROWS)
    return shards.block_offsets[shard] + block, inside


class CompiledShelf:
    """The rows of one dataset, copied by kernels straight from the mapped files.

    Kept of each block that was touched: where its columns lie in the file, at most 144 bytes for 1,024 rows.
    """

    def __init__(self, shards: ShardSet) -> None:
        self.shards = shards
        self._types = _types(shards)
        self._columns = list(self._types)
        self._places = np.zeros((shards.block_count(), 2, len(self._columns)), np.int64)
        self._known = np.zeros(shards.block_count(), np.bool_)
        self._files: dict[int, npt.NDArray[np.uint8]] = {}
        self._always = shards.verify is Verify.ALWAYS

    def read(self, rows: Offsets, *, whole: bool) -> MaskedBlock:
        """Return rows in the order asked for; word starts and annotated ranges only where ``whole`` is set."""
        parts = list(self._by_shard(rows))
        lists = {
            name: self._lists(parts, name, len(rows))
            for name in self._columns[2:]
            if whole or not name.startswith(("word", "annotation"))
        }
        document_ids, segments = (self._numbers(parts, name, len(rows)) for name in self._columns[:2])
        return from_columns(document_ids, segments, lists)

    def lengths(self, rows: Offsets) -> Offsets:
        """Return the tokens of rows, (R,)."""
        lengths = np.empty(len(rows), np.int64)
        for file, places, wanted in self._by_shard(rows):
            self._measure(file, places, "input_ids", wanted, lengths)
        return lengths

    def _by_shard(self, rows: Offsets) -> Iterator[tuple[npt.NDArray[np.uint8], Offsets, Wanted]]:
        """Yield each shard that rows lie in: its bytes, where its columns lie (blocks, 2, columns), and the rows."""
        from spanmask.kernels.gather import Wanted

        blocks, inside = locate(self.shards, rows)
        self._touch(np.unique(blocks))
        owners = np.searchsorted(self.shards.block_offsets, blocks, side="right") - 1
        for shard in np.unique(owners).tolist():
            chosen = np.flatnonzero(owners == shard)
            first, stop = self.shards.block_offsets[shard : shard + 2].tolist()
            yield self._files[shard], self._places[first:stop], Wanted(blocks[chosen] - first, inside[chosen], chosen)

    def _touch(self, blocks: Offsets) -> None:
        """Have blocks checked, and note where their columns lie."""
        new = blocks if self._always else blocks[~self._known[blocks]]
        for block in new.tolist():
            shard, number = self.shards.locate_block(block)
            file = self.shards.file(shard)
            batch = file.batch(number)
            if shard not in self._files:
                whole = np.frombuffer(file.buffer, np.uint8)
                self._files[shard] = whole[: len(whole) // 8 * 8]
            for index, name in enumerate(self._columns):
                buffers = batch.column(name).buffers()
                for side, buffer in enumerate((buffers[1], buffers[-1])):
                    # An empty column's values may be nowhere; nothing is copied from there.
                    self._places[block, side, index] = buffer.address - file.buffer.address if buffer.size else 0
            self._known[block] = True

    def _measure(
        self, file: npt.NDArray[np.uint8], places: Offsets, name: str, wanted: Wanted, lengths: Offsets
    ) -> None:
        from spanmask.kernels.gather import measure_lists

        measure_lists(file.view(np.int32), places[:, 0, self._columns.index(name)] // 4, wanted, lengths)

    def _lists(self, parts: Any, name: str, size: int) -> Ragged[Any]:
        from spanmask.kernels.gather import copy_lists

        index, kind = self._columns.index(name), self._types[name]
        lengths = np.empty(size, np.int64)
        for file, places, wanted in parts:
            self._measure(file, places, name, wanted, lengths)
        offsets = offsets_of(lengths)
        values = np.empty(offsets[-1], kind)
        for file, places, wanted in parts:
            begin, items = places[:, 0, index] // 4, places[:, 1, index] // kind.itemsize
            copy_lists(file.view(np.int32), begin, file.view(kind), items, wanted, offsets, values)
        return Ragged(values=values, offsets=offsets)

    def _numbers(self, parts: Any, name: str, size: int) -> npt.NDArray[Any]:
        from spanmask.kernels.gather import copy_numbers

        kind = self._types[name]
        values = np.empty(size, kind)
        for file, places, wanted in parts:
            copy_numbers(file.view(kind), places[:, 1, self._columns.index(name)] // kind.itemsize, wanted, values)
        return values


def _types(shards: ShardSet) -> dict[str, np.dtype[Any]]:
    """Return the columns of a dataset's rows, kept ones left out, and the type of their values, or of their lists' items."""
    manifest = shards.manifest
    ids = token_dtype(manifest.stated_vocabulary.size)
    schema = shard_schema(ids, words_stored=manifest.words_stored, scheme=manifest.config.masking.scheme)
    return {field.name: np.dtype(getattr(field.type, "value_type", field.type).to_pandas_dtype()) for field in schema}
