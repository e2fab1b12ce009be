"""What is done to rows in memory: chosen, joined, cut, put back, taken one by one. With NumPy alone, but for what kernels restore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from spanmask.config import PAIR_COLUMNS
from spanmask.errors import ShardError
from spanmask.records import (
    Cells,
    Flags,
    Identities,
    MaskedBlock,
    Offsets,
    Pair,
    Pairs,
    Positions,
    Ragged,
    Ranges,
    Row,
    SegmentNumbers,
    SequenceBlock,
    TokenIds,
)

if TYPE_CHECKING:
    from spanmask.kernels.rows import Stored
    from spanmask.vocab import Vocabulary

_Cells = TypeVar("_Cells", bound=Cells)
_Array = TypeVar("_Array", bound=npt.NDArray[Any])
_NAMES = tuple(field.name for field in fields(MaskedBlock))
_PAIRED = tuple(field.name for field in fields(Pairs))


def offsets_of(lengths: npt.ArrayLike) -> Offsets:
    """Return where items of some lengths begin when they lie one after another, (n + 1,)."""
    sizes = np.asarray(lengths, np.int64)
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def read_only(array: _Array) -> _Array:
    """Return a view that cannot be written to: what kernels only read is handed to them so, since others would be compiled once more."""
    view = array.view()
    view.flags.writeable = False
    return view


def count_up(sizes: Offsets) -> Offsets:
    """Return 0, 1, … anew for each of some runs. sizes: (n,) how long each is; result: (sum of sizes,)."""
    first = offsets_of(sizes)
    return np.arange(first[-1]) - np.repeat(first[:-1], sizes)


def keep(cells: _Cells, kept: Flags) -> _Cells:
    """Return what the owners flagged have. kept: (n,); the offsets begin at 0."""
    inside = np.repeat(kept, cells.lengths)
    flat = {name: getattr(cells, name)[inside] for name in cells.FLAT}
    return type(cells)(offsets=offsets_of(cells.lengths[kept]), **flat)


def take(cells: _Cells, chosen: Offsets) -> _Cells:
    """Return what chosen owners have, in the order chosen. chosen: their numbers."""
    lengths = cells.lengths[chosen]
    offsets = offsets_of(lengths)
    # One index for all items: the place in the result, moved by how far its owner moved.
    index = np.repeat(cells.offsets[chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
    return type(cells)(offsets=offsets, **{name: getattr(cells, name)[index] for name in cells.FLAT})


def select(block: MaskedBlock, chosen: Offsets) -> MaskedBlock:
    """Return chosen rows of a block, in the order chosen."""
    return _each(block, lambda column: take(column, chosen) if isinstance(column, Cells) else column[chosen])


def part(block: MaskedBlock, first: int, stop: int) -> MaskedBlock:
    """Return the rows [first, stop) of a block, as views of it."""

    def cut(column: Any) -> Any:
        if not isinstance(column, Cells):
            return column[first:stop]
        # Offsets are made to begin at 0 again, which is the only part that is copied.
        begin, end = column.offsets[first], column.offsets[stop]
        flat = {name: getattr(column, name)[begin:end] for name in column.FLAT}
        return type(column)(offsets=column.offsets[first : stop + 1] - begin, **flat)

    return _each(block, cut)


def _each(block: MaskedBlock, change: Callable[[Any], Any]) -> MaskedBlock:
    """Return a block of changed columns."""
    columns = {name: getattr(block, name) for name in _NAMES}
    return MaskedBlock(**{name: change(column) for name, column in columns.items() if column is not None})


def join(blocks: Sequence[MaskedBlock]) -> MaskedBlock:
    """Return the rows of blocks, one block after another; all carry the same columns."""
    if len(blocks) == 1:
        return blocks[0]
    columns = {name: [getattr(block, name) for block in blocks] for name in _NAMES}
    return MaskedBlock(**{name: concatenated(parts) for name, parts in columns.items() if parts[0] is not None})


def concatenated(parts: Sequence[Any]) -> Any:
    """Return columns of several blocks, one after another: arrays, cells or pairs, all of one kind."""
    first = parts[0]
    if isinstance(first, Pairs):
        return Pairs(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _PAIRED})
    if not isinstance(first, Cells):
        return np.concatenate(parts)
    flat = {name: np.concatenate([getattr(part, name) for part in parts]) for name in first.FLAT}
    return type(first)(offsets=offsets_of(np.concatenate([part.lengths for part in parts])), **flat)


def columns_of(block: MaskedBlock) -> dict[str, Ragged[Any]]:
    """Return the columns of a block that hold lists, by the names they are stored under (FORMAT.md §2)."""
    columns = {"input_ids": block.input_ids, **_sides("span", block.spans), "labels": block.labels}
    if block.word_starts is not None:
        columns["word_starts"] = block.word_starts
    return columns if block.annotations is None else columns | _sides("annotation", block.annotations)


def _sides(what: str, ranges: Ranges[Positions]) -> dict[str, Ragged[Any]]:
    sides = {"starts": ranges.starts, "ends": ranges.ends}
    return {f"{what}_{side}": Ragged(values=values, offsets=ranges.offsets) for side, values in sides.items()}


def from_columns(
    document_ids: Identities,
    segments: SegmentNumbers,
    columns: Mapping[str, Ragged[Any]],
    pairs: Pairs | None = None,
) -> MaskedBlock:
    """Return a block of rows from the columns that hold lists, by the names that `columns_of` gives them."""

    def ranges(what: str) -> Ranges[Positions]:
        starts, ends = columns[f"{what}_starts"], columns[f"{what}_ends"]
        return Ranges(starts=starts.values, ends=ends.values, offsets=starts.offsets)

    return MaskedBlock(
        document_ids=document_ids,
        segments=segments,
        input_ids=columns["input_ids"],
        spans=ranges("span"),
        labels=columns["labels"],
        word_starts=columns.get("word_starts"),
        annotations=ranges("annotation") if "annotation_starts" in columns else None,
        pairs=pairs,
    )


def pair_columns(pairs: Pairs) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of pairs, by the names they are stored under (FORMAT.md §2)."""
    columns = (pairs.borders, pairs.labels, pairs.document_ids, pairs.segments)
    return dict(zip(PAIR_COLUMNS, columns, strict=True))


def from_pair_columns(columns: Mapping[str, npt.NDArray[Any]]) -> Pairs | None:
    """Return pairs from their columns, by the names that `pair_columns` gives them; None where there are none."""
    if PAIR_COLUMNS[0] not in columns:
        return None
    return Pairs(**dict(zip(_PAIRED, (columns[name] for name in PAIR_COLUMNS), strict=True)))


def unpaired(count: int) -> Pairs:
    """Return what rows of one segment have where others are of two."""
    return Pairs(
        borders=np.zeros(count, np.uint16),
        labels=np.zeros(count, np.uint8),
        document_ids=np.zeros(count, np.uint64),
        segments=np.zeros(count, np.uint32),
    )


def extra_tokens(block: MaskedBlock | SequenceBlock) -> Offsets:
    """Return how many ``[SEP]`` stand between segments in each row, (S,): 1 in a row of two."""
    return (borders_of(block) > 0).astype(np.int64)


def row_of(block: MaskedBlock, number: int, kept: Mapping[str, Any] | None = None) -> Row:
    """Return a row of a block. kept: its values of the kept columns."""
    starts, ends = block.spans[number]
    return Row(
        document_id=int(block.document_ids[number]),
        segment=int(block.segments[number]),
        input_ids=block.input_ids[number],
        span_starts=starts,
        span_ends=ends,
        labels=block.labels[number],
        kept=dict(kept or {}),
        word_starts=None if block.word_starts is None else block.word_starts[number],
        pair=None if block.pairs is None else _pair_of(block.pairs, number),
    )


def _pair_of(pairs: Pairs, number: int) -> Pair:
    return Pair(
        border=int(pairs.borders[number]),
        label=int(pairs.labels[number]),
        document_id=int(pairs.document_ids[number]),
        segment=int(pairs.segments[number]),
    )


def block_of(rows: Sequence[Row]) -> MaskedBlock:
    """Return rows as one block, without the word starts; of no rows, an empty one of uint16 ids."""
    names = ("input_ids", "span_starts", "span_ends", "labels")
    pairs = [row.pair for row in rows if row.pair is not None]
    return from_columns(
        np.array([row.document_id for row in rows], np.uint64),
        np.array([row.segment for row in rows], np.uint32),
        {name: _ragged([getattr(row, name) for row in rows]) for name in names},
        _pairs_of(pairs) if pairs else None,
    )


def _pairs_of(pairs: Sequence[Pair]) -> Pairs:
    return Pairs(
        borders=np.array([pair.border for pair in pairs], np.uint16),
        labels=np.array([pair.label for pair in pairs], np.uint8),
        document_ids=np.array([pair.document_id for pair in pairs], np.uint64),
        segments=np.array([pair.segment for pair in pairs], np.uint32),
    )


def _ragged(items: Sequence[npt.NDArray[Any]]) -> Ragged[Any]:
    # Joins nothing to the rest: without rows there would be no type to go by.
    none = np.zeros(0, np.uint16)
    return Ragged(values=np.concatenate([none, *items]), offsets=offsets_of([len(item) for item in items]))


def borders_of(block: MaskedBlock | SequenceBlock) -> Offsets:
    """Return where the second segment of each row begins, (S,), as kernels take it: 0 in a row of one."""
    if block.pairs is None:
        return np.zeros(len(block), np.int64)
    return block.pairs.borders.astype(np.int64)


def as_stored(block: MaskedBlock) -> Stored:
    """Return the arrays of a block that kernels read."""
    from spanmask.kernels.rows import Stored

    ids, spans, labels = block.input_ids, block.spans, block.labels
    arrays: tuple[Any, ...] = (
        ids.values,
        ids.offsets,
        spans.starts,
        spans.ends,
        spans.offsets,
        labels.values,
        labels.offsets,
        borders_of(block),
    )
    return Stored(*map(read_only, arrays))


def restore(block: MaskedBlock, vocabulary: Vocabulary) -> tuple[TokenIds, Flags]:
    """Return the original of every row, and whether a word starts, both like the values of input_ids.

    Words start where rows say so, else where the vocabulary does; a row's first token always starts one.

    Raises
    ------
    ShardError
        A row has an id that the vocabulary lacks.
    """
    from spanmask.kernels.rows import restore_rows

    ids = block.input_ids.values
    originals, flags = np.empty_like(ids), np.empty(len(ids), np.bool_)
    told = np.zeros(len(vocabulary), np.bool_) if block.word_starts is not None else vocabulary.word_start_table
    foreign = restore_rows(as_stored(block), told, vocabulary.longest_word, originals, flags)
    if foreign >= 0:
        raise ShardError(f"it has an id that the vocabulary of {len(vocabulary):,} entries lacks", row=foreign)
    return originals, flags if block.word_starts is None else stored_word_flags(block, block.word_starts)


def word_positions(row: Row, vocabulary: Vocabulary) -> Positions:
    """Return the positions at which words of a row start that does not store them."""
    flags = restore(block_of([row]), vocabulary)[1]
    flags[[0, -1]] = False
    return np.flatnonzero(flags).astype(np.uint16)


def stored_word_flags(block: MaskedBlock, words: Ragged[Positions]) -> Flags:
    """Return whether a word starts, like the values of input_ids, from stored word starts."""
    from spanmask.kernels.words import flag_places

    flags = np.empty(len(block.input_ids.values), np.bool_)
    flag_places(read_only(block.input_ids.offsets), read_only(words.values), read_only(words.offsets), flags)
    return flags
