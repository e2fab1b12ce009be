"""The two heads up to the vocabulary: what a masked token's own state says, and what the boundaries of its span say.

Both end in rows of width H, which `spanmask.model.pretraining` multiplies with the word embedding in one product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spanmask.model.config import SpanBertConfig
from spanmask.model.encoder import initialise
from spanmask.model.inputs import SboTensors


class DenseNorm(nn.Module):
    """LayerNorm(GELU(W·x + b)): the step both heads are made of."""

    def __init__(self, inputs: int, config: SpanBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=config.layer_norm_eps)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (R, inputs) to (R, H)."""
        normed: Tensor = self.norm(functional.gelu(self.dense(rows)))
        return normed


class MlmHead(nn.Module):
    """BERT's head for masked tokens. bias: (W,), added to the scores."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.transform = DenseNorm(config.hidden, config)
        self.bias = nn.Parameter(torch.zeros(config.padded_vocab))
        initialise(self, config)

    def forward(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """Map hidden states (B·L, H) and positions (P,) to rows (P, H)."""
        rows: Tensor = self.transform(hidden.index_select(0, positions))
        return rows


class SboHead(nn.Module):
    """The span boundary head (paper §3.2): h₀ = [x_left; x_right; p_offset], then twice LayerNorm(GELU(W·h)). bias: (W,), its own."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.offsets = nn.Embedding(config.max_span_offset, config.span_offset_dim)
        self.first = DenseNorm(2 * config.hidden + config.span_offset_dim, config)
        self.second = DenseNorm(config.hidden, config)
        self.bias = nn.Parameter(torch.zeros(config.padded_vocab))
        initialise(self, config)

    def forward(self, hidden: Tensor, targets: SboTensors) -> Tensor:
        """Map hidden states (B·L, H) and targets (Q,) to rows (Q, H)."""
        left, right = hidden.index_select(0, targets.left), hidden.index_select(0, targets.right)
        offsets = self.offsets(targets.offsets)
        rows: Tensor = self.second(self.first(torch.cat([left, right, offsets], dim=1)))
        return rows
