"""The arrays that travel between stages.

Shape legend, here and everywhere: T tokens in the block, D documents, S sequences, M masked tokens, N spans,
A annotated ranges, C bytes of text. Ragged data is one flat array with an ``*_offsets`` array of n + 1 entries;
item i is ``flat[offsets[i]:offsets[i + 1]]``. Intervals are half-open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]
Positions = npt.NDArray[np.uint16]
Identities = npt.NDArray[np.uint64]
Segments = npt.NDArray[np.uint32]
TokenIds = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Ranges of each of D owners (documents or sequences), ascending.

    offsets: (D + 1,); starts, ends: (A,), half-open, relative to their owner.
    """

    offsets: Offsets
    starts: Offsets
    ends: Offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Ascending positions in each of D documents. offsets: (D + 1,); values: (A,), relative to their document."""

    offsets: Offsets
    values: Offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentBlock:
    """Some documents of one input, in order, as readers hand them on.

    text: (C,) uint8, valid UTF-8. Document i is ``text[document_offsets[i]:document_offsets[i + 1]]``; it may end in white space
    (blank lines up to the next document). document_offsets: (D + 1,), the first may be above 0. document_ids: (D,), ascending.
    annotations, words: code points of the document's text. kept: D rows. skipped: documents left out for ``on_error = skip``.
    source_bytes: decompressed input bytes this block stands for.
    """

    text: Bytes
    document_offsets: Offsets
    document_ids: Identities
    annotations: Ranges | None = None
    words: Points | None = None
    kept: pa.RecordBatch | None = None
    skipped: int = 0
    source_bytes: int = 0

    def __len__(self) -> int:
        return len(self.document_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedBlock:
    """Tokens of D documents.

    token_ids: (T,) uint16 | uint32, no special tokens added. word_starts: (T,) bool, true where a word starts.
    document_offsets: (D + 1,) in tokens. line_starts: (T,) bool, true on the first token of a line, when asked for.
    annotations: token positions in their document, grown to whole words, merged where they overlap. byte_offsets: (T, 2) int64, the
    bytes [start, end) of its document's text that each token stands for, when asked for; a word's go from its first token's start to its
    last one's end.
    """

    token_ids: TokenIds
    word_starts: Flags
    document_offsets: Offsets
    line_starts: Flags | None = None
    annotations: Ranges | None = None
    byte_offsets: Offsets | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceBlock:
    """S segments of tokens, not yet masked, without special tokens.

    token_ids, word_starts: (T,). Segment i is ``token_ids[starts[i]:ends[i]]``; starts, ends: (S,).
    document_index: (S,), which document of the block it comes from. document_ids, segments: (S,), its identity.
    annotations: token positions in the segment. dropped: tokens left out, by reason.
    """

    token_ids: TokenIds
    word_starts: Flags
    starts: Offsets
    ends: Offsets
    document_index: Offsets
    document_ids: Identities
    segments: Segments
    annotations: Ranges | None = None
    dropped: dict[str, int]
    words_cut: int = 0

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedBlock:
    """S masked sequences, special tokens included: the rows of a shard.

    input_ids: (T + 2·S,) corrupted; input_offsets: (S + 1,). span_starts, span_ends: (N,) uint16, positions in the sequence's input_ids;
    span_offsets: (S + 1,). labels: (M,) original ids under the spans; label_offsets: (S + 1,).
    document_ids, segments: (S,). word_starts: positions in input_ids, when stored. annotations: likewise.
    """

    document_ids: Identities
    segments: Segments
    input_ids: TokenIds
    input_offsets: Offsets
    span_starts: Positions
    span_ends: Positions
    span_offsets: Offsets
    labels: TokenIds
    label_offsets: Offsets
    word_starts: Points | None = None
    annotations: Ranges | None = None

    def __len__(self) -> int:
        return len(self.document_ids)
