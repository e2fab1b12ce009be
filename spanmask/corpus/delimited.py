"""Read CSV and TSV: an `InputFile` flows in, `DocumentBlock` flows out; every field is a string, whatever it looks like.

Records are numbered from 0 behind the header, and those that have too few or too many fields count too. A quoted field of CSV may hold
newlines, so a file cannot be cut at them, nor read on behind a record that does not end. In TSV a quote is a character like any other, as
its registration has it (iana.org/assignments/media-types/text/tab-separated-values), and all the files of GLUE and GAP.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from spanmask.config import CorpusConfig, Format, OnError
from spanmask.corpus.columnar import documents_of
from spanmask.corpus.columns import column_names, require_columns
from spanmask.corpus.compressed import ByteStream
from spanmask.corpus.cutting import BLOCK_BYTES
from spanmask.corpus.identity import identities
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.streams import open_stream
from spanmask.corpus.text import SKIP_ADVICE
from spanmask.errors import CorpusError
from spanmask.records import DocumentBlock, Offsets, SkippedDocument, SkipReason

#: Arrow counts the bytes of a block in 31 bits.
_BLOCK_LIMIT = (1 << 31) - 1
_GROWTH = 16
#: Of a file, how much is looked at for its header.
_HEAD_BYTES = 1 << 20


class _Records(NamedTuple):
    """D records with their (D,) numbers, and those refused before the last of them: numbers and what is wrong."""

    numbers: Offsets
    batch: pa.RecordBatch
    refused: dict[int, str]


class _Source(io.RawIOBase):
    """What Arrow reads from."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)


def read_records(file: InputFile, config: CorpusConfig) -> Iterator[DocumentBlock]:
    """Yield the documents of a file in blocks of about 4 MiB; see `read_part`."""
    size, done = BLOCK_BYTES, 0
    while file.size:
        try:
            for numbers, batch, refused in _records(file, config, size):
                # Of a file that is read once more, in larger blocks, what was handed on is passed over.
                new = int(np.searchsorted(numbers, done))
                left = tuple(_left_out(file, number, refused[number]) for number in sorted(refused) if number >= done)
                if left or new < len(numbers):
                    yield documents_of(file, identities(file, numbers[new:]), batch.slice(new), config, left)
                done = max([done, *(numbers[-1:] + 1).tolist(), *(number + 1 for number in refused)])
            return
        except pa.ArrowInvalid as error:
            if "straddl" not in str(error):
                raise _damaged(file, error) from error
        if size >= min(config.max_document_bytes, _BLOCK_LIMIT):
            raise CorpusError(
                f"a record of more than {size:,} bytes: is a quote never closed? Correct it, or raise --max-document-bytes where it is one",
                path=file.path,
                row=done,
            )
        size = min(size * _GROWTH, config.max_document_bytes, _BLOCK_LIMIT)


def _left_out(file: InputFile, number: int, message: str) -> SkippedDocument:
    identity = int(identities(file, np.array([number]))[0])
    return SkippedDocument(document_id=identity, reason=SkipReason.FIELD, detail=message)


def records_schema(file: InputFile, config: CorpusConfig) -> pa.Schema:
    """Return the columns of a file, none of an empty one; errors as of `divide`."""
    if not file.size:
        return pa.schema([])
    with open_stream(file, _HEAD_BYTES) as stream:
        head = stream.read(_HEAD_BYTES).decode("utf-8-sig", "replace")
    how: dict[str, Any] = {} if file.format is Format.CSV else {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    try:
        names = next(filter(None, csv.reader(io.StringIO(head, newline=""), **how)))
    except (csv.Error, StopIteration):
        raise _damaged(file, "the first line names no columns") from None
    schema = pa.schema([(name, pa.string()) for name in names])
    require_columns(file, schema, config)
    return schema


def _damaged(file: InputFile, error: object) -> CorpusError:
    return CorpusError(f"not {file.format.upper()} with a header line ({error}); correct the file", path=file.path)


@contextmanager
def _opened(file: InputFile, block_bytes: int, on_invalid: Any, **convert: Any) -> Iterator[Any]:
    """Open a file with Arrow's reader, in this thread."""
    with open_stream(file) as stream:
        yield pyarrow.csv.open_csv(
            pa.PythonFile(_Source(stream), mode="r"),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=block_bytes),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter="," if file.format is Format.CSV else "\t",
                quote_char='"' if file.format is Format.CSV else False,
                newlines_in_values=file.format is Format.CSV,
                invalid_row_handler=on_invalid,
            ),
            # The encoding is checked document by document, as everywhere.
            convert_options=pyarrow.csv.ConvertOptions(check_utf8=False, strings_can_be_null=False, **convert),
        )


@contextmanager
def _told(file: InputFile, config: CorpusConfig, refused: dict[int, str]) -> Iterator[None]:
    """Say of a record that ended the reading what is wrong with it."""
    try:
        yield
    except pa.ArrowInvalid:
        if refused and config.on_error is OnError.FAIL:
            number, message = next(iter(refused.items()))
            raise CorpusError(f"{message}; {SKIP_ADVICE}", path=file.path, row=number) from None
        raise


def _records(file: InputFile, config: CorpusConfig, block_bytes: int) -> Iterator[_Records]:
    schema = records_schema(file, config)
    names = [name for name in column_names(config) if name in schema.names]
    refused: dict[int, str] = {}

    def refuse(row: Any) -> str:
        # Arrow counts rows from 1, the header first.
        number = row.number - 2
        refused[number] = f"{row.actual_columns} fields, expected {row.expected_columns} as in the header"
        return "error" if config.on_error is OnError.FAIL else "skip"

    types = dict.fromkeys(names, pa.string())
    opened = _opened(file, block_bytes, refuse, include_columns=names, column_types=types)
    with _told(file, config, refused), opened as reader:
        following = 0
        for batch in reader:
            # Arrow may have met later ones already: how far it reads ahead decides nothing.
            known = np.array(sorted(refused), np.int64)
            numbers = np.setdiff1d(np.arange(following, following + len(batch) + len(known)), known)[: len(batch)]
            following = int(numbers[-1]) + 1 if len(numbers) else following
            yield _Records(numbers, batch, {k: refused.pop(k) for k in known[known < following].tolist()})
        if refused:
            nothing = pa.RecordBatch.from_pylist([], schema=pa.schema(types.items()))
            yield _Records(np.zeros(0, np.int64), nothing, refused)
