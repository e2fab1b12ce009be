"""The rows of one dataset, by number: with NumPy alone, or copied by kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.blocks import from_columns, from_pair_columns, join, offsets_of, select
from spanmask.records import Identities, MaskedBlock, Offsets, Pairs, Ragged
from spanmask.shard.reader import ShardSet
from spanmask.shard.schema import BATCH_ROWS, shard_schema
from spanmask.shard.shard_file import ShardFile, Verify
from spanmask.vocab import token_dtype

if TYPE_CHECKING:
    from spanmask.kernels.gather import Cells

#: Record batches that the NumPy shelf keeps at hand.
_BLOCKS_KEPT = 256


class Shelf:
    """The rows of one dataset, with NumPy alone."""

    def __init__(self, shards: ShardSet) -> None:
        self.shards = shards
        # A block at hand keeps its whole shard in memory, where that was read.
        kept = 0 if shards.verify is Verify.ALWAYS or not shards.mapped else _BLOCKS_KEPT
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
        shards, blocks, inside = locate(self.shards, rows)
        self.shards.look_again(np.unique(shards).tolist())
        for block in np.unique(blocks).tolist():
            chosen = np.flatnonzero(blocks == block)
            yield block, chosen, inside[chosen]


def locate(shards: ShardSet, rows: Offsets) -> tuple[Offsets, Offsets, Offsets]:
    """Return the shards and the blocks that rows lie in, and where in these, (R,) each."""
    shard = np.searchsorted(shards.row_offsets, rows, side="right") - 1
    before = rows - shards.row_offsets[shard]
    block = before // BATCH_ROWS
    return shard, shards.block_offsets[shard] + block, before - block * BATCH_ROWS


class _Places:
    """Where the columns of an open shard's blocks lie in its file.

    offsets, values: (blocks, columns), of those that are known. left: how many are not.
    """

    __slots__ = ("known", "left", "offsets", "values")

    def __init__(self, blocks: int, columns: int) -> None:
        # Two at least: of one, arrays are of another kind to the compiler.
        self.offsets, self.values = np.zeros((2, max(blocks, 2), columns), np.int64)
        self.known = np.zeros(blocks, np.bool_)
        self.left = blocks


class CompiledShelf:
    """The rows of one dataset, copied by kernels straight from the open files.

    Kept of each block that was touched, as long as its shard is open: where its columns lie in the file, at most 192 bytes for 1,024 rows.
    """

    def __init__(self, shards: ShardSet) -> None:
        self.shards = shards
        self._types = _types(shards)
        self._columns = list(self._types)
        self._widths = np.array([kind.itemsize // 2 for kind in self._types.values()])
        self._numbers = self._columns.index("input_ids")
        self._places = WeakKeyDictionary[ShardFile, _Places]()
        self._always = shards.verify is Verify.ALWAYS
        # A block of rows that is freed goes back to the system, to be cleared page by page for the next one, unless as large a block was
        # freed before: this one was, though nothing touched it. It is the largest that glibc remembers.
        np.empty(31 << 20, np.uint8)

    def read(self, rows: Offsets, *, whole: bool) -> MaskedBlock:
        """Return rows in the order asked for; word starts and annotated ranges only where ``whole`` is set."""
        from spanmask.kernels.gather import copy_cells

        names = [name for name in self._columns if whole or not name.startswith(("word", "annotation"))]
        widths = self._widths[: len(names)]
        cells, parts = self._cells(rows, slice(0, len(names)))
        offsets = np.zeros((len(names), len(rows) + 1), np.int64)
        np.cumsum(cells.sizes, axis=1, out=offsets[:, 1:])
        sizes = offsets[:, -1] * widths
        # Values of any type begin at multiples of 8 bytes.
        bases = offsets_of(-(-sizes // 4) * 4)
        units = np.empty(bases[-1], np.uint16)
        for file, targets in parts:
            copy_cells(file.view(np.uint16), targets, cells, widths, (bases, offsets), units)
        made = {
            name: Ragged(values=units[base : base + size].view(self._types[name]), offsets=of_column)
            for name, base, size, of_column in zip(names, bases.tolist(), sizes.tolist(), offsets, strict=False)
        }
        numbers = {name: made.pop(name).values for name in self._columns[: self._numbers]}
        documents, segments = numbers.pop("document_id"), numbers.pop("segment")
        return from_columns(documents, segments, made, _pairs(numbers, documents) if numbers else None)

    def lengths(self, rows: Offsets) -> Offsets:
        """Return the tokens of rows, (R,)."""
        index = self._columns.index("input_ids")
        lengths: Offsets = self._cells(rows, slice(index, index + 1))[0].sizes[0]
        return lengths

    def _cells(self, rows: Offsets, chosen: slice) -> tuple[Cells, list[tuple[npt.NDArray[np.uint8], Offsets]]]:
        """Return where cells of chosen columns lie, and each file with the rows that lie in it."""
        from spanmask.kernels.gather import Cells, Columns, Wanted, find_cells

        shards, blocks, inside = locate(self.shards, rows)
        wanted_shards = np.unique(shards).tolist()
        widths, numbers = self._widths[chosen], max(self._numbers - chosen.start, 0)
        cells = Cells(*np.empty((2, len(widths), len(rows)), np.int64))
        parts = []
        for shard, file in zip(wanted_shards, self.shards.files(wanted_shards), strict=True):
            targets = np.flatnonzero(shards == shard)
            within = blocks[targets] - self.shards.block_offsets[shard]
            places = self._touched(file, within)
            columns = Columns(places.offsets[:, chosen], places.values[:, chosen], widths, numbers)
            find_cells(file.whole.view(np.int32), columns, Wanted(within, inside[targets], targets), cells)
            parts.append((file.whole, targets))
        return cells, parts

    def _touched(self, file: ShardFile, blocks: Offsets) -> _Places:
        """Have blocks of a shard checked, and return where their columns lie."""
        places = self._places.get(file)
        if places is None:
            places = self._places[file] = _Places(len(file), len(self._columns))
        if places.left or self._always:
            for block in np.unique(blocks if self._always else blocks[~places.known[blocks]]).tolist():
                self._find(file.batch(block), file, places, block)
        return places

    def _find(self, batch: pa.RecordBatch, file: ShardFile, places: _Places, block: int) -> None:
        for index, name in enumerate(self._columns):
            buffers = batch.column(name).buffers()
            # An empty column's values may be nowhere; nothing is copied from there.
            offsets, values = (
                buffer.address - file.buffer.address if buffer.size else 0 for buffer in (buffers[1], buffers[-1])
            )
            places.offsets[block, index], places.values[block, index] = offsets // 4, values // 2
        places.left -= not places.known[block]
        places.known[block] = True


def _types(shards: ShardSet) -> dict[str, np.dtype[Any]]:
    """Return the columns of a dataset's rows, numbers before lists, and the type of their values, or of their lists' items.

    Kept ones are left out, and the labels of pairs, which are narrower than what kernels copy.
    """
    manifest = shards.manifest
    ids = token_dtype(manifest.stated_vocabulary.size)
    schema = shard_schema(
        ids, words_stored=manifest.words_stored, scheme=manifest.config.masking.scheme, paired=manifest.paired
    )
    fields = sorted((field for field in schema if field.name != "pair_label"), key=_is_list)
    return {field.name: np.dtype(getattr(field.type, "value_type", field.type).to_pandas_dtype()) for field in fields}


def _is_list(field: pa.Field) -> bool:
    return bool(pa.types.is_list(field.type))


def _pairs(numbers: dict[str, npt.NDArray[Any]], documents: Identities) -> Pairs | None:
    """Return pairs from their columns without the labels, which follow (FORMAT.md §2, I15). documents: of the first segments."""
    follows = (numbers["pair_border"] > 0) & (numbers["pair_document_id"] == documents)
    return from_pair_columns({**numbers, "pair_label": follows.astype(np.uint8)})
