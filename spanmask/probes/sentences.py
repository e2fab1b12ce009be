"""Texts, or pairs of texts, as a model reads them: ``[CLS] text [SEP]`` or ``[CLS] first [SEP] second [SEP]``, cut to so many tokens.

Of a pair that is too long, tokens are taken from the end of whichever of the two is longer (“longest first”, as BERT's run_classifier.py
and transformers have it). Once both are equally long and an odd number of tokens has room, the one that was not shorter at first keeps the
odd one, or of equals the second: so transformers' fast tokenizers count, while its former slow ones gave it to the first text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.blocks import count_up, offsets_of
from spanmask.probes.examples import Examples
from spanmask.records import Offsets, Ragged, TokenizedBlock
from spanmask.tokenization import Tokenizer

Lengths = npt.NDArray[np.int64]


def longest_first(first: Lengths, second: Lengths, room: int) -> tuple[Lengths, Lengths]:
    """Return how many tokens of each pair stay. first, second: (N,) how many they have. room: for both together."""
    short, long = np.minimum(first, second), np.maximum(first, second)
    left = np.minimum(long, np.maximum(short, room - short))
    both = short + left > room
    short, left = np.where(both, room // 2, short), np.where(both, room - room // 2, left)
    swapped = first > second
    return np.where(swapped, left, short), np.where(swapped, short, left)


def sentence_examples(
    texts: Sequence[Sequence[str]],
    tokenizer: Tokenizer,
    max_tokens: int,
    targets: Mapping[str, npt.NDArray[Any]],
) -> Examples:
    """Return N texts or pairs as examples, each a group of its own; a text without tokens, as an empty one, is a part without any.

    Parameters
    ----------
    texts
        One column of N texts, or two.
    tokenizer
        That of the model.
    max_tokens
        Of an example, special ones included; at least 1 beside them.
    targets
        (N,) each, by the names that the loss knows.

    Raises
    ------
    ConfigError
        The tokenizer lacks the special tokens that examples begin and end with.
    """
    blocks = [tokenizer.encode(list(column)) for column in texts]
    sizes = [np.diff(block.document_offsets) for block in blocks]
    special = tokenizer.vocabulary.special
    room = max_tokens - 1 - len(blocks)
    kept = [np.minimum(sizes[0], room)] if len(sizes) == 1 else [*longest_first(sizes[0], sizes[1], room)]
    offsets = offsets_of(np.sum(kept, 0) + 1 + len(kept))
    ids = np.full(offsets[-1], special.sep, blocks[0].token_ids.dtype)
    ids[offsets[:-1]] = special.cls
    begins = offsets[:-1] + 1
    for block, counts in zip(blocks, kept, strict=True):
        _fill(ids, begins, block, counts)
        begins = begins + counts + 1
    return Examples(
        input_ids=Ragged(offsets=offsets, values=ids),
        second_starts=(kept[0] + 2).astype(np.int32),
        groups=np.arange(len(kept[0])),
        targets=dict(targets),
    )


def _fill(ids: npt.NDArray[Any], begins: Offsets, block: TokenizedBlock, counts: Lengths) -> None:
    """Write the first tokens of each text. begins: (N,) where to. counts: (N,) how many."""
    inside = count_up(counts)
    ids[np.repeat(begins, counts) + inside] = block.token_ids[np.repeat(block.document_offsets[:-1], counts) + inside]
