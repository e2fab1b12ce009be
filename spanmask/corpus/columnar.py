"""Read Parquet and Arrow files: `Part` (rows) flows in, `DocumentBlock` flows out.

Row numbers in the file name documents. Batches are checked in full before a buffer is used: files may lie.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np
import pyarrow as pa

from spanmask.config import CorpusConfig, Format, OnError
from spanmask.corpus.arrow import ArrowTable
from spanmask.corpus.columns import column_names, conform, kept_types, require_columns, row_bytes
from spanmask.corpus.cutting import block_bounds
from spanmask.corpus.identity import identities, places
from spanmask.corpus.inputs import InputFile, Part
from spanmask.corpus.nested import column_paths
from spanmask.corpus.parquet import BLIND_ROWS, ParquetTable
from spanmask.corpus.rows import InputRows, documents
from spanmask.corpus.strings import is_plain, lengths, plain_offsets
from spanmask.corpus.text import SKIP_ADVICE, left_out_for_length, too_long
from spanmask.errors import CorpusError
from spanmask.records import SKIPPED_LIMIT, DocumentBlock, Flags, Identities, SkippedDocument
from spanmask.storage import reporting


class _Table(Protocol):
    """An open Parquet or Arrow file."""

    schema: pa.Schema

    def bounds(self, config: CorpusConfig, target_bytes: int) -> list[int]:
        """Return the rows at which parts of about so many bytes of text start, and the number of rows."""

    def batches(self, config: CorpusConfig, start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield checked batches that overlap rows [start, stop), each with the number of its first row."""


@contextlib.contextmanager
def _opened(file: InputFile, config: CorpusConfig) -> Iterator[_Table]:
    """Open a file; turn what Arrow refuses into a `CorpusError`, and what the file system refuses into a `StorageError`."""
    with reporting(file.path, "read"):
        try:
            with contextlib.ExitStack() as stack:
                names = column_names(config)
                yield (
                    ParquetTable(file, stack, names)
                    if file.format is Format.PARQUET
                    else ArrowTable(file, stack, names)
                )
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
    with _opened(file, config) as table:
        require_columns(file, table.schema, config)
        return table.bounds(config, target_bytes)


def kept_in_columns(file: InputFile, config: CorpusConfig) -> dict[str, pa.DataType]:
    """Return the types of the columns to keep that a file has; errors as of `divide`."""
    with _opened(file, config) as table:
        require_columns(file, table.schema, config)
        return kept_types(table.schema, config)


def names_in_columns(file: InputFile, config: CorpusConfig) -> list[str]:
    """Return the columns of a file."""
    with _opened(file, config) as table:
        return column_paths(table.schema)


def read_rows(part: Part, config: CorpusConfig) -> Iterator[DocumentBlock]:
    """Yield the documents of a range of rows; see `read_part`."""
    for row, batch in _small_batches(part, config):
        yield documents_of(part.file, identities(part.file, np.arange(row, row + len(batch))), batch, config)


def documents_of(
    file: InputFile,
    ids: Identities,
    batch: pa.RecordBatch,
    config: CorpusConfig,
    refused: tuple[SkippedDocument, ...] = (),
) -> DocumentBlock:
    """Return (D,) rows of columns as documents; see `read_part`. refused: left out already."""

    def complain(identity: np.uint64, message: str) -> CorpusError:
        row = int(places(np.array([identity], np.uint64))[0])
        return CorpusError(f"{message}; {SKIP_ADVICE}", path=file.path, row=row)

    fits = row_bytes(batch, config) <= config.max_document_bytes
    left = ids[~fits]
    if len(left) and config.on_error is OnError.FAIL:
        raise complain(left[0], too_long(config))
    plain = _conform_some(batch, fits, config, file.kept)
    offsets = plain_offsets(plain.column(config.text_field))
    told = [*refused, *(left_out_for_length(one, config) for one in left[:SKIPPED_LIMIT].tolist())]
    found = InputRows(
        batch=plain,
        ids=ids[fits],
        skipped=len(left) + len(refused),
        exclusions=file.exclusions,
        skipped_documents=tuple(sorted(told, key=lambda document: document.document_id)[:SKIPPED_LIMIT]),
        source_bytes=int(offsets[-1] - offsets[0]),
    )
    return documents(found, config, complain)


def _conform_some(batch: pa.RecordBatch, chosen: Flags, config: CorpusConfig, kept: pa.Schema | None) -> pa.RecordBatch:
    """Return the chosen rows as `conform` does all, decoding no other."""
    edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False)).reshape(-1, 2).tolist()
    runs = [conform(batch.slice(start, end - start), config, kept) for start, end in edges]
    return runs[0] if len(runs) == 1 else pa.concat_batches([*runs, conform(batch.slice(0, 0), config, kept)])


def _small_batches(part: Part, config: CorpusConfig) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield the rows of a part in batches of about `BLOCK_BYTES` of text, each with the number of its first row."""
    with _opened(part.file, config) as table:
        require_columns(part.file, table.schema, config)
        for row, batch in table.batches(config, part.start, part.stop):
            first, last = max(0, part.start - row), min(len(batch), part.stop - row)
            for at, piece in _split(batch.slice(first, last - first), config):
                yield row + first + at, piece


def _split(batch: pa.RecordBatch, config: CorpusConfig) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield slices of about `BLOCK_BYTES` of text, each with its first row, told before anything is decoded."""
    text = batch.column(config.text_field)
    step = max(1, len(batch)) if is_plain(text.type) else BLIND_ROWS
    for at in range(0, len(batch), step):
        ends = np.cumsum(lengths(text.slice(at, step)))
        bounds = block_bounds(np.concatenate(([0], ends[:-1])))
        for first, last in pairwise(bounds):
            yield from _bounded(batch, at + first, at + last, config)


def _bounded(
    batch: pa.RecordBatch, start: int, stop: int, config: CorpusConfig
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield rows as one slice, or as some where kept strings would make one larger than the largest document."""
    sizes = np.minimum(row_bytes(batch.slice(start, stop - start), config), config.max_document_bytes)
    groups = np.cumsum(sizes) // max(1, config.max_document_bytes)
    edges = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), stop - start]
    for first, last in pairwise(edges):
        yield start + first, batch.slice(start + first, last - first)
