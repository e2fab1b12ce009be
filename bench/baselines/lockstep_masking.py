"""Masking with NumPy alone, the trials too: all sequences of a batch try one start each at a time.

The same rows again, bit for bit. Within a sequence a trial depends on those before it; between sequences none does. So each step takes
every unfinished sequence's next start, finds where its span would end, looks whether its words and their neighbours are free, and
marks those that are. It is the fastest program without a compiler that was found, and the least like the algorithm's description.

Tried: a step costs NumPy's calls whatever its width, so batches of 256 sequences run at half the speed of those of 1,024.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.blocks import offsets_of

from .numpy_masking import (
    LENGTHS,
    MAX_TRIALS,
    STARTS,
    Batch,
    NumpyMasker,
    Streams,
    Words32,
    bounded,
    likely_blocks,
)

Ints = npt.NDArray[np.int64]


class LockstepMasker(NumpyMasker):
    """Masks as `NumpyMasker` does, with the trials vectorised over sequences."""

    batch_sequences = 1024

    def spans(self, batch: Batch, streams: Streams) -> Ints:
        """Return the spans' first words, and the words after their last, ascending, (2, N)."""
        trials = _Lockstep(batch, streams, self)
        rows = np.arange(len(batch.budgets))
        trials.draw_lengths(rows, rows)
        while len(rows):
            rows = trials.step(rows)
        return np.sort(np.concatenate(trials.placed, axis=1), axis=1)


class _Taken:
    """A stream of each sequence, and how much of it was taken."""

    def __init__(self, streams: Streams, purpose: int, blocks: int) -> None:
        self._streams, self._purpose = streams, purpose
        self._words = streams.draw(purpose, slice(None), 0, blocks)
        self._taken = np.zeros(len(self._words), np.int64)

    def next(self, rows: Ints, unfinished: Ints) -> Words32:
        """Take a word for each of ``rows``, which are among the sequences that may ever take one again."""
        place = self._taken[rows]
        if place.max(initial=0) >= self._words.shape[1]:
            self._grow(unfinished)
        self._taken[rows] = place + 1
        words: Words32 = self._words[rows, place]
        return words

    def _grow(self, rows: Ints) -> None:
        known = self._words.shape[1]
        self._words = np.concatenate((self._words, np.zeros_like(self._words)), axis=1)
        self._words[rows, known:] = self._streams.draw(self._purpose, rows, known // 4, known // 4)


class _Lockstep:
    """The sequences of a batch while spans are placed. Word w of sequence i is marked at w + i + 1, so that sequences do not touch."""

    def __init__(self, batch: Batch, streams: Streams, masker: NumpyMasker) -> None:
        self.placed: list[Any] = [np.empty((2, 0), np.int64)]
        self._batch, self._masker = batch, masker
        self._lengths = _Taken(streams, LENGTHS, likely_blocks(batch))
        self._starts = _Taken(streams, STARTS, likely_blocks(batch))
        sequences, words = len(batch.budgets), len(batch.words) - 1
        self._length, self._trials = np.zeros(sequences, np.int64), np.zeros(sequences, np.int64)
        self._left = batch.budgets.copy()
        self._marks = np.zeros(words + sequences + masker.config.max_words + 3, np.bool_)
        self._window = np.arange(masker.config.max_words + 2)
        self._owner_of_token = np.repeat(np.arange(words), np.diff(batch.words))
        is_long = np.diff(batch.words) > np.repeat(batch.budgets, np.diff(batch.bounds))
        self._long_before = offsets_of(is_long)

    def draw_lengths(self, rows: Ints, unfinished: Ints) -> None:
        """Draw the next length of some sequences."""
        self._length[rows] = self._masker.lengths(self._lengths.next(rows, unfinished))
        self._trials[rows] = 0

    def step(self, rows: Ints) -> Ints:
        """Make one trial in each unfinished sequence; return those that are still unfinished."""
        bounds = self._batch.bounds
        first, drawn = bounded(self._starts.next(rows, rows), bounds[rows + 1] - bounds[rows])
        first += bounds[rows]
        end, fits = self._ends(rows, first)
        fits &= drawn
        fits &= self._is_free(rows, first, end)
        self._trials[rows] += drawn
        good = rows[fits]
        self._place(good, first[fits], end[fits])
        self.draw_lengths(good[self._left[good] > 0], rows)
        return rows[(self._left[rows] > 0) & (self._trials[rows] < MAX_TRIALS)]

    def _ends(self, rows: Ints, first: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Return the word after each walk's last, and whether the walk stays in its sequence and meets no long word."""
        words, last = self._batch.words, self._batch.bounds[rows + 1]
        stop = words[first] + self._left[rows]
        in_sequence = stop <= words[last]
        by_budget = self._owner_of_token[np.minimum(stop, words[last]) - 1] + 1
        by_length = first + self._length[rows]
        end = np.minimum(np.minimum(by_length, by_budget), last)
        fits = (by_length <= last) | in_sequence
        fits &= self._long_before[end] == self._long_before[first]
        return end, fits

    def _is_free(self, rows: Ints, first: Ints, end: Ints) -> npt.NDArray[np.bool_]:
        """Return whether no word of a span, nor one beside it, is masked."""
        near = self._marks[(first + rows)[:, None] + self._window]
        near &= self._window < (end - first + 2)[:, None]
        free: npt.NDArray[np.bool_] = ~near.any(axis=1)
        return free

    def _place(self, rows: Ints, first: Ints, end: Ints) -> None:
        sizes = end - first
        before = np.cumsum(sizes) - sizes
        self._marks[np.repeat(first + rows + 1 - before, sizes) + np.arange(sizes.sum())] = True
        self._left[rows] -= self._batch.words[end] - self._batch.words[first]
        self.placed.append((first, end))
