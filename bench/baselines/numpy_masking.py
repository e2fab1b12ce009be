"""Masking as NumPy and plain Python do it: the rows of ``Masker.mask``, bit for bit, without a compiled kernel of ours.

It knows the default scheme (FORMAT.md §6.2, sampler ``paper``) with replacement per span and uniform random ids (§6.6), counts no
draws, and shares no code with ``spanmask.kernels``.

Vectorised, over a batch of sequences at once: the Philox blocks of all four streams, the word index, bounded starts, span lengths, the
order of the spans, the outcome of each span, random ids, labels, and the writing of the rows. In Python, one sequence after another:
the trials, because each depends on those before it; one costs a `bytearray.find` for "is anything here masked", and a `bisect` near the
budget. Trials of all sequences in lockstep are faster still, and another program: see ``lockstep_masking``.

Tried: batches of 128 to 2,048 sequences differ by less than the noise, smaller ones are slower. With fewer blocks drawn ahead, one
sequence in nine ran out of lengths, and drawing more for one at a time took a fifth of the run: one sequence's blocks cost nearly as much
as a batch's. Words, and marks, are numbered through the batch: one list serves all its sequences, and one sort orders all its spans.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate, chain, islice
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.blocks import join, offsets_of
from spanmask.config import MaskingConfig, RandomIds, ReplacementUnit, Sampler
from spanmask.records import MaskedBlock, Offsets, Ragged, Ranges, SequenceBlock, TokenIds
from spanmask.vocab import Vocabulary

Words32 = npt.NDArray[np.uint64]

LENGTHS, STARTS, REPLACEMENT, RANDOM = 0, 1, 2, 3
MAX_TRIALS = 100

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_STEPS = 0x9E3779B9, 0xBB67AE85
_MASK_BELOW = (1 << 32) * 8 // 10
_RANDOM_BELOW = (1 << 32) * 9 // 10


def philox(counter: tuple[Any, Any, Any, Any], seed: int) -> Words32:
    """Return Philox 4×32-10 blocks for counters (uint64 words that broadcast to a shape), that shape with a last axis of 4 added."""
    x0, x1, x2, x3 = counter
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        product0, product1 = x0 * _MULTIPLIERS[0], x2 * _MULTIPLIERS[1]
        x0 = (product1 >> _32) ^ x1 ^ np.uint64(k0)
        x2 = (product0 >> _32) ^ x3 ^ np.uint64(k1)
        x1, x3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + _STEPS[0]) & 0xFFFFFFFF, (k1 + _STEPS[1]) & 0xFFFFFFFF
    return np.stack((x0, x1, x2, x3), axis=-1)


def bounded(draws: Words32, bounds: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return bounded draws below ``bounds``, and which of them Lemire's method accepts. Shapes broadcast."""
    k = np.asarray(bounds, np.uint64)
    products = draws * k
    rejected_below = (np.uint64(1 << 32) - k) % k
    return (products >> _32).astype(np.int64), (products & _LOW) >= rejected_below


def thresholds(p: Fraction, max_words: int) -> Words32:
    """Return ⌊2³² · P(length ≤ k)⌋ for k = 1 … max_words − 1."""
    weights = [(1 - p) ** k for k in range(max_words)]
    total = sum(weights)
    return np.array([int((1 << 32) * part / total) for part in accumulate(weights[:-1])], np.uint64)


class Streams:
    """The streams of the sequences of a batch."""

    def __init__(self, config: MaskingConfig, block: SequenceBlock) -> None:
        self._seed, self._epoch = config.seed, config.mask_epoch
        self._c0 = block.document_ids & _LOW
        self._c1 = block.document_ids >> _32
        self._c2 = block.segments.astype(np.uint64) << np.uint64(8)

    def draw(self, purpose: int, rows: Any, first: int, blocks: int) -> Words32:
        """Return blocks first … first + blocks − 1 of some sequences' streams, (rows, 4 · blocks)."""
        c2 = self._c2[rows, None] | np.uint64(purpose << 5 | self._epoch >> 11)
        numbers = np.arange(first, first + blocks, dtype=np.uint64) & np.uint64(0x1FFFFF)
        c3 = numbers | np.uint64((self._epoch & 0x7FF) << 21)
        words = philox((self._c0[rows, None], self._c1[rows, None], c2, c3), self._seed)
        return words.reshape(len(words), 4 * blocks)

    def draw_flat(self, purpose: int, counts: Offsets) -> Words32:
        """Return the first ``counts[i]`` words of sequence i's stream, one sequence after another."""
        words = self.draw(purpose, slice(None), 0, _blocks(counts))
        return words[np.arange(words.shape[1]) < counts[:, None]]

    def draw_below_flat(self, purpose: int, counts: Offsets, bound: int) -> npt.NDArray[np.int64]:
        """Return the first ``counts[i]`` bounded draws of sequence i's stream, one sequence after another."""
        rows = np.flatnonzero(counts)
        wanted = counts[rows, None]
        blocks = _blocks(wanted)
        while True:
            values, accepted = bounded(self.draw(purpose, rows, 0, blocks), bound)
            rank = np.cumsum(accepted, axis=1)
            if (rank[:, -1:] >= wanted).all():
                return values[accepted & (rank <= wanted)]
            blocks += 1


def _blocks(counts: Offsets) -> int:
    return (int(counts.max(initial=0)) + 3) // 4


class Batch(NamedTuple):
    """S sequences one after another. tokens: (T,) ids; offsets: (S + 1,) in them; words: (W + 1,) where each word starts, and T.

    bounds: (S + 1,) each sequence's first word; budgets: (S,).
    """

    tokens: TokenIds
    offsets: Offsets
    words: Offsets
    bounds: Offsets
    budgets: Offsets


def _index(block: SequenceBlock, ratio: Fraction) -> Batch:
    sizes = block.ends - block.starts
    offsets = offsets_of(sizes)
    if (block.starts[1:] == block.ends[:-1]).all():
        place: Any = slice(block.starts[0], block.ends[-1])
    else:
        place = np.repeat(block.starts - offsets[:-1], sizes) + np.arange(offsets[-1])
    flags = block.word_starts[place].copy()
    flags[offsets[:-1]] = True
    words = np.append(np.flatnonzero(flags), offsets[-1])
    budgets = -(-sizes * ratio.numerator // ratio.denominator)
    return Batch(block.token_ids[place], offsets, words, np.searchsorted(words, offsets), budgets)


def likely_blocks(batch: Batch) -> int:
    """Return blocks of a stream that hold as many lengths, or starts, as nearly every sequence needs at common settings."""
    return 3 + int(batch.budgets.max()) // 12


class NumpyMasker:
    """Masks blocks of segments as `spanmask.masking.Masker` does, under one configuration and vocabulary.

    Raises
    ------
    ValueError
        The configuration asks for anything but sampler ``paper``, replacement per span and uniform random ids.
    """

    #: Sequences handled at once: the temporary arrays stay in the processor's cache.
    batch_sequences = 256

    def __init__(self, config: MaskingConfig, vocabulary: Vocabulary) -> None:
        asked = config.sampler, config.replacement_unit, config.random_ids
        if asked != (Sampler.PAPER, ReplacementUnit.SPAN, RandomIds.UNIFORM):
            raise ValueError(f"the baseline knows paper, span, uniform only, not {asked}")
        self.config = config
        self.vocabulary = vocabulary
        self._thresholds = thresholds(config.geometric_fraction, config.max_words)

    def mask(self, block: SequenceBlock) -> MaskedBlock:
        """Mask every segment of a block of at least one."""
        size = self.batch_sequences
        cuts = range(0, len(block), size)
        return join([self._mask_batch(_part(block, slice(cut, cut + size))) for cut in cuts])

    def _mask_batch(self, block: SequenceBlock) -> MaskedBlock:
        """Mask segments at once, with the numbers that the kernels draw; words are numbered through the batch."""
        batch = _index(block, self.config.mask_fraction)
        streams = Streams(self.config, block)
        spans = self.spans(batch, streams)
        span_offsets = np.searchsorted(spans[0], batch.bounds)
        starts, ends = batch.words[spans]
        input_ids, masked = self._replace(batch, streams, (starts, ends, span_offsets))
        before = np.repeat(batch.offsets[:-1], np.diff(span_offsets)) - 1
        starts, ends = ((side - before).astype(np.uint16) for side in (starts, ends))
        return MaskedBlock(
            document_ids=block.document_ids,
            segments=block.segments,
            input_ids=Ragged(values=input_ids, offsets=batch.offsets + 2 * np.arange(len(batch.offsets))),
            spans=Ranges(starts=starts, ends=ends, offsets=span_offsets),
            labels=Ragged(values=batch.tokens[masked], offsets=np.searchsorted(masked, batch.offsets)),
        )

    def spans(self, batch: Batch, streams: Streams) -> npt.NDArray[np.int64]:
        """Return the spans' first words, and the words after their last, ascending, (2, N)."""
        blocks = likely_blocks(batch)
        lengths = self.lengths(streams.draw(LENGTHS, slice(None), 0, blocks)).tolist()
        starts = _first_starts(streams.draw(STARTS, slice(None), 0, blocks), batch)
        trials = _Trials(batch)
        for i in range(len(batch.budgets)):
            more_lengths, more_starts = self._more(batch, streams, i, blocks)
            trials.place(i, chain(lengths[i], more_lengths), chain(starts[i], more_starts))
        return np.sort(np.array((trials.firsts, trials.ends), np.int64), axis=1)

    def lengths(self, draws: Words32) -> npt.NDArray[np.int64]:
        """Return the span lengths that draws stand for."""
        return np.searchsorted(self._thresholds, draws, side="right") + 1

    def _more(self, batch: Batch, streams: Streams, i: int, blocks: int) -> tuple[Iterator[int], Iterator[int]]:
        """Return the lengths and starts of a sequence beyond those of the first blocks."""

        def lengths() -> Iterator[int]:
            for first in range(blocks, 1 << 21, 8):
                yield from self.lengths(streams.draw(LENGTHS, [i], first, 8))[0].tolist()

        def starts() -> Iterator[int]:
            word, end = batch.bounds[i : i + 2]
            for first in range(blocks, 1 << 21, 8):
                values, accepted = bounded(streams.draw(STARTS, [i], first, 8), end - word)
                yield from (values[accepted] + word).tolist()

        return lengths(), starts()

    def _replace(self, batch: Batch, streams: Streams, spans: Any) -> tuple[TokenIds, npt.NDArray[np.int64]]:
        """Return the rows' ids, and the tokens that are masked."""
        starts, ends, span_offsets = spans
        sizes = ends - starts
        draws = streams.draw_flat(REPLACEMENT, np.diff(span_offsets))
        offsets = offsets_of(sizes)
        masked = np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])
        to_mask, to_draw = draws < _MASK_BELOW, (draws >= _MASK_BELOW) & (draws < _RANDOM_BELOW)
        tokens = batch.tokens.copy()
        tokens[masked[np.repeat(to_mask, sizes)]] = self.vocabulary.special.mask
        drawn = offsets_of(sizes * to_draw)[span_offsets]
        ordinary = self.vocabulary.ordinary_ids
        chosen = streams.draw_below_flat(RANDOM, np.diff(drawn), len(ordinary))
        tokens[masked[np.repeat(to_draw, sizes)]] = ordinary[chosen]
        return self._framed(tokens, batch.offsets), masked

    def _framed(self, tokens: TokenIds, offsets: Offsets) -> TokenIds:
        """Return the segments between ``[CLS]`` and ``[SEP]``."""
        rows = np.empty(len(tokens) + 2 * (len(offsets) - 1), tokens.dtype)
        within = np.ones(len(rows), np.bool_)
        cls = offsets[:-1] + 2 * np.arange(len(offsets) - 1)
        sep = offsets[1:] + 2 * np.arange(len(offsets) - 1) + 1
        rows[cls], rows[sep] = self.vocabulary.special.cls, self.vocabulary.special.sep
        within[cls] = within[sep] = False
        rows[within] = tokens
        return rows


class _Trials:
    """The sequential part: which words are masked so far in a batch, and the spans placed.

    Word w of sequence i is marked at w + i + 1, so that an unmarked place stands before and after each sequence.
    """

    def __init__(self, batch: Batch) -> None:
        self.firsts: list[int] = []
        self.ends: list[int] = []
        self._words: list[int] = batch.words.tolist()
        self._bounds: list[int] = batch.bounds.tolist()
        self._budgets: list[int] = batch.budgets.tolist()
        self._marks = bytearray(len(batch.words) + len(batch.bounds))
        sizes = np.maximum.reduceat(np.diff(batch.words), batch.bounds[:-1])
        self._has_long: list[bool] = (sizes > batch.budgets).tolist()

    def place(self, i: int, lengths: Iterator[int], starts: Iterator[int]) -> None:
        """Place the spans of sequence i."""
        words, marks, last = self._words, self._marks, self._bounds[i + 1]
        has_long = self._has_long[i]
        left = self._budgets[i]
        while left > 0:
            length = next(lengths)
            for first in islice(starts, MAX_TRIALS):
                end = first + length
                if end > last or words[end] - words[first] > left:
                    end = bisect_left(words, words[first] + left, first + 1, min(end, last) + 1)
                    if end > last:
                        continue
                if marks.find(1, first + i, end + i + 2) < 0 and not (has_long and self._is_long(first, end, i)):
                    break
            else:
                return
            marks[first + i + 1 : end + i + 1] = b"\1" * (end - first)
            self.firsts.append(first)
            self.ends.append(end)
            left -= words[end] - words[first]

    def _is_long(self, first: int, end: int, i: int) -> bool:
        words, budget = self._words, self._budgets[i]
        return any(words[word + 1] - words[word] > budget for word in range(first, end))


def _first_starts(draws: Words32, batch: Batch) -> list[list[int]]:
    """Return start words in the batch's numbering, a list for each sequence."""
    values, accepted = bounded(draws, np.diff(batch.bounds)[:, None])
    values += batch.bounds[:-1, None]
    if accepted.all():
        return values.tolist()  # type: ignore[no-any-return]
    return [row[taken].tolist() for row, taken in zip(values, accepted, strict=True)]


def _part(block: SequenceBlock, rows: slice) -> SequenceBlock:
    return SequenceBlock(
        token_ids=block.token_ids,
        word_starts=block.word_starts,
        starts=block.starts[rows],
        ends=block.ends[rows],
        document_index=block.document_index[rows],
        document_ids=block.document_ids[rows],
        segments=block.segments[rows],
        dropped={},
    )
