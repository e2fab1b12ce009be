"""Counts of ids for unigram replacements: of some text that is spread evenly over all inputs, however large these are.

Windows of every input are taken at equal distances, and pieces of the documents that start in them. What compresses cannot be read from its
middle: compressed inputs, Parquet and Arrow are read through, and of their text no more is taken than of others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.blocks import keep
from spanmask.config import CorpusConfig
from spanmask.corpus.inputs import InputFile, Part
from spanmask.corpus.reading import divide, is_one_document, parse_block, read_part, stream_blocks
from spanmask.records import DocumentBlock, Flags, Offsets, Ragged
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary

#: What a compressed file is taken to grow to.
GROWTH = 4
#: Bytes of text that are counted at least, and what is aimed at: how much text files hold is known only once they are read.
LEAST_BYTES = 16 << 20
_AIM = Fraction(3, 2)
#: So much is read of what is counted a piece: few pieces of many documents tell more than a few whole ones.
_READ = 8
_WINDOW_BYTES = 64 << 10
_PIECE_BYTES = 4 << 10
#: How far from a place a space is looked for, to cut a piece there.
_LONGEST_WORD = 64


def count_unigrams(files: Sequence[InputFile], config: CorpusConfig, vocabulary: Vocabulary) -> npt.NDArray[np.int64]:
    """Return (V,) counts of the ids that may replace others, in at least 16 MiB of text or in all there is.

    Raises
    ------
    CorpusError
        An input is not what it claims, or holds a document that breaks its format.
    """
    plain = replace(config, spans_field=None, words_field=None, keep=())
    files = [replace(file, kept=_only_fields(file, plain.carried)) for file in files]
    size = sum(text_bytes(file) for file in files)
    share = min(_AIM * LEAST_BYTES / max(size, 1), Fraction(1))
    while True:
        counts, seen = _count(files, plain, vocabulary, share)
        if seen >= LEAST_BYTES or share == 1:
            break
        # Less text than was thought: long records around short texts, or documents longer than windows, of which few were met.
        share = min(share * min(_AIM * LEAST_BYTES / max(seen, 1), Fraction(16)), Fraction(1))
    drawn = np.zeros_like(counts)
    drawn[vocabulary.counted_ids] = counts[vocabulary.counted_ids]
    return drawn


def _only_fields(file: InputFile, names: Sequence[str]) -> pa.Schema | None:
    return None if file.kept is None else pa.schema([field for field in file.kept if field.name in names])


def text_bytes(file: InputFile) -> int:
    """Return about how much text a file holds, in bytes."""
    return file.size * (1 if file.compression is None else GROWTH)


def _count(
    files: Sequence[InputFile], config: CorpusConfig, vocabulary: Vocabulary, share: Fraction
) -> tuple[npt.NDArray[np.int64], int]:
    """Return counts of ids in a share of the text, and how much text that was, in bytes."""
    tokenizer = Tokenizer(vocabulary)
    counts, read, seen = np.zeros(len(vocabulary), np.int64), 0, 0
    windows = min(share * _READ, Fraction(1))
    for block in _documents(files, config, windows):
        some = _pieces(block, read, int(windows / share))
        read += int(block.document_offsets[-1] - block.document_offsets[0])
        seen += len(some.text)
        counts += np.bincount(tokenizer.tokenize(some).token_ids, minlength=len(vocabulary))
    return counts, seen


class _Skipped:
    """The numbers of a file's windows that are not taken, where a share of all is. first: windows of the files before it, about."""

    def __init__(self, first: int, share: Fraction) -> None:
        self._first, self._share = first, share

    def __contains__(self, number: object) -> bool:
        assert isinstance(number, int)  # noqa: S101
        return (self._first + number) * self._share.numerator % self._share.denominator >= self._share.numerator


def _documents(files: Sequence[InputFile], config: CorpusConfig, share: Fraction) -> Iterator[DocumentBlock]:
    """Yield the documents that start in a share of the windows of every file."""
    first = 0
    for file in files:
        count = -(-text_bytes(file) // _WINDOW_BYTES)
        yield from _documents_of(file, config, _Skipped(first, share), count)
        first += count


def _documents_of(file: InputFile, config: CorpusConfig, skipped: _Skipped, count: int) -> Iterator[DocumentBlock]:
    if file.is_line_stream:
        for raw in stream_blocks(file, config, _WINDOW_BYTES, skipped):
            yield from parse_block(file, raw, config)
    elif file.has_lines and not is_one_document(file, config):
        taken = np.flatnonzero([number not in skipped for number in range(count)])
        # Windows that lie side by side are read as one: a corpus that is taken whole, at once.
        for run in np.split(taken, np.flatnonzero(np.diff(taken) > 1) + 1) if len(taken) else []:
            bounds = int(run[0]) * _WINDOW_BYTES, min((int(run[-1]) + 1) * _WINDOW_BYTES, file.size)
            yield from read_part(Part(file=file, start=bounds[0], stop=bounds[1]), config)
    else:
        before = 0
        for part in divide(file, config, 1 << 62):
            for block in read_part(part, config):
                places = before + block.document_offsets - block.document_offsets[0]
                windows = places[:-1] // _WINDOW_BYTES
                yield _only(block, np.array([number not in skipped for number in windows.tolist()], np.bool_))
                before = int(places[-1])


def _only(block: DocumentBlock, chosen: Flags) -> DocumentBlock:
    first, last = block.document_offsets[[0, -1]]
    return _block(keep(Ragged(values=block.text[first:last], offsets=block.document_offsets - first), chosen))


def _block(texts: Ragged[npt.NDArray[np.uint8]]) -> DocumentBlock:
    ids = np.zeros(len(texts), np.uint64)
    return DocumentBlock(text=texts.values, document_offsets=texts.offsets, document_ids=ids)


def _pieces(block: DocumentBlock, before: int, step: int) -> DocumentBlock:
    """Return every ``step``-th piece of the documents' text, as documents of their own. before: bytes of the blocks before it."""
    first, last = block.document_offsets[[0, -1]].tolist()
    text, stride = block.text[first:last], step * _PIECE_BYTES
    if step == 1:
        return _block(Ragged(values=text, offsets=block.document_offsets - first))
    starts = np.arange(before // stride, (before + len(text)) // stride + 1) * stride - before
    begins, ends = _cuts(text, starts), _cuts(text, starts + _PIECE_BYTES)
    bounds = np.unique(np.concatenate((block.document_offsets - first, begins, ends)))
    piece = np.minimum(np.searchsorted(ends, bounds[:-1], side="right"), len(ends) - 1)
    inside = (begins[piece] <= bounds[:-1]) & (bounds[:-1] < ends[piece])
    return _block(keep(Ragged(values=text, offsets=bounds), inside))


def _cuts(text: npt.NDArray[np.uint8], places: Offsets) -> Offsets:
    """Return where to cut a text near places, (n,): before the next space, or where there is none for long, before the next character."""
    near = np.clip(places, 0, len(text))[:, None] + np.arange(_LONGEST_WORD)
    bytes_there = np.where(near < len(text), text[np.minimum(near, len(text) - 1)] if len(text) else 32, 32)
    spaces, characters = bytes_there <= 32, (bytes_there & 0xC0) != 0x80
    offset = np.where(spaces.any(axis=1), spaces.argmax(axis=1), characters.argmax(axis=1))
    # What began in the block before goes on from the first byte.
    cuts: Offsets = np.where(places <= 0, 0, np.minimum(near[:, 0] + offset, len(text)))
    return cuts
