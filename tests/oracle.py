"""Slow, literal twins of FORMAT.md §6 in plain Python: what the kernels are held against, bit for bit.

Imports the standard library only. Every rule is written as the page states it, with its paragraph named.
Intervals are half-open and count the tokens of a segment, without `[CLS]` and `[SEP]`, unless "position" is said:
a position counts in `input_ids` and is the token's number + 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, partial
from itertools import accumulate, pairwise
from typing import NamedTuple, NotRequired, TypedDict

TWO32 = 1 << 32
TWO64 = 1 << 64

#: Purposes of the streams (§6.1).
LENGTHS, STARTS, REPLACEMENT, RANDOM_IDS, PAIRS, PARTNERS = 0, 1, 2, 3, 4, 5

#: Causes of a failed trial, in the order that breaks ties (§6.2 step 4).
LONG_WORD, PAST_END, OCCUPIED = CAUSES = ("long_word", "past_end", "occupied")

#: Failed trials after which a sequence ends short (§6.2 step 4, §6.5 step 3).
TRIALS = 100

#: Tokens of a word at most (§6.7, line 5), and the lines of the rule that are counted.
LONGEST_WORD = 16
WORD_LINES = ("base_words", "white_space", "combining_marks", "scripts_without_spaces", "long_words")

#: What becomes of a unit (§6.6).
MASKED, RANDOM, KEPT = OUTCOMES = ("masked", "random", "kept")

Span = tuple[int, int]
Identity = tuple[int, int]
Distribution = dict[frozenset[Span], Fraction]


# --- §6.1 Draws


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int], rounds: int = 10) -> tuple[int, int, int, int]:
    """Return the four 32-bit words of a Philox 4×32 block (Salmon et al. 2011, §3.3 and table 2)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        high0, low0 = divmod(0xD2511F53 * c0, TWO32)
        high1, low1 = divmod(0xCD9E8D57 * c2, TWO32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = (k0 + 0x9E3779B9) % TWO32
        k1 = (k1 + 0xBB67AE85) % TWO32
    return c0, c1, c2, c3


class Stream:
    """The 32-bit words of one purpose of one sequence: blocks 0, 1, 2, …, four words each in order (§6.1)."""

    def __init__(self, seed: int, document_id: int, segment: int, mask_epoch: int, purpose: int) -> None:
        assert 0 <= seed < TWO64
        assert 0 <= document_id < TWO64
        assert 0 <= segment < 1 << 24
        assert 0 <= mask_epoch < 1 << 16
        assert purpose in {LENGTHS, STARTS, REPLACEMENT, RANDOM_IDS, PAIRS, PARTNERS}
        self._key = (seed % TWO32, seed // TWO32)
        self._c0 = document_id % TWO32
        self._c1 = document_id // TWO32
        self._c2 = segment * 2**8 + purpose * 2**5 + mask_epoch // 2**11
        self._c3 = (mask_epoch % 2**11) * 2**21
        self._taken = 0
        self._words: tuple[int, ...] = ()

    def next(self) -> int:
        """Take one word of the stream."""
        block, place = divmod(self._taken, 4)
        if place == 0:
            counter = (self._c0, self._c1, self._c2, self._c3 + block % 2**21)
            self._words = philox4x32(counter, self._key)
        self._taken += 1
        return self._words[place]

    def below(self, k: int) -> int:
        """Return the bounded draw below `k`, exactly uniform (Lemire 2019, algorithm 5)."""
        assert 1 <= k <= TWO32
        m = self.next() * k
        if m % TWO32 < k:
            t = (TWO32 - k) % k
            while m % TWO32 < t:
                m = self.next() * k
        return m // TWO32


def _length_weights(p: Fraction, max_words: int) -> list[int]:
    """Return whole numbers in the proportions of p(1 − p)^(k−1), k = 1 … max_words: each times b^max/a, for p = a/b."""
    a, b = p.numerator, p.denominator
    return [(b - a) ** (k - 1) * b ** (max_words - k) for k in range(1, max_words + 1)]


def length_law(p: Fraction, max_words: int) -> list[Fraction]:
    """Return P(length = 1), …, P(length = max_words): p(1 − p)^(k−1), made to sum to 1 (§6.1)."""
    weights = _length_weights(p, max_words)
    total = sum(weights)
    return [Fraction(weight, total) for weight in weights]


@cache
def _thresholds(p: Fraction, max_words: int) -> tuple[int, ...]:
    weights = _length_weights(p, max_words)
    total = sum(weights)
    return tuple(TWO32 * cumulative // total for cumulative in accumulate(weights[:-1]))


def length_thresholds(p: Fraction, max_words: int) -> list[int]:
    """Return T₁ … T_max−1, T_k = ⌊2³²·P(length ≤ k)⌋ (§6.1)."""
    return list(_thresholds(p, max_words))


def budget(ratio: Fraction, n: int) -> int:
    """Return B = ⌈ratio·n⌉ (§6)."""
    return -((-ratio.numerator * n) // ratio.denominator)


# --- What is asked for, and what was drawn


@dataclass(frozen=True, kw_only=True)
class Masking:
    """A masking configuration: everything §6 depends on but the segment and its identity.

    `scheme` is span, word, token or annotated; `sampler` paper or reference with scheme span, else None;
    `replacement_unit` span, word or token; `random_ids` uniform or unigram. `ordinary` are the ordinary ids, ascending;
    `unigram` has one count for each id of the vocabulary, or is None with uniform random ids.
    """

    scheme: str = "span"
    sampler: str | None = "paper"
    ratio: Fraction = Fraction(15, 100)
    p: Fraction = Fraction(1, 5)
    max_words: int = 10
    seed: int
    mask_epoch: int = 0
    replacement_unit: str = "span"
    random_ids: str = "uniform"
    ordinary: Sequence[int]
    unigram: Sequence[int] | None = None
    mask_id: int
    cls_id: int
    sep_id: int

    def stream(self, identity: Identity, purpose: int) -> Stream:
        """Return a purpose's stream for one sequence, from its beginning."""
        document_id, segment = identity
        return Stream(self.seed, document_id, segment, self.mask_epoch, purpose)


@dataclass(kw_only=True)
class Sampled:
    """The spans of one sequence, and how they came about.

    `spans`: (start, end) in token numbers, ascending. `lengths`: every length drawn, placed or not, in order.
    `failed`: failed trials by cause. `shortfall`: the cause of ending short, or None. `first_start`: the first bounded
    draw from the stream of starts, or −1. `ranges_too_long`: annotated ranges left out of the pool.
    """

    spans: list[Span] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    shortfall: str | None = None
    first_start: int = -1
    ranges_too_long: int = 0


class Row(TypedDict):
    """One row as it is stored (§2), spans in positions, with what `sample` and `replace` counted."""

    document_id: int
    segment: int
    input_ids: list[int]
    span_starts: list[int]
    span_ends: list[int]
    labels: list[int]
    annotation_starts: NotRequired[list[int]]
    annotation_ends: NotRequired[list[int]]
    sampled: Sampled
    replaced: dict[str, int]


def words_of(word_starts: Sequence[bool]) -> list[Span]:
    """Return the words as (start, end) in tokens. The first token always starts one (§2, word starts)."""
    starts = [token for token, is_start in enumerate(word_starts) if is_start or token == 0]
    return list(pairwise([*starts, len(word_starts)]))


def words_by_rule(
    pieces: Sequence[bytes], base: Sequence[bool], character: Callable[[str], str]
) -> tuple[list[bool], dict[str, int]]:
    """Return whether a word starts at each token of a segment, and how often each line acted (§6.7).

    `pieces`: the bytes each token stands for. `base`: whether a base word starts. `character` says what a character is: white, mark,
    spaceless, or nothing of these.
    """
    data, places = b"".join(pieces), list(accumulate(map(len, pieces), initial=0))

    def kind(token: int) -> str:
        """What the character is whose first byte is the token's first."""
        for size in range(1, 5) if pieces[token] else ():
            with suppress(UnicodeDecodeError):
                return character(data[places[token] : places[token] + size].decode())
        return ""

    acted = dict.fromkeys(WORD_LINES, 0)
    starts = [token == 0 or is_start for token, is_start in enumerate(base)]
    acted["base_words"] = sum(starts)
    for start, end in words_of(base)[1:]:
        text = b"".join(pieces[start:end]).decode(errors="replace")
        if kind(start) == "mark":
            acted["combining_marks"] += 1
            starts[start] = False
        elif all(pieces[start:end]) and all(character(one) == "white" for one in text):
            acted["white_space"] += 1
            starts[start] = False
    for token in range(1, len(base)):
        if kind(token) == "spaceless" and not starts[token]:
            acted["scripts_without_spaces"] += 1
            starts[token] = True
    for start, end in words_of(starts):
        if end - start > LONGEST_WORD:
            acted["long_words"] += 1
            starts[start:end] = [True] * (end - start)
    return starts, acted


def runs_of(masked: Sequence[bool]) -> list[Span]:
    """Return the maximal runs of masked tokens, ascending."""
    edges = [i for i, (left, right) in enumerate(pairwise([False, *masked, False])) if left != right]
    return list(zip(edges[0::2], edges[1::2], strict=True))


# --- §6.2 … §6.5 Sampling


class _Draft:
    """One sequence while it is being sampled: its words, what is masked so far, and the two streams."""

    def __init__(self, word_starts: Sequence[bool], identity: Identity, masking: Masking, border: int = 0) -> None:
        self.masking = masking
        self.words = words_of(word_starts)
        self.n = len(word_starts)
        #: Tokens of A, and its words, where the sequence is a pair: a walk, a run or a neighbour of one segment is none of the other's.
        self.border = border or self.n
        self.border_word = sum(start < self.border for start, _ in self.words)
        self.budget = budget(masking.ratio, self.n)
        self.is_masked = [False] * self.n
        self.lengths = masking.stream(identity, LENGTHS)
        self.starts = masking.stream(identity, STARTS)
        self.sampled = Sampled()

    @property
    def masked(self) -> int:
        return sum(self.is_masked)

    @property
    def is_full(self) -> bool:
        return self.masked >= self.budget

    def size(self, word: int) -> int:
        start, end = self.words[word]
        return end - start

    def is_long(self, word: int) -> bool:
        return self.size(word) > self.budget

    def is_word_masked(self, word: int) -> bool:
        """Say whether a word exists and is masked. The schemes that ask mask whole words only."""
        return 0 <= word < len(self.words) and self.is_masked[self.words[word][0]]

    def end_of_words(self, word: int) -> int:
        """The number after the last word of a word's segment."""
        return self.border_word if word < self.border_word else len(self.words)

    def end_of_tokens(self, token: int) -> int:
        """The number after the last token of a token's segment."""
        return self.border if token < self.border else self.n

    def mask(self, start: int, end: int) -> None:
        for token in range(start, end):
            self.is_masked[token] = True

    def draw_length(self) -> int:
        u = self.lengths.next()
        thresholds = length_thresholds(self.masking.p, self.masking.max_words)
        length = 1 + sum(u >= threshold for threshold in thresholds)
        self.sampled.lengths.append(length)
        return length

    def draw_start(self, k: int) -> int:
        start = self.starts.below(k)
        if self.sampled.first_start == -1:
            self.sampled.first_start = start
        return start

    def place(self, trial: Callable[[int], Span | str]) -> bool:
        """Try start words until one succeeds; after 100 failed trials note the shortfall and say False."""
        failed = dict.fromkeys(CAUSES, 0)
        for _ in range(TRIALS):
            result = trial(self.draw_start(len(self.words)))
            if not isinstance(result, str):
                self.mask(*result)
                return True
            failed[result] += 1
            self.sampled.failed[result] += 1
        self.sampled.shortfall = max(CAUSES, key=failed.__getitem__)
        return False


def _paper_trial(draft: _Draft, length: int, a: int) -> Span | str:
    """§6.2 step 3: walk from word `a`; return the tokens taken, or the cause of the failure."""
    if a != draft.border_word and draft.is_word_masked(a - 1):
        return OCCUPIED
    taken = tokens = 0
    w = a
    while True:
        if w == draft.end_of_words(a):
            return PAST_END
        if draft.is_long(w):
            return LONG_WORD
        if draft.is_word_masked(w):
            return OCCUPIED
        taken += 1
        tokens += draft.size(w)
        w += 1
        if taken == length or draft.masked + tokens >= draft.budget:
            break
    if w != draft.border_word and draft.is_word_masked(w):
        return OCCUPIED
    return draft.words[a][0], draft.words[w - 1][1]


def _sample_paper(draft: _Draft) -> None:
    """§6.2."""
    while not draft.is_full:
        length = draft.draw_length()
        if not draft.place(partial(_paper_trial, draft, length)):
            return


def _sample_reference(draft: _Draft) -> None:
    """§6.3. A length whose anchor is masked counts as drawn, and the trial as failed."""
    starts = {start for start, _ in draft.words}
    while not draft.is_full:
        length = draft.draw_length()
        anchor = draft.draw_start(draft.n)
        if draft.is_masked[anchor]:
            draft.sampled.failed[OCCUPIED] += 1
            continue
        token = max(start for start in starts if start <= anchor)
        entered, end = 0, draft.end_of_tokens(token)
        while not (token == end or draft.masked == draft.budget or (token in starts and entered == length)):
            entered += token in starts
            draft.is_masked[token] = True
            token += 1


def _shuffled(draft: _Draft, k: int) -> Iterator[int]:
    """§6.4: the numbers below `k` in an order drawn as they are asked for (Fisher and Yates, from the left)."""
    perm = list(range(k))
    for i in range(k):
        j = i + draft.draw_start(k - i)
        perm[i], perm[j] = perm[j], perm[i]
        yield perm[i]


def _sample_units(draft: _Draft, units: Sequence[Span]) -> None:
    """§6.4: mask whole units in a random order until the budget is reached, longer ones skipped."""
    order = _shuffled(draft, len(units))
    while not draft.is_full:
        unit = next(order, None)
        if unit is None:
            draft.sampled.shortfall = LONG_WORD
            return
        start, end = units[unit]
        if end - start > draft.budget:
            draft.sampled.failed[LONG_WORD] += 1
        else:
            draft.mask(start, end)


def _sample_words(draft: _Draft) -> None:
    """§6.4, `word`."""
    _sample_units(draft, draft.words)


def _sample_tokens(draft: _Draft) -> None:
    """§6.4, `token`: a unit is one token, never longer than the budget."""
    _sample_units(draft, [(token, token + 1) for token in range(draft.n)])


def _touches(draft: _Draft, start: int, end: int) -> bool:
    """Say whether [start, end) overlaps or touches a masked token."""
    before = start if start in (0, draft.border) else start - 1
    return any(draft.is_masked[before : min(end + 1, draft.end_of_tokens(start))])


def _sample_annotated(draft: _Draft, ranges: Sequence[Span]) -> None:
    """§6.5."""
    pool = [(start, end) for start, end in ranges if end - start <= draft.budget]
    draft.sampled.ranges_too_long = len(ranges) - len(pool)
    while not draft.is_full:
        if pool and draft.lengths.next() < 2**31:
            i = draft.draw_start(len(pool))
            start, end = pool[i]
            pool[i] = pool[-1]
            pool.pop()
            if _touches(draft, start, end):
                draft.sampled.failed[OCCUPIED] += 1
            else:
                draft.mask(start, end)
        elif not draft.place(partial(_paper_trial, draft, 1)):
            return


def sample(
    word_starts: Sequence[bool],
    identity: Identity,
    masking: Masking,
    annotations: Sequence[Span] | None = None,
    border: int = 0,
) -> Sampled:
    """Draw the spans of one segment (§6.2 to §6.5). `annotations` are ranges of whole words, ascending, in tokens.

    `border`: of a pair (§6.8), the tokens of A; those of B follow.
    """
    draft = _Draft(word_starts, identity, masking, border)
    match masking.scheme, masking.sampler:
        case "span", "paper":
            _sample_paper(draft)
        case "span", "reference":
            _sample_reference(draft)
        case "word", None:
            _sample_words(draft)
        case "token", None:
            _sample_tokens(draft)
        case "annotated", None:
            _sample_annotated(draft, annotations or [])
        case pair:
            raise ValueError(f"no scheme and sampler {pair}")
    # Where spans never touch, the maximal runs are the spans as they were taken.
    first, second = runs_of(draft.is_masked[: draft.border]), runs_of(draft.is_masked[draft.border :])
    draft.sampled.spans = [*first, *((draft.border + start, draft.border + end) for start, end in second)]
    return draft.sampled


# --- §6.6 Replacement


def replacement_units(word_starts: Sequence[bool], spans: Sequence[Span], unit: str) -> list[Span]:
    """Return the units that are replaced as one, ascending: spans, words or parts of words in them, or tokens."""
    if unit == "span":
        return list(spans)
    if unit == "token":
        return [(token, token + 1) for start, end in spans for token in range(start, end)]
    assert unit == "word"
    units: list[Span] = []
    for start, end in spans:
        cuts = [token for token in range(start, end) if token == start or word_starts[token]]
        units.extend(pairwise([*cuts, end]))
    return units


def _random_id(stream: Stream, masking: Masking) -> int:
    if masking.random_ids == "uniform":
        return masking.ordinary[stream.below(len(masking.ordinary))]
    assert masking.random_ids == "unigram"
    assert masking.unigram is not None
    drawn = stream.below(sum(masking.unigram))
    return next(i for i, cumulative in enumerate(accumulate(masking.unigram)) if cumulative > drawn)


def replace(
    tokens: Sequence[int],
    word_starts: Sequence[bool],
    spans: Sequence[Span],
    identity: Identity,
    masking: Masking,
) -> tuple[list[int], dict[str, int]]:
    """Return the corrupted tokens of a segment, and how many units were masked, made random and kept (§6.6)."""
    choices = masking.stream(identity, REPLACEMENT)
    random_ids = masking.stream(identity, RANDOM_IDS)
    corrupted = list(tokens)
    counts = dict.fromkeys(OUTCOMES, 0)
    for start, end in replacement_units(word_starts, spans, masking.replacement_unit):
        u = choices.next()
        if u < TWO32 * 8 // 10:
            counts[MASKED] += 1
            corrupted[start:end] = [masking.mask_id] * (end - start)
        elif u < TWO32 * 9 // 10:
            counts[RANDOM] += 1
            corrupted[start:end] = [_random_id(random_ids, masking) for _ in range(start, end)]
        else:
            counts[KEPT] += 1
    return corrupted, counts


# --- §2 Rows


def mask_row(
    tokens: Sequence[int],
    word_starts: Sequence[bool],
    identity: Identity,
    masking: Masking,
    annotations: Sequence[Span] | None = None,
    border: int = 0,
) -> Row:
    """Return the row of one segment (§2): special tokens added, spans in positions, annotations where they apply.

    `border`: of a pair (§6.8), the tokens of A; those of B follow.
    """
    sampled = sample(word_starts, identity, masking, annotations, border)
    corrupted, counts = replace(tokens, word_starts, sampled.spans, identity, masking)
    if border:
        corrupted.insert(border, masking.sep_id)

    def position(start: int, token: int) -> int:
        """Where a token stands, or what lies before it, of a range that begins at `start`."""
        return token + (2 if border and start >= border else 1)

    row = Row(
        document_id=identity[0],
        segment=identity[1],
        input_ids=[masking.cls_id, *corrupted, masking.sep_id],
        span_starts=[position(start, start) for start, _ in sampled.spans],
        span_ends=[position(start, end) for start, end in sampled.spans],
        labels=[token for start, end in sampled.spans for token in tokens[start:end]],
        sampled=sampled,
        replaced=counts,
    )
    if masking.scheme == "annotated":
        row["annotation_starts"] = [position(start, start) for start, _ in annotations or []]
        row["annotation_ends"] = [position(start, end) for start, end in annotations or []]
    return row


def restore(row: Row) -> list[int]:
    """Return the original of a row, special tokens included: the labels written over the spans in order (§2)."""
    original = list(row["input_ids"])
    labels = iter(row["labels"])
    for start, end in zip(row["span_starts"], row["span_ends"], strict=True):
        for position in range(start, end):
            original[position] = next(labels)
    return original


# --- §6.8 Pairs


class Text(NamedTuple):
    """A document of a block and split: its identity, and of each of its tokens whether a base word and a line start there."""

    document_id: int
    words: Sequence[bool]
    lines: Sequence[bool]


class Half(NamedTuple):
    """A segment of a pair: its document, its number there, and its tokens [start, end) in the document."""

    document_id: int
    segment: int
    start: int
    end: int


class PairOf(NamedTuple):
    """A, B, and whether B follows A in its document."""

    first: Half
    second: Half
    follows: bool


def _end_of(starts: Sequence[bool], low: int, high: int) -> int:
    """Return where a segment ends: at the document's end where that fits, else at the last word start from low to high, else at high."""
    if high >= len(starts):
        return len(starts)
    return next((place for place in range(high, low - 1, -1) if starts[place]), high)


def pairs(texts: Sequence[Text], seed: int, room: int, least: int) -> tuple[list[PairOf], int]:
    """Return the pairs of the documents of one block and split, and how many tokens are dropped (§6.8)."""
    chains: list[list[tuple[Half, int, int]]] = []
    dropped = 0
    usable = [text for text in texts if len(text.words) >= 2 * least]
    for text in texts:
        p = k = 0
        chain: list[tuple[Half, int, int]] = []
        while len(text.words) - p >= 2 * least:
            stream = Stream(seed, text.document_id, k, 0, PAIRS)
            follows = stream.next() < TWO32 // 2 or usable == [text]
            target = room
            if stream.next() < TWO32 // 10:
                target = 2 * least + stream.below(room - 2 * least + 1)
            end = _end_of(text.words, p + 2 * least, p + target)
            places = range(p + least, end - least + 1)
            lines, words = ([at for at in places if flags[at]] for flags in (text.lines, text.words))
            among = lines or words or list(places)
            border = among[stream.below(len(among))]
            chain.append((Half(text.document_id, k, p, border), end if follows else 0, target))
            p, k = (end, k + 2) if follows else (border, k + 1)
        chains.append(chain)
        dropped += len(text.words) - p
    by_id = {text.document_id: text for text in texts}
    found = []
    for chain in chains:
        others = [a for other in chains if other is not chain for a, _, _ in other]
        for a, end, target in chain:
            if end:
                found.append(PairOf(a, Half(a.document_id, a.segment + 1, a.end, end), follows=True))
                continue
            after = others[Stream(seed, a.document_id, a.segment, 0, PARTNERS).below(len(others))]
            stop = _end_of(by_id[after.document_id].words, after.end + least, after.end + target - (a.end - a.start))
            found.append(PairOf(a, Half(after.document_id, after.segment + 1, after.end, stop), follows=False))
    return found, dropped


# --- §6.2 exactly


class _PaperLaw:
    """§6.2 over one pattern of word lengths, with ideal draws. A state is the set of masked words, as bits."""

    def __init__(self, word_lengths: tuple[int, ...], ratio: Fraction, law: Sequence[Fraction]) -> None:
        self.word_lengths = word_lengths
        self.budget = budget(ratio, sum(word_lengths))
        self.law = law

    def masked(self, state: int) -> int:
        return sum(tokens for word, tokens in enumerate(self.word_lengths) if state >> word & 1)

    def grown(self, state: int, length: int, a: int) -> int | None:
        """Return the state after a successful trial from word `a`, or None for a failed one.

        Said otherwise than in `_paper_trial`: the words to take are the fewest that make the length or the budget;
        they must exist, none may be long, and neither they nor their two neighbours may be masked.
        """
        lengths, masked = self.word_lengths, self.masked(state)
        ends = range(a + 1, len(lengths) + 1)
        end = next((b for b in ends if b - a == length or masked + sum(lengths[a:b]) >= self.budget), None)
        if end is None or max(lengths[a:end]) > self.budget:
            return None
        taken = (1 << end) - (1 << a)
        closed = taken | taken << 1 | taken >> 1
        return None if state & closed else state | taken

    def steps(self, state: int) -> tuple[Fraction, dict[int, Fraction]]:
        """Return the probability of ending short in a state, and those of the states one span later."""
        count, short = len(self.word_lengths), Fraction(0)
        following: dict[int, Fraction] = {}
        for length, probability in enumerate(self.law, start=1):
            reached = [self.grown(state, length, a) for a in range(count)]
            successes = [after for after in reached if after is not None]
            all_failed = Fraction(count - len(successes), count) ** TRIALS
            short += probability * all_failed
            for after in successes:
                share = probability * (1 - all_failed) / len(successes)
                following[after] = following.get(after, Fraction(0)) + share
        return short, following

    def final(self) -> dict[int, Fraction]:
        """Return the probability of ending in each state. Steps mask more, so fewest masked tokens come first."""
        reached: dict[int, Fraction] = {0: Fraction(1)}
        final: dict[int, Fraction] = {}
        while reached:
            state = min(reached, key=self.masked)
            probability = reached.pop(state)
            if self.masked(state) >= self.budget:
                final[state] = probability
                continue
            short, following = self.steps(state)
            if short:
                final[state] = probability * short
            for after, share in following.items():
                reached[after] = reached.get(after, Fraction(0)) + probability * share
        return final


def spans_of_words(word_lengths: Sequence[int], masked_words: Sequence[bool]) -> frozenset[Span]:
    """Return the maximal runs of masked words as spans in tokens."""
    edges = [0, *accumulate(word_lengths)]
    return frozenset((edges[start], edges[end]) for start, end in runs_of(masked_words))


def exact_law_distribution(word_lengths: tuple[int, ...], ratio: Fraction, law: Sequence[Fraction]) -> Distribution:
    """Return §6.2's distribution of the final set of spans under any law of lengths: `law[k − 1]` = P(length = k)."""
    words = range(len(word_lengths))
    return {
        spans_of_words(word_lengths, [bool(state >> word & 1) for word in words]): probability
        for state, probability in _PaperLaw(word_lengths, ratio, law).final().items()
    }


def exact_paper_distribution(
    word_lengths: tuple[int, ...], ratio: Fraction, p: Fraction, max_words: int
) -> Distribution:
    """Return the probability of every final set of spans under §6.2, exactly, ended short or not.

    Draws are ideal: lengths by the exact law, starts uniform. With s of W starts succeeding for a length, all 100
    trials fail with probability (1 − s/W)^100; otherwise each success is equally likely.
    """
    return exact_law_distribution(word_lengths, ratio, length_law(p, max_words))


# --- §2 Invariants


@dataclass(kw_only=True)
class _Checked:
    """One row with what its invariants refer to."""

    row: Mapping[str, object]
    masking: Masking
    words: list[Span]
    vocabulary_size: int
    max_tokens: int
    min_tokens: int

    def column(self, name: str) -> list[int]:
        return [int(value) for value in self.row[name]]  # type: ignore[attr-defined]

    @property
    def length(self) -> int:
        return len(self.column("input_ids"))

    @property
    def spans(self) -> list[Span]:
        return list(zip(self.column("span_starts"), self.column("span_ends"), strict=True))


def _check_i1(it: _Checked) -> None:
    assert 3 <= it.length <= it.max_tokens, "I1: length out of 3 … max_tokens"
    assert it.length >= it.min_tokens, "I1: shorter than min_tokens"


def _check_i2(it: _Checked) -> None:
    ids = it.column("input_ids")
    assert ids[0] == it.masking.cls_id, "I2: [CLS] is not first"
    assert ids[-1] == it.masking.sep_id, "I2: [SEP] is not last"
    assert all(0 <= i < it.vocabulary_size for i in ids), "I2: id outside the vocabulary"


def _check_i3(it: _Checked) -> None:
    assert len(it.column("span_starts")) == len(it.column("span_ends")), "I3: starts and ends differ in number"
    assert all(1 <= start < end <= it.length - 1 for start, end in it.spans), "I3: span out of bounds"


def _check_i4(it: _Checked) -> None:
    assert all(start > end for (_, end), (start, _) in pairwise(it.spans)), "I4: spans overlap, touch or descend"


def _check_i5(it: _Checked) -> None:
    assert len(it.column("labels")) == sum(end - start for start, end in it.spans), "I5: labels differ in number"


def _check_i6(it: _Checked) -> None:
    assert all(0 <= i < it.vocabulary_size for i in it.column("labels")), "I6: label outside the vocabulary"


def _check_i9(it: _Checked) -> None:
    masking = it.masking
    spanwise = masking.scheme == "annotated" or (masking.scheme, masking.sampler) == ("span", "paper")
    if not spanwise or masking.replacement_unit != "span":
        return
    ids, labels, mask = it.column("input_ids"), iter(it.column("labels")), masking.mask_id
    for start, end in it.spans:
        pairs = [(ids[position], next(labels)) for position in range(start, end)]
        all_masked = all(i == mask for i, _ in pairs)
        none_new = all(label == mask for i, label in pairs if i == mask)
        assert all_masked or none_new, "I9: span masked in part"


def _check_i10(it: _Checked) -> None:
    masked = sum(end - start for start, end in it.spans)
    b = budget(it.masking.ratio, it.length - 2)
    if it.masking.scheme == "token" or it.masking.sampler == "reference":
        assert masked == b, "I10: masked is not the budget"
        return
    longest = max(end - start for start, end in it.words)
    if it.masking.scheme == "annotated":
        ranges = zip(it.column("annotation_starts"), it.column("annotation_ends"), strict=True)
        longest = max([longest, *(end - start for start, end in ranges)])
    assert masked < b + longest, "I10: budget exceeded by a whole unit"


def _check_i11(it: _Checked) -> None:
    if "word_starts" not in it.row:
        return
    starts = it.column("word_starts")
    assert starts[:1] == [1], "I11: the first word does not start at position 1"
    assert all(left < right for left, right in pairwise(starts)), "I11: word starts do not ascend"
    assert starts[-1] <= it.length - 2, "I11: word start out of bounds"


def _check_i12(it: _Checked) -> None:
    if "annotation_starts" not in it.row:
        return
    starts, ends = it.column("annotation_starts"), it.column("annotation_ends")
    assert len(starts) == len(ends), "I12: starts and ends differ in number"
    ranges = list(zip(starts, ends, strict=True))
    assert all(1 <= start < end <= it.length - 1 for start, end in ranges), "I12: range out of bounds"
    assert all(start >= end for (_, end), (start, _) in pairwise(ranges)), "I12: ranges overlap or descend"


def _check_i13(it: _Checked) -> None:
    if it.masking.scheme == "token" or it.masking.sampler == "reference":
        return
    starts = {start + 1 for start, _ in it.words}
    assert all(start in starts for start, _ in it.spans), "I13: span starts inside a word"
    assert all(end in starts or end == it.length - 1 for _, end in it.spans), "I13: span ends inside a word"


_CHECKS = (
    *(_check_i1, _check_i2, _check_i3, _check_i4, _check_i5, _check_i6),
    *(_check_i9, _check_i11, _check_i12, _check_i10, _check_i13),
)


def check_invariants(
    row: Mapping[str, object],
    masking: Masking,
    word_starts: Sequence[bool],
    vocabulary_size: int,
    *,
    max_tokens: int = 512,
    min_tokens: int = 3,
) -> None:
    """Assert I1 to I6 and I9 to I13 on one row (§2); I7 and I8 cannot be seen in one row.

    `row` has the columns by name, as lists of integers; stored `word_starts` and annotations are checked where they are
    there. The argument `word_starts` has one value for each token of the segment, without special ones.
    """
    words = words_of(word_starts)
    it = _Checked(
        row=row,
        masking=masking,
        words=words,
        vocabulary_size=vocabulary_size,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
    )
    for check in _CHECKS:
        check(it)


# --- SipHash


def _rotate_left(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) % TWO64


def _sip_round(v: list[int]) -> None:
    v[0] = (v[0] + v[1]) % TWO64
    v[2] = (v[2] + v[3]) % TWO64
    v[1] = _rotate_left(v[1], 13) ^ v[0]
    v[3] = _rotate_left(v[3], 16) ^ v[2]
    v[0] = _rotate_left(v[0], 32)
    v[2] = (v[2] + v[1]) % TWO64
    v[0] = (v[0] + v[3]) % TWO64
    v[1] = _rotate_left(v[1], 17) ^ v[2]
    v[3] = _rotate_left(v[3], 21) ^ v[0]
    v[2] = _rotate_left(v[2], 32)


def siphash24(key: bytes, data: bytes) -> int:
    """Return SipHash-2-4 of `data` under a key of 16 bytes, 64 bits (Aumasson and Bernstein 2012, §2)."""
    assert len(key) == 16
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for i in range(0, len(padded), 8):
        m = int.from_bytes(padded[i : i + 8], "little")
        v[3] ^= m
        _sip_round(v)
        _sip_round(v)
        v[0] ^= m
    v[2] ^= 0xFF
    for _ in range(4):
        _sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


# --- N-grams of words that a document shares with other texts


def shared_ngrams(document: str, texts: Sequence[str], n: int) -> tuple[int, int]:
    """How many n-grams of a document stand in others, each place counted once for each text that has it; and in how many texts one does."""

    def ngrams(text: str) -> list[tuple[str, ...]]:
        words = re.findall("[a-z0-9]+", text.lower())
        return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]

    shared = [sum(ngram in set(ngrams(text)) for ngram in ngrams(document)) for text in texts]
    return sum(shared), sum(count > 0 for count in shared)


# --- Pre-tokens


def pretokens(text: str, patterns: Sequence[str], classes: Mapping[str, str]) -> list[str]:
    """Split a text by published patterns, each what the one before made, into what matches and what lies between.

    classes: the characters of ``\\p{…}`` and of ``s``, as the inside of a class of regular expressions.
    """
    parts = [text] if text else []
    for pattern in patterns:
        parts = [
            piece
            for part in parts
            for piece in re.split(f"({_spelled(pattern, tuple(classes.items()))})", part)
            if piece
        ]
    return parts


@cache
def _spelled(pattern: str, classes: tuple[tuple[str, str], ...]) -> str:
    """Return a pattern for Python's regular expressions, which have no Unicode classes and other white space."""
    known = dict(classes)
    pattern = pattern.replace(r"\S", f"[^{known['s']}]")
    inside = re.sub(
        r"\[[^\]]*\]",
        lambda part: re.sub(r"\\p\{(\w+)\}|\\(s)", lambda name: known[name[1] or name[2]], part[0]),
        pattern,
    )
    return re.sub(r"\\p\{(\w+)\}|\\(s)", lambda name: f"[{known[name[1] or name[2]]}]", inside)


# --- Added tokens


@dataclass(frozen=True)
class Added:
    """An added token: its content as it is looked for, and its options."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False


def added_tokens(
    text: str, tokens: Sequence[Added], is_word: Callable[[str], bool], is_white: Callable[[str], bool]
) -> list[tuple[int, int, int | None]]:
    """Return the stretches [start, end) of a text with the number of the added token that each is, None for text between them.

    The leftmost is taken, of those the longest; one that is no word by itself, but has to be, is passed over whole.
    """
    found = list[tuple[int, int, int | None]]()
    at = done = 0
    while at < len(text):
        here = [number for number, token in enumerate(tokens) if text.startswith(token.content, at)]
        if not here:
            at += 1
            continue
        number = max(here, key=lambda number: len(tokens[number].content))
        token, start = tokens[number], at
        at = end = start + len(token.content)
        beside = text[start - 1 : start] + text[end : end + 1] if start else text[end : end + 1]
        if token.single_word and any(map(is_word, beside)):
            continue
        while token.lstrip and start > done and is_white(text[start - 1]):
            start -= 1
        while token.rstrip and end < len(text) and is_white(text[end]):
            end += 1
        found += [(done, start, None), (start, end, number)]
        done = end
    return [stretch for stretch in [*found, (done, len(text), None)] if stretch[0] < stretch[1]]


# --- Byte pair encoding


@dataclass(frozen=True, kw_only=True)
class BytePairs:
    """A model: ids by text, and pairs of texts in the order of their rank.

    unknown: what stands for a character that has no id; fused: whether once for several. whole: whether a pre-token that has an id is that,
    whatever merges say. falls_back: whether a character that has no id is its bytes.
    """

    ids: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    unknown: int | None = None
    fused: bool = False
    whole: bool = False
    falls_back: bool = False


def _symbols(pretoken: str, model: BytePairs) -> list[int]:
    """Return the ids of a pre-token's characters."""
    symbols, before = list[int](), True
    for character in pretoken:
        known = character in model.ids
        if known:
            symbols.append(model.ids[character])
        elif model.falls_back:
            symbols += [model.ids[f"<0x{byte:02X}>"] for byte in character.encode()]
        elif model.unknown is not None and (before or not model.fused):
            symbols.append(model.unknown)
        before = known
    return symbols


def pieces_of(pretoken: str, model: BytePairs) -> list[int]:
    """Return the ids of a pre-token: of neighbours that merge, those of the lowest rank, and of them the first, become one, until none do.

    The rank of a pair that is listed twice is its last place.
    """
    if model.whole and pretoken in model.ids:
        return [model.ids[pretoken]]
    ranks = {(model.ids[left], model.ids[right]): rank for rank, (left, right) in enumerate(model.merges)}
    symbols = _symbols(pretoken, model)
    while True:
        found = [(ranks[pair], place) for place, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not found:
            return symbols
        rank, place = min(found)
        symbols[place : place + 2] = [model.ids["".join(model.merges[rank])]]


# --- What a normalizer may change


@dataclass(frozen=True)
class Entry:
    """What is known of a character: see `spanmask.kernels.normalizing`. before, behind: pairs that it may be the first, the second of."""

    doubtful: bool = False
    separates: bool = False
    cut_before: bool = True
    cut_behind: bool = True
    rank: int = 0
    before: frozenset[int] = frozenset()
    behind: frozenset[int] = frozenset()


def parts_to_normalize(characters: Sequence[Entry], first: Entry, last: Entry) -> list[Span]:
    """Return the runs without a separator in which a character may change, alone or behind the one before it, its ends counted in."""

    def may_cut(i: int) -> bool:
        return around[i].cut_behind and around[i + 1].cut_before

    def changes(i: int) -> bool:
        one, two = around[i], around[i + 1]
        return bool(one.before & two.behind) or one.rank > two.rank > 0

    around = [first, *characters, last]
    separators = [
        i
        for i, entry in enumerate(characters)
        if entry.separates and not entry.doubtful and may_cut(i) and may_cut(i + 1)
    ]
    runs = [(start + 1, end) for start, end in pairwise([-1, *separators, len(characters)]) if start + 1 < end]
    return [
        (start, end)
        for start, end in runs
        if any(entry.doubtful for entry in characters[start:end]) or any(changes(i) for i in range(start, end + 1))
    ]


# --- Unigram models, as the `tokenizers` library runs them

#: What Metaspace writes for a space, and Unicode's White_Space.
METASPACE = "▁"
WHITE_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def origins_of(size: int, parts: Sequence[tuple[Span, Sequence[Span]]]) -> list[Span]:
    """Return the bytes that each byte of a normalized text stands for, in a text of so many.

    parts: what was replaced, ascending and apart, and for each byte of what it became the bytes of the part, from its start on.
    """
    found, at = [], 0
    for (start, end), made in parts:
        found += [(place, place + 1) for place in range(at, start)]
        found += [(start + first, start + last) for first, last in made]
        at = end
    return [*found, *((place, place + 1) for place in range(at, size))]


def metaspace_words(text: str, scheme: str, *, split: bool, white: bool, head: bool) -> list[tuple[int, int, str]]:
    """Return the pre-tokens of a stretch: characters [start, end), and what the model is given for them.

    scheme: ``never``, ``first`` or ``always`` a ▁ in front, ``none`` for no Metaspace. white: split at white space first, which goes.
    head: whether a document begins with the stretch.
    """
    words = [(0, len(text))]
    if white:
        places = [-1, *(place for place, character in enumerate(text) if character in WHITE_SPACE), len(text)]
        words = [(before + 1, place) for before, place in pairwise(places)]
    found = []
    for start, end in words:
        if start == end:
            continue
        if scheme == "none":
            found.append((start, end, text[start:end]))
            continue
        written = text[start:end].replace(" ", METASPACE)
        in_front = not written.startswith(METASPACE) and (
            scheme == "always" or (scheme == "first" and head and start == 0)
        )
        starts = [k for k, character in enumerate(written) if k == 0 or (split and character == METASPACE)]
        for first, last in pairwise([*starts, end - start]):
            prefix = METASPACE if in_front and first == 0 else ""
            found.append((start + first, start + last, prefix + written[first:last]))
    return found


def best_pieces(
    word: str, vocabulary: Sequence[tuple[str, float]], unknown: int, *, byte_fallback: bool
) -> list[tuple[int, int, int]]:
    """Return the pieces whose scores have the largest sum: id, characters [start, end).

    Ways to a place are tried in order, and a later one has to be better. An unknown character scores 10 less than the worst entry;
    unknown ones in a row are one.
    """
    ids = {entry: number for number, (entry, _) in enumerate(vocabulary)}
    worst = min((score for _, score in vocabulary), default=float("inf"))
    longest = max(map(len, ids), default=0)
    ways: list[tuple[float, int, int] | None] = [(0.0, 0, -1), *[None] * len(word)]
    for start in range(len(word)):
        way = ways[start]
        assert way is not None
        ends = range(start + 1, min(start + max(longest, 1), len(word)) + 1)
        offers = [(end, ids[word[start:end]]) for end in ends if word[start:end] in ids]
        steps = [(end, number, vocabulary[number][1]) for end, number in offers]
        if word[start] not in ids:
            steps.append((start + 1, unknown, worst - 10.0))
        for end, number, score in steps:
            known = ways[end]
            if known is None or score + way[0] > known[0]:
                ways[end] = (score + way[0], start, number)
    parts: list[tuple[int, int, int]] = []
    end = len(word)
    while end > 0:
        way = ways[end]
        assert way is not None
        _, start, number = way
        if number == unknown and parts and parts[-1][0] == unknown:
            parts[-1] = (number, start, parts[-1][2])
        else:
            parts.append((number, start, end))
        end = start
    found = []
    for number, start, end in reversed(parts):
        part = word[start:end]
        tokens = [ids.get(part, number)]
        if part not in ids and byte_fallback:
            names = [f"<0x{byte:02X}>" for byte in part.encode()]
            if all(name in ids for name in names):
                tokens = [ids[name] for name in names]
        found += [(token, start, end) for token in tokens]
    return found


# --- Windows of passages and answers in them (run_squad.py of the paper's released code)


def answer_tokens(passage: str, answer: Span, places: Sequence[Span]) -> Span | None:
    """Return the first and the last token of an answer. answer: code points [start, end); places: the bytes of each token.

    The first is the first token that ends behind the answer's start, the last the one before the next that starts at its end or later.
    """
    start, end = (len(passage[:at].encode()) for at in answer)
    first = next((token for token, (_, stop) in enumerate(places) if stop > start), len(places))
    behind = next((token for token in range(first, len(places)) if places[token][0] >= end), len(places))
    return (first, behind - 1) if behind > first else None


class Window(NamedTuple):
    """A window: its ids, where the passage begins in it, and with which of its tokens; the answer; which tokens have most context in it."""

    ids: list[int]
    second: int
    first: int
    answer: Span
    widest: list[bool]


def question_windows(
    question: Sequence[int],
    passage: Sequence[int],
    answer: Span | None,
    *,
    width: int,
    stride: int,
    overlap: bool,
    specials: tuple[int, int],
) -> list[Window]:
    """Return the windows of a question (already cut to its longest). overlap: the stride is what two share, not the step between them."""
    cls, sep = specials
    room = width - len(question) - 3
    parts: list[Span] = []
    start = 0
    while True:
        stop = min(start + room, len(passage))
        parts.append((start, stop))
        if stop == len(passage):
            break
        start += room - stride if overlap else min(stop - start, stride)
    found = []
    second = len(question) + 2
    for number, (start, stop) in enumerate(parts):
        held = answer is not None and start <= answer[0] and answer[1] < stop
        widest = [number == _widest(parts, token) for token in range(start, stop)]
        found.append(
            Window(
                ids=[cls, *question, sep, *passage[start:stop], sep],
                second=second,
                first=start,
                answer=(answer[0] - start + second, answer[1] - start + second) if held and answer else (0, 0),
                widest=[*[False] * second, *widest, False],
            )
        )
    return found


def _widest(parts: Sequence[Span], token: int) -> int:
    scores = [
        (min(token - start, stop - 1 - token) + 0.01 * (stop - start), -number)
        for number, (start, stop) in enumerate(parts)
        if start <= token < stop
    ]
    return -max(scores)[1]


# --- The best answers of a question (run_squad.py of the paper's released code)


class Scored(NamedTuple):
    """A window of a question: start and end logits of its tokens, the bytes of the passage each stands for, and which may be a start."""

    starts: list[float]
    ends: list[float]
    places: list[Span]
    second: int
    widest: list[bool]


class BestAnswers(NamedTuple):
    """Bytes, start and end logit of each answer, the best first; and those of the null answer, of no bytes."""

    answers: list[tuple[Span, float, float]]
    null: tuple[float, float]


def best_answers(windows: Sequence[Scored], passage: bytes, *, most: int, longest: int) -> BestAnswers:
    """Return the best answers, of each text the best, and of pairs that score alike the one that is met first."""
    nulls = [(window.starts[0], window.ends[0]) for window in windows]
    met: list[tuple[Span, float, float]] = []
    for window in windows:
        last = len(window.starts) - 1
        for start in _largest(window.starts, most):
            for end in _largest(window.ends, most):
                inside = window.second <= start <= end < last and window.widest[start]
                if inside and end - start < longest and window.places[start][0] < window.places[end][1]:
                    span = (window.places[start][0], window.places[end][1])
                    met.append((span, window.starts[start], window.ends[end]))
    met.sort(key=lambda answer: answer[1] + answer[2], reverse=True)
    texts: dict[bytes, tuple[Span, float, float]] = {}
    for answer in met:
        texts.setdefault(passage[slice(*answer[0])], answer)
    return BestAnswers(answers=list(texts.values())[:most], null=min(nulls, key=sum))


def _largest(logits: Sequence[float], most: int) -> list[int]:
    return sorted(range(len(logits)), key=lambda place: logits[place], reverse=True)[:most]
