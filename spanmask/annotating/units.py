"""What is annotated and saved as one: blocks of documents flow in, units of about so much text and then their lines flow out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from spanmask.annotating.config import AnnotateConfig
from spanmask.config import Format
from spanmask.corpus.identity import places
from spanmask.corpus.inputs import InputFile, Part
from spanmask.corpus.reading import divide, read_part
from spanmask.exporting.formats import json_lines
from spanmask.records import DocumentBlock

#: Beyond the text of every file.
_WHOLE = 1 << 62


@dataclass(slots=True)
class Amount:
    """How much was read: documents, those left out, and bytes of text."""

    documents: int = 0
    documents_skipped: int = 0
    documents_excluded: int = 0
    text_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Some documents of one input. number: in the order of all. where: its first, for people. kept: a row for each text."""

    number: int
    where: str
    texts: tuple[str, ...]
    kept: pa.RecordBatch | None

    @property
    def text_bytes(self) -> int:
        """How many bytes of text it has."""
        return sum(len(text) if text.isascii() else len(text.encode()) for text in self.texts)

    def digest(self) -> str:
        """Return the SHA-256 of what was read, in hexadecimal."""
        content = hashlib.sha256()
        # Under a name that no kept field has.
        for line in json_lines(_batch(self.texts, "", self.kept)):
            content.update(line)
        return content.hexdigest()

    def lines(self, ranges: Sequence[Sequence[tuple[int, int]]], config: AnnotateConfig) -> bytes:
        """Return the documents as JSON lines: what was kept, the text, and its ranges."""
        batch = _batch(self.texts, config.corpus.text_field, self.kept)
        column = pa.array([[list(pair) for pair in pairs] for pairs in ranges], pa.list_(pa.list_(pa.int64())))
        return b"".join(json_lines(batch.append_column(str(config.into), column)))


def _batch(texts: Sequence[str], name: str, kept: pa.RecordBatch | None) -> pa.RecordBatch:
    column = pa.array(texts, pa.large_string())
    return pa.RecordBatch.from_arrays([column], [name]) if kept is None else kept.append_column(name, column)


def units_of(files: Sequence[InputFile], config: AnnotateConfig, amount: Amount) -> Iterator[Unit]:
    """Yield the units of some files in order, by inputs and configuration alone. amount: told of what is read.

    Raises
    ------
    CorpusError
        A document breaks its format, unless the configuration skips those.
    StorageError
        The file system refused.
    """
    number = 0
    for file, block in _blocks(files, config):
        amount.documents += len(block)
        amount.documents_skipped += block.skipped
        amount.documents_excluded += block.excluded
        for first, last in pairwise(_bounds(block, config.unit_bytes)):
            unit = _unit(number, file, block, first, last)
            amount.text_bytes += unit.text_bytes
            yield unit
            number += 1


def _blocks(files: Iterable[InputFile], config: AnnotateConfig) -> Iterator[tuple[InputFile, DocumentBlock]]:
    for file in files:
        parts = [Part(file=file, start=0, stop=file.size)] if file.has_lines else divide(file, config.corpus, _WHOLE)
        for part in parts:
            for block in read_part(part, config.corpus):
                yield file, block


def _bounds(block: DocumentBlock, size: int) -> list[int]:
    """Return the first document of each unit, and D: those that begin within so many bytes of its first go together."""
    starts, bounds = block.document_offsets[:-1], [0] * bool(len(block))
    while bounds and bounds[-1] < len(block):
        bounds.append(int(np.searchsorted(starts, starts[bounds[-1]] + size)))
        # Empty documents begin where the next one does.
        bounds[-1] = max(bounds[-1], bounds[-2] + 1)
    return bounds


def _unit(number: int, file: InputFile, block: DocumentBlock, first: int, last: int) -> Unit:
    offsets = block.document_offsets[first : last + 1].tolist()
    texts = [block.text[start:end].tobytes().decode() for start, end in pairwise(offsets)]
    place = int(places(block.document_ids[first : first + 1])[0])
    return Unit(
        number=number,
        where=f"{file.path}, from the document at {place:,} on",
        # Behind a document of plain text its reader leaves the blank lines up to the next.
        texts=tuple(text.rstrip() for text in texts) if file.format is Format.TEXT else tuple(texts),
        kept=None if block.kept is None else block.kept.slice(first, last - first),
    )
