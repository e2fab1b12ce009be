"""What users supply in code points, brought to tokens: word starts and annotated ranges."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from spanmask.blocks import offsets_of
from spanmask.records import DocumentBlock, Offsets, Ragged, Ranges, TokenizedBlock


def align(tokens: TokenizedBlock, block: DocumentBlock) -> TokenizedBlock:
    """Return tokens with the word starts and annotated ranges that a block supplies, ranges as the tokens they share a code point with.

    Parameters
    ----------
    tokens
        T tokens of the block's D documents, with byte offsets.
    block
        D documents, with annotations, words or both.
    """
    spots = _in_code_points(tokens, block)
    offsets, flags, supplied = tokens.document_offsets, tokens.word_starts, None
    if block.words is not None:
        flags, supplied = flags.copy(), block.words.lengths > 0
        _supply_word_starts(flags, block.words, offsets, spots[:, 0])
    annotations = None if block.annotations is None else _in_tokens(block.annotations, offsets, spots)
    return replace(tokens, word_starts=flags, annotations=annotations, supplied=supplied)


def _in_code_points(tokens: TokenizedBlock, block: DocumentBlock) -> Offsets:
    """Return the code points [start, end) of each token in its document, (T, 2)."""
    if tokens.byte_offsets is None:
        raise ValueError("the tokens have no byte offsets")
    # A character's first byte is the one that is no continuation (10xxxxxx), so counting those turns any byte offset into code points.
    before = offsets_of((block.text & 0xC0) != 0x80)
    bases = np.repeat(block.document_offsets[:-1], np.diff(tokens.document_offsets))[:, None]
    points: Offsets = before[tokens.byte_offsets + bases] - before[bases]
    return points


def _supply_word_starts(
    flags: npt.NDArray[np.bool_], words: Ragged[Offsets], offsets: Offsets, places: Offsets
) -> None:
    """Set (T,) flags: a token starts a word where a supplied start lies between the last token's first code point and its own.

    A document without any supplied start keeps the tokenizer's words.
    """
    for document, (start, end) in enumerate(pairwise(offsets)):
        known = words[document]
        if len(known) == 0:
            continue
        # The number of supplied starts up to a token: where it grows from one token to the next, a word has started in between. The first
        # token starts one whatever was supplied, since no word reaches back across a document's start.
        owner = np.searchsorted(known, places[start:end], side="right")
        flags[start:end] = np.diff(owner, prepend=-1) != 0


def _in_tokens(ranges: Ranges[Offsets], offsets: Offsets, spots: Offsets) -> Ranges[Offsets]:
    """Turn ranges of code points into ranges of tokens, merged where they overlap."""
    counts, starts, ends = [0], [], []
    for document, (start, end) in enumerate(pairwise(offsets.tolist())):
        touched = _touched(*ranges[document], spots[start:end])
        starts += [first for first, _ in touched]
        ends += [last for _, last in touched]
        counts.append(len(starts))
    return Ranges(offsets=np.array(counts, np.int64), starts=np.array(starts, np.int64), ends=np.array(ends, np.int64))


def _touched(range_starts: Offsets, range_ends: Offsets, spots: Offsets) -> list[tuple[int, int]]:
    """Return one document's ranges as the tokens [start, end) that share a code point with them, ascending and apart.

    A range of white space touches no token, and goes.
    """
    first = np.searchsorted(spots[:, 1], range_starts, side="right")
    last = np.searchsorted(spots[:, 0], range_ends, side="left")
    merged: list[tuple[int, int]] = []
    for start, end in zip(first.tolist(), last.tolist(), strict=True):
        if start >= end:  # Between two tokens: white space.
            continue
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
