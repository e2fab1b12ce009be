"""Documents in, tokens out: BERT's WordPiece. The only module that reaches the `tokenizers` library, and makes Python strings.

Text goes to the library in pieces of a few KiB cut after a space, newline, ASCII punctuation or ideograph, which changes no token: BERT's
normalizer and pre-tokenizer look at no character beyond one (``tests/test_tokenization.py`` holds pieces against wholes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.config import VocabularyConfig
from spanmask.records import Bytes, DocumentBlock, Offsets, Points, Ranges, TokenizedBlock
from spanmask.vocab import Vocabulary, load_vocabulary

#: Bytes a piece aims at: the library is fastest around this size (3.2 MB/s against 1.5 at 256 KiB).
PIECE_BYTES = 4096
_BATCH_PIECES = 128
#: A word of more characters becomes one [UNK] (BERT's own limit).
MAX_WORD_CHARACTERS = 100
#: After these bytes a text may be cut. The ideographs are U+5000 to U+9FFF, enough of them to find one near any place.
_BORDER = rb"(?:[ \n!-/:-@\[-`{-~]|[\xe5-\xe9][\x80-\xbf]{2})"
_UP_TO_LAST_BORDER = re.compile(rb".*" + _BORDER, re.DOTALL)
_NEXT_BORDER = re.compile(_BORDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Bytes [start, end) of a document, and whether a line starts there."""

    document: int
    start: int
    end: int
    starts_line: bool


class Tokenizer:
    """BERT's tokenizer: normalizer, pre-tokenizer and WordPiece, without special tokens.

    Parameters
    ----------
    vocabulary
        Entries and casing: a vocabulary, ``cased``, ``uncased`` or a path.

    Literal ``[MASK]`` and the like in a text are text.
    """

    def __init__(self, vocabulary: Vocabulary | str = "cased") -> None:
        from tokenizers import Tokenizer as Library
        from tokenizers import models, normalizers, pre_tokenizers

        if isinstance(vocabulary, str):
            vocabulary = load_vocabulary(VocabularyConfig(vocab=vocabulary))
        self.vocabulary = vocabulary
        self._library: Any = Library(
            models.WordPiece(vocabulary.ids, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD_CHARACTERS)
        )
        lower = not vocabulary.cased
        self._library.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=lower, lowercase=lower
        )
        self._library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def encode(self, texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> TokenizedBlock:
        """Tokenize D texts.

        Parameters
        ----------
        texts
            A list of str, or an Arrow array of strings without nulls.

        Returns
        -------
        TokenizedBlock
            token_ids (T,), word_starts (T,), document_offsets (D + 1,).
        """
        array = texts if isinstance(texts, (pa.Array, pa.ChunkedArray)) else pa.array(texts, pa.large_string())
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        text, offsets = string_buffers(array.cast(pa.large_string()))
        return self.tokenize(
            DocumentBlock(text=text, document_offsets=offsets, document_ids=np.arange(len(array), dtype=np.uint64))
        )

    def tokenize(self, block: DocumentBlock, *, lines: bool = False) -> TokenizedBlock:
        """Tokenize the documents of a block.

        Parameters
        ----------
        block
            D documents, with annotated ranges and word starts where the corpus has them.
        lines
            Whether to say where lines start.
        """
        pieces = list(_cut(block.text, block.document_offsets, lines=lines))
        offsets_wanted = block.annotations is not None or block.words is not None
        encoded = self._encode_with_offsets(block.text, pieces) if offsets_wanted else self._encode(block.text, pieces)
        ids, counts, spots = encoded
        piece_offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        owners = np.array([piece.document for piece in pieces], dtype=np.int64)
        sizes = np.bincount(owners, weights=counts, minlength=len(block)).astype(np.int64)
        offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        word_starts = self.vocabulary.word_start_table[ids]
        if block.words is not None:
            _supply_word_starts(word_starts, block.words, offsets, spots[:, 0])
        annotations = block.annotations and _in_tokens(block.annotations, offsets, spots, word_starts)
        return TokenizedBlock(
            token_ids=ids,
            word_starts=word_starts,
            document_offsets=offsets,
            line_starts=_line_starts(pieces, piece_offsets) if lines else None,
            annotations=annotations,
        )

    def _encode(self, text: Bytes, pieces: list[_Piece]) -> tuple[Any, npt.NDArray[np.int64], Offsets]:
        ids, counts = [], []
        for strings in _batches(text, pieces):
            batch = [encoding.ids for encoding in self._library.encode_batch_fast(strings, add_special_tokens=False)]
            counts += [len(item) for item in batch]
            ids.append(np.fromiter(chain.from_iterable(batch), self.vocabulary.dtype, sum(map(len, batch))))
        empty = np.zeros(0, self.vocabulary.dtype)
        return np.concatenate([empty, *ids]), np.array(counts, dtype=np.int64), np.zeros((0, 2), np.int64)

    def _encode_with_offsets(self, text: Bytes, pieces: list[_Piece]) -> tuple[Any, npt.NDArray[np.int64], Offsets]:
        """As `_encode`, and each token's code points [start, end) in its document, (T, 2)."""
        ids, counts, spots = [], [], [np.zeros((0, 2), np.int64)]
        document, base, number = -1, 0, 0
        for strings in _batches(text, pieces):
            for string, encoding in zip(
                strings, self._library.encode_batch(strings, add_special_tokens=False), strict=True
            ):
                if pieces[number].document != document:
                    document, base = pieces[number].document, 0
                ids += encoding.ids
                counts.append(len(encoding.ids))
                spots.append(np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2) + base)
                base += len(string)
                number += 1
        return np.array(ids, self.vocabulary.dtype), np.array(counts, dtype=np.int64), np.concatenate(spots)


def string_buffers(array: pa.Array) -> tuple[Bytes, Offsets]:
    """Return the bytes and the (D + 1,) offsets of a large_string array without nulls, without copying the bytes."""
    _, offsets, data = array.buffers()
    positions = (
        np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1] if offsets else np.zeros(1)
    )
    return np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8), positions.astype(np.int64)


def _cut(text: Bytes, offsets: Offsets, *, lines: bool) -> Iterator[_Piece]:
    """Cut documents into pieces, every line apart when lines are wanted."""
    data = memoryview(text.data)
    for document, (start, end) in enumerate(pairwise(offsets.tolist())):
        raw = bytes(data[start:end])
        line = 0
        while line < len(raw):
            line_end = (raw.find(b"\n", line) + 1 or len(raw)) if lines else len(raw)
            for piece_start, piece_end in _pieces(raw, line, line_end):
                yield _Piece(
                    document=document, start=start + piece_start, end=start + piece_end, starts_line=piece_start == line
                )
            line = line_end


def _pieces(raw: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut [start, end) after the last border of each window, or after the next one where a window has none."""
    while start < end:
        stop = min(start + PIECE_BYTES, end)
        if stop < end:
            border = _UP_TO_LAST_BORDER.match(raw, start, stop) or _NEXT_BORDER.search(raw, stop, end)
            stop = border.end() if border else end
        yield start, stop
        start = stop


def _batches(text: Bytes, pieces: list[_Piece]) -> Iterator[list[str]]:
    data = memoryview(text.data)
    for first in range(0, len(pieces), _BATCH_PIECES):
        yield [str(data[piece.start : piece.end], "utf-8") for piece in pieces[first : first + _BATCH_PIECES]]


def _line_starts(pieces: list[_Piece], piece_offsets: Offsets) -> npt.NDArray[np.bool_]:
    flags = np.zeros(int(piece_offsets[-1]) + 1, np.bool_)
    starting = np.array([piece.starts_line for piece in pieces], dtype=np.bool_)
    flags[piece_offsets[:-1][starting]] = True
    return flags[:-1]


def _supply_word_starts(flags: npt.NDArray[np.bool_], words: Points, offsets: Offsets, places: Offsets) -> None:
    """Set (T,) flags: a token starts a word where a supplied start lies between the last token's first code point and its own.

    A document without any supplied start keeps the tokenizer's words.
    """
    for document, (start, end) in enumerate(pairwise(offsets)):
        known = words.values[words.offsets[document] : words.offsets[document + 1]]
        if len(known) == 0:
            continue
        owner = np.searchsorted(known, places[start:end], side="right")
        flags[start:end] = np.diff(owner, prepend=-1) != 0


def _in_tokens(ranges: Ranges, offsets: Offsets, spots: Offsets, word_starts: npt.NDArray[np.bool_]) -> Ranges:
    """Turn ranges of code points into ranges of tokens: grown to the words they touch, merged where they overlap."""
    counts, starts, ends = [0], [], []
    for document, (start, end) in enumerate(pairwise(offsets.tolist())):
        owned = slice(ranges.offsets[document], ranges.offsets[document + 1])
        grown = _grow(ranges.starts[owned], ranges.ends[owned], spots[start:end], word_starts[start:end])
        starts += [first for first, _ in grown]
        ends += [last for _, last in grown]
        counts.append(len(starts))
    return Ranges(offsets=np.array(counts, np.int64), starts=np.array(starts, np.int64), ends=np.array(ends, np.int64))


def _grow(
    range_starts: Offsets, range_ends: Offsets, spots: Offsets, word_starts: npt.NDArray[np.bool_]
) -> list[tuple[int, int]]:
    borders = np.flatnonzero(word_starts)
    if len(spots) == 0:
        return []
    if len(borders) == 0 or borders[0] != 0:
        borders = np.concatenate(([0], borders))
    first = np.searchsorted(spots[:, 1], range_starts, side="right")
    last = np.searchsorted(spots[:, 0], range_ends, side="left")
    merged: list[tuple[int, int]] = []
    for a, b in zip(first.tolist(), last.tolist(), strict=True):
        if a >= b:
            continue
        start = int(borders[np.searchsorted(borders, a, side="right") - 1])
        place = np.searchsorted(borders, b, side="left")
        end = int(borders[place]) if place < len(borders) else len(spots)
        if merged and start < merged[-1][1]:
            start, end = merged[-1][0], max(end, merged.pop()[1])
        merged.append((start, end))
    return merged
