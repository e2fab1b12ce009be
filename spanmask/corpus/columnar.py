"""Read Parquet and Arrow files: `Part` (rows) flows in, `DocumentBlock` flows out.

Row numbers in the file name documents. Batches are checked in full before a buffer is used: files may lie.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from spanmask.config import CorpusConfig, Format
from spanmask.corpus.columns import column_names, conform, is_plain_text_type, kept_types, require_columns
from spanmask.corpus.cutting import BLOCK_BYTES, block_bounds
from spanmask.corpus.identity import identities, places
from spanmask.corpus.inputs import InputFile, Part
from spanmask.corpus.rows import InputRows, documents, text_offsets
from spanmask.corpus.text import SKIP_ADVICE
from spanmask.errors import CorpusError
from spanmask.records import DocumentBlock, Offsets
from spanmask.storage import reporting

#: Most rows decoded at once where their size is not known beforehand.
_BLIND_ROWS = 16_384
#: Bytes of a Parquet column read from disk at once.
_PAGE_BUFFER = 1 << 20


class _Table(Protocol):
    """An open Parquet or Arrow file."""

    schema: pa.Schema

    def bounds(self, text: str, target_bytes: int) -> list[int]:
        """Return the rows at which parts of about so many bytes of text start, and the number of rows."""

    def batches(self, names: list[str], start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield checked batches that overlap rows [start, stop), each with the number of its first row."""


@contextlib.contextmanager
def _opened(file: InputFile) -> Iterator[_Table]:
    """Open a file; turn what Arrow refuses into a `CorpusError`, and what the file system refuses into a `StorageError`."""
    with reporting(file.path, "read"):
        try:
            with contextlib.ExitStack() as stack:
                yield _Parquet(file, stack) if file.format is Format.PARQUET else _Arrow(file, stack)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            kind = "a Parquet file" if file.format is Format.PARQUET else "an Arrow IPC file or stream"
            raise CorpusError(
                f"not {kind}, or a damaged one ({error}); fetch it again, or name its format with --format",
                path=file.path,
            ) from error


def row_bounds(file: InputFile, config: CorpusConfig, target_bytes: int) -> list[int]:
    """Return the rows at which parts start, and the number of rows; see `divide`."""
    with _opened(file) as table:
        require_columns(file, table.schema, config)
        return table.bounds(config.text_field, target_bytes)


def kept_in_columns(file: InputFile, config: CorpusConfig) -> dict[str, pa.DataType]:
    """Return the types of the columns to keep that a file has; errors as of `divide`."""
    with _opened(file) as table:
        require_columns(file, table.schema, config)
        return kept_types(table.schema, config)


def names_in_columns(file: InputFile) -> list[str]:
    """Return the columns of a file."""
    with _opened(file) as table:
        return list(table.schema.names)


def read_rows(part: Part, config: CorpusConfig) -> Iterator[DocumentBlock]:
    """Yield the documents of a range of rows; see `read_part`."""

    def complain(identity: np.uint64, message: str) -> CorpusError:
        row = int(places(np.array([identity], np.uint64))[0])
        return CorpusError(f"{message}; {SKIP_ADVICE}", path=part.file.path, row=row)

    for row, batch in _small_batches(part, config):
        ids = identities(part.file, np.arange(row, row + len(batch), dtype=np.int64))
        offsets = text_offsets(batch.column(config.text_field))
        size = int(offsets[-1] - offsets[0])
        yield documents(InputRows(batch=batch, ids=ids, source_bytes=size), config, complain)


def _small_batches(part: Part, config: CorpusConfig) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of a part in batches of about `BLOCK_BYTES` of text, each with the number of its first row."""
    with _opened(part.file) as table:
        require_columns(part.file, table.schema, config)
        names = [name for name in column_names(config) if name in table.schema.names]
        for row, batch in table.batches(names, part.start, part.stop):
            first, last = max(0, part.start - row), min(len(batch), part.stop - row)
            for at, piece in _split(batch.slice(first, last - first), config, part.file.kept):
                yield row + first + at, piece


def _split(batch: pa.RecordBatch, config: CorpusConfig, kept: pa.Schema | None) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield slices of about `BLOCK_BYTES` of text, each with its first row; dictionaries and views are decoded."""
    text = config.text_field
    if not is_plain_text_type(batch.column(text).type):
        for at in range(0, len(batch), _BLIND_ROWS):
            plain = conform(batch.slice(at, _BLIND_ROWS), config, kept)
            yield from ((at + inner, piece) for inner, piece in _split(plain, config, kept))
        return
    if len(batch):
        offsets = text_offsets(batch.column(text))
        bounds = block_bounds(offsets[:-1] - offsets[0])
        for first, last in pairwise(bounds):
            yield first, conform(batch.slice(first, last - first), config, kept)


class _Parquet:
    """A Parquet file; row groups are read a batch at a time, pages through a small buffer."""

    def __init__(self, file: InputFile, stack: contextlib.ExitStack) -> None:
        import pyarrow.parquet

        self._file = stack.enter_context(
            pyarrow.parquet.ParquetFile(
                file.path, pre_buffer=False, buffer_size=_PAGE_BUFFER, page_checksum_verification=True
            )
        )
        self.schema = self._file.schema_arrow

    def _groups(self) -> Iterator[tuple[int, int, int]]:
        """Yield each row group's first row, the row after its last, and its number."""
        row = 0
        for index in range(self._file.metadata.num_row_groups):
            rows = int(self._file.metadata.row_group(index).num_rows)
            yield row, row + rows, index
            row += rows

    def _size(self, index: int, name: str) -> int:
        """Return the decoded bytes that a row group states for a column.

        A row is read first: where the footer is damaged, that raises; asking for the statement would abort the process.
        """
        next(self._rows(index, [name], 1), None)
        paths = [column.path for column in self._file.schema]
        return int(self._file.metadata.row_group(index).column(paths.index(name)).total_uncompressed_size)

    def _rows(self, index: int, names: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        yield from self._file.iter_batches(rows, row_groups=[index], columns=names, use_threads=False)

    def bounds(self, text: str, target_bytes: int) -> list[int]:
        # Row groups are read whole, so parts begin and end at them.
        bounds, held = [0], 0
        for start, _, index in self._groups():
            size = self._size(index, text)
            if held and held + size > target_bytes:
                bounds.append(start)
                held = 0
            held += size
        total = sum(end - start for start, end, _ in self._groups())
        return [*bounds, total] if total else [0]

    def batches(self, names: list[str], start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        for first, end, index in self._groups():
            if not (first < stop and start < end):
                continue
            size = int(self._file.metadata.row_group(index).total_byte_size)
            # So many rows as about a block holds, by the group's mean: a group may be of gigabytes.
            rows = BLOCK_BYTES * (end - first) // max(1, size)
            row = first
            for batch in self._rows(index, names, min(_BLIND_ROWS, max(1, rows))):
                if row < stop and start < row + len(batch):
                    yield row, batch
                row += len(batch)


class _Arrow:
    """An Arrow IPC file or stream, memory-mapped."""

    def __init__(self, file: InputFile, stack: contextlib.ExitStack) -> None:
        self._source = stack.enter_context(pa.memory_map(file.path))
        self._is_file = self._source.read(6) == b"ARROW1"
        self.schema = pa.schema([])
        self.schema = self._open([]).schema

    def _open(self, names: list[str]) -> Any:
        self._source.seek(0)
        fields = [self.schema.get_field_index(name) for name in names]
        options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=fields)
        opener = pa.ipc.open_file if self._is_file else pa.ipc.open_stream
        return opener(self._source, options=options)

    def _batches(self, names: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield each batch, unchecked, with the number of its first row."""
        reader = self._open(names)
        batches = (reader.get_batch(index) for index in range(reader.num_record_batches)) if self._is_file else reader
        row = 0
        for batch in batches:
            yield row, batch
            row += len(batch)

    def bounds(self, text: str, target_bytes: int) -> list[int]:
        bounds: list[int] = []
        total, size, window = 0, 0, -1
        for row, batch in self._batches([text]):
            # Parts begin where a window of so many bytes of text does: fixed by the content, however it is batched.
            places = size + _text_places(batch.column(text))
            windows = places[:-1] // target_bytes
            changes = np.flatnonzero(windows != np.concatenate(([window], windows[:-1])))
            bounds.extend((row + changes).tolist())
            size, total = int(places[-1]), row + len(batch)
            window = int(windows[-1]) if len(windows) else window
        return [*bounds, total]

    def batches(self, names: list[str], start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        for row, batch in self._batches(names):
            if row >= stop:
                return
            if start < row + len(batch):
                for name in names:
                    _without_encoding(batch.column(name)).validate(full=True)
                yield row, batch


def _text_places(column: pa.Array) -> Offsets:
    """Return (D + 1,) byte places of texts in their batch; spread evenly where they are not in one buffer."""
    column.validate()
    if not is_plain_text_type(column.type):
        return np.arange(len(column) + 1, dtype=np.int64) * int(column.nbytes) // max(1, len(column))
    offsets = text_offsets(column)
    places: Offsets = np.maximum.accumulate(offsets - offsets[0])
    return places


def _without_encoding(column: pa.Array) -> pa.Array:
    """Return strings as binary: their structure is checked for the whole batch, their encoding row by row."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column.indices.validate(full=True)
        return pa.DictionaryArray.from_arrays(column.indices, _without_encoding(column.dictionary), safe=True)
    views = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
    return column.view(views[kind]) if kind in views else column
