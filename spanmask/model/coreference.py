"""Coreference from the states of spans' first and last tokens alone, with no vector of a span in between.

::

    states of W words' first and last pieces ─read▶ scores of all short spans (C,) ─the highest▶ k mentions ─pair▶ antecedents (k, k)

A mention's score is one of its start, one of its end and a bilinear one of both; an antecedent's is the sum of four bilinear ones (start
and start, end and end, start and end, end and start) and of both mention scores; that of having none is 0. Kirstain et al. 2021
(https://aclanthology.org/2021.acl-short.3) have shown that this is enough. Here what is bilinear is divided by the root of its width, as
attention's scores are: a product of 2,048 by 2,048 weights, each moved by a learning rate of 3e-4, otherwise moves by hundreds in an
update, which a corpus of a hundred documents does not recover from.

States of segments that were encoded each by itself do not say how far apart two mentions are, by which pronouns are told most of all, and
that two are the same words has to be learnt of every word. So an antecedent's score has more summands, of what a linear reader of the
later mention says: one of each distance, counted in mentions, in the classes of Lee et al. 2017 (https://aclanthology.org/D17-1018), one of
antecedents in the same words, and one of those with the same last word. Without hidden layer (``ffnn`` 0) there are none, and the head is a
linear reader of what an encoder says at the boundaries of spans, and of nothing else.

Where singletons are learnt, mention scores alone tell what a mention is: spans that score above 0 are kept, in training also all gold ones,
and no antecedent's score has mention scores in it. With them, two mentions of different entities had to be told apart against two scores
that say how surely they are mentions.

Training sees all of this at once, of some segments. Prediction sees a document of any length in windows of some segments: one pass over
them finds the likeliest spans, of which numbers alone are kept, others look for their antecedents. What is read of spans is held for a
block of them; for each further block, all windows up to it are read again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spanmask.model.config import SpanBertConfig
from spanmask.model.dropout import Dropout
from spanmask.model.encoder import initialise
from spanmask.model.finetuning import GroupStates

#: The least distances of each class: how many mentions on from an antecedent, itself counted, one is that looks for it.
_DISTANCES = (1, 2, 3, 4, 5, 8, 16, 32, 64)
#: In how many ways spans can be alike.
_ALIKE = 2
#: Words whose pairs are multiplied at once: the products computed beside those wanted are fewer with less, and calls with more.
_BLOCK = 64
#: Mentions whose antecedents are looked for at once in prediction, and of how many what is read of them is held.
_ROWS, _BLOCK_MENTIONS = 1024, 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class CorefShape:
    """What a head is made of, and what it keeps.

    ffnn: width of its hidden layers; 0: none, and nothing of distances and of the same words. dropout: behind them. top: spans kept for
    each piece of a document. singletons: whether mentions are learnt for themselves, so that one without antecedent can be told.
    """

    ffnn: int = 1024
    dropout: float = 0.3
    top: float = 0.4
    singletons: bool = False


class _Reader(nn.Module):
    """What is read of a boundary's state: Dropout(LayerNorm(GELU(W·x + b))), or the state itself."""

    def __init__(self, config: SpanBertConfig, shape: CorefShape) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        if shape.ffnn:
            self.layers.extend(
                [
                    nn.Linear(config.hidden, shape.ffnn),
                    nn.GELU(),
                    nn.LayerNorm(shape.ffnn, eps=config.layer_norm_eps),
                    Dropout(shape.dropout),
                ]
            )

    def forward(self, states: Tensor) -> Tensor:
        """Map (W, H) to (W, F)."""
        read: Tensor = self.layers(states)
        return read


class _Window(NamedTuple):
    """The words [begin, end) of a document, before which word the spans end that begin there, and the bins [from, to) of all these."""

    begin: int
    end: int
    reached: int
    bins: tuple[int, int]


class _Spans(NamedTuple):
    """Spans of a document in order, (k,) each: first and last word, and mention score."""

    starts: Tensor
    ends: Tensor
    scores: Tensor


class _Mentions(NamedTuple):
    """Spans kept of a document in order: mention scores, (n,), and numbers that those share which are alike in something, (n, 2)."""

    scores: Tensor
    alike: Tensor

    def part(self, rows: slice) -> _Mentions:
        return _Mentions(self.scores[rows], self.alike[rows])


class _Looking(NamedTuple):
    """Of spans that look for antecedents: what others are multiplied with, (r, 2·F), and scores of pairs, (r, D + 2), if there are.

    Those are of each class of distances, and of being alike in each way of `_alike`.
    """

    queries: Tensor
    pairs: Tensor | None

    def part(self, rows: slice) -> _Looking:
        return _Looking(self.queries[rows], None if self.pairs is None else self.pairs[rows])


class CorefHead(nn.Module):
    """Mentions and antecedents of one document, or part of one.

    Both methods take hidden states, of R slots, and what is given of the document's words and of its candidates, spans that may be
    mentions, in the order of their starts and then ends:

    first, last: (W,) int64, the slots that a word's first and last piece are. reach: (W,) int64, how many candidates begin at a word: it
    alone, it and the next, and so on. texts: (W,) int64, numbers from 0 on that the same words, in any case, share. mentions: (M, 3) int64,
    first word, last word and entity of each; for training alone, and those that are no candidates count nothing. pieces: () int64, how many
    there are.
    """

    def __init__(self, config: SpanBertConfig, shape: CorefShape) -> None:
        super().__init__()
        self.shape, width = shape, shape.ffnn or config.hidden
        self.mention_starts, self.mention_ends, self.starts, self.ends = (_Reader(config, shape) for _ in range(4))
        self.start_score, self.end_score = nn.Linear(width, 1), nn.Linear(width, 1)
        self.mention_pair = nn.Linear(width, width)
        # One product of [start; end] with [start; end] is all four bilinear ones.
        self.antecedent_pair = nn.Linear(2 * width, 2 * width)
        self.pair = nn.Linear(2 * width, len(_DISTANCES) + _ALIKE) if shape.ffnn else None
        initialise(self, config)

    def forward(self, hidden: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """Return the loss, (), of hidden states (R, H): of the k mentions kept, the mean negative log-likelihood of all gold antecedents.

        A mention kept that is nobody's, or whose entity has none before it among those kept, has the gold antecedent "none". Where
        singletons are learnt, the binary cross entropies of all candidates, to be mentions or not, are added, divided by k (or 1) likewise.
        """
        firsts, lasts = (hidden.index_select(0, given[name]) for name in ("first", "last"))
        starts, ends = _candidates(given["reach"])
        scores, owners = self._mention_scores(firsts, lasts, given["reach"]), _owners(given)
        kept = self._kept(scores.detach().masked_fill((owners >= 0) & self.shape.singletons, torch.inf), given)
        if len(kept):
            spans = self._read(firsts, lasts, starts[kept], ends[kept])
            mentions = self._mentions(_Spans(starts[kept], ends[kept], scores[kept]), given)
            joint = self._joint(self._looking(spans), _wide(spans), mentions, mentions, 0)
            loss = _antecedent_losses(joint, owners[kept]).mean()
        else:
            # Nothing to learn from, and yet a loss with gradients for whoever asks for them.
            loss = torch.stack([parameter.sum() for parameter in self.parameters()]).sum() * 0
        if self.shape.singletons:
            told = (owners >= 0).to(scores.dtype)
            told_apart = functional.binary_cross_entropy_with_logits(scores, told, reduction="sum")
            loss = loss + told_apart / max(len(kept), 1)
        return loss

    def predict(self, states: GroupStates, given: Mapping[str, Tensor]) -> Tensor:
        """Return (k, 5) of the spans kept, in order: first and last word, the row of the best antecedent, mention and antecedent score.

        Rows without antecedent that scores above 0 have -1 there, and the first, which has none before it, a score of 0. Beside numbers of
        words and spans, no more is held than of some windows and of a block of spans.
        """
        windows = _windows(states, given)
        kept = self._likeliest(states, given, windows)
        mentions = self._mentions(kept, given)
        best, which = torch.full_like(kept.scores, -torch.inf), torch.full_like(kept.starts, -1)
        for later, looking, earlier, keys in self._meeting(states, given, windows, kept):
            for place in range(0, later.stop - later.start, _ROWS):
                rows = slice(later.start + place, min(later.start + place + _ROWS, later.stop))
                part = looking.part(slice(place, place + _ROWS))
                ahead = rows.start - earlier.start
                joint = self._joint(part, keys, mentions.part(rows), mentions.part(earlier), ahead)
                found, column = joint.max(1)
                # Earlier spans come first, so that of equals the first stays.
                which[rows] = torch.where(found > best[rows], column + earlier.start, which[rows])
                best[rows] = torch.maximum(found, best[rows])
        best[:1] = 0
        which[best <= 0] = -1
        columns = [kept.starts, kept.ends, which, kept.scores, best]
        return torch.stack([values.to(best.dtype) for values in columns], 1)

    def _likeliest(self, states: GroupStates, given: Mapping[str, Tensor], windows: Sequence[_Window]) -> _Spans:
        """Return the candidates with the highest scores of a whole document, ascending; of equals the first."""
        none = given["first"][:0]
        kept = _Spans(none, none, _wide(self.start_score.bias[:0]))
        for window in windows:
            reach = given["reach"][window.begin : window.end]
            scores = self._mention_scores(*_boundaries(states, given, window), reach)
            found = (*(words + window.begin for words in _candidates(reach)), scores)
            joined = _Spans(*map(torch.cat, zip(kept, found, strict=True)))
            highest = self._kept(joined.scores, given)
            kept = _Spans(*(values[highest] for values in joined))
        return kept

    def _meeting(
        self, states: GroupStates, given: Mapping[str, Tensor], windows: Sequence[_Window], kept: _Spans
    ) -> Iterator[tuple[slice, _Looking, slice, Tensor]]:
        """Yield spans that look for antecedents, and what is read of spans up to them, (n, 2·F), in order of these."""
        edges = [window.begin for window in windows]
        bounds = [*torch.searchsorted(kept.starts, kept.starts.new_tensor(edges)).tolist(), len(kept.starts)]
        inside = [slice(*pair) for pair in pairwise(bounds)]

        def read(place: int) -> Tensor:
            window, own = windows[place], inside[place]
            starts, ends = kept.starts[own] - window.begin, kept.ends[own] - window.begin
            return self._read(*_boundaries(states, given, window), starts, ends)

        for block in _blocks(bounds):
            held = {place: read(place) for place in block}
            looking = {place: self._looking(spans) for place, spans in held.items()}
            for place in range(block.stop):
                keys = _wide(held[place] if place in held else read(place))
                if len(keys):
                    for later in range(max(place, block.start), block.stop):
                        yield inside[later], looking[later], inside[place], keys

    def _kept(self, scores: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """Return the numbers of the candidates kept, ascending; where singletons are learnt, of those that score above 0."""
        kept = _highest(scores, max(int(self.shape.top * int(given["pieces"])), 1))
        return kept[scores[kept] > 0] if self.shape.singletons else kept

    def _mentions(self, spans: _Spans, given: Mapping[str, Tensor]) -> _Mentions:
        """Return what pairs of spans are told by beside states; alike in nothing where no pair is asked for it."""
        if self.pair is None:
            return _Mentions(spans.scores, spans.starts.new_zeros(len(spans.starts), _ALIKE))
        return _Mentions(spans.scores, _alike(given["texts"], spans.starts, spans.ends))

    def _joint(self, looking: _Looking, keys: Tensor, own: _Mentions, earlier: _Mentions, ahead: int) -> Tensor:
        """Return the scores of antecedents, (r, n), -inf where one does not come before.

        looking: r spans, the mentions ``own``. keys: (n, 2·F), of the mentions ``earlier``. ahead: how many mentions the first span that
        looks comes behind the first key.
        """
        scores = looking.queries @ keys.T
        if looking.pairs is not None:
            distances, alike = looking.pairs[:, :-_ALIKE], looking.pairs[:, -_ALIKE:]
            scores = _add_distances(scores, distances, ahead)
            for way in range(_ALIKE):
                scores = scores + (own.alike[:, None, way] == earlier.alike[:, way]) * alike[:, way, None]
        if not self.shape.singletons:
            scores = scores + own.scores[:, None] + earlier.scores
        if ahead >= len(keys):
            return scores
        later = torch.ones_like(scores, dtype=torch.bool).triu(ahead)
        return scores.masked_fill(later, -torch.inf)

    def _mention_scores(self, firsts: Tensor, lasts: Tensor, reach: Tensor) -> Tensor:
        """Return the scores of the candidates that begin at n words, (C,), by these words' first states, (n, H).

        lasts: (m, H), last states of the words from the first of these to the end of all candidates.
        """
        starts, ends = self.mention_starts(firsts), self.mention_ends(lasts)
        first, last = _candidates(reach)
        alone = _wide(self.start_score(starts))[first, 0] + _wide(self.end_score(ends))[last, 0]
        if not len(first):
            return alone
        band = banded(_scaled(self.mention_pair(starts)), _wide(ends), int(reach.max()))
        return alone + band[first, last - first]

    def _read(self, firsts: Tensor, lasts: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
        """Return what is read of spans as antecedents, (k, 2·F), by states as `_mention_scores` has them."""
        return torch.cat([self.starts(firsts)[starts], self.ends(lasts)[ends]], 1)

    def _looking(self, spans: Tensor) -> _Looking:
        """Return what looks for antecedents of spans of which (k, 2·F) is read."""
        pairs = None if self.pair is None else _wide(self.pair(spans))
        return _Looking(_scaled(self.antecedent_pair(spans)), pairs)


def _add_distances(joint: Tensor, scores: Tensor, ahead: int) -> Tensor:
    """Return scores of antecedents, (r, n), and of how far each of them is; those that do not come before hold anything.

    scores: (r, D) of all classes of distances. ahead: how many mentions the first of the r spans comes behind the first of the n.
    """
    # Most are of the last class, which is the same for a whole row.
    farthest = scores[:, -1:]
    joint = joint + farthest
    begin, end = (min(max(place, 0), joint.shape[1]) for place in (ahead - _DISTANCES[-1] + 1, ahead + len(joint)))
    if begin < end:
        rows, columns = (torch.arange(*places, device=joint.device) for places in ((len(joint),), (begin, end)))
        distances = torch.arange(1, ahead + len(joint) - begin + 1, device=joint.device)
        classes = torch.bucketize(distances, distances.new_tensor(_DISTANCES), right=True) - 1
        # By a product, since of what was gathered several times gradients are summed in any order.
        nearer = (scores - farthest) @ functional.one_hot(classes, scores.shape[1]).T.to(scores.dtype)
        joint[:, begin:end] += nearer.gather(1, (rows[:, None] + ahead - columns).clamp(min=1) - 1)
    return joint


def _candidates(reach: Tensor) -> tuple[Tensor, Tensor]:
    """Return first and last word of the candidates that begin at words, (C,) each."""
    starts = torch.arange(len(reach), device=reach.device).repeat_interleave(reach)
    ahead = reach.cumsum(0) - reach
    return starts, starts + torch.arange(len(starts), device=reach.device) - ahead[starts]


def _alike(words: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Return numbers for each of k spans, (k, 2): one that those of the same words share, one that those with the same last word do.

    words: (W,) the number of each word's text.
    """
    numbers = words[starts]
    for place in range(1, int((ends - starts).max()) + 1 if len(starts) else 0):
        # Word by word, so that no more is held than numbers of spans; 0 is no word.
        further = torch.where(starts + place <= ends, words[(starts + place).clamp(max=len(words) - 1)] + 1, 0)
        numbers = torch.unique((numbers << 32) + further, return_inverse=True)[1]
    return torch.stack([numbers, words[ends]], 1)


def _owners(given: Mapping[str, Tensor]) -> Tensor:
    """Return whose mention each candidate is, (C,), -1 where nobody's."""
    reach = given["reach"]
    starts, ends, entities = given["mentions"].unbind(1)
    inside = ends - starts < reach[starts]
    owners = reach.new_full((int(reach.sum()),), -1)
    owners[((reach.cumsum(0) - reach)[starts] + ends - starts)[inside]] = entities[inside]
    return owners


def _highest(scores: Tensor, count: int) -> Tensor:
    """Return the numbers of the highest scores, ascending; of equals the first."""
    return scores.detach().argsort(descending=True, stable=True)[:count].sort().values


def _windows(states: GroupStates, given: Mapping[str, Tensor]) -> list[_Window]:
    """Return the parts of a document in which candidates begin, in order: the words that begin in bins that are encoded at once."""
    first, last, reach = (given[name] for name in ("first", "last", "reach"))
    edges = torch.arange(0, states.bins + states.at_once, states.at_once, device=first.device) * states.width
    windows = []
    for begin, end in pairwise(torch.searchsorted(first, edges).tolist()):
        own = reach[begin:end]
        if own.any():
            reached = begin + int((torch.arange(end - begin, device=own.device) + own).max())
            furthest = max(int(first[end - 1]), int(last[reached - 1])) // states.width
            windows.append(_Window(begin, end, reached, (int(first[begin]) // states.width, furthest + 1)))
    return windows


def _boundaries(states: GroupStates, given: Mapping[str, Tensor], window: _Window) -> tuple[Tensor, Tensor]:
    """Return the states of the first pieces of a window's words, (n, H), and of last pieces, (m, H), to the end of its spans."""
    hidden, base = states.of(*window.bins), window.bins[0] * states.width
    first, last = given["first"][window.begin : window.end], given["last"][window.begin : window.reached]
    return hidden.index_select(0, first - base), hidden.index_select(0, last - base)


def _blocks(bounds: Sequence[int]) -> Iterator[range]:
    """Yield windows one after another in blocks that have no more spans than are held; bounds: (n + 1,) the spans that windows begin at."""
    begin = 0
    for place in range(1, len(bounds)):
        if place + 1 == len(bounds) or bounds[place + 1] - bounds[begin] > _BLOCK_MENTIONS:
            yield range(begin, place)
            begin = place


def banded(rows: Tensor, columns: Tensor, width: int) -> Tensor:
    """Return the products of each row with the columns from its own number on, (W, width), 0 behind the last column.

    Parameters
    ----------
    rows, columns
        (W, F), and as many or, beyond the last row's number, ``width`` - 1 more.
    width
        How many columns each row is multiplied with.
    """
    count = len(rows)
    blocks = -(-count // _BLOCK)
    whole = blocks * _BLOCK
    rows = functional.pad(rows, (0, 0, 0, whole - count)).view(blocks, _BLOCK, -1)
    columns = functional.pad(columns, (0, 0, 0, whole + width - 1 - len(columns))).unfold(0, _BLOCK + width - 1, _BLOCK)
    own = torch.arange(_BLOCK, device=rows.device)[:, None] + torch.arange(width, device=rows.device)
    return (rows @ columns).gather(2, own.expand(blocks, -1, -1)).view(-1, width)[:count]


def _antecedent_losses(scores: Tensor, entities: Tensor) -> Tensor:
    """Return -log of the probability that gold antecedents have together, (k,). scores: (k, k), entities: (k,)."""
    gold = (entities[:, None] == entities) & (entities >= 0)[:, None] & scores.isfinite()
    none = torch.where(gold.any(1), -torch.inf, 0.0).to(scores.dtype)[:, None]
    right = torch.cat([none, scores.masked_fill(~gold, -torch.inf)], 1).logsumexp(1)
    return functional.pad(scores, (1, 0)).logsumexp(1) - right


def _scaled(queries: Tensor) -> Tensor:
    """Return what is multiplied with others of width n, (r, n), divided by the root of n."""
    return _wide(queries) / math.sqrt(queries.shape[-1])


def _wide(values: Tensor) -> Tensor:
    """Return values in 32 bits or more, in which sums of scores are told apart."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
