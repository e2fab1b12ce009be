"""Documents in, tokens out: BERT's WordPiece. The only module that reaches the `tokenizers` library, and makes Python strings.

Text goes to the library in pieces of a few KiB cut after a space, newline, ASCII punctuation or ideograph, which changes no token: BERT's
normalizer and pre-tokenizer look at no character beyond one (``tests/test_tokenization.py`` holds pieces against wholes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.errors import ConfigError
from spanmask.records import Bytes, Offsets, TokenizedBlock
from spanmask.vocab import Vocabulary

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


class LibraryWordPiece:
    """BERT's tokenizer as the library has it: normalizer, pre-tokenizer and WordPiece.

    Literal ``[MASK]`` and the like in a text are text.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        from tokenizers import Tokenizer as Library
        from tokenizers import models, normalizers, pre_tokenizers

        self.vocabulary = vocabulary
        self._library: Any = Library(
            models.WordPiece(vocabulary.ids, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD_CHARACTERS)
        )
        lower = not vocabulary.cased
        self._library.normalizer = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=lower, lowercase=lower
        )
        self._library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def run(self, text: Bytes, offsets: Offsets, *, lines: bool, byte_offsets: bool, parse: bool) -> TokenizedBlock:
        """Tokenize D documents; see `Engine`."""
        if parse:
            raise ConfigError("specials cannot be parsed by this tokenizer")
        pieces = list(_cut(text, offsets, lines=lines))
        encoded = self._encode_with_offsets(text, pieces) if byte_offsets else self._encode(text, pieces)
        ids, counts, spots = encoded
        piece_offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        owners = np.array([piece.document for piece in pieces], dtype=np.int64)
        sizes = np.bincount(owners, weights=counts, minlength=len(offsets) - 1).astype(np.int64)
        return TokenizedBlock(
            token_ids=ids,
            word_starts=self.vocabulary.word_start_table[ids],
            document_offsets=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
            line_starts=_line_starts(pieces, piece_offsets) if lines else None,
            byte_offsets=spots if byte_offsets else None,
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
        """As `_encode`, and each token's bytes [start, end) in its document, (T, 2)."""
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
                widths = np.array([0, *(len(character.encode()) for character in string)], np.int64)
                places = np.cumsum(widths)
                spots.append(places[np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)] + base)
                base += int(places[-1])
                number += 1
        return np.array(ids, self.vocabulary.dtype), np.array(counts, dtype=np.int64), np.concatenate(spots)


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
