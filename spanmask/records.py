"""The arrays that travel between stages.

Shape legend, here and everywhere: T tokens in the block, D documents, S sequences, M masked tokens, N spans,
A annotated ranges, C bytes of text. Ragged data is one flat array with an array ``offsets`` of n + 1 entries;
item i is ``flat[offsets[i]:offsets[i + 1]]``. Intervals are half-open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int64]
Positions = npt.NDArray[np.uint16]
Identities = npt.NDArray[np.uint64]
SegmentNumbers = npt.NDArray[np.uint32]
TokenIds = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

Flat = TypeVar("Flat", bound=npt.NDArray[Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Items of n owners (documents, sequences), one owner's after another's. offsets: (n + 1,) where each owner's begin."""

    offsets: Offsets
    #: The flat arrays that the offsets point into.
    FLAT: ClassVar[tuple[str, ...]] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Offsets:
        """(n,) how many items each owner has."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Offsets:
        """The owner of each item, from 0."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def _bounds(self, index: int) -> slice:
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        return slice(self.offsets[index], self.offsets[index + 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ragged(Cells, Generic[Flat]):
    """Values of n owners: ``ragged[i]`` is owner i's, a view. values: flat."""

    values: Flat
    FLAT: ClassVar[tuple[str, ...]] = ("values",)

    def __getitem__(self, index: int) -> Flat:
        return cast("Flat", self.values[self._bounds(index)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges(Cells, Generic[Flat]):
    """Ranges of n owners, ascending; ``ranges[i]`` is owner i's starts and ends, views.

    starts, ends: (A,), half-open, relative to their owner.
    """

    starts: Flat
    ends: Flat
    FLAT: ClassVar[tuple[str, ...]] = ("starts", "ends")

    def __getitem__(self, index: int) -> tuple[Flat, Flat]:
        bounds = self._bounds(index)
        return cast("Flat", self.starts[bounds]), cast("Flat", self.ends[bounds])

    @property
    def sizes(self) -> Offsets:
        """(A,) the length of each range."""
        sizes: Offsets = self.ends.astype(np.int64) - self.starts
        return sizes


#: Documents left out that are told of one by one; all are counted.
SKIPPED_LIMIT = 10_000


class SkipReason(StrEnum):
    """Why a document was left out (FORMAT.md §4)."""

    ENCODING = "encoding"
    JSON = "json"
    FIELD = "field"
    RANGES = "ranges"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedDocument:
    """A document that was left out. detail: what was found, for people."""

    document_id: int
    reason: SkipReason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentBlock:
    """Some documents of one input, in order, as readers hand them on.

    text: (C,) uint8, valid UTF-8. Document i is ``text[document_offsets[i]:document_offsets[i + 1]]``; it may end in white space
    (blank lines up to the next document). document_offsets: (D + 1,), the first may be above 0. document_ids: (D,), ascending.
    annotations, words: code points of the document's text. kept: D rows. skipped: how many documents were left out for
    ``on_error = skip``; excluded: how many for ``exclude``; skipped_documents: those skipped, ascending, at most `SKIPPED_LIMIT`.
    source_bytes: decompressed input bytes this block stands for.
    """

    text: Bytes
    document_offsets: Offsets
    document_ids: Identities
    annotations: Ranges[Offsets] | None = None
    words: Ragged[Offsets] | None = None
    kept: pa.RecordBatch | None = None
    skipped: int = 0
    excluded: int = 0
    skipped_documents: tuple[SkippedDocument, ...] = ()
    source_bytes: int = 0

    def __len__(self) -> int:
        return len(self.document_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedBlock:
    """Tokens of D documents.

    token_ids: (T,) uint16 | uint32, no special tokens added. word_starts: (T,) bool, true where a word starts.
    document_offsets: (D + 1,) in tokens. line_starts: (T,) bool, true on the first token of a line, when asked for.
    annotations: token positions in their document, merged where they overlap. byte_offsets: (T, 2) int64, the
    bytes [start, end) of its document's text that each token stands for, when asked for; a word's go from its first token's start to its
    last one's end. supplied: (D,) the documents whose words the corpus supplied.
    """

    token_ids: TokenIds
    word_starts: Flags
    document_offsets: Offsets
    line_starts: Flags | None = None
    annotations: Ranges[Offsets] | None = None
    byte_offsets: Offsets | None = None
    supplied: Flags | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """What S rows of two segments, ``[CLS]`` A ``[SEP]`` B ``[SEP]``, are beside A, whose identity is theirs.

    borders: (S,) position in the row of B's first token, 0 for a row of one segment. labels: (S,) uint8, 1 where B follows A in its
    document, else 0. document_ids, segments: (S,) B's identity, 0 without B.
    """

    borders: Positions
    labels: npt.NDArray[np.uint8]
    document_ids: Identities
    segments: SegmentNumbers

    def __len__(self) -> int:
        return len(self.borders)

    def __getitem__(self, chosen: slice | Offsets | Flags) -> Pairs:
        return Pairs(
            borders=self.borders[chosen],
            labels=self.labels[chosen],
            document_ids=self.document_ids[chosen],
            segments=self.segments[chosen],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceBlock:
    """S segments of tokens, not yet masked, without special tokens, but for the ``[SEP]`` between the two of a pair.

    token_ids, word_starts: (T,). Segment i is ``token_ids[starts[i]:ends[i]]``; starts, ends: (S,).
    document_index: (S,), which document of the block it comes from. document_ids, segments: (S,), its identity.
    annotations: token positions in the segment. dropped: tokens left out, by reason. word_rule: how often each line of the word rule acted.
    pairs: of segments that are two, with ``[SEP]`` between them, which counts as a word.
    """

    token_ids: TokenIds
    word_starts: Flags
    starts: Offsets
    ends: Offsets
    document_index: Offsets
    document_ids: Identities
    segments: SegmentNumbers
    annotations: Ranges[Offsets] | None = None
    dropped: dict[str, int]
    words_cut: int = 0
    word_rule: dict[str, int] = field(default_factory=dict)
    pairs: Pairs | None = None

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedBlock:
    """S masked sequences, special tokens included: the rows of a shard.

    document_ids, segments: (S,). input_ids: (T + 2·S,) corrupted. spans: N, positions in the sequence's input_ids. labels: (M,) original
    ids under the spans. word_starts: positions in input_ids, when stored. annotations: likewise. pairs: of rows of two segments.
    """

    document_ids: Identities
    segments: SegmentNumbers
    input_ids: Ragged[TokenIds]
    spans: Ranges[Positions]
    labels: Ragged[TokenIds]
    word_starts: Ragged[Positions] | None = None
    annotations: Ranges[Positions] | None = None
    pairs: Pairs | None = None

    def __len__(self) -> int:
        return len(self.document_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What one row of two segments is beside the first, as `Pairs` has it of several."""

    border: int
    label: int
    document_id: int
    segment: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stored row. input_ids: (L,); span_starts, span_ends: (N,), half-open positions in it; labels: (M,) originals under the spans.

    word_starts: positions at which words start, where they are stored. pair: of a dataset of pairs.
    """

    document_id: int
    segment: int
    input_ids: TokenIds
    span_starts: Positions
    span_ends: Positions
    labels: TokenIds
    kept: dict[str, Any]
    word_starts: Positions | None = None
    pair: Pair | None = None

    def original(self) -> TokenIds:
        """Return the row with its labels put back, (L,)."""
        ids = self.input_ids.copy()
        done = 0
        for start, end in zip(self.span_starts.tolist(), self.span_ends.tolist(), strict=True):
            ids[start:end] = self.labels[done : done + end - start]
            done += end - start
        return ids
