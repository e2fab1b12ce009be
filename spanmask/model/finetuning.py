"""An encoder with a head for a task: what is trained on labelled examples, packed as in pre-training (Devlin et al. 2019, §3.2 and 4).

::

    PackedTensors ─encode▶ hidden states (B·L, H) ─┬──────────────────── SpanHead ▶ scores of each slot (B·L, 2)
                                                   ├────────────── TokenClassHead ▶ scores of each slot (B·L, K)
                                                   ├first slots▶ Pooler ▶ ClassHead ▶ scores of each sequence (S, K)
                                                   └what is given▶ a head of groups ▶ what its task makes of it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from spanmask.model.config import SpanBertConfig
from spanmask.model.dropout import Dropout
from spanmask.model.encoder import SpanBertEncoder, initialise
from spanmask.model.inputs import PackedTensors, bins_of

#: Bins of a group that are encoded at once where none of it is trained on, and how often so many stay for who asks again.
_BINS, _HELD = 16, 4


class Pooler(nn.Module):
    """What BERT says of a whole sequence: tanh(W·x + b) of its first state."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden, config.hidden)
        initialise(self, config)

    def forward(self, first: Tensor) -> Tensor:
        """Map the first hidden states of S sequences, (S, H), to (S, H)."""
        return torch.tanh(self.dense(first))


class SpanHead(nn.Module):
    """Scores of each slot to begin an answer, and to end it, before the softmax over a sequence."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden, 2)
        initialise(self, config)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden states (R, H) to (R, 2): start and end, the last one's place included in the answer."""
        scores: Tensor = self.dense(hidden)
        return scores


class ClassHead(nn.Module):
    """Scores of each sequence for K labels, before the softmax; of one label, a number. labels: their names, in the order of scores."""

    def __init__(self, config: SpanBertConfig, labels: tuple[str, ...]) -> None:
        super().__init__()
        self.labels = labels
        self.dropout = Dropout(config.hidden_dropout)
        self.dense = nn.Linear(config.hidden, len(labels))
        initialise(self, config)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map what the pooler says of S sequences, (S, H), to (S, K)."""
        scores: Tensor = self.dense(self.dropout(pooled))
        return scores


class NumberHead(ClassHead):
    """A number of each sequence, mean + deviation · what a `ClassHead` of one label scores: numbers of any size are learnt alike.

    label: its name. mean, deviation: of the numbers that are learnt; they are no parameters, and `folded` has them in those.
    """

    def __init__(self, config: SpanBertConfig, label: str, *, mean: float, deviation: float) -> None:
        super().__init__(config, (label,))
        self._mean, self._deviation = mean, deviation

    def forward(self, pooled: Tensor) -> Tensor:
        """Map what the pooler says of S sequences, (S, H), to (S, 1), in 32 bits or more."""
        scores = super().forward(pooled)
        wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return wide * self._deviation + self._mean

    def folded(self) -> dict[str, Tensor]:
        """Return the state, in 64 bits, of a `ClassHead` that says the same."""
        weight, bias = (own.detach().double() * self._deviation for own in (self.dense.weight, self.dense.bias))
        return {"dense.weight": weight, "dense.bias": bias + self._mean}


class TokenClassHead(ClassHead):
    """Scores of each slot for K labels, before the softmax: (R, H) to (R, K), as `ClassHead` maps pooled sequences."""


class GroupStates:
    """Hidden states of a group's bins, encoded when they are asked for: of a group of any length, no more than some are held.

    Parameters
    ----------
    encoder
        What encodes them, some bins at a time.
    batch
        B bins of L slots.

    Attributes
    ----------
    bins, width
        B and L.
    at_once
        Bins that are encoded together: who asks for so many at a time, from a multiple on, has none encoded twice in a row.
    """

    def __init__(self, encoder: SpanBertEncoder, batch: PackedTensors) -> None:
        self._encoder, self._batch = encoder, batch
        self._held: dict[int, Tensor] = {}
        self.bins, self.width = batch.input_ids.shape
        self.at_once = _BINS

    def of(self, begin: int, end: int) -> Tensor:
        """Return those of the bins [begin, end), ((end - begin)·L, H)."""
        parts = range(begin // self.at_once, -(-end // self.at_once))
        base = parts.start * self.at_once
        states = [self._part(number) for number in parts]
        return torch.cat(states)[(begin - base) * self.width : (end - base) * self.width]

    def _part(self, number: int) -> Tensor:
        if number not in self._held:
            if len(self._held) >= _HELD:
                del self._held[next(iter(self._held))]
            begin = number * self.at_once
            self._held[number] = self._encoder(bins_of(self._batch, begin, min(begin + self.at_once, self.bins)))
        return self._held[number]


class FineTuned(nn.Module):
    """An encoder and a head: over all slots, behind a pooler over sequences, or over all of a group's slots at once.

    frozen: whether the encoder stays as it is; it has no gradients then, and drops nothing.
    """

    def __init__(
        self, encoder: SpanBertEncoder, head: nn.Module, pooler: Pooler | None = None, *, frozen: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.pooler = encoder, head, pooler
        self._frozen = frozen
        if frozen:
            encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Have the model drop values, or not; a frozen encoder never does."""
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self

    @property
    def config(self) -> SpanBertConfig:
        """The encoder's shape."""
        return self.encoder.config

    def forward(
        self, batch: PackedTensors, firsts: Tensor | None = None, given: Mapping[str, Tensor] | None = None
    ) -> Any:
        """Return the head's scores, a tensor but of a head over groups, which returns what its task's loss takes.

        Parameters
        ----------
        batch
            B bins of L slots, their token types where examples are pairs.
        firsts
            (S,) integers: the numbers of the B·L slots that sequences begin at; behind a pooler alone.
        given
            What a head over groups knows of the slots; in evaluation it is asked for its ``predict``, of `GroupStates`.

        Raises
        ------
        ConfigError
            Bins are wider than there are positions, or attention cannot be computed as asked.
        """
        if given is not None and not self.training:
            return self.head.predict(GroupStates(self.encoder, batch), given)  # type: ignore[operator] # nn.Module
        hidden: Tensor = self.encoder(batch)
        if self.pooler is not None and firsts is not None:
            hidden = self.pooler(hidden.index_select(0, firsts))
        return self.head(hidden) if given is None else self.head(hidden, given)


def span_losses(scores: Tensor, sequences: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """Return the loss of each sequence: the mean of two cross entropies, of where its answer starts and of where it ends.

    The softmax is over a sequence's own slots, so that what else is in its bin, and padding, changes nothing.

    Parameters
    ----------
    scores
        (R, 2): what `SpanHead` returns; computed on in 32 bits or more.
    sequences
        (R,) integers: which of the S sequences a slot belongs to, S in padding.
    starts, ends
        (S,) integers: numbers of the R slots, of the answer's first and last token.

    Returns
    -------
    Tensor
        (S,), in nats.
    """
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    count, owners = len(starts), sequences.long()
    highest = wide.new_full((count + 1, 2), -torch.inf)
    highest.scatter_reduce_(0, owners[:, None].expand(-1, 2), wide.detach(), "amax")
    sums = wide.new_zeros(count + 1, 2).index_add(0, owners, (wide - highest[owners]).exp())
    normalisers = sums[:count].log() + highest[:count]
    return (normalisers[:, 0] - wide[starts, 0] + normalisers[:, 1] - wide[ends, 1]) / 2
