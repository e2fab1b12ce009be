"""The `tokenizers` library, given whole documents."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from spanmask.records import Bytes, Flags, Offsets, TokenIds
from spanmask.tokenization.library import encode_batch
from spanmask.vocab import Vocabulary

#: Bytes of documents handed to the library at a time.
_BATCH_BYTES = 1 << 20


class Encoded(NamedTuple):
    """T tokens of D documents.

    token_ids, word_starts: (T,). counts: (D,) tokens of each document. spots: (T, 2) bytes [start, end) in the text that each token stands
    for, as the library has them before a post-processor trims them; None where not asked for.
    """

    token_ids: TokenIds
    word_starts: Flags
    counts: Offsets
    spots: Offsets | None


class WholeDocuments:
    """The library, given each document in one piece."""

    def __init__(self, library: Any, vocabulary: Vocabulary) -> None:
        self._library = library
        self._vocabulary = vocabulary

    def encode(self, text: Bytes, offsets: Offsets, *, spots: bool) -> Encoded:
        """Tokenize D documents. text, offsets: as `spanmask.tokenization.tokenizer.Backend` has them."""
        ids, flags = [np.zeros(0, self._vocabulary.dtype)], [np.zeros(0, np.bool_)]
        counts, places = list[int](), [np.zeros((0, 2), np.int64)]
        for first, strings in _batches(text, offsets):
            encodings = encode_batch(self._library, strings, self._vocabulary)
            for start, string, encoding in zip(offsets[first:], strings, encodings, strict=False):
                ids.append(np.array(encoding.ids, self._vocabulary.dtype))
                flags.append(starts_of_words(encoding))
                counts.append(len(ids[-1]))
                if spots:
                    # Bytes that stand for the end of a word lie behind the text for the library.
                    places.append(byte_places(string)[np.minimum(code_points(encoding), len(string))] + start)
        return Encoded(
            np.concatenate(ids),
            np.concatenate(flags),
            np.array(counts, np.int64),
            np.concatenate(places) if spots else None,
        )


def starts_of_words(encoding: Any) -> Flags:
    """Return (T,) whether each token of an encoding is the first of a word of the pre-tokenizer."""
    flags: Flags = np.diff(np.array(encoding.word_ids, np.int64), prepend=-1) != 0
    return flags


def code_points(encoding: Any) -> Offsets:
    """Return (T, 2) code points [start, end) of the tokens of an encoding."""
    return np.array(encoding.offsets, np.int64).reshape(-1, 2)


def byte_places(string: str) -> Offsets:
    """Return where each code point of a string starts in its UTF-8, and where the last one ends."""
    data = np.frombuffer(string.encode(), np.uint8)
    return np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data))


def _batches(text: Bytes, offsets: Offsets) -> Iterator[tuple[int, list[str]]]:
    """Yield documents as strings, with the number of the first."""
    data, first, strings, size = memoryview(text.data), 0, list[str](), 0
    for document, (start, end) in enumerate(pairwise(offsets.tolist())):
        strings.append(str(data[start:end], "utf-8"))
        size += end - start
        if size >= _BATCH_BYTES:
            yield first, strings
            first, strings, size = document + 1, [], 0
    if strings:
        yield first, strings
