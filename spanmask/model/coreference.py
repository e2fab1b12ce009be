"""Coreference from the states of spans' first and last tokens alone, with no vector of a span in between.

::

    states of W words' first and last pieces ─read▶ scores of all short spans (C,) ─the highest▶ k mentions ─pair▶ antecedents (k, k)

A mention's score is one of its start, one of its end and a bilinear one of both; an antecedent's is the sum of four bilinear ones (start
and start, end and end, start and end, end and start) and of both mention scores; that of having none is 0. Kirstain et al. 2021
(https://aclanthology.org/2021.acl-short.3) have shown that this is enough. Without hidden layer (``ffnn`` 0) it is a linear reader of what
an encoder says at the boundaries of spans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spanmask.model.config import SpanBertConfig
from spanmask.model.dropout import Dropout
from spanmask.model.encoder import initialise

#: Words whose pairs are multiplied at once: the products computed beside those wanted are fewer with less, and calls with more.
_BLOCK = 64
#: Mentions whose antecedents are looked for at once in prediction.
_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CorefShape:
    """What a head is made of, and what it keeps.

    ffnn: width of its hidden layers; 0: none. dropout: behind them. top: spans kept for each piece of a document. singletons: whether
    mentions are learnt for themselves, so that one without antecedent can be told.
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


class CorefHead(nn.Module):
    """Mentions and antecedents of one document, or part of one.

    Both methods take hidden states, (R, H), and what is given of the document's words and of its candidates, spans that may be mentions,
    in the order of their starts and then ends:

    first, last: (W,) int64, the rows of R that a word's first and last piece are. starts, ends: (C,) int64, a candidate's first and last
    word. entities: (C,) int64, whose mention a candidate is, -1 where nobody's; in training alone. pieces: () int64, how many there are.
    """

    def __init__(self, config: SpanBertConfig, shape: CorefShape) -> None:
        super().__init__()
        self.shape, width = shape, shape.ffnn or config.hidden
        self.mention_starts, self.mention_ends, self.starts, self.ends = (_Reader(config, shape) for _ in range(4))
        self.start_score, self.end_score = nn.Linear(width, 1), nn.Linear(width, 1)
        self.mention_pair = nn.Linear(width, width)
        # One product of [start; end] with [start; end] is all four bilinear ones.
        self.antecedent_pair = nn.Linear(2 * width, 2 * width)
        initialise(self, config)

    def forward(self, hidden: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """Return the loss, (): of the k mentions kept, the mean negative log-likelihood of their gold antecedents together.

        A mention kept that is nobody's, or whose entity has none before it among those kept, has the gold antecedent "none". Where
        singletons are learnt, the binary cross entropies of all candidates, to be mentions or not, are added, divided by k likewise.
        """
        scores = self._mention_scores(hidden, given)
        kept = self._kept(scores, given)
        if not len(kept):
            # Nothing to learn from, and yet a loss with gradients for whoever asks for them.
            return torch.stack([parameter.sum() for parameter in self.parameters()]).sum() * 0
        queries, keys = self._pairs(hidden, given, kept)
        entities, mentions = given["entities"][kept], scores[kept]
        loss = _antecedent_losses(_joint(queries, keys, mentions, 0), entities).mean()
        if self.shape.singletons:
            told = (given["entities"] >= 0).to(scores.dtype)
            loss = loss + functional.binary_cross_entropy_with_logits(scores, told, reduction="sum") / len(kept)
        return loss

    def predict(self, hidden: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """Return (k, 5) of the spans kept, in order: first and last word, the row of the best antecedent, mention and antecedent score.

        Rows without antecedent that scores above 0 have -1 there, and the first, which has none before it, a score of 0. Of the (k, k)
        scores never more than some rows are held.
        """
        scores = self._mention_scores(hidden, given)
        kept = self._kept(scores, given)
        mentions = scores[kept]
        best, which = mentions.new_zeros(len(kept)), torch.full_like(kept, -1)
        queries, keys = self._pairs(hidden, given, kept)
        for start in range(0, len(kept), _ROWS):
            end = min(start + _ROWS, len(kept))
            rows = _joint(queries[start:end], keys[:end], mentions[:end], start)
            best[start:end], which[start:end] = rows.max(1)
        best[:1] = 0
        which[best <= 0] = -1
        columns = [given["starts"][kept], given["ends"][kept], which, mentions, best]
        return torch.stack([column.to(mentions.dtype) for column in columns], 1)

    def _mention_scores(self, hidden: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """Return the scores of the candidates, (C,)."""
        starts = self.mention_starts(hidden.index_select(0, given["first"]))
        ends = self.mention_ends(hidden.index_select(0, given["last"]))
        first, last = given["starts"], given["ends"]
        alone = _wide(self.start_score(starts))[first, 0] + _wide(self.end_score(ends))[last, 0]
        if not len(first):
            return alone
        widths = last - first
        band = banded(_wide(self.mention_pair(starts)), _wide(ends), int(widths.max()) + 1)
        return alone + band[first, widths]

    def _kept(self, scores: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """Return the numbers of the candidates with the highest scores, ascending; of equals the first."""
        count = min(max(int(self.shape.top * int(given["pieces"])), 1), len(scores))
        order = scores.detach().argsort(descending=True, stable=True)
        return order[:count].sort().values

    def _pairs(self, hidden: Tensor, given: Mapping[str, Tensor], kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return what looks for antecedents and what is one, (k, 2·F) each, whose products are scores."""
        first, last = given["first"], given["last"]
        starts = self.starts(hidden.index_select(0, first))[given["starts"][kept]]
        ends = self.ends(hidden.index_select(0, last))[given["ends"][kept]]
        spans = torch.cat([starts, ends], 1)
        return _wide(self.antecedent_pair(spans)), _wide(spans)


def banded(rows: Tensor, columns: Tensor, width: int) -> Tensor:
    """Return the products of each row with the columns from its own number on, (W, width), 0 behind the last column.

    Parameters
    ----------
    rows, columns
        (W, F).
    width
        How many columns each row is multiplied with.
    """
    count = len(rows)
    blocks = -(-count // _BLOCK)
    beyond = blocks * _BLOCK - count
    rows = functional.pad(rows, (0, 0, 0, beyond)).view(blocks, _BLOCK, -1)
    columns = functional.pad(columns, (0, 0, 0, beyond + width - 1)).unfold(0, _BLOCK + width - 1, _BLOCK)
    own = torch.arange(_BLOCK, device=rows.device)[:, None] + torch.arange(width, device=rows.device)
    return (rows @ columns).gather(2, own.expand(blocks, -1, -1)).view(-1, width)[:count]


def _joint(queries: Tensor, keys: Tensor, mentions: Tensor, start: int) -> Tensor:
    """Return the scores of antecedents, (r, n), -inf where one does not come before; queries: (r, 2·F) of the mentions from start on."""
    count = len(queries)
    scores = queries @ keys.T + mentions[start : start + count, None] + mentions
    later = torch.ones_like(scores, dtype=torch.bool).triu(start)
    return scores.masked_fill(later, -torch.inf)


def _antecedent_losses(scores: Tensor, entities: Tensor) -> Tensor:
    """Return -log of the probability that gold antecedents have together, (k,). scores: (k, k), entities: (k,)."""
    gold = (entities[:, None] == entities) & (entities >= 0)[:, None] & scores.isfinite()
    none = torch.where(gold.any(1), -torch.inf, 0.0).to(scores.dtype)[:, None]
    right = torch.cat([none, scores.masked_fill(~gold, -torch.inf)], 1).logsumexp(1)
    return functional.pad(scores, (1, 0)).logsumexp(1) - right


def _wide(values: Tensor) -> Tensor:
    """Return values in 32 bits or more, in which sums of scores are told apart."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
