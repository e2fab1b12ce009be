"""What users supply in code points, brought to tokens: word starts and annotated ranges."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from spanmask.blocks import offsets_of
from spanmask.records import DocumentBlock, Offsets, Ragged, Ranges, TokenizedBlock


def align(tokens: TokenizedBlock, block: DocumentBlock) -> TokenizedBlock:
    """Return tokens with the word starts and annotated ranges that a block supplies.

    Parameters
    ----------
    tokens
        T tokens of the block's D documents, with byte offsets.
    block
        D documents, with annotations, words or both.
    """
    spots = _in_code_points(tokens, block)
    offsets, flags = tokens.document_offsets, tokens.word_starts
    if block.words is not None:
        flags = flags.copy()
        _supply_word_starts(flags, block.words, offsets, spots[:, 0])
    annotations = None if block.annotations is None else _in_tokens(block.annotations, offsets, spots, flags)
    return replace(tokens, word_starts=flags, annotations=annotations)


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


def _in_tokens(
    ranges: Ranges[Offsets], offsets: Offsets, spots: Offsets, word_starts: npt.NDArray[np.bool_]
) -> Ranges[Offsets]:
    """Turn ranges of code points into ranges of tokens: grown to the words they touch, merged where they overlap."""
    counts, starts, ends = [0], [], []
    for document, (start, end) in enumerate(pairwise(offsets.tolist())):
        grown = _grow(*ranges[document], spots[start:end], word_starts[start:end])
        starts += [first for first, _ in grown]
        ends += [last for _, last in grown]
        counts.append(len(starts))
    return Ranges(offsets=np.array(counts, np.int64), starts=np.array(starts, np.int64), ends=np.array(ends, np.int64))


def _grow(
    range_starts: Offsets, range_ends: Offsets, spots: Offsets, word_starts: npt.NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Return one document's ranges as tokens [start, end), ascending and apart.

    A range first becomes the tokens that it shares a code point with, then grows to the words that these are of, since masking takes whole
    words. Growing may make ranges overlap that did not: those are merged, so that no token is in two. A range of white space touches no
    token, and goes.
    """
    borders = np.flatnonzero(word_starts)
    if len(spots) == 0:
        return []
    # Tokens before the first word start are a word of their own, so that every token has a border at or before it.
    if len(borders) == 0 or borders[0] != 0:
        borders = np.concatenate(([0], borders))
    first = np.searchsorted(spots[:, 1], range_starts, side="right")
    last = np.searchsorted(spots[:, 0], range_ends, side="left")
    merged: list[tuple[int, int]] = []
    for a, b in zip(first.tolist(), last.tolist(), strict=True):
        if a >= b:  # Between two tokens: white space.
            continue
        start = int(borders[np.searchsorted(borders, a, side="right") - 1])
        place = np.searchsorted(borders, b, side="left")
        end = int(borders[place]) if place < len(borders) else len(spots)
        if merged and start < merged[-1][1]:
            start, end = merged[-1][0], max(end, merged.pop()[1])
        merged.append((start, end))
    return merged
