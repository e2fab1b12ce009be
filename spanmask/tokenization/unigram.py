"""Unigram models, compiled: a model of a ``tokenizer.json`` as the tables of its kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from spanmask.kernels import tokens, unigram, viterbi, wordtable
from spanmask.kernels.double_array import double_array_of
from spanmask.kernels.metaspace import Metaspace
from spanmask.tokenization.metaspace import MARK
from spanmask.tokenization.room import filled
from spanmask.tokenization.stretches import Stretches
from spanmask.vocab import Vocabulary

#: Bytes of an entry at most: a walk through the pieces takes as many steps for each byte of text.
_LONGEST = 1 << 10
#: What an unknown character costs more than the worst piece.
_PENALTY = 10.0


def unigram_of(model: dict[str, Any], vocabulary: Vocabulary, splitter: Metaspace) -> Unigram | str:
    """Return a model, or in one line why it is not compiled.

    Parameters
    ----------
    model
        As the library writes the one that it has loaded: it does not read the nearest number to each score of a file.
    vocabulary
        The same as a vocabulary.
    splitter
        What it is given.
    """
    if model["unk_id"] is None:
        return "its model has no unknown token"
    entries = [entry for entry, _ in model["vocab"]]
    pieces = [_spelled(entry, marked=splitter.marked) for entry in entries]
    if max(map(len, pieces), default=0) > _LONGEST:
        return f"an entry of its model has more than {_LONGEST:,} bytes"
    # Of an entry that is there twice, the library takes the last.
    last = {piece: number for number, piece in enumerate(pieces)}
    units = double_array_of([piece if last[piece] == number else b"" for number, piece in enumerate(pieces)])
    if units is None:
        return "its model's entries are too many"
    scores = np.array([score for _, score in model["vocab"]], np.float64)
    numbers = {entry: number for number, entry in enumerate(entries)} if model["byte_fallback"] else {}
    tables = viterbi.Model(
        units=units,
        scores=scores,
        unknown=model["unk_id"],
        unknown_score=float(scores.min(initial=np.inf)) - _PENALTY,
        byte_ids=np.array([numbers.get(f"<0x{byte:02X}>", -1) for byte in range(256)]),
        mark=np.frombuffer((MARK if splitter.marked else " ").encode(), np.uint8),
        sizes=np.array(list(map(len, pieces)), np.int64),
    )
    tables.sizes[[model["unk_id"], *tables.byte_ids[tables.byte_ids >= 0]]] = tokens.NO_SIZE
    return Unigram(tables, vocabulary, splitter)


def _spelled(entry: str, *, marked: bool) -> bytes:
    """Return an entry as the bytes that kernels compare; no text becomes one with a space where ▁ is written for every space."""
    if not marked:
        return entry.encode()
    return b"" if " " in entry else entry.replace(MARK, " ").encode()


class Unigram:
    """A Unigram model, and how it is given text."""

    def __init__(self, model: viterbi.Model, vocabulary: Vocabulary, splitter: Metaspace) -> None:
        self._dtype = vocabulary.dtype
        self._splitter = splitter
        self._model = model
        self._table = wordtable.word_table()

    def run(self, stretches: Stretches, *, spots: bool) -> tokens.Tokens:
        """Tokenize P stretches; see `spanmask.tokenization.compiled.Model`."""
        self._table = wordtable.with_room(self._table)
        text, starts, ends, ids, documents = stretches
        heads = np.diff(documents, prepend=-1) != 0
        # A mark that the text lacks may be a token, and each byte of a mark.
        bytes_of_mark = len(self._model.mark) if self._model.byte_ids.max() >= 0 else 1
        capacity = bytes_of_mark * (int((ends - starts).sum()) + len(starts))
        out = tokens.tokens_for(capacity, len(starts), self._dtype, lines=False, byte_offsets=spots)
        return filled(
            out,
            viterbi.scratch_for,
            lambda scratch: unigram.tokenize(
                text, starts, ends, heads, ids, self._splitter, self._model, self._table, scratch, out
            ),
        )
