"""Sentences in, windows out: ``[CLS] pieces [SEP]`` each, and at which slot each word is predicted, its first piece's.

A sentence that fits is one window. A longer one is several: each begins at a word and holds whole words, the next one begins at the first
word that is half a window on, and a word is predicted in the window that shows most around it: the more pieces on the side where it shows
fewer; of equals the first. A word longer than a window is cut to its first pieces. A word of which the tokenizer makes nothing, such as
U+200B, has no piece, and is predicted nowhere.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from spanmask.batches import IGNORED
from spanmask.blocks import count_up, offsets_of
from spanmask.probes.examples import Examples
from spanmask.probes.ner.config import SPECIAL_TOKENS
from spanmask.records import Offsets, Ragged, TokenIds
from spanmask.tokenization import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """N windows of the W words of S sentences, those of a sentence together and in its order.

    examples: the windows as a model reads them; groups are numbers of sentences, targets none. words: (P,) int64, ascending: which of the
    W are predicted. slots: (P,) int64, the number of the T tokens at which each is. dropped: words without a piece. cut: sentences of
    several windows. clipped: words longer than a window.
    """

    examples: Examples
    words: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int64]
    dropped: int
    cut: int
    clipped: int

    def __len__(self) -> int:
        return len(self.examples)

    def targets(self, labels: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        """Return (N, L) int16, L the longest window's tokens: the label of the word predicted at each token, else `IGNORED`.

        Parameters
        ----------
        labels
            (W,), of all words.
        """
        offsets = self.examples.input_ids.offsets
        owners = np.searchsorted(offsets, self.slots, side="right") - 1
        held = np.full((len(self), int(np.diff(offsets).max(initial=0))), IGNORED, np.int16)
        held[owners, self.slots - offsets[owners]] = labels[self.words]
        return held


def cut_sentences(sentences: Sequence[Sequence[str]], tokenizer: Tokenizer, window: int) -> Windows:
    """Cut sentences of words into windows.

    Parameters
    ----------
    sentences
        S sentences of W words altogether.
    tokenizer
        That of the model.
    window
        Tokens of a window at most.

    Raises
    ------
    ConfigError
        The tokenizer lacks the special tokens that windows begin and end with.
    """
    block = tokenizer.encode([" ".join(words) for words in sentences], offsets=True)
    bases, room = block.document_offsets.tolist(), window - SPECIAL_TOKENS
    ends = cast("Offsets", block.byte_offsets)[:, 1]
    plan, first_word = _Plan(), 0
    for number, words in enumerate(sentences):
        owners = _words_of(words, ends[bases[number] : bases[number + 1]])
        places = np.flatnonzero(np.diff(owners, prepend=-1))
        plan.add(number, first_word + owners[places], places.tolist(), len(owners), room)
        first_word += len(words)
    return plan.windows(block.token_ids, block.document_offsets, tokenizer, first_word)


def _words_of(words: Sequence[str], ends: Offsets) -> Offsets:
    """Return the word, by its number in the sentence, that holds each token's last byte: a blank is the next word's.

    Parameters
    ----------
    words
        Of a sentence, joined by blanks.
    ends
        (t,) where its tokens end, in bytes.
    """
    bounds = np.cumsum([len(word.encode()) + 1 for word in words]) - 1
    return np.maximum.accumulate(np.searchsorted(bounds, ends - 1, side="right"))


class _Plan:
    """Windows found so far: of which sentence, from which of its pieces to which; and where words are predicted."""

    def __init__(self) -> None:
        self._windows: list[tuple[int, int, int]] = []
        self._words: list[Offsets] = []
        self._at: list[tuple[int, int]] = []
        self._cut = self._clipped = 0

    def add(self, sentence: int, words: Offsets, starts: list[int], pieces: int, room: int) -> None:
        """Add a sentence. words: those of its words that have pieces; starts: the first piece of each."""
        if not starts:
            return
        found = cut(starts, pieces, room)
        base = len(self._windows)
        self._windows += [(sentence, first, end) for first, end in found]
        self._words.append(words)
        for start in starts:
            which = clearest(found, start)
            self._at.append((base + which, start - found[which][0]))
        self._cut += len(found) > 1
        self._clipped += sum(size > room for size in np.diff([*starts, pieces]).tolist())

    def windows(self, ids: TokenIds, bases: Offsets, tokenizer: Tokenizer, words: int) -> Windows:
        """Return all of it. ids, bases: the sentences' tokens, and where each one's begin. words: W."""
        sentences, firsts, ends = np.array(self._windows, np.int64).reshape(-1, 3).T
        owners, places = np.array(self._at, np.int64).reshape(-1, 2).T
        sizes, special = ends - firsts, tokenizer.vocabulary.special
        offsets = offsets_of(sizes + SPECIAL_TOKENS)
        values = np.empty(offsets[-1], ids.dtype)
        values[offsets[:-1]], values[offsets[1:] - 1] = special.cls, special.sep
        inner = np.repeat(offsets[:-1] + 1, sizes) + count_up(sizes)
        values[inner] = ids[np.repeat(bases[sentences] + firsts, sizes) + count_up(sizes)]
        predicted = np.concatenate([np.empty(0, np.int64), *self._words])
        return Windows(
            examples=Examples(
                input_ids=Ragged(offsets=offsets, values=values),
                second_starts=(sizes + SPECIAL_TOKENS).astype(np.int32),
                groups=sentences,
                targets={},
            ),
            words=predicted,
            slots=offsets[owners] + 1 + places,
            dropped=words - len(predicted),
            cut=self._cut,
            clipped=self._clipped,
        )


def cut(starts: Sequence[int], pieces: int, room: int) -> list[tuple[int, int]]:
    """Return windows of a sentence, [first, end) in its pieces.

    Parameters
    ----------
    starts
        The first piece of each word, ascending, one at least; the first is 0.
    pieces
        How many there are.
    room
        How many a window holds.
    """
    bounds, found, first = [*starts, pieces], list[tuple[int, int]](), 0
    while first < pieces:
        end = bounds[bisect_right(bounds, first + room) - 1]
        if end == first:
            found.append((first, first + room))
            first = bounds[bisect_right(bounds, first)]
            continue
        found.append((first, end))
        if end == pieces:
            break
        # Far enough for the word behind the window to be in the next one whole, lest that show nothing new.
        least = bounds[bisect_right(bounds, end)] - room
        first = min(bounds[bisect_left(bounds, max(first + room // 2, least))], end)
    return found


def clearest(windows: Sequence[tuple[int, int]], start: int) -> int:
    """Return which of a sentence's windows shows most around a piece; one at least shows it."""
    last = bisect_right(windows, start, key=lambda window: window[0])
    first = bisect_right(windows, start, key=lambda window: window[1])
    return max(range(first, last), key=lambda number: min(start - windows[number][0], windows[number][1] - 1 - start))
