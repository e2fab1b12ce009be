"""The one door to tokenizing: texts or a `DocumentBlock` flow in, a `TokenizedBlock` flows out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa

from spanmask.blocks import offsets_of, read_only
from spanmask.collector import held_off
from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.kernels.units import trim_documents
from spanmask.records import Bytes, DocumentBlock, Offsets, TokenizedBlock
from spanmask.tokenization.alignment import align
from spanmask.tokenization.hugging_face import HuggingFaceTokenizer
from spanmask.tokenization.wordpiece import WordPiece
from spanmask.vocab import Vocabulary, load_vocabulary


class Backend(Protocol):
    """What turns the bytes of documents into tokens."""

    def run(self, text: Bytes, offsets: Offsets, *, lines: bool, byte_offsets: bool, parse: bool) -> TokenizedBlock:
        """Tokenize D documents.

        Parameters
        ----------
        text
            (C,) uint8, valid UTF-8; document i is ``text[offsets[i]:offsets[i + 1]]``.
        offsets
            (D + 1,) int64.
        lines
            Whether to say where lines start.
        byte_offsets
            Whether to say which bytes each token stands for.
        parse
            Whether the literal name of a special token is that token, rather than text.
        """
        ...


class Tokenizer:
    """Turns texts into tokens, without adding special ones. Threads may share one; they take turns.

    Parameters
    ----------
    vocabulary
        Entries and casing: a vocabulary, ``cased``, ``uncased`` or a path.

    Raises
    ------
    ConfigError
        The `tokenizers` library cannot read the vocabulary's ``tokenizer.json``.
    """

    @held_off()
    def __init__(self, vocabulary: Vocabulary | str = "cased") -> None:
        if isinstance(vocabulary, str):
            vocabulary = load_vocabulary(VocabularyConfig(vocab=vocabulary))
        self.vocabulary = vocabulary
        self._backend: Backend = (
            WordPiece(vocabulary) if vocabulary.tokenizer is None else HuggingFaceTokenizer(vocabulary)
        )
        #: Why text goes through the `tokenizers` library, which is slower, in one line; None where it does not.
        self.through_library: str | None = getattr(self._backend, "through_library", None)
        # Engines remember words, and kernels run without the GIL: two at once would tear what is remembered.
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[Vocabulary]]:
        return Tokenizer, (self.vocabulary,)

    def encode(
        self,
        texts: Sequence[str] | pa.Array | pa.ChunkedArray,
        specials: Literal["text", "parse"] = "text",
        *,
        offsets: bool = False,
    ) -> TokenizedBlock:
        """Tokenize D texts.

        Parameters
        ----------
        texts
            A list of str, or an Arrow array of strings without nulls.
        specials
            What a literal ``[MASK]``, ``[SEP]`` and so on in a text is: ``text``, or (``parse``) the special token, as infilling needs.
        offsets
            Whether to say which bytes of its text each token stands for.

        Returns
        -------
        TokenizedBlock
            token_ids (T,), word_starts (T,), document_offsets (D + 1,); with ``offsets`` byte_offsets (T, 2).

        Raises
        ------
        ConfigError
            ``specials`` is neither of the two, or the texts are no strings, hold a null or are not UTF-8.
        """
        if specials not in ("text", "parse"):
            raise ConfigError(f"specials is {specials!r}: give 'text' or 'parse'")
        text, bounds = _buffers(texts)
        text, bounds = read_only(text), read_only(bounds)
        with self._lock:
            return self._backend.run(text, bounds, lines=False, byte_offsets=offsets, parse=specials == "parse")

    def tokenize(self, block: DocumentBlock, *, lines: bool = False) -> TokenizedBlock:
        """Tokenize the documents of a block; white space at a document's end is not part of it.

        Parameters
        ----------
        block
            D documents, with annotated ranges and word starts where the corpus has them.
        lines
            Whether to say where lines start.
        """
        if self.vocabulary.tokenizer is not None:
            block = _trimmed(block)
        supplied = block.annotations is not None or block.words is not None
        text, offsets = read_only(block.text), read_only(block.document_offsets)
        with self._lock:
            tokens = self._backend.run(text, offsets, lines=lines, byte_offsets=supplied, parse=False)
        return replace(align(tokens, block), byte_offsets=None) if supplied else tokens


def tokenized_by(vocabulary: Vocabulary) -> dict[str, str]:
    """Return the library that turns text into this vocabulary's ids, and its version."""
    library = "spanmask" if vocabulary.tokenizer is None else "tokenizers"
    return {"library": library, "version": version(library)}


def _trimmed(block: DocumentBlock) -> DocumentBlock:
    """Return documents without the white space behind them: readers leave blank lines there, which are tokens to some tokenizers."""
    offsets = block.document_offsets
    ends = np.empty(len(block), np.int64)
    trim_documents(block.text, offsets, ends)
    parts = [block.text[start:end] for start, end in zip(offsets[:-1].tolist(), ends.tolist(), strict=True)]
    text = np.concatenate([np.zeros(0, np.uint8), *parts])
    return replace(block, text=text, document_offsets=offsets_of(ends - offsets[:-1]))


def _buffers(texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> tuple[Bytes, Offsets]:
    """Return the bytes of texts, not copied where they are Arrow's, and the (D + 1,) offsets of each in them."""
    try:
        array = _as_array(texts)
        # Kernels go by the lead byte of a character, and would read past the end of a text that is cut within one.
        array.validate(full=True)
    except (pa.ArrowException, TypeError, UnicodeEncodeError) as error:
        raise ConfigError(
            f"texts cannot be read as strings ({error}); give a list of str or an Arrow array of strings"
        ) from None
    if array.null_count:
        raise ConfigError(f"{array.null_count} of {len(array)} texts are null; leave them out, or give empty strings")
    _, offsets, data = array.buffers()
    if offsets is None or offsets.size == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    bounds = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
    return np.frombuffer(b"" if data is None else data, np.uint8), bounds


def _as_array(texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return texts as one array of large strings; what Python or Arrow would only make strings of is refused."""
    if isinstance(texts, str):
        raise TypeError("one str is no list of texts")
    if not isinstance(texts, (pa.Array, pa.ChunkedArray)):
        return pa.array(texts, pa.large_string())
    kind = texts.type.value_type if pa.types.is_dictionary(texts.type) else texts.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise TypeError(f"an Arrow array of {texts.type}")
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.chunk(0) if texts.num_chunks == 1 else texts.combine_chunks()
    return texts if pa.types.is_large_string(texts.type) else texts.cast(pa.large_string())
