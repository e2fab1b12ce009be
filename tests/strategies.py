"""Hypothesis strategies, in one place: segments, identities, masking configurations, annotations, and whole cases.

Names say the shape: n tokens in a segment, W words, V entries in the vocabulary. The vocabulary is a small one laid out
as BERT's are: unused ids before and between the special ones, ordinary ids after them, words before continuations.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from oracle import Masking, Span, words_of

#: V, and the vocabulary's parts. Ids 1 to 4, 9 and 10 are `[unusedN]`.
VOCABULARY_SIZE = 80
PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID = 0, 5, 6, 7, 8
WORD_IDS = range(11, 50)
PIECE_IDS = range(50, 80)
ORDINARY_IDS = range(11, 80)
#: What may begin a word in a text.
TEXT_WORD_IDS = (*WORD_IDS, UNK_ID, MASK_ID)
#: (V,) whether an id is a word start by the vocabulary: all but the continuations (`##…`).
IS_WORD_START = tuple(i not in PIECE_IDS for i in range(VOCABULARY_SIZE))

#: Scheme and sampler pairs, and the replacement units that go with each scheme.
SAMPLERS = (("span", "paper"), ("span", "reference"), ("word", None), ("token", None), ("annotated", None))
REPLACEMENT_UNITS = {
    "span": ("span", "word", "token"),
    "annotated": ("span", "word", "token"),
    "word": ("token", "word"),
    "token": ("token",),
}


class Segment(NamedTuple):
    """(n,) ids, and (n,) whether each starts a word by the vocabulary; the first counts as one in any case."""

    tokens: list[int]
    word_starts: list[bool]


class Identity(NamedTuple):
    """What names a sequence: `document_id` below 2⁶⁴, `segment` below 2²⁴."""

    document_id: int
    segment: int


class Case(NamedTuple):
    """Everything one row is a function of. `annotations` is None but with scheme `annotated`."""

    segment: Segment
    identity: Identity
    masking: Masking
    annotations: list[Span] | None


def numbers_below(limit: int) -> SearchStrategy[int]:
    """Return numbers from 0 to `limit` − 1, the ends and the neighbours of 2³² among them often."""
    near = [number for number in (0, 1, (1 << 32) - 1, 1 << 32, limit - 1) if number < limit]
    return st.sampled_from(near) | st.integers(0, limit - 1)


def identities() -> SearchStrategy[Identity]:
    """Return identities over their whole range."""
    return st.builds(Identity, numbers_below(1 << 64), numbers_below(1 << 24))


def seeds() -> SearchStrategy[int]:
    """Return seeds over their whole range."""
    return numbers_below(1 << 64)


def mask_epochs() -> SearchStrategy[int]:
    """Return mask epochs below 2¹⁶, those around 2¹¹ often: there the counter's words change places."""
    return st.sampled_from([0, 1, 2047, 2048, 65_535]) | st.integers(0, 65_535)


def word_length_patterns(*, max_words: int = 24, max_word_length: int = 4) -> SearchStrategy[list[int]]:
    """Return (W,) tokens of each word, W from 1; at times with one word of 5 to 40 tokens among them."""
    short = st.integers(1, max_word_length)
    plain = st.lists(short, min_size=1, max_size=max_words)
    few = st.lists(short, max_size=max_words // 2)
    with_long = st.builds(lambda left, word, right: [*left, word, *right], few, st.integers(5, 40), few)
    return plain | with_long


def _bytes_of(size: int) -> SearchStrategy[bytes]:
    """Return `size` bytes: one draw for as many choices, which is much faster than a list of them."""
    return st.binary(min_size=size, max_size=size)


@st.composite
def segments_of(draw: DrawFn, word_lengths: Sequence[int], *, cut_first: bool = False) -> Segment:
    """Return a segment of given (W,) word lengths. With `cut_first` it begins inside a word.

    Words are ordinary ids, at times `[UNK]` or a literal `[MASK]`; further pieces are continuations.
    """
    choices = iter(draw(_bytes_of(sum(word_lengths))))
    tokens: list[int] = []
    for word, length in enumerate(word_lengths):
        for place in range(length):
            ids = PIECE_IDS if place or (cut_first and word == 0) else TEXT_WORD_IDS
            tokens.append(ids[next(choices) % len(ids)])
    return Segment(tokens, [IS_WORD_START[token] for token in tokens])


@st.composite
def segments(draw: DrawFn, *, max_words: int = 24, max_word_length: int = 4, allow_cut_first: bool = True) -> Segment:
    """Return segments of n ≥ 1 tokens. With `allow_cut_first`, some begin inside a word (`word_starts[0]` is False)."""
    word_lengths = draw(word_length_patterns(max_words=max_words, max_word_length=max_word_length))
    cut_first = allow_cut_first and draw(st.integers(0, 7)) == 7
    return draw(segments_of(word_lengths, cut_first=cut_first))


@st.composite
def annotation_ranges(draw: DrawFn, word_starts: Sequence[bool]) -> list[Span]:
    """Return ranges of whole words in tokens, ascending, without overlap; they may touch, and there may be none."""
    words = words_of(word_starts)
    if not words or draw(st.integers(0, 4)) == 0:
        return []
    choices = draw(_bytes_of(2 * len(words)))
    cuts = [start for (start, _), choice in zip(words[1:], choices[::2], strict=False) if choice % 2]
    ranges = pairwise([0, *cuts, len(word_starts)])
    return [span for span, choice in zip(ranges, choices[1::2], strict=False) if choice % 2]


def mask_ratios() -> SearchStrategy[Fraction]:
    """Return ratios from 0.01 to 0.9 of two decimals, so that `float` of one writes the same digits."""
    return st.sampled_from([Fraction(15, 100), Fraction(3, 10), Fraction(1, 2)]) | st.builds(
        Fraction, st.integers(1, 90), st.just(100)
    )


def geometric_ps() -> SearchStrategy[Fraction]:
    """Return p from 0.01 to 0.99 of two decimals, the paper's 0.2 often."""
    return st.just(Fraction(1, 5)) | st.builds(Fraction, st.integers(1, 99), st.just(100))


def max_words_limits() -> SearchStrategy[int]:
    """Return the longest length in words: the paper's 10 often, 1, up to 40, and seldom the greatest allowed, whose law takes long."""
    return st.sampled_from([*[10, 10, 1, 2] * 4, 1000]) | st.integers(1, 40)


@st.composite
def unigram_counts(draw: DrawFn) -> list[int]:
    """Return (V,) counts: none for special and unused ids, some others none either, the sum from 1 to below 2³²."""
    counts = [0] * VOCABULARY_SIZE
    some = st.dictionaries(st.sampled_from(ORDINARY_IDS), st.integers(1, 1 << 25), min_size=1, max_size=12)
    for token, count in draw(some).items():
        counts[token] = count
    return counts


@st.composite
def maskings(draw: DrawFn, *, samplers: Sequence[tuple[str, str | None]] = SAMPLERS) -> Masking:
    """Return masking configurations: every scheme, sampler, allowed replacement unit and mode of random ids."""
    scheme, sampler = draw(st.sampled_from(samplers))
    random_ids = draw(st.sampled_from(["uniform", "unigram"]))
    return Masking(
        scheme=scheme,
        sampler=sampler,
        ratio=draw(mask_ratios()),
        p=draw(geometric_ps()),
        max_words=draw(max_words_limits()),
        seed=draw(seeds()),
        mask_epoch=draw(mask_epochs()),
        replacement_unit=draw(st.sampled_from(REPLACEMENT_UNITS[scheme])),
        random_ids=random_ids,
        ordinary=list(ORDINARY_IDS),
        unigram=draw(unigram_counts()) if random_ids == "unigram" else None,
        mask_id=MASK_ID,
        cls_id=CLS_ID,
        sep_id=SEP_ID,
    )


@st.composite
def cases(
    draw: DrawFn,
    *,
    samplers: Sequence[tuple[str, str | None]] = SAMPLERS,
    max_words: int = 24,
    allow_cut_first: bool = True,
) -> Case:
    """Return whole cases: a segment, its identity, a masking, and annotations where the scheme takes them."""
    segment = draw(segments(max_words=max_words, allow_cut_first=allow_cut_first))
    masking = draw(maskings(samplers=samplers))
    ranges = draw(annotation_ranges(segment.word_starts)) if masking.scheme == "annotated" else None
    return Case(segment, draw(identities()), masking, ranges)


@st.composite
def partitions(draw: DrawFn) -> list[list[str]]:
    """Mentions, which letters name, in at most six entities; any of them may be left out, so that two partitions share some."""
    homes = draw(st.lists(st.none() | st.integers(0, 5), max_size=9))
    entities: dict[int, list[str]] = {}
    for letter, home in zip("abcdefghi", homes, strict=False):
        if home is not None:
            entities.setdefault(home, []).append(letter)
    return list(entities.values())
