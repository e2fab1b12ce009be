"""Divide a file into parts that can be read by themselves: `InputFile` flows in, `Part` flows out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from spanmask.config import CorpusConfig, Format
from spanmask.corpus.inputs import InputFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some documents of one file.

    start, stop: of an uncompressed text or JSONL file, bytes (the part owns the documents that start there);
    of Parquet and Arrow, rows.
    """

    file: InputFile
    start: int
    stop: int


def divide(file: InputFile, config: CorpusConfig, target_bytes: int) -> list[Part]:
    """Divide an uncompressed file into consecutive parts; together they hold every document once.

    Parameters
    ----------
    file
        Not a compressed one: that is read in order, by `stream_blocks`.
    config
        Names the text column of Parquet and Arrow.
    target_bytes
        Text and JSONL: bytes of every part but the last. Parquet: row groups are joined up to so much text.
        Arrow: rows are joined up to so much text.

    Raises
    ------
    CorpusError
        The file is not what it claims, or lacks the text column.
    StorageError
        The file system refused.
    """
    if file.compression is not None:
        raise ValueError(f"{file.path} is compressed: read it with stream_blocks")
    if target_bytes < 1:
        raise ValueError(f"target_bytes is {target_bytes}: give at least 1")
    if file.format in (Format.TEXT, Format.JSONL):
        bounds = [*range(0, file.size, target_bytes), file.size]
    else:
        from spanmask.corpus.columnar import row_bounds

        bounds = row_bounds(file, config, target_bytes)
    return [Part(file=file, start=start, stop=stop) for start, stop in pairwise(bounds)]
