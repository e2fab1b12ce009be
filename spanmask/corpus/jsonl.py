"""Read JSON lines: `RawBlock` flows in, `DocumentBlock` flows out.

Where strings only are wanted, and every line of a block is plainly an object that has them, `StringReader` reads the block.
Else Arrow parses many lines at once. Lines that it refuses, or reads otherwise than as one object a line, are found by
bisection with the same parser, so a bad line costs time but never changes what the others mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.json

from spanmask.config import CorpusConfig, Format, OnError
from spanmask.corpus import rows
from spanmask.corpus.cutting import BLOCK_BYTES, RawBlock, block_bounds
from spanmask.corpus.identity import identities, places
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.json_array import elements
from spanmask.corpus.jsonl_fields import only_fields
from spanmask.corpus.jsonl_schema import LineFault, explain, explain_missing, schema_of
from spanmask.corpus.jsonl_strings import StringReader
from spanmask.corpus.nested import from_objects, with_objects
from spanmask.corpus.streams import as_array, fault_at
from spanmask.corpus.text import NAME_ADVICE, SKIP_ADVICE, invalid_utf8, is_utf8, too_long
from spanmask.errors import CorpusError
from spanmask.kernels.text import count_newlines, find_lines
from spanmask.records import SKIPPED_LIMIT, DocumentBlock, Flags, Identities, Offsets, SkippedDocument, SkipReason

#: Arrow's parser counts the bytes of a block in 31 bits.
_LINE_LIMIT = (1 << 31) - 64
#: Lines that are cut down to the fields asked for together, where Arrow refuses them.
_FEW = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """L filled lines. data: the bytes around them. starts, ends, places: (L,). usable: (L,) UTF-8 in braces, not too long."""

    data: bytes | memoryview
    starts: Offsets
    ends: Offsets
    usable: Flags
    places: Offsets

    def __len__(self) -> int:
        return len(self.starts)

    def extent(self) -> memoryview:
        """Return everything from the first line to the last."""
        return memoryview(self.data)[self.starts[0] : self.ends[-1]]

    def in_utf8(self) -> _Lines:
        """Return the same lines, those that are not UTF-8 marked as unusable."""
        valid = [bool(self.usable[index]) and invalid_utf8(self.line(index)) is None for index in range(len(self))]
        return replace(self, usable=np.array(valid, np.bool_))

    def line(self, index: int) -> bytes:
        return bytes(self.data[self.starts[index] : self.ends[index]])

    def between(self, first: int, last: int) -> _Lines:
        part = slice(first, last)
        return replace(
            self, starts=self.starts[part], ends=self.ends[part], usable=self.usable[part], places=self.places[part]
        )


def parse(file: InputFile, raw: RawBlock, config: CorpusConfig, record: int | None = None) -> Iterator[DocumentBlock]:
    """Yield the documents of a block of JSON lines. record: of an array that was made lines of, the number of the first.

    Raises
    ------
    CorpusError
        A line is not an object with the fields asked for, unless the configuration skips such lines.
    """
    schema = schema_of(file, config)
    lines = _find_lines(raw.data, config.max_document_bytes)
    lines = replace(lines, places=lines.places + raw.offset if record is None else record + np.arange(len(lines)))
    bounds = block_bounds(lines.starts)
    for first, last in pairwise(bounds):
        yield _Reader(file, config, schema).block(lines.between(first, last))


def read_array(file: InputFile, config: CorpusConfig) -> Iterator[DocumentBlock]:
    """Yield the documents of an array in blocks of about 4 MiB; see `read_part`."""
    held, size, first = list[bytes](), 0, 0
    for element in elements(file, config.max_document_bytes):
        held.append(element)
        size += len(element)
        if size >= BLOCK_BYTES:
            yield from _parse_elements(file, held, config, first)
            held, size, first = [], 0, first + len(held)
    yield from _parse_elements(file, held, config, first)


def _parse_elements(file: InputFile, held: list[bytes], config: CorpusConfig, first: int) -> Iterator[DocumentBlock]:
    if held:
        yield from parse(file, RawBlock(number=0, offset=0, data=b"\n".join(held)), config, first)


def _find_lines(data: bytes | memoryview, limit: int) -> _Lines:
    array = as_array(data)
    most = count_newlines(array) + 1
    starts, ends, braced = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.bool_)
    count = find_lines(array, starts, ends, braced)
    starts, ends = starts[:count], ends[:count]
    usable: Flags = braced[:count] & (ends - starts <= limit)
    return _Lines(data=data, starts=starts, ends=ends, usable=usable, places=starts)


class _Reader:
    """Parses lines of one file."""

    def __init__(self, file: InputFile, config: CorpusConfig, schema: pa.Schema) -> None:
        self._file = file
        self._config = config
        self._schema = schema
        self._strings = StringReader.of(schema)
        self._whole = with_objects(schema)
        self._options = pyarrow.json.ParseOptions(explicit_schema=self._whole, unexpected_field_behavior="ignore")

    def block(self, lines: _Lines) -> DocumentBlock:
        """Return the documents of some lines."""
        lines = lines if is_utf8(as_array(lines.extent())) else lines.in_utf8()
        good = np.ones(len(lines), np.bool_)
        batch = self._read_strings(lines)
        if batch is None:
            batch = self._joined(list(self._read_good(lines, good)))
        ids = identities(self._file, lines.places)
        bad = np.flatnonzero(~good)
        parsed = rows.InputRows(
            batch=batch,
            ids=ids[good],
            skipped=len(bad),
            exclusions=self._file.exclusions,
            skipped_documents=tuple(self._left_out(lines, ids, number) for number in bad[:SKIPPED_LIMIT].tolist()),
            source_bytes=len(lines.extent()),
        )

        def number(identity: np.uint64) -> int:
            return int(np.searchsorted(lines.places, places(np.array([identity], np.uint64))[0]))

        def explained(identity: np.uint64, message: str) -> str:
            return explain_missing(lines.line(number(identity)), self._config.text_field) or message

        return rows.documents(
            parsed, self._config, lambda identity, message: self._error(lines, number(identity), message), explained
        )

    def _left_out(self, lines: _Lines, ids: Identities, number: int) -> SkippedDocument:
        fault = self._explain(lines, number)
        return SkippedDocument(document_id=int(ids[number]), reason=fault.kind, detail=fault.message)

    def _explain(self, lines: _Lines, number: int) -> LineFault:
        if lines.ends[number] - lines.starts[number] > self._config.max_document_bytes:
            return LineFault(SkipReason.LENGTH, too_long(self._config))
        return explain(lines.line(number), self._schema)

    def _read_strings(self, lines: _Lines) -> pa.RecordBatch | None:
        """Read lines the fast way, or return None where that will not do."""
        extent = lines.extent()
        if self._strings is None or not lines.usable.all() or len(extent) > _LINE_LIMIT:
            return None
        return self._strings.read(as_array(extent), lines.starts - lines.starts[0], lines.ends - lines.starts[0])

    def _read_good(self, lines: _Lines, good: Flags) -> Iterator[pa.RecordBatch]:
        """Yield what Arrow reads in lines, noting those that are not good; or raise the first one's error."""
        for first, last, table in self._bisect(lines, 0, len(lines)):
            if table is not None:
                yield from table.to_batches()
            elif self._config.on_error is OnError.FAIL:
                raise self._error(lines, first, self._explain(lines, first).message)
            else:
                good[first:last] = False

    def _bisect(self, lines: _Lines, first: int, last: int) -> Iterator[tuple[int, int, pa.Table | None]]:
        """Yield runs of lines with what they hold, in order; None for a single line that cannot be read."""
        table = self._read(lines, first, last)
        if table is None and last - first <= _FEW:
            table = self._read_fields(lines, first, last)
        if table is not None or last - first <= 1:
            yield first, last, table
            return
        middle = (first + last) // 2
        yield from self._bisect(lines, first, middle)
        yield from self._bisect(lines, middle, last)

    def _read(self, lines: _Lines, first: int, last: int) -> pa.Table | None:
        """Parse lines at once, or return None where they are not one object a line."""
        start, stop = int(lines.starts[first]), int(lines.ends[last - 1])
        if not lines.usable[first:last].all() or stop - start > _LINE_LIMIT:
            return None
        return self._parse(pa.py_buffer(lines.data).slice(start, stop - start), last - first)

    def _read_fields(self, lines: _Lines, first: int, last: int) -> pa.Table | None:
        """Parse what is asked for of lines that cannot be parsed whole, or return None."""
        if not lines.usable[first:last].all():
            return None
        fields = [self._fields_of(lines.line(index)) for index in range(first, last)]
        known = [line for line in fields if line is not None]
        return self._parse(pa.py_buffer(b"\n".join(known)), last - first) if len(known) == len(fields) else None

    def _fields_of(self, line: bytes) -> bytes | None:
        """Return what is asked for of a line: of a field literally so named the object beside it decides nothing."""
        found = only_fields(line, self._schema.names)
        return only_fields(line, self._whole.names) if found == b"{}" else found

    def _parse(self, data: pa.Buffer, rows: int) -> pa.Table | None:
        """Have Arrow parse so many lines, or return None where it will not, or finds another number of objects."""
        options = pyarrow.json.ReadOptions(use_threads=False, block_size=data.size + 64)
        try:
            table = pyarrow.json.read_json(pa.BufferReader(data), read_options=options, parse_options=self._options)
        except (pa.ArrowException, UnicodeDecodeError):
            return None
        return from_objects(table, self._schema.names) if table.num_rows == rows else None

    def _joined(self, batches: list[pa.RecordBatch]) -> pa.RecordBatch:
        if len(batches) == 1:
            return batches[0]
        return pa.concat_batches([pa.RecordBatch.from_pylist([], schema=self._schema), *batches])

    def _error(self, lines: _Lines, number: int, reason: str) -> CorpusError:
        unnamed = reason.startswith(f"no field {self._config.text_field!r};")
        place, reason = int(lines.places[number]), f"{reason}; {NAME_ADVICE if unnamed else SKIP_ADVICE}"
        if self._file.format is Format.JSON:
            return CorpusError(reason, path=self._file.path, row=place)
        return fault_at(self._file, place, reason)
