"""Tokenized documents in, pairs of segments out, as BERT was trained on (Devlin et al. 2019, §3.1 and appendix A.2; FORMAT.md §6.8).

B, the second, is what follows A, the first, in its document, or, half of the time, what follows an A of another document.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spanmask.blocks import offsets_of, read_only
from spanmask.config import SEGMENT_LIMIT, SequenceConfig
from spanmask.errors import CorpusError
from spanmask.kernels import pairs, philox
from spanmask.records import (
    Flags,
    Identities,
    MaskedBlock,
    Offsets,
    Pairs,
    Ranges,
    SegmentNumbers,
    SequenceBlock,
    TokenizedBlock,
)
from spanmask.sequencing import SHORT, cut_ranges

#: [CLS], and [SEP] behind each segment.
SPECIAL_TOKENS = 3
#: Why what follows stands second though another segment was to: no other document has a pair.
NO_OTHER_DOCUMENT = "no_other_document"


def pair_up(
    block: TokenizedBlock, document_ids: Identities, pools: Offsets, config: SequenceConfig, seed: int, sep: int
) -> tuple[SequenceBlock, Pairs]:
    """Cut every document into pairs of segments of at most ``max_tokens`` with special tokens.

    Parameters
    ----------
    block
        D documents; with line starts.
    document_ids
        (D,) identities, ascending.
    pools
        (D,) numbers: a B from another document is from one of the same number.
    seed
        What is drawn is a function of it and of A's identity.
    sep
        The id between the segments.

    Returns
    -------
    SequenceBlock
        2·S segments, A and B of each pair in turn, in an array of their own in which ``sep`` stands between them: `joined` makes S of them
        once the words of each are settled.
    Pairs
        What S rows of them are.

    Raises
    ------
    CorpusError
        A document has more segments than an identity can number.
    """
    room, least = config.max_tokens - SPECIAL_TOKENS, shortest_segment(config)
    key = philox_key(seed)
    chain = _cut(block, document_ids, _alone(block, pools, 2 * least), (room, least), key)
    if len(chain.numbers) and chain.numbers.max() + 1 >= SEGMENT_LIMIT:
        raise CorpusError(f"a document has more than {SEGMENT_LIMIT} segments; split it, or raise --max-tokens")
    second, words_cut = _second(block, document_ids, pools, chain, least, key)
    halves = pairs.Halves(chain.starts, chain.borders, second.starts, second.ends)
    segments = _parts(block, document_ids, chain, second, halves, sep)
    counts = chain.counts
    told = {SHORT: int(counts[pairs.DROPPED])}
    segments = replace(segments, dropped=told, words_cut=int(counts[pairs.WORDS_CUT]) + words_cut)
    return segments, Pairs(
        borders=(halves.ends - halves.starts + 2).astype(np.uint16),
        labels=chain.follows.astype(np.uint8),
        document_ids=document_ids[second.documents],
        segments=second.numbers.astype(np.uint32),
    )


def shortest_segment(config: SequenceConfig) -> int:
    """Return the tokens that each segment of a pair has at least: two are then no shorter than ``min_tokens``."""
    return max(-((SPECIAL_TOKENS - config.min_tokens) // 2), 1)


def joined(segments: SequenceBlock, told: Pairs) -> SequenceBlock:
    """Return S pairs as one segment each, from what `pair_up` gave: A, ``[SEP]``, B."""
    ranges = segments.annotations
    return replace(
        segments,
        starts=segments.starts[::2],
        ends=segments.ends[1::2],
        document_index=segments.document_index[::2],
        document_ids=segments.document_ids[::2],
        segments=segments.segments[::2],
        annotations=None if ranges is None else _joined_ranges(ranges, told),
        pairs=told,
    )


def _joined_ranges(ranges: Ranges[Offsets], told: Pairs) -> Ranges[Offsets]:
    # A row's positions count [CLS], a segment's do not.
    shift = np.zeros(len(ranges), np.int64)
    shift[1::2] = told.borders.astype(np.int64) - 1
    by = np.repeat(shift, ranges.lengths)
    return Ranges(offsets=ranges.offsets[::2], starts=ranges.starts + by, ends=ranges.ends + by)


def _alone(block: TokenizedBlock, pools: Offsets, least: int) -> Flags:
    """Return (D,) whether no other document of a document's pool has a pair, which all of ``least`` tokens or more have."""
    usable = np.diff(block.document_offsets) >= least
    counts = np.bincount(pools, weights=usable, minlength=1).astype(np.int64)
    alone: Flags = counts[pools] - usable == 0
    return alone


def _cut(
    block: TokenizedBlock, document_ids: Identities, alone: Flags, sizes: tuple[int, int], key: philox.Key
) -> pairs.Chain:
    room, least = sizes
    lines = np.zeros(0, np.bool_) if block.line_starts is None else block.line_starts
    arrays: tuple[Any, ...] = (block.word_starts, lines, block.document_offsets, document_ids, alone)
    # Each pair has an A of its own.
    capacity = len(block.token_ids) // least + 1
    numbers, follows = np.empty((6, capacity), np.int64), np.empty(capacity, np.bool_)
    counts = np.zeros(3, np.int64)
    pairs.cut_pairs(pairs.Texts(*map(read_only, arrays)), room, least, key, _chain(numbers, follows, counts))
    size = int(counts[pairs.WRITTEN])
    # Not views: those would keep what was allotted for the worst.
    return _chain(numbers[:, :size].copy(), follows[:size].copy(), counts)


def _chain(numbers: Offsets, follows: Flags, counts: Offsets) -> pairs.Chain:
    starts, borders, stops, targets, documents, ordinals = numbers
    return pairs.Chain(starts, borders, stops, targets, documents, ordinals, follows, counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Second:
    """What stands second in S pairs: tokens [starts, ends), their documents, and their numbers in these; (S,) each."""

    starts: Offsets
    ends: Offsets
    documents: Offsets
    numbers: Offsets


def _second(
    block: TokenizedBlock, document_ids: Identities, pools: Offsets, chain: pairs.Chain, least: int, key: philox.Key
) -> tuple[_Second, int]:
    """Return what stands second in each pair, and how many words that cuts."""
    starts, ends = chain.borders.copy(), chain.stops.copy()
    documents, numbers = chain.documents.copy(), chain.numbers + 1
    other = np.flatnonzero(~chain.follows)
    of_pool = pools[chain.documents]
    for pool in np.unique(of_pool[other]):
        members = np.flatnonzero(of_pool == pool)
        wanting = np.flatnonzero(~chain.follows[members])
        identities = (document_ids[chain.documents[members]], chain.numbers[members].astype(np.uint32))
        chosen = members[partners_of(identities, wanting, key)]
        rows = members[wanting]
        starts[rows], documents[rows], numbers[rows] = (
            chain.borders[chosen],
            chain.documents[chosen],
            chain.numbers[chosen] + 1,
        )
    stops = np.empty(len(other), np.int64)
    most = chain.targets[other] - (chain.borders[other] - chain.starts[other])
    bounds = block.document_offsets[documents[other] + 1]
    cut = pairs.cut_partners(read_only(block.word_starts), starts[other], most, least, bounds, stops)
    ends[other] = stops
    return _Second(starts=starts, ends=ends, documents=documents, numbers=numbers), int(cut)


def partners_of(identities: tuple[Identities, SegmentNumbers], wanting: Offsets, key: philox.Key) -> Offsets:
    """Return, for pairs whose second segment is from another document, after which pairs' first segments it stands there.

    Parameters
    ----------
    identities
        Document and number of the first segment of all S pairs of a pool, ascending.
    wanting
        (N,) the pairs that it is asked for; other documents have pairs, too.
    key
        The seed.

    Returns
    -------
    (N,) numbers of pairs, uniform over those of other documents.
    """
    document_ids, segments = identities
    # Pairs of a document lie together: those behind them move up by as many as it has.
    firsts = np.searchsorted(document_ids, document_ids[wanting])
    own = np.searchsorted(document_ids, document_ids[wanting], side="right") - firsts
    drawn = np.empty(len(wanting), np.int64)
    pairs.draw_partners(document_ids[wanting], segments[wanting], len(document_ids) - own, key, drawn)
    return drawn + np.where(drawn >= firsts, own, 0)


def _parts(
    block: TokenizedBlock,
    document_ids: Identities,
    chain: pairs.Chain,
    second: _Second,
    halves: pairs.Halves,
    sep: int,
) -> SequenceBlock:
    """Return first and second segments in turn, copied to where ``sep`` stands between them."""
    firsts, seconds = halves.ends - halves.starts, halves.other_ends - halves.other_starts
    bounds = offsets_of(firsts + 1 + seconds)
    ids, flags = np.empty(bounds[-1], block.token_ids.dtype), np.empty(bounds[-1], np.bool_)
    pairs.join_halves(read_only(block.token_ids), read_only(block.word_starts), halves, sep, ids, flags)
    documents = _in_turn(chain.documents, second.documents)
    ranges = block.annotations
    taken = (_in_turn(halves.starts, halves.other_starts), _in_turn(halves.ends, halves.other_ends), documents)
    return SequenceBlock(
        token_ids=ids,
        word_starts=flags,
        starts=_in_turn(bounds[:-1], bounds[:-1] + firsts + 1),
        ends=_in_turn(bounds[:-1] + firsts, bounds[1:]),
        document_index=documents,
        document_ids=document_ids[documents],
        segments=_in_turn(chain.numbers, second.numbers).astype(np.uint32),
        annotations=None if ranges is None else cut_ranges(taken, block.document_offsets, ranges),
        dropped={},
    )


def _in_turn(first: Offsets, second: Offsets) -> Offsets:
    return np.stack((first, second), axis=1).reshape(-1)


def without_other(block: MaskedBlock, seed: int) -> dict[str, int]:
    """Return how many rows of a block have what follows in place of another document's segment, none of which had one.

    Of rows that are no pairs nothing is said.
    """
    if block.pairs is None:
        return {}
    return {NO_OTHER_DOCUMENT: int(np.count_nonzero((block.pairs.labels == 1) & ~drawn_to_follow(block, seed)))}


def drawn_to_follow(block: MaskedBlock, seed: int) -> Flags:
    """Return whether what follows was drawn to stand second in each row, (S,)."""
    drawn = np.empty(len(block), np.bool_)
    pairs.draw_follows(read_only(block.document_ids), read_only(block.segments), philox_key(seed), drawn)
    return drawn


def philox_key(seed: int) -> philox.Key:
    """Return what pairs are drawn by."""
    # Without a mask epoch: other masks are of the same pairs.
    return philox.Key(np.uint64(seed), np.uint64(0))
