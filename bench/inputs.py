"""What is measured on: segments of made-up tokens, or of a text."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.config import SequenceConfig
from spanmask.errors import ConfigError
from spanmask.records import Ranges, SequenceBlock, TokenIds, TokenizedBlock
from spanmask.sequencing import select, sequence
from spanmask.storage import reporting
from spanmask.tokenization import Tokenizer
from spanmask.vocab import Vocabulary

SEED = 2020
#: Tokens that a text must have, so that sequences are not one phrase over and over.
SHORTEST_TEXT = 1000
#: Share of made-up words with 1, 2, … pieces: 17 % have several.
PIECES = (0.83, 0.11, 0.04, 0.015, 0.005)
_RANGE_EVERY, _RANGE_WORDS = 24, 3


def synthetic(sequences: int, vocabulary: Vocabulary) -> tuple[SequenceBlock, dict[str, Any]]:
    """Return segments of words drawn from a vocabulary as Zipf's law has it, and what they are.

    An entry's rank is its place among the entries that start a word, or among those that go on with one.
    """
    rng = np.random.default_rng(SEED)
    words = int(sequences * 510 / 1.2) + 1024
    sizes = rng.choice(len(PIECES), words, p=PIECES) + 1
    heads = np.zeros(int(sizes.sum()), np.bool_)
    heads[np.cumsum(sizes) - sizes] = True
    ordinary = vocabulary.ordinary_ids
    starting = vocabulary.word_start_table[ordinary]
    ids = np.empty(len(heads), vocabulary.dtype)
    ids[heads] = zipf(rng, ordinary[starting], words)
    ids[~heads] = zipf(rng, ordinary[~starting], len(heads) - words)
    return _cut(ids, sequences, vocabulary), {"kind": "synthetic", "seed": SEED, "pieces": list(PIECES)}


def zipf(rng: np.random.Generator, entries: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Return entries drawn as Zipf's law has it: the k-th with a probability proportional to 1/k."""
    cumulative = np.cumsum(1 / np.arange(1, len(entries) + 1))
    drawn: npt.NDArray[Any] = entries[np.searchsorted(cumulative, rng.random(size) * cumulative[-1])]
    return drawn


def from_text(path: str, sequences: int, vocabulary: Vocabulary) -> tuple[SequenceBlock, dict[str, Any]]:
    """Return segments of a text file, taken as one document and over again until there are enough, and what it is.

    Raises
    ------
    StorageError
        It cannot be read.
    ConfigError
        There is too little text in it.
    """
    with reporting(Path(path), "read the text"):
        data = Path(path).read_bytes()
    used = data[: sequences * 510 * 8]
    tokens = Tokenizer(vocabulary).encode([used.decode("utf-8", errors="ignore")]).token_ids
    if len(tokens) < SHORTEST_TEXT:
        raise ConfigError(f"{path} holds {len(tokens)} tokens: give a text of at least {SHORTEST_TEXT}")
    described = {
        "kind": "text",
        "name": Path(path).name,
        "bytes": len(used),
        "sha256": hashlib.sha256(used).hexdigest(),
    }
    copies = -(-(sequences + 1) * 510 // len(tokens)) + 1
    ids: TokenIds = np.tile(tokens, copies).astype(vocabulary.dtype, copy=False)
    return _cut(ids, sequences, vocabulary), {**described, "tokens": len(tokens)}


def _cut(ids: TokenIds, sequences: int, vocabulary: Vocabulary) -> SequenceBlock:
    """Cut tokens into segments of at most 510, at word starts."""
    flags = vocabulary.word_start_table[ids]
    document = TokenizedBlock(token_ids=ids, word_starts=flags, document_offsets=np.array([0, len(ids)]))
    return first(sequence(document, np.zeros(1, np.uint64), SequenceConfig()), sequences)


def first(block: SequenceBlock, sequences: int) -> SequenceBlock:
    """Return the first segments of a block, and only their tokens."""
    chosen = select(block, np.arange(len(block)) < sequences)
    tokens = int(chosen.ends.max())
    return replace(chosen, token_ids=chosen.token_ids[:tokens], word_starts=chosen.word_starts[:tokens])


def annotate(block: SequenceBlock) -> SequenceBlock:
    """Return a block with a range of three words at every 24th word of its segments, which lie one after another."""
    words = np.flatnonzero(block.word_starts)
    owners = np.searchsorted(block.starts, words, side="right") - 1
    rank = np.arange(len(words)) - np.searchsorted(words, block.starts)[owners]
    chosen = np.flatnonzero(rank % _RANGE_EVERY == 0)
    chosen = chosen[chosen + _RANGE_WORDS < len(words)]
    chosen = chosen[owners[chosen + _RANGE_WORDS] == owners[chosen]]
    owner, base = owners[chosen], block.starts[owners[chosen]]
    offsets = np.searchsorted(owner, np.arange(len(block) + 1))
    ranges = Ranges(offsets=offsets, starts=words[chosen] - base, ends=words[chosen + _RANGE_WORDS] - base)
    return replace(block, annotations=ranges)


def describe(block: SequenceBlock) -> dict[str, Any]:
    """Return figures of a block: tokens, words, and the share of words of several pieces."""
    words = np.append(np.flatnonzero(block.word_starts), len(block.word_starts))
    return {
        "sequences": len(block),
        "tokens": tokens_of(block),
        "words": len(words) - 1,
        "words_of_several_pieces": float((np.diff(words) > 1).mean()),
    }


def tokens_of(block: SequenceBlock) -> int:
    """Return a block's tokens without special ones: what every contestant is counted by."""
    return int((block.ends - block.starts).sum())
