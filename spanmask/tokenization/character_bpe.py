"""Byte pair encoding of characters, ▁ for spaces, compiled: a model of a ``tokenizer.json`` as the tables of its kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from spanmask.kernels import character_bpe, tokens, wordtable
from spanmask.kernels.metaspace import Metaspace
from spanmask.tokenization.bpe import merges_of
from spanmask.tokenization.metaspace import MARK
from spanmask.tokenization.room import filled
from spanmask.tokenization.stretches import Stretches
from spanmask.vocab import Vocabulary

_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def character_bpe_of(model: dict[str, Any], vocabulary: Vocabulary, splitter: Metaspace) -> CharacterPairs | str:
    """Return the model of a BPE over characters, or in one line why it is not compiled."""
    reason = _reason(model, splitter)
    return CharacterPairs(model, vocabulary, splitter) if reason is None else reason


def _reason(model: dict[str, Any], splitter: Metaspace) -> str | None:
    ids: dict[str, int] = model["vocab"]
    unknown = model.get("unk_token")
    if len(set(ids.values())) < len(ids) or "" in ids:
        return "its entries are not all others, with ids of their own"
    if model.get("ignore_merges"):
        return "its model ignores merges, and is given texts whole"
    if splitter.marked and (MARK not in ids or MARK in (unknown or "")):
        return f"its model has no entry for {MARK!r} alone, or another for it"
    missing = [name for name in _BYTES if name not in ids]
    if model.get("byte_fallback") and missing:
        return f"it falls back to bytes, and has no entry for {missing[0]!r}"
    if not model.get("byte_fallback") and unknown not in ids:
        return "it leaves out what it has no entry for"
    # Text is cut before a mark that stands behind something else.
    joined = next((pair for pair in model["merges"] if pair[0][-1] != MARK and pair[1][0] == MARK), None)
    if splitter.marked and joined is not None:
        return f"a merge of its model joins words, {joined[0]!r} and {joined[1]!r}"[:160]
    return None


class CharacterPairs:
    """A BPE over characters, and how it is given text."""

    def __init__(self, model: dict[str, Any], vocabulary: Vocabulary, splitter: Metaspace) -> None:
        self._dtype = vocabulary.dtype
        self._splitter = splitter
        self._model = _tables(model, len(vocabulary), splitter)
        self._table = wordtable.word_table()

    def run(self, stretches: Stretches, *, spots: bool) -> tokens.Tokens:
        """Tokenize P stretches; see `spanmask.tokenization.compiled.Model`."""
        text, starts, ends, ids, documents = stretches
        heads = np.diff(documents, prepend=-1) != 0
        # A mark that the text lacks may be a token.
        capacity = int((ends - starts).sum()) + len(starts)
        if self._splitter.white:
            capacity *= 2
        out = tokens.tokens_for(capacity, len(starts), self._dtype, lines=False, byte_offsets=spots)
        self._table = wordtable.with_room(self._table)
        return filled(
            out,
            character_bpe.scratch_for,
            lambda scratch: character_bpe.tokenize(
                text, starts, ends, heads, ids, self._splitter, self._model, self._table, scratch, out
            ),
        )


def _tables(model: dict[str, Any], size: int, splitter: Metaspace) -> character_bpe.Model:
    ids: dict[str, int] = model["vocab"]
    symbols = np.full(0x110000, -1, np.int32)
    for entry, number in ids.items():
        if len(entry) == 1:
            symbols[ord(entry)] = number
    sizes = np.full(size, tokens.NO_SIZE)
    sizes[list(ids.values())] = [len(entry.encode()) for entry in ids]
    if splitter.marked:
        symbols[ord(" ")] = symbols[ord(MARK)]
        sizes[list(ids.values())] = [len(entry.replace(MARK, " ").encode()) for entry in ids]
    falls_back = bool(model.get("byte_fallback"))
    byte_ids = np.array([ids[name] for name in _BYTES] if falls_back else [], np.int64)
    unknown = -1 if falls_back else ids[model["unk_token"]]
    sizes[byte_ids] = tokens.NO_SIZE
    if unknown >= 0:
        sizes[unknown] = tokens.NO_SIZE
    return character_bpe.Model(
        symbols=symbols,
        byte_ids=byte_ids,
        unknown=unknown,
        fused=bool(model.get("fuse_unk")),
        merges=merges_of(model),
        sizes=sizes,
    )
