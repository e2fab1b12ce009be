"""The two heads up to the vocabulary: what a masked token's own state says, and what the boundaries of its span say.

Both end in rows of the word embedding's width, which are multiplied with it: in `spanmask.model.pretraining` those of both in one product.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spanmask.batches import IGNORED
from spanmask.errors import ConfigError
from spanmask.model.config import SpanBertConfig
from spanmask.model.encoder import draw_weights, initialise
from spanmask.model.inputs import SboTensors
from spanmask.model.loss import tied_loss

#: Added to the scores of the vocabulary's padding: exp of it is exactly 0 in any float, and it fits in 16 bits.
_NEVER = -1e4


def entry_padding(rows: int, entries: int) -> Tensor:
    """Return what keeps the rows of an embedding beyond the vocabulary's entries from being predicted: added to scores, (W,)."""
    padding = torch.zeros(rows)
    padding[entries:] = _NEVER
    return padding


class DenseNorm(nn.Module):
    """LayerNorm(GELU(W·x + b)): the step both heads are made of."""

    def __init__(self, inputs: int, outputs: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs, eps=layer_norm_eps)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (R, inputs) to (R, outputs)."""
        normed: Tensor = self.norm(functional.gelu(self.dense(rows)))
        return normed


class MlmHead(nn.Module):
    """BERT's head for masked tokens. bias: (W,), added to the scores."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.transform = DenseNorm(config.hidden, config.hidden, config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.padded_vocab))
        initialise(self, config)

    def forward(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """Map hidden states (B·L, H) and positions (P,) to rows (P, H)."""
        rows: Tensor = self.transform(hidden.index_select(0, positions))
        return rows


class BoundaryOutput(NamedTuple):
    """The span boundary objective on a batch.

    loss: () mean cross entropy of the targets in nats, 0 where there are none; total: () their sum. Both have gradients. targets, correct:
    () int64, how many targets there are, and of how many the best id is the label. predicted: (Q,) or (B, Q) int64 best ids, in slots with
    a target.
    """

    loss: Tensor
    total: Tensor
    targets: Tensor
    correct: Tensor
    predicted: Tensor


class SpanBoundaryHead(nn.Module):
    """The span boundary objective on any encoder: a masked token from the tokens beside its span and its place in it.

    Joshi et al. 2020 (arXiv 1907.10529), §3.2: h₀ = [x_left; x_right; p_offset], then twice LayerNorm(GELU(W·h + b)), and a product with
    the encoder's own word embedding. Where that is narrower than the hidden states, as ELECTRA's and ALBERT's are, the second step narrows.

    Parameters
    ----------
    hidden
        H, the width of the hidden states.
    rows
        W, the rows of the word embedding.
    width
        E, its width. [H]
    vocab_size
        V, how many of its rows are entries: those from V on pad it and are never predicted. [W]
    max_span_offset, span_offset_dim
        The table of a target's place in its span: its rows, which bound what loaders may give (their ``max_span_offset``), and D.
    layer_norm_eps, initializer_range
        As of `SpanBertConfig`; weights are drawn from torch's global generator.

    Attributes
    ----------
    bias
        (W,), added to the scores.

    Raises
    ------
    ConfigError
        There are more entries than rows.
    """

    padding: Tensor

    def __init__(  # noqa: PLR0913 - all that encoders differ in
        self,
        hidden: int,
        rows: int,
        width: int | None = None,
        *,
        vocab_size: int | None = None,
        max_span_offset: int = 20,
        span_offset_dim: int = 200,
        layer_norm_eps: float = 1e-12,
        initializer_range: float = 0.02,
    ) -> None:
        super().__init__()
        entries = rows if vocab_size is None else vocab_size
        if entries > rows:
            raise ConfigError(
                f"vocab_size is {entries:,}, and the embedding has {rows:,} rows: give it a row for each entry"
            )
        self.offsets = nn.Embedding(max_span_offset, span_offset_dim)
        self.first = DenseNorm(2 * hidden + span_offset_dim, hidden, layer_norm_eps)
        self.second = DenseNorm(hidden, width or hidden, layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(rows))
        self.register_buffer("padding", entry_padding(rows, entries), persistent=False)
        draw_weights(self, initializer_range)

    @classmethod
    def of(cls, config: SpanBertConfig) -> SpanBoundaryHead:
        """Return the head of a model of ours."""
        return cls(
            config.hidden,
            config.padded_vocab,
            vocab_size=config.vocab_size,
            max_span_offset=config.max_span_offset,
            span_offset_dim=config.span_offset_dim,
            layer_norm_eps=config.layer_norm_eps,
            initializer_range=config.initializer_range,
        )

    def forward(self, hidden: Tensor, words: Tensor, targets: SboTensors) -> BoundaryOutput:
        """Return the loss of a batch; on CPU, scores are never all in memory.

        Parameters
        ----------
        hidden
            (B, L, H), or flat, (T, H): the encoder's last hidden states.
        words
            (W, E): the weight of its input embedding, which gets a gradient.
        targets
            As loaders give them: of padded batches (B, Q) positions in rows, for hidden states (B, L, H); of packed ones (Q,) numbers of
            the B·L slots, for either shape. `SboTensors.taken_from` takes them out of a batch.

        Raises
        ------
        ConfigError
            The shapes do not belong together.
        """
        found = tied_loss(self.rows(hidden, targets), self._fitting(words), self.entry_bias(), targets.labels.flatten())
        count = (targets.labels != IGNORED).sum()
        return BoundaryOutput(
            loss=found.total / count.clamp(min=1),
            total=found.total,
            targets=count,
            correct=found.correct,
            predicted=found.predicted.view_as(targets.labels),
        )

    def score(self, hidden: Tensor, words: Tensor, targets: SboTensors) -> Tensor:
        """Return the scores before softmax, (Q, W) or (B·Q, W), in slots without a target too; takes and raises what `forward` does."""
        return functional.linear(self.rows(hidden, targets), self._fitting(words), self.entry_bias())

    def rows(self, hidden: Tensor, targets: SboTensors) -> Tensor:
        """Return what is multiplied with the word embedding, (Q, E) or (B·Q, E); see `forward`."""
        left, right = targets.left, targets.right
        if left.ndim == 2:
            if hidden.ndim != 3 or len(hidden) != len(left):
                raise ConfigError(
                    f"boundary targets {tuple(left.shape)} are positions in rows, and the hidden states are {tuple(hidden.shape)}: "
                    f"give ({len(left)}, L, H), a row for each of the batch"
                )
            begins = torch.arange(len(left), device=left.device)[:, None] * hidden.shape[1]
            left, right = (left + begins).flatten(), (right + begins).flatten()
        flat = hidden.flatten(0, -2)
        states = [flat.index_select(0, left), flat.index_select(0, right), self.offsets(targets.offsets.flatten())]
        narrowed: Tensor = self.second(self.first(torch.cat(states, dim=1)))
        return narrowed

    def entry_bias(self) -> Tensor:
        """Return what is added to the scores, (W,): the bias, and what keeps padding from being predicted."""
        return self.bias + self.padding.to(self.bias.dtype)

    def _fitting(self, words: Tensor) -> Tensor:
        wanted = (len(self.bias), self.second.dense.out_features)
        if tuple(words.shape) != wanted:
            raise ConfigError(
                f"the word embedding is {tuple(words.shape)}, and the head was made for {wanted}: "
                "give the weight of the encoder's input embedding, (rows, width)"
            )
        return words
