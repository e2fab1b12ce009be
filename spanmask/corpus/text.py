"""Read text: `RawBlock` flows in, `DocumentBlock` flows out, its text a slice of the bytes read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa

from spanmask.blocks import keep
from spanmask.config import CorpusConfig, Layout, OnError
from spanmask.corpus.cutting import RawBlock, block_bounds, document_starts
from spanmask.corpus.identity import identities
from spanmask.corpus.inputs import InputFile
from spanmask.corpus.streams import Whiteness, as_array, as_view, character_start, fault_at
from spanmask.errors import CorpusError
from spanmask.records import SKIPPED_LIMIT, Bytes, DocumentBlock, Flags, Offsets, Ragged, SkippedDocument, SkipReason

#: What an error about a document says last.
SKIP_ADVICE = "correct it, or leave such documents out with --on-error skip"
#: The same, where it has no field of the text's name.
NAME_ADVICE = "name another with --text-field, or leave such documents out with --on-error skip"


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


def left_out_for_length(identity: int, config: CorpusConfig) -> SkippedDocument:
    """Return what is told of a document that is too long, and skipped."""
    return SkippedDocument(document_id=identity, reason=SkipReason.LENGTH, detail=too_long(config))


def too_long(config: CorpusConfig) -> str:
    """Say that a document is."""
    return (
        f"a document of more than {config.max_document_bytes:,} bytes, the most that is read: "
        "raise --max-document-bytes where it is one"
    )


def parse(file: InputFile, raw: RawBlock, config: CorpusConfig) -> Iterator[DocumentBlock]:
    """Yield the documents of a block of text.

    Raises
    ------
    CorpusError
        A document is too long or not valid UTF-8, unless the configuration skips such documents.
    """
    data = as_array(raw.data)
    starts, _ = document_starts(data, config.layout is Layout.SENTENCES, True)
    # What is handed on of a file begins where its one document does.
    starts = starts[:1] if config.layout is Layout.FILE else starts
    edges = np.append(starts, len(data))
    bounds = block_bounds(starts)
    for first, last in pairwise(bounds):
        offsets = edges[first : last + 1]
        yield _block(file, raw.offset, data, offsets, config)


def _block(file: InputFile, origin: int, data: Bytes, offsets: Offsets, config: CorpusConfig) -> DocumentBlock:
    """Return documents as a block, without those too long or not UTF-8 where the configuration skips them.

    UTF-8 is checked for the whole block at once, and document by document only where that fails. origin: decompressed offset of data[0].
    """
    text, ids = data[offsets[0] : offsets[-1]], identities(file, origin + offsets[:-1])
    documents = Ragged(values=text, offsets=offsets - offsets[0])
    fits = good = _fit(documents, config.max_document_bytes)
    if not fits.all() or not is_utf8(text):
        if config.on_error is OnError.FAIL:
            raise _error(file, origin + offsets, text, fits, config)
        good = np.array([fit and is_utf8(documents[number]) for number, fit in enumerate(fits.tolist())])
    left = np.flatnonzero(~good).tolist()
    told = tuple(
        SkippedDocument(
            document_id=int(ids[number]),
            reason=SkipReason.ENCODING,
            detail=_encoding_fault(documents[number]) if file.encoding is None else f"not {file.encoding}",
        )
        if fits[number]
        else left_out_for_length(int(ids[number]), config)
        for number in left[:SKIPPED_LIMIT]
    )
    if left:
        documents, ids = keep(documents, good), ids[good]
    return DocumentBlock(
        text=documents.values,
        document_offsets=documents.offsets,
        document_ids=ids,
        skipped=len(left),
        skipped_documents=told,
        source_bytes=len(text),
    )


def _fit(documents: Ragged[Bytes], limit: int) -> Flags:
    """Return (D,) which documents are not too long, white space at their ends aside: how much there is depends on how a file is divided."""
    fits: Flags = documents.lengths <= limit
    for number in np.flatnonzero(~fits).tolist():
        document = as_view(documents[number])
        fits[number] = Whiteness().goes_on(document[character_start(document, limit) :])
    return fits


def _encoding_fault(text: Bytes) -> str:
    found = invalid_utf8(as_view(text))
    return "not UTF-8" if found is None else found[1]


def _error(file: InputFile, places: Offsets, text: Bytes, fits: Flags, config: CorpusConfig) -> CorpusError:
    """Return what is wrong with a block: its first document that is too long, else its first byte that is not UTF-8."""
    if fits.all():
        return _encoding_error(file, int(places[0]), as_view(text))
    lines = ", give --layout documents where each line is one" if config.layout is Layout.SENTENCES else ""
    return fault_at(file, int(places[int(np.argmin(fits))]), f"{too_long(config)}{lines}; {SKIP_ADVICE}")


def _encoding_error(file: InputFile, origin: int, text: memoryview) -> CorpusError:
    found = invalid_utf8(text)
    at, what = found if found is not None else (0, "a byte is not valid UTF-8")
    told = f"{what}; expected UTF-8 text: name its encoding with --encoding"
    if file.encoding is not None:
        told = f"what stands there is not {file.encoding}: name another --encoding"
    return fault_at(file, origin + at, f"{told}, or leave such documents out with --on-error skip")
