"""Read text: `RawBlock` flows in, `DocumentBlock` flows out, its text a slice of the bytes read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa

from spanmask.blocks import take
from spanmask.config import CorpusConfig, Layout, OnError
from spanmask.corpus.cutting import RawBlock, block_bounds, document_starts
from spanmask.corpus.identity import identities
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.streams import as_array, as_view, line_number
from spanmask.errors import CorpusError
from spanmask.records import Bytes, DocumentBlock, Flags, Offsets, Ragged

#: What an error about a document says last.
SKIP_ADVICE = "correct it, or leave such documents out with --on-error skip"


def is_utf8(text: Bytes) -> bool:
    """Tell whether (C,) bytes are valid UTF-8, as Python's decoder judges."""
    ends = pa.py_buffer(np.array([0, len(text)], np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(text)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def invalid_utf8(data: bytes | memoryview) -> tuple[int, str] | None:
    """Return the position of the first byte that is not valid UTF-8 and what is wrong with it, or None."""
    try:
        str(data, "utf-8")
    except UnicodeDecodeError as error:
        return error.start, f"byte 0x{data[error.start]:02x} is not valid UTF-8 ({error.reason})"
    return None


def parse(file: InputFile, raw: RawBlock, config: CorpusConfig) -> Iterator[DocumentBlock]:
    """Yield the documents of a block of text.

    Raises
    ------
    CorpusError
        A document is not valid UTF-8, unless the configuration skips such documents.
    """
    data = as_array(raw.data)
    starts, _ = document_starts(data, config.layout is Layout.SENTENCES, True)
    edges = np.append(starts, len(data))
    bounds = block_bounds(starts)
    for first, last in pairwise(bounds):
        offsets = edges[first : last + 1]
        yield _block(file, raw.offset, data, offsets, config)


def _block(file: InputFile, origin: int, data: Bytes, offsets: Offsets, config: CorpusConfig) -> DocumentBlock:
    text = data[offsets[0] : offsets[-1]]
    ids = identities(file, origin + offsets[:-1])
    size = len(text)
    if not is_utf8(text):
        if config.on_error is OnError.FAIL:
            raise _encoding_error(file, origin + int(offsets[0]), as_view(text))
        good = _valid_documents(data, offsets)
        documents = take(Ragged(values=data, offsets=offsets), good)
        return DocumentBlock(
            text=documents.values,
            document_offsets=documents.offsets,
            document_ids=ids[good],
            skipped=int(np.count_nonzero(~good)),
            source_bytes=size,
        )
    return DocumentBlock(text=text, document_offsets=offsets - offsets[0], document_ids=ids, source_bytes=size)


def _encoding_error(file: InputFile, origin: int, text: memoryview) -> CorpusError:
    found = invalid_utf8(text)
    at, what = found if found is not None else (0, "a byte is not valid UTF-8")
    return CorpusError(
        f"{what}; expected UTF-8 text: convert the file (iconv -f … -t UTF-8), "
        "or leave such documents out with --on-error skip",
        path=file.path,
        line=line_number(file, origin + at),
    )


def _valid_documents(data: Bytes, offsets: Offsets) -> Flags:
    """Return (D,) whether each document is valid UTF-8."""
    view = as_view(data)
    bounds = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    return np.array([invalid_utf8(view[start:end]) is None for start, end in bounds], np.bool_)
