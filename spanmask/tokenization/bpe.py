"""Byte pair encoding, compiled: a model of a ``tokenizer.json`` as the tables of its kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.blocks import offsets_of
from spanmask.kernels import bpe, entries, merging, tokens, wordtable
from spanmask.kernels.patterns import Splitter
from spanmask.pieces import byte_characters
from spanmask.records import Offsets
from spanmask.tokenization.room import filled
from spanmask.tokenization.stretches import Stretches
from spanmask.vocab import Vocabulary

_BYTES = byte_characters()


def bpe_of(model: dict[str, Any], vocabulary: Vocabulary, splitter: Splitter) -> BytePairs | str:
    """Return the model of a byte-level BPE, or in one line why it is not compiled."""
    ids: dict[str, int] = model["vocab"]
    missing = [name for name in _BYTES if name not in ids]
    if len(set(ids.values())) < len(ids) or "" in ids:
        return "its entries are not all others, with ids of their own"
    if missing and model.get("byte_fallback"):
        return f"it falls back to bytes, and has no entry for {missing[0]!r}"
    if missing and model.get("unk_token") is not None and model["unk_token"] not in ids:
        return f"its unknown token {model['unk_token']!r} is no entry"
    return BytePairs(model, vocabulary, splitter, complete=not missing)


class BytePairs:
    """A byte-level BPE. complete: whether each byte has an id, so that tokens tell their bytes."""

    def __init__(self, model: dict[str, Any], vocabulary: Vocabulary, splitter: Splitter, *, complete: bool) -> None:
        self._complete = complete
        self._dtype = vocabulary.dtype
        self._splitter = splitter
        self._model = _tables(model, len(vocabulary))
        self._table = wordtable.word_table()

    def run(self, stretches: Stretches, *, spots: bool) -> tokens.Tokens | None:
        """Tokenize P stretches; see `spanmask.tokenization.compiled.Model`."""
        if spots and not self._complete:
            return None
        self._table = wordtable.with_room(self._table)
        text, starts, ends, ids, _ = stretches
        # A space that the text lacks may be a token.
        capacity = int((ends - starts).sum()) + len(starts)
        out = tokens.tokens_for(capacity, len(starts), self._dtype, lines=False, byte_offsets=spots)
        return filled(
            out,
            bpe.scratch_for,
            lambda scratch: bpe.tokenize(
                text, starts, ends, ids, self._splitter, self._model, self._table, scratch, out
            ),
        )


def _tables(model: dict[str, Any], size: int) -> bpe.Model:
    ids: dict[str, int] = model["vocab"]
    symbols = np.full(256, -1)
    for character, byte in _BYTES.items():
        symbols[byte] = ids.get(character, -1)
    sizes = np.zeros(size, np.int64)
    sizes[list(ids.values())] = list(map(len, ids))
    return bpe.Model(
        symbols=symbols,
        unknown=ids.get(model.get("unk_token") or "", -1),
        fused=bool(model.get("fuse_unk")),
        merges=merges_of(model),
        whole=_whole(ids if model.get("ignore_merges") else {}, size),
        sizes=sizes,
    )


def merges_of(model: dict[str, Any]) -> merging.Merges:
    """Return the tables of merges. Of a pair that is listed twice, the last place counts."""
    ids: dict[str, int] = model["vocab"]
    sides = np.array([(ids[left], ids[right]) for left, right in model["merges"]], np.uint64).reshape(-1, 2)
    pairs = sides[:, 0] << np.uint64(32) | sides[:, 1]
    last = len(pairs) - 1 - np.unique(pairs[::-1], return_index=True)[1]
    lefts, rights = sides[last].astype(np.int64).T
    near = np.full(merging.NEAR**2, -1, np.int32)
    small = (lefts | rights) < merging.NEAR
    near[lefts[small] * merging.NEAR + rights[small]] = last[small]
    mask = (1 << len(pairs).bit_length()) - 1
    bits = (2 * len(last) + 1).bit_length()
    return merging.Merges(
        near=near,
        slots=_slots(pairs[last], last, bits, mask),
        shift=np.uint64(64 - bits),
        mask=mask,
        pairs=pairs,
        ids=np.array([ids[left + right] for left, right in model["merges"]], np.int64),
    )


def _slots(pairs: npt.NDArray[np.uint64], ranks: Offsets, bits: int, mask: int) -> npt.NDArray[np.uint32]:
    """Return where kernels look for merges of pairs: 2^bits slots."""
    spread = pairs * merging.SPREAD
    values = (spread >> merging.MIDDLE).astype(np.uint32) & np.uint32(merging.EMPTY ^ mask) | ranks.astype(np.uint32)
    table = np.full(1 << bits, merging.EMPTY, np.uint32)
    slots = (spread >> np.uint64(64 - bits)).astype(np.int64)
    rest = np.arange(len(pairs))
    # Each goes one slot on where its own is taken, as it will be looked for; of those that come to a free one, the first takes it.
    while len(rest):
        free = np.flatnonzero(table[slots[rest]] == merging.EMPTY)
        taken, first = np.unique(slots[rest[free]], return_index=True)
        entered = rest[free[first]]
        table[taken] = values[entered]
        rest = np.setdiff1d(rest, entered, assume_unique=True)
        slots[rest] = (slots[rest] + 1) & (len(table) - 1)
    return table


def _whole(ids: dict[str, int], size: int) -> entries.Entries:
    """Return the entries that are written in bytes."""
    pieces = [b""] * (size if ids else 0)
    for entry, number in ids.items():
        if _BYTES.keys() >= set(entry):
            pieces[number] = bytes(_BYTES[character] for character in entry)
    return entries.entries_of(
        np.frombuffer(b"".join(pieces), np.uint8), offsets_of(np.array(list(map(len, pieces)), np.int64))
    )
