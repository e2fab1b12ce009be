"""Divide files and read documents: `InputFile`, `Part`, or `RawBlock` of a compressed file, flows in; `DocumentBlock` flows out.

The one door to the readers of each format. Parts, and blocks of a stream, give the same documents for the same content.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import pyarrow as pa

from spanmask.config import CorpusConfig, Format, Layout, OnError
from spanmask.corpus import jsonl, text
from spanmask.corpus.cutting import BLOCK_BYTES, NEVER, RawBlock, Rooms, Windows, cut
from spanmask.corpus.inputs import InputFile, Part
from spanmask.corpus.sources import open_input
from spanmask.corpus.streams import first_line, lines, open_stream
from spanmask.records import DocumentBlock


def divide(file: InputFile, config: CorpusConfig, target_bytes: int) -> list[Part]:
    """Divide a file into consecutive parts; together they hold every document once.

    Parameters
    ----------
    file
        Not a compressed one of lines: that is read in order, by `stream_blocks`.
    config
        Names the text column of Parquet and Arrow.
    target_bytes
        Text and JSONL: bytes of every part but the last. Parquet: row groups are joined up to so much text.
        Arrow: rows are joined up to so much text. A file of CSV, or of one document, is one part.

    Raises
    ------
    CorpusError
        The file is not what it claims, or lacks the text column.
    StorageError
        The file system refused.
    """
    if file.is_line_stream:
        raise ValueError(f"{file.path} is compressed: read it with stream_blocks")
    if target_bytes < 1:
        raise ValueError(f"target_bytes is {target_bytes}: give at least 1")
    if file.is_delimited:
        from spanmask.corpus.delimited import records_schema

        records_schema(file, config)
    if file.has_lines or file.is_sequential:
        step = file.size if file.is_sequential or is_one_document(file, config) else target_bytes
        bounds = [*range(0, file.size, step or 1), file.size]
    else:
        from spanmask.corpus.columnar import row_bounds

        bounds = row_bounds(file, config, target_bytes)
    return [Part(file=file, start=start, stop=stop) for start, stop in pairwise(bounds)]


def is_one_document(file: InputFile, config: CorpusConfig) -> bool:
    """Tell whether a file is a document as a whole."""
    return file.format is Format.TEXT and config.layout is Layout.FILE


def read_part(part: Part, config: CorpusConfig, window_bytes: int = BLOCK_BYTES) -> Iterator[DocumentBlock]:
    """Yield the documents of a part in blocks of about 4 MiB of text, of a whole compressed file by windows of some bytes.

    Raises
    ------
    CorpusError
        A document breaks the format (unless the configuration skips those), or the file is not what it claims.
    ConfigError
        A kept field has a type that cannot be kept.
    StorageError
        The file system refused.
    """
    part = replace(part, file=_knowing(part.file, config))
    if part.file.is_columnar:
        from spanmask.corpus.columnar import read_rows

        yield from read_rows(part, config)
        return
    if part.file.is_delimited:
        from spanmask.corpus.delimited import read_records

        yield from read_records(part.file, config)
        return
    if part.file.format is Format.JSON:
        yield from jsonl.read_array(part.file, config)
        return
    streamed = part.file.is_sequential
    for raw in stream_blocks(part.file, config, window_bytes) if streamed else _cut_part(part, config):
        yield from parse_block(part.file, raw, config)


def _knowing(file: InputFile, config: CorpusConfig) -> InputFile:
    """Return a file that knows the types of the fields to keep: by itself, where nobody asked the whole corpus."""
    return file if file.kept is not None or not config.carried else replace(file, kept=_kept(file, config))


@lru_cache(maxsize=256)
def _kept(file: InputFile, config: CorpusConfig) -> pa.Schema | None:
    from spanmask.corpus.kept import with_kept

    return with_kept([replace(file, watch=None)], config)[0].kept


def _cut_part(part: Part, config: CorpusConfig) -> Iterator[RawBlock]:
    """Yield the bytes of the documents that start in a part of an uncompressed file, found without what lies before."""
    with open_input(part.file, max(0, part.start - 1), part.stop) as source:
        found = first_line(source, part.start, part.stop)
        if found is not None:
            begin, previous_blank = found
            source.seek(begin)
            windows = _windows(part.file, config, BLOCK_BYTES, stop=part.stop)
            yield from cut(lines(source, begin, windows.most), windows, previous_blank)


def _windows(file: InputFile, config: CorpusConfig, width: int, **wanted: Any) -> Windows:
    whole = is_one_document(file, config)
    return Windows(
        width=NEVER if whole else width,
        whole=whole,
        sentences=file.format is Format.TEXT and config.layout is Layout.SENTENCES,
        limit=config.max_document_bytes,
        patient=config.on_error is OnError.SKIP,
        **wanted,
    )


def stream_blocks(
    file: InputFile,
    config: CorpusConfig,
    block_bytes: int,
    skip: Container[int] = (),
    rooms: Rooms | None = None,
) -> Iterator[RawBlock]:
    """Decompress a text or JSONL file once, and yield its documents by windows of its decompressed bytes.

    Parameters
    ----------
    file
        Text or JSONL, compressed or not.
    config
        Says what a document of text is.
    block_bytes
        Width of a window; block k holds the documents that start in [k·width, (k + 1)·width).
    skip
        Numbers of blocks to pass over.
    rooms
        What blocks are held in, where those of several files follow each other.

    Yields
    ------
    RawBlock
        Ascending; blocks without documents are left out.

    Raises
    ------
    CorpusError
        The compressed stream is truncated or damaged.
    StorageError
        The file system refused.
    """
    windows = _windows(file, config, block_bytes, skip=skip)
    with open_stream(file) as stream:
        for raw in cut(lines(stream, 0, windows.most), windows, rooms=rooms):
            yield replace(raw, disk_offset=stream.tell())


def parse_block(file: InputFile, raw: RawBlock, config: CorpusConfig) -> Iterator[DocumentBlock]:
    """Yield the documents of a block of a text or JSONL file, in blocks of about 4 MiB.

    Raises
    ------
    CorpusError
        A document breaks the format, unless the configuration skips those.
    ConfigError
        A kept field has a type that cannot be kept.
    """
    parser = text.parse if file.format is Format.TEXT else jsonl.parse
    yield from parser(_knowing(file, config), raw, config)
