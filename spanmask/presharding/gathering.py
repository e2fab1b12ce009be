"""Documents of a shard's block all at once: what a second segment of a pair may be taken from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from spanmask.blocks import concatenated, offsets_of
from spanmask.records import SKIPPED_LIMIT, DocumentBlock


def gathered(blocks: Iterable[DocumentBlock], limit: int | None) -> Iterator[DocumentBlock]:
    """Yield the documents of several blocks as one. limit: of input bytes, from which on another begins; None: all are one."""
    held, size = list[DocumentBlock](), 0
    for block in blocks:
        held.append(block)
        size += block.source_bytes
        if limit is not None and size >= limit:
            yield _joined(held)
            held, size = [], 0
    if held:
        yield _joined(held)


def _joined(blocks: Sequence[DocumentBlock]) -> DocumentBlock:
    first = blocks[0]
    if len(blocks) == 1:
        return first
    lengths = np.concatenate([np.diff(block.document_offsets) for block in blocks])
    skipped = [document for block in blocks for document in block.skipped_documents]
    return DocumentBlock(
        text=np.concatenate([block.text[block.document_offsets[0] : block.document_offsets[-1]] for block in blocks]),
        document_offsets=offsets_of(lengths),
        document_ids=np.concatenate([block.document_ids for block in blocks]),
        annotations=None if first.annotations is None else concatenated([block.annotations for block in blocks]),
        words=None if first.words is None else concatenated([block.words for block in blocks]),
        kept=None if first.kept is None else pa.concat_batches([block.kept for block in blocks]),
        skipped=sum(block.skipped for block in blocks),
        excluded=sum(block.excluded for block in blocks),
        skipped_documents=tuple(skipped[:SKIPPED_LIMIT]),
        source_bytes=sum(block.source_bytes for block in blocks),
    )
