"""Read Parquet files: a file and rows flow in, batches flow out, decoded as few rows at a time as their strings may need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any

import pyarrow as pa

from spanmask.config import CorpusConfig
from spanmask.corpus.columns import column_names, row_bytes
from spanmask.corpus.cutting import BLOCK_BYTES
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.nested import pulled, with_inner
from spanmask.corpus.sources import open_columns
from spanmask.corpus.strings import is_text, lengths, without_encoding

#: Most rows decoded at once where their size is not known beforehand.
BLIND_ROWS = 16_384
#: Bytes of a Parquet column read from disk at once.
_PAGE_BUFFER = 1 << 20
#: Pieces that a batch is read in rather than that the dictionary of its strings is looked through.
_PIECES = 32
#: How the header of a page begins, in Thrift's compact protocol: its type, then its uncompressed size, as zigzag numbers.
_PAGE_HEADER = re.compile(rb"\x15[\x80-\xff]*[\x00-\x7f]\x15([\x80-\xff]{0,4}[\x00-\x7f])")
#: Encodings of Parquet in which a string that is held once may stand in many rows.
_DICTIONARIES = {"PLAIN_DICTIONARY", "RLE_DICTIONARY"}


class ParquetTable:
    """A Parquet file; row groups are read a batch at a time, pages through a small buffer."""

    def __init__(self, file: InputFile, stack: ExitStack, names: Iterable[str]) -> None:
        self._stack = stack
        self._source = stack.enter_context(open_columns(file))
        self._file = self._open()
        self._by_dictionary: dict[str, Any] = {}
        self.schema = with_inner(self._file.schema_arrow, names)

    def _open(self, **options: Any) -> Any:
        import pyarrow.parquet

        options |= {"pre_buffer": False, "buffer_size": _PAGE_BUFFER, "page_checksum_verification": True}
        return self._stack.enter_context(pyarrow.parquet.ParquetFile(self._source, **options))

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
        return int(self._column(index, name).total_uncompressed_size)

    def _column(self, index: int, name: str) -> Any:
        """Return what the footer says of a row group's column."""
        paths = [column.path for column in self._file.schema]
        return self._file.metadata.row_group(index).column(paths.index(name))

    def _rows(self, index: int, names: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        for batch in self._file.iter_batches(rows, row_groups=[index], columns=names, use_threads=False):
            yield pulled(batch, names)

    def bounds(self, config: CorpusConfig, target_bytes: int) -> list[int]:
        """Return the rows at which parts of about so many bytes of text start, and the number of rows."""
        # Row groups are read whole, so parts begin and end at them.
        bounds, held = [0], 0
        for start, _, index in self._groups():
            size = self._size(index, config.text_field)
            if held and held + size > target_bytes:
                bounds.append(start)
                held = 0
            held += size
        total = sum(end - start for start, end, _ in self._groups())
        return [*bounds, total] if total else [0]

    def batches(self, config: CorpusConfig, start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield checked batches that overlap rows [start, stop), each with the number of its first row."""
        names = [name for name in column_names(config) if name in self.schema.names]
        for first, end, index in self._groups():
            if not (first < stop and start < end):
                continue
            size = int(self._file.metadata.row_group(index).total_byte_size)
            # So many rows as about a block holds, by the group's mean: a group may be of gigabytes.
            rows = min(BLIND_ROWS, max(1, BLOCK_BYTES * (end - first) // max(1, size)))
            # As in `_size`, before the footer is asked about these columns; of the text a row has been read there.
            next(self._rows(index, [name for name in names if name in config.carried], 1), None)
            self._expect(index, names)
            limit = config.max_document_bytes
            longest = self._longest(index, names, roughly=limit * _PIECES // rows)
            rows_at_once = min(rows, max(1, limit // max(1, longest)))
            row = first
            for batch in _joined(self._rows(index, names, rows_at_once), rows, config):
                if row < stop and start < row + len(batch):
                    for column in filter(lambda column: pa.types.is_dictionary(column.type), batch.columns):
                        without_encoding(column).validate(full=True)
                    yield row, batch
                row += len(batch)

    def _expect(self, index: int, names: list[str]) -> None:
        """Tell an object which bytes will be read: those of some columns of a row group."""
        if isinstance(self._source, str):
            return
        # As in `_size`, before the footer is asked about these columns.
        next(self._rows(index, names, 1), None)
        group, outer = self._file.metadata.row_group(index), {name.partition(".")[0] for name in names}
        columns = [group.column(number) for number in range(group.num_columns)]
        spans = [
            (start, start + column.total_compressed_size)
            for column in columns
            if column.path_in_schema.partition(".")[0] in outer
            for start in [column.dictionary_page_offset or column.data_page_offset]
        ]
        self._source.expect(spans, len(spans))

    def _longest(self, index: int, names: Sequence[str], roughly: int) -> int:
        """Return what no string is longer than that a row group may repeat without holding it again; up to ``roughly`` not exactly."""
        longest = 0
        for name in filter(lambda name: is_text(self.schema.field(name).type), names):
            column = self._column(index, name)
            if "DELTA_BYTE_ARRAY" in column.encodings:
                # Each may be the one before it, and some bytes more.
                longest = max(longest, int(column.total_uncompressed_size))
            if not _DICTIONARIES.isdisjoint(column.encodings):
                size = self._dictionary_bytes(column)
                longest = max(longest, self._longest_entry(index, name) if size is None or size > roughly else size)
        return longest

    def _longest_entry(self, index: int, name: str) -> int:
        """Return the longest entry of a column's dictionary, by reading it."""
        if name not in self._by_dictionary:
            self._by_dictionary[name] = self._open(metadata=self._file.metadata, read_dictionary=[name])
        reader = self._by_dictionary[name]
        batch = next(reader.iter_batches(1, row_groups=[index], columns=[name], use_threads=False), None)
        if batch is not None and not pa.types.is_dictionary(batch.schema.types[0]):
            # Inside of a struct Arrow does not tell its entries.
            return int(self._column(index, name).total_uncompressed_size)
        return 0 if batch is None else int(lengths(batch.column(0).dictionary).max(initial=0))

    def _dictionary_bytes(self, column: Any) -> int | None:
        """Return the size of a column's dictionary page as its header states it, which Arrow holds it to; None where none is found."""
        if not column.has_dictionary_page or column.dictionary_page_offset < 0:
            return None
        with open(self._source, "rb") if isinstance(self._source, str) else nullcontext(self._source) as file:
            file.seek(column.dictionary_page_offset)
            found = _PAGE_HEADER.match(file.read(16))
        return None if found is None else sum((byte & 0x7F) << 7 * k for k, byte in enumerate(found[1])) >> 1


def _joined(batches: Iterable[pa.RecordBatch], rows: int, config: CorpusConfig) -> Iterator[pa.RecordBatch]:
    """Yield batches of so many rows, or of fewer where they would have more bytes than the largest document."""
    held, size = list[pa.RecordBatch](), 0
    for batch in batches:
        held.append(batch)
        size += int(row_bytes(batch, config).sum())
        while sum(map(len, held)) >= rows or size > config.max_document_bytes:
            whole = pa.concat_batches(held) if len(held) > 1 else held[0]
            yield whole.slice(0, rows)
            rest = whole.slice(rows)
            held, size = ([rest], int(row_bytes(rest, config).sum())) if len(rest) else ([], 0)
    if held:
        yield pa.concat_batches(held)
