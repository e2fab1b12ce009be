"""Stored rows as something to look at: pieces with their text, role and place in spans. Terminal and HTML both draw from it.

Pieces join to readable text as their vocabulary writes them (`report.entries`): a ``##`` piece of WordPiece is attached to the one before,
others follow a space; punctuation marks are pieces like others. Text is not escaped: who draws it does so (`spanmask.escaping`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from spanmask.blocks import word_positions
from spanmask.corpus.inputs import PLACE_BITS
from spanmask.records import Pair, Row
from spanmask.report.entries import raw_entry, readable_entries
from spanmask.vocab import Vocabulary


class Role(StrEnum):
    """What masking did to a piece. A random id that equals the original by chance reads as kept."""

    PLAIN = "plain"
    SPECIAL = "special"
    MASKED = "masked"
    RANDOM = "random"
    KEPT = "kept"


#: The roles of pieces in spans.
REPLACEMENTS = (Role.MASKED, Role.RANDOM, Role.KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One position of a row.

    text: the entry in input_ids; of a piece that masking left alone or kept, without ``##`` or what else stands for a space or its absence.
    original: the entry before masking, without that. attached: whether the original continues the text before it. span: number of its span
    in the row, from 0.
    before_span, after_span: whether it is the boundary ``start - 1`` or ``end`` of a span.
    """

    text: str
    original: str
    attached: bool
    starts_word: bool
    role: Role
    span: int | None
    before_span: bool
    after_span: bool

    @property
    def is_boundary(self) -> bool:
        """Whether it is a boundary of any span."""
        return self.before_span or self.after_span


@dataclass(frozen=True, slots=True, kw_only=True)
class RowView:
    """A row to look at.

    number: 0-based row in its split. file, place: the two halves of document_id (FORMAT.md §3). kept_fields: names and values.
    dataset, input: what people call its dataset, where there are several, and its input file, where that is known. pair: of a row of two
    segments.
    """

    number: int
    document_id: int
    file: int
    place: int
    segment: int
    pieces: tuple[Piece, ...]
    spans: tuple[tuple[int, int], ...]
    kept_fields: tuple[tuple[str, str], ...] = ()
    dataset: str = ""
    input: str = ""
    pair: Pair | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values: identity, counts, spans with their originals, pieces, kept fields."""
        spans = [
            {
                "start": start,
                "end": end,
                "original": join_text((p.original, p.attached) for p in self.pieces[start:end]),
            }
            for start, end in self.spans
        ]
        known = {
            "dataset": self.dataset,
            "row": self.number,
            "document_id": self.document_id,
            "file": self.file,
            "input": self.input,
            "place": self.place,
        }
        counts = {"segment": self.segment, "tokens": self.tokens, "masked": self.masked, "original": self.original}
        pieces = [
            {"text": p.text, "original": p.original, "attached": p.attached, "role": str(p.role), "span": p.span}
            for p in self.pieces
        ]
        pair = {} if self.pair is None else {"pair": asdict(self.pair)}
        return {**known, **counts, **pair, "spans": spans, "kept": dict(self.kept_fields), "pieces": pieces}

    @property
    def origin(self) -> str:
        """The input file, by its number where its name is not known, and the place in it."""
        return f"{self.input or f'file {self.file}'}, place {self.place}"

    @property
    def segments(self) -> str:
        """The segment's number; of two, both, and whether the second follows the first in its document."""
        if self.pair is None or not self.pair.border:
            return f"segment {self.segment}"
        if self.pair.label:
            return f"segments {self.segment} and {self.pair.segment}, which follows"
        file, place = split_document_id(self.pair.document_id)
        return f"segment {self.segment}, and {self.pair.segment} of file {file}, place {place}, which does not follow"

    @property
    def tokens(self) -> int:
        """Tokens that can be masked: all but the first, the last and that between two segments, which are special."""
        between = self.pair is not None and self.pair.border > 0
        return max(len(self.pieces) - 2 - between, 0)

    @property
    def masked(self) -> int:
        """Tokens in spans."""
        return sum(end - start for start, end in self.spans)

    @property
    def masked_share(self) -> float:
        """Tokens in spans as a share of those that can be masked."""
        return self.masked / max(self.tokens, 1)

    def count(self, role: Role) -> int:
        """Return how many pieces have a role."""
        return sum(piece.role is role for piece in self.pieces)

    @property
    def original(self) -> str:
        """The text before masking, special tokens included."""
        return join_text((piece.original, piece.attached) for piece in self.pieces)

    @property
    def runs(self) -> Iterator[tuple[int | None, tuple[Piece, ...]]]:
        """The pieces in order, cut into spans (with their number) and what lies between them (None)."""
        position = 0
        for number, (start, end) in enumerate(self.spans):
            yield None, self.pieces[position:start]
            yield number, self.pieces[start:end]
            position = end
        yield None, self.pieces[position:]


def join_text(pieces: Iterable[tuple[str, bool]]) -> str:
    """Join texts, each told whether it is attached to the one before."""
    return "".join(text if attached else f" {text}" for text, attached in pieces).removeprefix(" ")


def split_document_id(document_id: int) -> tuple[int, int]:
    """Return the input file's index and the place in it that a document_id packs (FORMAT.md §3)."""
    return document_id >> PLACE_BITS, document_id & ((1 << PLACE_BITS) - 1)


def row_view(row: Row, vocabulary: Vocabulary, number: int, *, word_starts: Collection[int] | None = None) -> RowView:
    """Return a stored row as something to look at.

    Parameters
    ----------
    row
        As `ShardSet` gives it.
    vocabulary
        The one it was tokenized with.
    number
        Its 0-based place in the split.
    word_starts
        Positions in ``input_ids`` at which a word starts; by default those of the row, or, where it has none, by the vocabulary.
    """
    if word_starts is None:
        word_starts = set((word_positions(row, vocabulary) if row.word_starts is None else row.word_starts).tolist())
    spans = tuple(zip(row.span_starts.tolist(), row.span_ends.tolist(), strict=True))
    file, place = split_document_id(row.document_id)
    return RowView(
        number=number,
        document_id=row.document_id,
        file=file,
        place=place,
        segment=row.segment,
        pieces=tuple(_pieces(row, vocabulary, spans, word_starts)),
        spans=spans,
        kept_fields=tuple((name, _value(value)) for name, value in row.kept.items()),
        pair=row.pair,
    )


def _pieces(
    row: Row, vocabulary: Vocabulary, spans: tuple[tuple[int, int], ...], word_starts: Collection[int]
) -> Iterator[Piece]:
    """Yield the pieces of a row. word_starts: positions.

    A token in a span that was kept shows as its original does; one under a span is told apart from a special token by the span alone,
    since [MASK] and the like may be original tokens too.
    """
    ids, originals = row.input_ids.tolist(), row.original().tolist()
    owner = {position: number for number, (start, end) in enumerate(spans) for position in range(start, end)}
    before, after = {start - 1 for start, _ in spans}, {end for _, end in spans}
    special = set(vocabulary.special.as_dict().values()) - {vocabulary.special.unk}
    entry_text = readable_entries(vocabulary)
    for position, (now, was) in enumerate(zip(ids, originals, strict=True)):
        span = owner.get(position)
        original, attached = entry_text(was)
        changed = span is not None and now != was
        role = _role(now, was, vocabulary) if span is not None else Role.SPECIAL if was in special else Role.PLAIN
        yield Piece(
            text=raw_entry(vocabulary, now) if changed else original,
            original=original,
            attached=attached and position > 1,
            starts_word=position in word_starts,
            role=role,
            span=span,
            before_span=position in before,
            after_span=position in after,
        )


def _role(now: int, was: int, vocabulary: Vocabulary) -> Role:
    if now == vocabulary.special.mask:
        return Role.MASKED
    return Role.KEPT if now == was else Role.RANDOM


def _value(value: Any) -> str:
    if value is None:
        return "null"
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
