"""Turn rows into documents: an Arrow batch of text and its other columns flows in, `DocumentBlock` flows out.

JSONL, Parquet and Arrow meet here, so that a row breaks the rules for the same reasons in each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.buffers import to_numpy
from spanmask.config import CorpusConfig, OnError
from spanmask.corpus.exclusion import excluded
from spanmask.corpus.inputs import Exclusion
from spanmask.corpus.ranges import Fault, read_points, read_ranges
from spanmask.corpus.streams import as_view
from spanmask.corpus.strings import plain_bytes, plain_offsets
from spanmask.corpus.text import invalid_utf8
from spanmask.errors import CorpusError
from spanmask.kernels.text import count_code_points
from spanmask.records import (
    SKIPPED_LIMIT,
    DocumentBlock,
    Flags,
    Identities,
    Offsets,
    SkippedDocument,
    SkipReason,
)

#: Says more of what is wrong with a document: takes its identity and what is wrong, returns both told better.
Explain = Callable[[np.uint64, str], str]
#: Says where a document stands: takes its identity and what is wrong, returns the error.
Complain = Callable[[np.uint64, str], CorpusError]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRows:
    """Rows as a reader hands them on.

    batch: D rows; text is string or large_string, ranges are nested lists, kept columns have their final types.
    ids: (D,). skipped, excluded, skipped_documents: left out already, as in `DocumentBlock`. source_bytes: decompressed input bytes.
    exclusions: by which rows are still to be left out.
    """

    batch: pa.RecordBatch
    ids: Identities
    skipped: int = 0
    excluded: int = 0
    exclusions: tuple[Exclusion, ...] = ()
    skipped_documents: tuple[SkippedDocument, ...] = ()
    source_bytes: int


def documents(
    rows: InputRows, config: CorpusConfig, complain: Complain, explain: Explain = lambda _, reason: reason
) -> DocumentBlock:
    """Check rows and return them as documents.

    Raises
    ------
    CorpusError
        A row has no text, text that is not UTF-8, or ranges that do not fit its text;
        unless the configuration skips such rows.
    """
    bad = np.zeros(len(rows.batch), np.bool_)
    skipped = list(rows.skipped_documents)
    for fault in _faults(rows.batch, config):
        first = int(np.argmax(fault.bad))
        if config.on_error is OnError.FAIL:
            raise complain(rows.ids[first], explain(rows.ids[first], fault.reason(first)))
        for row in np.flatnonzero(fault.bad & ~bad)[:SKIPPED_LIMIT].tolist():
            detail = explain(rows.ids[row], fault.reason(row))
            skipped.append(SkippedDocument(document_id=int(rows.ids[row]), reason=fault.kind, detail=detail))
        bad |= fault.bad
    taken = excluded(rows.batch, rows.exclusions) & ~bad
    good = ~bad & ~taken
    if good.all():
        return _block(rows, config)
    return _block(
        InputRows(
            batch=rows.batch.filter(pa.array(good)),
            ids=rows.ids[good],
            skipped=rows.skipped + int(np.count_nonzero(bad)),
            excluded=int(np.count_nonzero(taken)),
            skipped_documents=tuple(sorted(skipped, key=lambda document: document.document_id)[:SKIPPED_LIMIT]),
            source_bytes=rows.source_bytes,
        ),
        config,
    )


def _block(rows: InputRows, config: CorpusConfig) -> DocumentBlock:
    """Return rows that were checked as documents: the text as a view of the batch, ranges and kept fields beside it."""
    column = rows.batch.column(config.text_field)
    offsets = plain_offsets(column)
    lengths = _code_points(column, config)
    spans, words = config.spans_field, config.words_field
    return DocumentBlock(
        text=plain_bytes(column)[offsets[0] : offsets[-1]],
        document_offsets=offsets - offsets[0],
        document_ids=rows.ids,
        annotations=None if spans is None else read_ranges(rows.batch.column(spans), lengths)[0],
        words=None if words is None else read_points(rows.batch.column(words), lengths)[0],
        kept=rows.batch.select(list(config.keep)) if config.keep else None,
        skipped=rows.skipped,
        excluded=rows.excluded,
        skipped_documents=rows.skipped_documents,
        source_bytes=rows.source_bytes,
    )


def _code_points(column: pa.Array, config: CorpusConfig) -> Offsets:
    """Return (D,) code points of each text, or zeros where nothing needs them."""
    counts = np.zeros(len(column), np.int64)
    if config.spans_field is not None or config.words_field is not None:
        count_code_points(plain_bytes(column), plain_offsets(column), counts)
    return counts


def _faults(batch: pa.RecordBatch, config: CorpusConfig) -> Iterator[Fault]:
    """Yield what is wrong with any row; ranges are judged against the text only where it is sound."""
    text = batch.column(config.text_field)
    if text.null_count:
        bad: Flags = to_numpy(text.is_null())
        reason = f"field {config.text_field!r} is null, expected a value"
        yield Fault(bad=bad, kind=SkipReason.FIELD, reason=lambda _: reason)
    for name in (config.text_field, *config.carried):
        yield from _encoding_faults(batch.column(name), name)
    lengths = _code_points(batch.column(config.text_field), config)
    if config.spans_field is not None:
        yield from _named(read_ranges(batch.column(config.spans_field), lengths)[1], config.spans_field)
    if config.words_field is not None:
        yield from _named(read_points(batch.column(config.words_field), lengths)[1], config.words_field)


def _named(fault: Fault | None, name: str) -> Iterator[Fault]:
    if fault is not None:
        yield Fault(bad=fault.bad, kind=fault.kind, reason=lambda row: f"field {name!r}: {fault.reason(row)}")


def _encoding_faults(column: pa.Array, name: str) -> Iterator[Fault]:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        data, offsets = as_view(plain_bytes(column)), plain_offsets(column).tolist()
        found = [invalid_utf8(data[start:end]) for start, end in pairwise(offsets)]
        reasons: npt.NDArray[np.object_] = np.array([None if what is None else what[1] for what in found], np.object_)
        yield Fault(
            bad=np.array([reason is not None for reason in reasons]),
            kind=SkipReason.ENCODING,
            reason=lambda row: f"field {name!r}: {reasons[row]}; expected UTF-8 text",
        )
