"""BERT's tokenizer compiled: normalizer, pre-tokenizer and WordPiece in one pass; no Python object for a document or a token."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from spanmask.blocks import offsets_of
from spanmask.errors import ConfigError
from spanmask.kernels import characters, tokens, trie, wordpiece, wordtable
from spanmask.pieces import CONTINUATION
from spanmask.records import Bytes, Offsets, TokenizedBlock
from spanmask.tokenization.characters import character_rules
from spanmask.tokenizer_json import ROLES
from spanmask.vocab import Vocabulary

_SPECIAL_BYTES = 16


class WordPiece:
    """Tokenizes with one vocabulary.

    Raises
    ------
    ConfigError
        The vocabulary's entries have more than 8 MB.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._dtype = vocabulary.dtype
        self._model = _model(vocabulary)
        self._table = wordtable.word_table()

    def run(self, text: Bytes, offsets: Offsets, *, lines: bool, byte_offsets: bool, parse: bool) -> TokenizedBlock:
        """Tokenize D documents; see `Backend`."""
        capacity = int(offsets[-1] - offsets[0])
        out = tokens.tokens_for(capacity, len(offsets) - 1, self._dtype, lines=lines, byte_offsets=byte_offsets)
        self._table = wordtable.with_room(self._table)
        wanted = wordpiece.Wanted(lines, byte_offsets, parse)
        with np.errstate(over="ignore"):
            word = _word(capacity, byte_offsets)
            size = wordpiece.tokenize(text, offsets, self._model, self._table, word, wanted, out)
        return TokenizedBlock(
            token_ids=out.ids[:size],
            word_starts=out.word_starts[:size],
            document_offsets=out.offsets,
            line_starts=out.line_starts[:size] if lines else None,
            byte_offsets=out.byte_offsets[:size] if byte_offsets else None,
        )


def _word(capacity: int, tracked: bool) -> characters.Word:
    """Return room for a word of a text of ``capacity`` bytes; a mark has at least two."""
    marks = capacity // 2 if tracked else characters.MAX_CHARACTERS
    return characters.Word(
        text=np.zeros(characters.WORD_BYTES, np.uint8),
        starts=np.zeros(characters.WORD_BYTES, np.int64),
        ends=np.zeros(characters.WORD_BYTES, np.int64),
        numbers=np.zeros(characters.NUMBERS, np.int64),
        held=np.empty((marks + 1, characters.HELD_FIELDS), np.int64),
        tracked=tracked,
    )


def _model(vocabulary: Vocabulary) -> wordpiece.Model:
    specials = np.zeros((len(ROLES), _SPECIAL_BYTES), np.uint8)
    for row, token in zip(specials, ROLES.values(), strict=True):
        row[: len(token)] = np.frombuffer(token.encode(), np.uint8)
    unknown = vocabulary.ids[ROLES["unk"]]
    return wordpiece.Model(
        rules=character_rules(cased=vocabulary.cased),
        trie=_trie(vocabulary),
        unknown=unknown,
        ascii_ids=np.array([vocabulary.ids.get(chr(byte), unknown) for byte in range(128)]),
        specials=specials,
        special_ids=np.array(list(vocabulary.special.as_dict().values())),
    )


def _trie(vocabulary: Vocabulary) -> trie.Trie:
    pieces = [entry.removeprefix(CONTINUATION).encode() for entry in vocabulary.entries]
    sizes = np.array([len(piece) for piece in pieces])
    text: npt.NDArray[np.uint8] = np.frombuffer(b"".join(pieces), np.uint8)
    if len(text) + len(pieces) + 2 > trie.NODE_LIMIT:
        raise ConfigError(f"vocabulary {vocabulary.name}: its entries have {len(text):,} bytes; give at most 8 MB")
    offsets = offsets_of(sizes)
    return trie.trie_of(text, offsets, np.where(vocabulary.base_word_table, trie.FIRST, trie.CONTINUED))
