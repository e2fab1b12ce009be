"""The ``tokenizers`` library at its best: the cut of the text, and the method, that are fastest on this text.

Its ids stay in its own objects: turning them into arrays would cost it a quarter more. One thread (the process says so); batches of 128,
which no other size beats by more than the noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.vocab import Vocabulary

from .. import peers
from ..protocol import MEGABYTE, seconds

BATCH = 128
#: Bytes that lines are joined to: about where the library is fastest on long documents.
PIECE_CHARACTERS = 4096
CUTS = ("documents", "pieces", "lines")
METHODS = ("encode_batch", "encode_batch_fast")


def bert_library(vocabulary: Vocabulary) -> Any:
    """Return the library's tokenizer for a BERT vocabulary, without added tokens, for which it would have to look."""
    library = peers.load("tokenizers")
    tokenizer = library.Tokenizer(
        library.models.WordPiece(vocabulary.ids, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    lower = not vocabulary.cased
    tokenizer.normalizer = library.normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=lower, lowercase=lower
    )
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    return tokenizer


def cut(documents: Sequence[str], into: str) -> list[str]:
    """Return documents as they are, or cut at line ends, which changes no token: in lines, or in pieces of a few KiB."""
    if into == "documents":
        return list(documents)
    if into == "lines":
        return list(chain.from_iterable(document.splitlines(keepends=True) for document in documents))
    return list(chain.from_iterable(map(_pieces, documents)))


def _pieces(document: str) -> Iterator[str]:
    held, size = list[str](), 0
    for line in document.splitlines(keepends=True):
        if held and size + len(line) > PIECE_CHARACTERS:
            yield "".join(held)
            held, size = [], 0
        held.append(line)
        size += len(line)
    yield "".join(held)


class LibraryTokenizer:
    """Tokenizes texts as `spanmask.Tokenizer` does, in the library's own way."""

    def __init__(self, vocabulary: Vocabulary, documents: Sequence[str], method: str, into: str) -> None:
        self.described = {"method": method, "cut": into, "batch": BATCH}
        tokenizer = bert_library(vocabulary)
        texts = cut(documents, into)
        self._encode = getattr(tokenizer, method)
        self._batches = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]

    def encode(self) -> None:
        """Tokenize everything once."""
        for batch in self._batches:
            self._encode(batch, add_special_tokens=False)

    def ids(self) -> npt.NDArray[np.int64]:
        """Tokenize everything once, and return the (T,) ids of all documents."""
        found = (encoding.ids for batch in self._batches for encoding in self._encode(batch, add_special_tokens=False))
        return np.fromiter(chain.from_iterable(found), np.int64)


def fastest(vocabulary: Vocabulary, documents: Sequence[str]) -> tuple[LibraryTokenizer, dict[str, float]]:
    """Return the library with the fastest method and cut for these documents, and MB/s of all on the first of them."""
    part = first(documents, MEGABYTE)
    size = sum(len(document.encode()) for document in part)
    tried = {}
    for method in METHODS:
        for into in CUTS:
            contestant = LibraryTokenizer(vocabulary, part, method, into)
            tried[f"{method}, {into}"] = size / MEGABYTE / min(seconds(contestant.encode), seconds(contestant.encode))
    method, _, into = max(tried, key=lambda name: tried[name]).partition(", ")
    return LibraryTokenizer(vocabulary, documents, method, into), tried


def first(documents: Sequence[str], limit: int) -> list[str]:
    """Return the first documents, up to the one that reaches so many bytes."""
    sizes = np.cumsum([len(document.encode()) for document in documents])
    return list(documents[: int(np.searchsorted(sizes, limit)) + 1])
