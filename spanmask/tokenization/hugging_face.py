"""Documents in, tokens out: any tokenizer that the `tokenizers` library reads from a ``tokenizer.json``."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from spanmask.blocks import offsets_of
from spanmask.kernels.units import number_words, trim_tokens
from spanmask.pieces import steps_of
from spanmask.records import Bytes, Flags, Offsets, TokenizedBlock
from spanmask.tokenization.agreement import Encoder
from spanmask.tokenization.compiled import compiled_of
from spanmask.tokenization.library import load_for_text, load_library
from spanmask.tokenization.units import CachedUnits, kind_of
from spanmask.tokenization.whole_documents import WholeDocuments
from spanmask.vocab import Vocabulary


class HuggingFaceTokenizer:
    """Any ``tokenizer.json``: compiled where each of its parts is known, else through the library.

    The library is given each unit of text once, where it provably takes them one by one, or whole texts.
    Words are those of its pre-tokenizer. Where that splits nothing, words are what white space sets apart, each with the white space
    before it.

    Raises
    ------
    ConfigError
        The library cannot read the ``tokenizer.json``, or numbers its tokens otherwise.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        library, content = load_for_text(vocabulary)
        whole = WholeDocuments(library, vocabulary)
        self._words_at_white_space = not any(map(_splits, steps_of(content.get("pre_tokenizer"))))
        encoder = compiled_of(content, library, vocabulary, whole)
        #: Why text goes through the library, where it does.
        self.through_library = encoder if isinstance(encoder, str) else None
        self._encoder = _by_units(content, vocabulary, whole) if isinstance(encoder, str) else encoder

    @cached_property
    def _parser(self) -> WholeDocuments:
        return WholeDocuments(load_library(self.vocabulary, parse=True), self.vocabulary)

    def run(self, text: Bytes, offsets: Offsets, *, lines: bool, byte_offsets: bool, parse: bool) -> TokenizedBlock:
        """Tokenize D documents; see `Backend`.

        The bytes of a token leave out white space around it; a token of white space only has none, at its end.
        """
        encoder = self._parser if parse else self._encoder
        encoded = encoder.encode(text, offsets, spots=lines or byte_offsets or self._words_at_white_space)
        ends = offsets_of(encoded.counts)
        block = TokenizedBlock(token_ids=encoded.token_ids, word_starts=encoded.word_starts, document_offsets=ends)
        spots = encoded.spots
        if spots is None:
            return block
        firsts, white = ends[:-1][encoded.counts > 0], np.empty(len(spots), np.bool_)
        trim_tokens(text, spots, white)
        if self._words_at_white_space:
            block = replace(block, word_starts=_starts_at_white_space(text, spots, firsts))
        if lines:
            block = replace(block, line_starts=_line_starts(text, spots, firsts))
        if byte_offsets:
            spots[white, 0] = spots[white, 1]
            bases = np.repeat(offsets[:-1], encoded.counts)
            block = replace(block, byte_offsets=spots - bases[:, None])
        return block


def _by_units(content: dict[str, Any], vocabulary: Vocabulary, whole: WholeDocuments) -> Encoder:
    kind = kind_of(content)
    cached = None if kind is None else CachedUnits(content, kind, vocabulary, whole)
    return cached if cached is not None and cached.agrees() else whole


def _splits(step: dict[str, Any]) -> bool:
    """Tell whether a step of a pre-tokenizer splits text, rather than only write it otherwise."""
    option = {"Metaspace": "split", "ByteLevel": "use_regex"}.get(step["type"], "")
    return step.get(option) is not False


def _starts_at_white_space(text: Bytes, spots: Offsets, firsts: Offsets) -> Flags:
    """Return (T,) whether a token is the first of a word that white space sets apart. firsts: the first tokens of documents."""
    numbers = np.empty(len(spots), np.int64)
    number_words(text, spots[:, 0].copy(), numbers)
    flags: Flags = np.diff(numbers, prepend=-1) != 0
    flags[firsts] = True
    return flags


def _line_starts(text: Bytes, spots: Offsets, firsts: Offsets) -> Flags:
    """Return (T,) whether a token is the first whose bytes start on a line. firsts: the first tokens of documents."""
    lines = np.searchsorted(np.flatnonzero(text == ord("\n")), spots[:, 0])
    flags: Flags = np.diff(lines, prepend=-1) != 0
    flags[firsts] = True
    return flags
