"""Self-attention within the sequences of a bin, two ways: a kernel for unequal lengths on CUDA, a block-diagonal mask anywhere.

The padding at a bin's end attends to itself, so that no row of the softmax is empty and nothing becomes NaN.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from spanmask.errors import ConfigError
from spanmask.model.config import Attention, SpanBertConfig
from spanmask.model.inputs import PackedTensors


class Neighbours(NamedTuple):
    """Who attends to whom, made once a batch for all layers.

    cu_seqlens: int32, where each run starts in the B·L slots. mask: (B, 1, L, L) bool, true where a slot attends to another; None with the
    kernel for unequal lengths. width: L.
    """

    cu_seqlens: Tensor
    mask: Tensor | None
    width: int


def neighbours_of(batch: PackedTensors, way: Attention) -> Neighbours:
    """Return who attends to whom, computed by ``sdpa`` or ``varlen``."""
    mask = None
    if way is Attention.SDPA:
        index = batch.sequence_index
        mask = (index[:, None, :, None] == index[:, None, None, :]).detach()
    return Neighbours(batch.cu_seqlens, mask, batch.input_ids.shape[1])


def resolve_attention(policy: Attention, device: torch.device, dtype: torch.dtype, dropout: float) -> Attention:
    """Decide between ``varlen`` and ``sdpa``.

    Parameters
    ----------
    policy
        What was asked for.
    device, dtype
        Of the hidden states.
    dropout
        Of attention, as it applies now: 0 in evaluation.

    Raises
    ------
    ConfigError
        ``varlen`` was asked for where it cannot be used.
    """
    usable = device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)
    if policy is Attention.VARLEN and not usable:
        raise ConfigError(
            f"attention varlen computes 16-bit floats on CUDA, found {dtype} on {device.type}: give auto or sdpa"
        )
    if policy is Attention.AUTO:
        return Attention.VARLEN if usable and not dropout else Attention.SDPA
    return policy


class SelfAttention(nn.Module):
    """Multi-head self-attention: one product for queries, keys and values, one for the output."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.heads, self.head_width, self.dropout = config.heads, config.head_width, config.attention_dropout
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden)
        self.out = nn.Linear(config.hidden, config.hidden)

    def forward(self, hidden: Tensor, neighbours: Neighbours) -> Tensor:
        """Map hidden states (B·L, H) to (B·L, H)."""
        qkv = self.qkv(hidden).view(-1, 3, self.heads, self.head_width)
        context = self._masked(qkv, neighbours) if neighbours.mask is not None else self._varlen(qkv, neighbours)
        mixed: Tensor = self.out(context.reshape(hidden.shape))
        return mixed

    def _varlen(self, qkv: Tensor, neighbours: Neighbours) -> Tensor:
        """Map (B·L, 3, heads, width) to (B·L, heads, width)."""
        query, key, value = qkv.unbind(1)
        bounds, width = neighbours.cu_seqlens, neighbours.width
        return cast(Tensor, varlen_attn(query, key, value, bounds, bounds, width, width))

    def _masked(self, qkv: Tensor, neighbours: Neighbours) -> Tensor:
        """Map (B·L, 3, heads, width) to (B, L, heads, width)."""
        bins = qkv.view(-1, neighbours.width, 3, self.heads, self.head_width)
        query, key, value = bins.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout if self.training else 0.0
        context = functional.scaled_dot_product_attention(query, key, value, neighbours.mask, dropout)
        return context.transpose(1, 2)
