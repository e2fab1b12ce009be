"""The one door to the masking kernels: segments in, masked rows and a tally of the draws out.

A mask is a function of (seed, mask epoch, identity, tokens, word starts, configuration); see FORMAT.md §6.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.blocks import borders_of, read_only, restore
from spanmask.config import (
    SEGMENT_LIMIT,
    MaskingConfig,
    RandomIds,
    ReplacementUnit,
    Sampler,
    Scheme,
    VocabularyConfig,
)
from spanmask.errors import ConfigError
from spanmask.kernels import annotated, philox, replacement, spans, words
from spanmask.records import (
    Flags,
    Identities,
    MaskedBlock,
    Offsets,
    Positions,
    Ragged,
    Ranges,
    SegmentNumbers,
    SequenceBlock,
    TokenIds,
)
from spanmask.vocab import Vocabulary, load_vocabulary
from spanmask.words import start_words

_UNITS: dict[ReplacementUnit | None, int] = {
    ReplacementUnit.SPAN: replacement.UNIT_SPAN,
    ReplacementUnit.WORD: replacement.UNIT_WORD,
    ReplacementUnit.TOKEN: replacement.UNIT_TOKEN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """What was drawn for S sequences, beyond what the rows show.

    lengths: (max_words + 1,) span lengths drawn, in words. first_starts: (S,) first word (or token, or pool entry) tried, −1 for none.
    failed, short: trials and sequences by cause. units: replacement units (masked, randomised, kept).
    """

    lengths: Offsets
    first_starts: Offsets
    failed: dict[str, int]
    short: dict[str, int]
    ranges_too_long: int
    units: Offsets

    def to_json(self) -> dict[str, Any]:
        """Return the counts as the manifest writes them, without the first starts."""
        units = dict(zip(("masked", "random", "kept"), self.units.tolist(), strict=True))
        return {
            "lengths": self.lengths.tolist(),
            "failed_trials": self.failed,
            "short_rows": self.short,
            "ranges_too_long": self.ranges_too_long,
            "replacement_units": units,
        }


def length_law(p: Fraction, max_words: int) -> list[Fraction]:
    """Return P(length = 1), …, P(length = max_words): the geometric law truncated and renormalised (paper §3.1)."""
    # Exact rationals all the way: floats would make the masks depend on the machine's libm.
    weights = [p * (1 - p) ** k for k in range(max_words)]
    total = sum(weights)
    return [weight / total for weight in weights]


def length_thresholds(law: list[Fraction]) -> npt.NDArray[np.uint64]:
    """Return ⌊2³² · P(length ≤ k)⌋ for k below the longest, (max_words − 1,) uint64 (FORMAT.md §6.1)."""
    cumulative, thresholds = Fraction(0), []
    for probability in law[:-1]:
        cumulative += probability
        thresholds.append(int(cumulative * (1 << 32)))
    return np.array(thresholds, dtype=np.uint64)


class Masker:
    """Masks blocks of segments under one configuration and vocabulary.

    Parameters
    ----------
    config
        Scheme, sampler, ratio, law and seed.
    vocabulary
        Roles of ids, and the ordinary ones that random replacements are drawn from.
    unigram
        (V,) integer counts of ids, for ``random_ids = unigram``; those of unused ids, and of special ones but for unk, are not used.

    Raises
    ------
    ConfigError
        Unigram counts are missing, not of the vocabulary's size, or zero for every id that may be drawn.
    """

    def __init__(
        self, config: MaskingConfig, vocabulary: Vocabulary, unigram: npt.NDArray[np.integer[Any]] | None = None
    ) -> None:
        self.config = config
        self.vocabulary = vocabulary
        ratio = config.mask_fraction
        law = length_law(config.geometric_fraction, config.max_words)
        self._law = spans.Law(ratio.numerator, ratio.denominator, length_thresholds(law))
        self._key = philox.Key(np.uint64(config.seed), np.uint64(config.mask_epoch))
        special = vocabulary.special
        self._rule = replacement.Replacement(
            unit=_UNITS[config.replacement_unit],
            mask=special.mask,
            cls=special.cls,
            sep=special.sep,
            ordinary=vocabulary.counted_ids if config.random_ids is RandomIds.UNIGRAM else vocabulary.ordinary_ids,
            cumulative=_cumulative(config, vocabulary, unigram),
        )

    def mask(self, block: SequenceBlock, *, store_words: bool = False) -> tuple[MaskedBlock, Draws]:
        """Mask every segment of a block.

        Parameters
        ----------
        block
            S segments of at least one token, at most 65,533 each.
        store_words
            Whether the rows carry their word starts.

        Raises
        ------
        ConfigError
            The arrays do not fit together, or hold ids outside the vocabulary.
        """
        _require_segments(block, self.config.scheme)
        _require_ids(block.token_ids, len(self.vocabulary))
        return self.mask_checked(block, store_words=store_words)

    def mask_checked(self, block: SequenceBlock, *, store_words: bool) -> tuple[MaskedBlock, Draws]:
        """Do what `mask` does, for a block that would pass its checks."""
        arrays: tuple[Any, ...] = (block.word_starts, block.starts, block.ends, block.document_ids, block.segments)
        segments = spans.Segments(*map(read_only, (*arrays, borders_of(block))))
        drawn = self._draw_spans(block, segments)
        rows = self._replace(block, segments, drawn)
        n = int(drawn.offsets[-1])
        masked = MaskedBlock(
            document_ids=block.document_ids,
            segments=block.segments,
            input_ids=Ragged(values=rows.input_ids, offsets=rows.input_offsets),
            spans=Ranges(starts=drawn.starts[:n], ends=drawn.ends[:n], offsets=drawn.offsets),
            labels=Ragged(values=rows.labels[: rows.label_offsets[-1]], offsets=rows.label_offsets),
            word_starts=_word_positions(block) if store_words else None,
            annotations=None if block.annotations is None else _shifted(block.annotations, 1, np.uint16),
            pairs=block.pairs,
        )
        return masked, _draws(drawn, rows)

    def remask(self, block: MaskedBlock) -> MaskedBlock:
        """Mask stored rows anew: what `mask` gives for the segments they were made from.

        Parameters
        ----------
        block
            S rows of sound structure, with their word starts where the vocabulary does not tell them.

        Raises
        ------
        ShardError
            A row has an id that the vocabulary lacks.
        """
        segments = segments_of(block, *restore(block, self.vocabulary))
        return self.mask(segments, store_words=block.word_starts is not None)[0]

    def _draw_spans(self, block: SequenceBlock, segments: spans.Segments) -> spans.Spans:
        """Draw the spans of every segment with the sampler that the configuration names.

        Kernels do not check their outputs' room, so there is enough for the worst: spans neither touch nor are empty, hence at most every
        second token of a segment begins one.
        """
        capacity = int((block.ends - block.starts + 1).sum()) // 2 + len(block)
        out = spans.Spans(
            starts=np.empty(capacity, np.uint16),
            ends=np.empty(capacity, np.uint16),
            offsets=np.zeros(len(block) + 1, np.int64),
            first=np.empty(len(block), np.int64),
            drawn=np.zeros(self.config.max_words + 1, np.int64),
            tally=spans.Tally(*(np.zeros(size, np.int64) for size in (len(spans.CAUSES), len(spans.CAUSES), 1))),
        )
        scheme = self.config.scheme
        ranges = block.annotations
        if ranges is not None:
            supplied = annotated.Annotated(ranges.offsets, ranges.starts, ranges.ends)
            annotated.sample_annotated(segments, supplied, self._law, self._key, out)
        elif scheme is not Scheme.SPAN:
            spans.sample_words(segments, self._law, scheme is Scheme.TOKEN, self._key, out)
        elif self.config.sampler is Sampler.REFERENCE:
            spans.sample_reference(segments, self._law, self._key, out)
        else:
            spans.sample_paper(segments, self._law, self._key, out)
        return out

    def _replace(self, block: SequenceBlock, segments: spans.Segments, drawn: spans.Spans) -> replacement.Corrupted:
        """Return the rows with what is under the spans replaced, in arrays of exactly their size, which the spans tell."""
        n = int(drawn.offsets[-1])
        tokens = int((block.ends - block.starts).sum())
        labels = int(drawn.ends[:n].sum(dtype=np.int64) - drawn.starts[:n].sum(dtype=np.int64))
        dtype = block.token_ids.dtype
        rows = replacement.Corrupted(
            input_ids=np.empty(tokens + 2 * len(block), dtype),
            input_offsets=np.zeros(len(block) + 1, np.int64),
            labels=np.empty(labels, dtype),
            label_offsets=np.zeros(len(block) + 1, np.int64),
            units=np.zeros(3, np.int64),
        )
        replacement.replace_rows(read_only(block.token_ids), segments, drawn, self._rule, self._key, rows)
        return rows


def segments_of(block: MaskedBlock, originals: TokenIds, flags: Flags) -> SequenceBlock:
    """Return stored rows as the segments they were before masking. originals, flags: like input_ids, labels put back and word starts."""
    offsets = block.input_ids.offsets
    return SequenceBlock(
        token_ids=originals,
        word_starts=flags,
        starts=offsets[:-1] + 1,
        ends=offsets[1:] - 1,
        document_index=np.arange(len(block)),
        document_ids=block.document_ids,
        segments=block.segments,
        annotations=None if block.annotations is None else _shifted(block.annotations, -1, np.int64),
        dropped={},
        pairs=block.pairs,
    )


def mask(  # noqa: PLR0913 - the one door for arrays in memory
    token_ids: TokenIds,
    offsets: Offsets,
    config: MaskingConfig,
    vocabulary: Vocabulary | str = "cased",
    *,
    word_starts: Flags | None = None,
    document_ids: Identities | None = None,
    segments: SegmentNumbers | None = None,
    annotations: Ranges[Offsets] | None = None,
    unigram: npt.NDArray[np.integer[Any]] | None = None,
) -> MaskedBlock:
    """Mask sequences in memory, as `preshard` masks them.

    Parameters
    ----------
    token_ids
        (T,) ids of all sequences, without special tokens.
    offsets
        (S + 1,) where each sequence begins in ``token_ids``; 1 to 65,533 tokens each.
    config
        Scheme, ratio, law, seed and mask epoch.
    vocabulary
        A vocabulary, ``cased``, ``uncased`` or a path.
    word_starts
        (T,) whether a word starts at a token; by default by the word rule (FORMAT.md §6.7), which needs BERT's WordPiece. A sequence's
        first token always starts one.
    document_ids, segments
        (S,) identities, which masks are keyed by; by default the sequence's number, and 0.
    annotations
        With scheme ``annotated``: ranges of whole words of each sequence, token positions in it.
    unigram
        With ``random_ids = unigram``: (V,) counts of ids.

    Returns
    -------
    MaskedBlock
        The rows, ``[CLS]`` and ``[SEP]`` included.

    Raises
    ------
    ConfigError
        The arrays do not fit together.
    """
    known = load_vocabulary(VocabularyConfig(vocab=vocabulary)) if isinstance(vocabulary, str) else vocabulary
    given, bounds = np.asarray(token_ids), np.asarray(offsets)
    if given.dtype.kind not in "iu" or bounds.dtype.kind not in "iu":
        raise ConfigError(f"token_ids and offsets are {given.dtype} and {bounds.dtype}: give whole numbers")
    if len(bounds) == 0 or bounds[0] != 0 or bounds[-1] != len(given):
        raise ConfigError(f"offsets must go from 0 to the number of token_ids, {len(given)}")
    _require_ids(given, len(known))
    ids: TokenIds = np.ascontiguousarray(given, known.dtype)
    bounds = bounds.astype(np.int64)
    size = len(bounds) - 1
    block = SequenceBlock(
        token_ids=ids,
        word_starts=np.empty(len(ids), np.bool_) if word_starts is None else np.asarray(word_starts, np.bool_),
        starts=bounds[:-1],
        ends=bounds[1:],
        document_index=np.arange(size),
        document_ids=np.arange(size, dtype=np.uint64) if document_ids is None else np.asarray(document_ids, np.uint64),
        segments=np.zeros(size, np.uint32) if segments is None else np.asarray(segments, np.uint32),
        annotations=annotations,
        dropped={},
    )
    masker = Masker(config, known, unigram)
    _require_segments(block, config.scheme)
    if word_starts is None:
        block = start_words(block, known)
    return masker.mask_checked(block, store_words=word_starts is not None)[0]


def _require_ids(ids: npt.NDArray[Any], size: int) -> None:
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < size:
        raise ConfigError(f"token ids go from {ids.min()} to {ids.max()}, the vocabulary's from 0 to {size - 1}")


def _cumulative(
    config: MaskingConfig, vocabulary: Vocabulary, unigram: npt.NDArray[np.integer[Any]] | None
) -> npt.NDArray[np.int64]:
    """Return (K,) cumulative counts of the ids that are counted, or (0,) for uniform draws."""
    if config.random_ids is not RandomIds.UNIGRAM:
        return np.zeros(0, np.int64)
    if unigram is None or len(unigram) != len(vocabulary):
        raise ConfigError(f"random_ids unigram needs {len(vocabulary)} counts, one for each entry of the vocabulary")
    cumulative = np.cumsum(unigram[vocabulary.counted_ids], dtype=np.int64)
    # A draw is of 32 bits: with more counts than those, some ids could never be drawn.
    if not 0 < cumulative[-1] < 1 << 32:
        raise ConfigError(
            f"random_ids unigram: ids that may be drawn were counted {cumulative[-1]} times; give 1 to 2^32 - 1 counts"
        )
    return cumulative


def _require_segments(block: SequenceBlock, scheme: Scheme) -> None:
    """Refuse segments that would make a kernel read outside its arrays; ids are looked at apart."""
    sizes = block.ends - block.starts
    tokens = len(block.token_ids)
    if len(block) and (block.starts.min() < 0 or block.ends.max() > tokens or sizes.min() < 1 or sizes.max() > 65_533):
        raise ConfigError("segments must lie within the tokens and hold 1 to 65,533 of them each")
    if len(block.word_starts) != tokens or not (
        len(block.ends) == len(block.document_ids) == len(block.segments) == len(block)
    ):
        raise ConfigError(
            "word_starts must match token_ids, and each segment needs an end, a document_id and a segment number"
        )
    if len(block) and int(block.segments.max()) >= SEGMENT_LIMIT:
        raise ConfigError(f"segment {block.segments.max()} is not below {SEGMENT_LIMIT}")
    if (block.annotations is None) == (scheme is Scheme.ANNOTATED):
        raise ConfigError("annotated ranges and scheme annotated go together: give both or neither")


def _word_positions(block: SequenceBlock) -> Ragged[Positions]:
    """Return where words start in each row: the first token, and every flagged one."""
    places, offsets = (
        np.empty(int((block.ends - block.starts).sum()) + 1, np.uint16),
        np.empty(len(block) + 1, np.int64),
    )
    # A segment cut within a word begins with the rest of it, which is a word to the samplers, too.
    starts, ends, flags = read_only(block.starts), read_only(block.ends), read_only(block.word_starts)
    words.word_places(starts, ends, flags, places, offsets)
    return Ragged(values=places[: offsets[-1]].copy(), offsets=offsets)


def _shifted(ranges: Ranges[Any], by: int, dtype: type[np.integer[Any]]) -> Ranges[Any]:
    """Return ranges ``by`` positions on: a row's positions count ``[CLS]``, a segment's do not."""
    starts, ends = ((side.astype(np.int64) + by).astype(dtype, copy=False) for side in (ranges.starts, ranges.ends))
    return Ranges(starts=starts, ends=ends, offsets=ranges.offsets)


def _draws(drawn: spans.Spans, rows: replacement.Corrupted) -> Draws:
    tally = drawn.tally
    failed, short = (dict(zip(spans.CAUSES, seen.tolist(), strict=True)) for seen in (tally.failed, tally.short))
    return Draws(
        lengths=drawn.drawn,
        first_starts=drawn.first,
        failed=failed,
        short=short,
        ranges_too_long=int(tally.too_long[0]),
        units=rows.units,
    )
