"""Tokenized documents in, segments out: contiguous tokens of one document that fit in a sequence (paper §3.3, §4.2)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from spanmask.blocks import keep
from spanmask.config import SEGMENT_LIMIT, Segmentation, SequenceConfig
from spanmask.errors import CorpusError
from spanmask.kernels import segments
from spanmask.records import Identities, Offsets, Ranges, SequenceBlock, TokenizedBlock

#: [CLS] and [SEP].
SPECIAL_TOKENS = 2
#: Why tokens are left out: their segment is shorter than ``min_tokens``.
SHORT = "short_segment"


def sequence(block: TokenizedBlock, document_ids: Identities, config: SequenceConfig) -> SequenceBlock:
    """Cut every document into segments of at most ``max_tokens`` with special tokens.

    A segment ends at a word start (``fill``) or at a line start (``sentence``; a longer line at a word start); a word longer than a
    sequence is split, and counted. Segments shorter than ``min_tokens`` are dropped, and their tokens counted. Segments are numbered
    before any is dropped.

    Parameters
    ----------
    block
        D documents; with line starts for ``sentence``.
    document_ids
        (D,) identities.

    Raises
    ------
    CorpusError
        A document has more segments than an identity can number.
    """
    room = config.max_tokens - SPECIAL_TOKENS
    capacity = 4 * len(block.token_ids) // room + len(document_ids) + 1
    starts, ends, document_index, numbers = (np.empty(capacity, np.int64) for _ in range(4))
    cut = segments.Cut(starts, ends, document_index, numbers, np.zeros(3, np.int64))
    lines = block.line_starts if config.segmentation is Segmentation.SENTENCE else None
    line_starts = np.zeros(0, np.bool_) if lines is None else lines
    shortest = max(config.min_tokens - SPECIAL_TOKENS, 1)
    segments.cut_documents(block.word_starts, line_starts, block.document_offsets, room, shortest, cut)
    size = int(cut.counts[segments.WRITTEN])
    cut = cut._replace(starts=cut.starts[:size], ends=cut.ends[:size], document_index=cut.document_index[:size])
    numbers = cut.numbers[:size]
    if size and numbers.max() >= SEGMENT_LIMIT:
        raise CorpusError(f"a document has more than {SEGMENT_LIMIT} segments; split it, or raise --max-tokens")
    return SequenceBlock(
        token_ids=block.token_ids,
        word_starts=block.word_starts,
        starts=cut.starts,
        ends=cut.ends,
        document_index=cut.document_index,
        document_ids=document_ids[cut.document_index],
        segments=numbers.astype(np.uint32),
        annotations=None
        if block.annotations is None
        else cut_ranges((cut.starts, cut.ends, cut.document_index), block.document_offsets, block.annotations),
        dropped={SHORT: int(cut.counts[segments.DROPPED])},
        words_cut=int(cut.counts[segments.WORDS_CUT]),
    )


def cut_ranges(
    taken: tuple[Offsets, Offsets, Offsets], document_offsets: npt.NDArray[np.int64], ranges: Ranges[Offsets]
) -> Ranges[Offsets]:
    """Return the ranges of documents as those of segments, cut at their ends.

    Parameters
    ----------
    taken
        (S,) each: where segments start and end, and their documents.
    document_offsets
        (D + 1,) in tokens.
    ranges
        Of D documents, token positions in these.
    """
    begins, stops, documents = taken
    # Segments may have text in common; then no more than a range for each token is certain.
    capacity = max(len(ranges.starts) + len(begins), int((stops - begins).sum()))
    offsets = np.zeros(len(begins) + 1, np.int64)
    starts, ends = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    cut = segments.Cut(begins, stops, documents, documents, np.zeros(3, np.int64))
    segments.cut_ranges(cut, document_offsets, ranges.offsets, ranges.starts, ranges.ends, offsets, starts, ends)
    return Ranges(offsets=offsets, starts=starts[: offsets[-1]], ends=ends[: offsets[-1]])


def select(block: SequenceBlock, chosen: npt.NDArray[np.bool_]) -> SequenceBlock:
    """Return the chosen segments of a block. chosen: (S,)."""
    return replace(
        block,
        starts=block.starts[chosen],
        ends=block.ends[chosen],
        document_index=block.document_index[chosen],
        document_ids=block.document_ids[chosen],
        segments=block.segments[chosen],
        annotations=None if block.annotations is None else keep(block.annotations, chosen),
        pairs=None if block.pairs is None else block.pairs[chosen],
    )
