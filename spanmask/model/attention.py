"""Self-attention within the sequences of a bin: a kernel for unequal lengths on CUDA, bin by bin on CPU, or a block-diagonal mask.

Where the padding at a bin's end is computed, it attends to itself, so that no row of the softmax is empty and nothing becomes NaN.
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
    """Who attends to whom, made once a batch for all layers. Hidden states are those of R slots: of all B·L, or, unpadded, of T tokens.

    cu_seqlens: int32, where each run starts in the B·L slots. mask: (B, 1, L, L) bool, true where a slot attends to another; None where
    another way is taken. width: L. tokens: (T,) the slots that hold a token; None where all are computed. bins: of each bin with tokens how
    many, and what is added to its scores, (n, n), None for one sequence.
    """

    cu_seqlens: Tensor
    mask: Tensor | None
    width: int
    tokens: Tensor | None = None
    bins: tuple[tuple[int, Tensor | None], ...] = ()


def neighbours_of(batch: PackedTensors, way: Attention, dtype: torch.dtype) -> Neighbours:
    """Return who attends to whom, computed by ``sdpa``, ``varlen`` or ``unpadded``. dtype: of the scores."""
    index, width = batch.sequence_index, batch.input_ids.shape[1]
    if way is Attention.UNPADDED:
        tokens = torch.nonzero(index.flatten(), as_tuple=True)[0]
        bins = tuple(_bin(row[row > 0], dtype) for row in index if row[0] > 0)
        return Neighbours(batch.cu_seqlens, None, width, tokens, bins)
    # Padding has index 0 and so attends to padding, never to a sequence.
    mask = (index[:, None, :, None] == index[:, None, None, :]).detach() if way is Attention.SDPA else None
    return Neighbours(batch.cu_seqlens, mask, width)


def _bin(index: Tensor, dtype: torch.dtype) -> tuple[int, Tensor | None]:
    """Return a bin's tokens and mask. index: (n,) the sequence of each token, from 1."""
    # One sequence fills the bin: without a mask the kernel may take its fastest way.
    if index[-1] == 1:
        return len(index), None
    apart = index[:, None] != index
    return len(index), torch.zeros(apart.shape, dtype=dtype).masked_fill(apart, -torch.inf)


def resolve_attention(
    policy: Attention, device: torch.device, dtype: torch.dtype, dropout: float, *, compiled: bool = False
) -> Attention:
    """Decide between ``varlen``, ``unpadded`` and ``sdpa``.

    Parameters
    ----------
    policy
        What was asked for.
    device, dtype
        Of the hidden states.
    dropout
        Of attention, as it applies now: 0 in evaluation.
    compiled
        Whether it will be computed compiled; what is being compiled is known to be.

    Raises
    ------
    ConfigError
        ``varlen`` or ``unpadded`` was asked for where it cannot be used.
    """
    compiled = compiled or torch.compiler.is_compiling()
    fused = device.type == "cuda" and dtype in (torch.bfloat16, torch.float16)
    dynamic = device.type == "cpu" and not compiled
    if policy is Attention.VARLEN and not fused:
        raise ConfigError(
            f"attention varlen computes 16-bit floats on CUDA, found {dtype} on {device.type}: give auto or sdpa",
            options=("attention",),
        )
    if policy is Attention.UNPADDED and not dynamic:
        where = f"{'compiled ' if compiled else ''}on {device.type}"
        raise ConfigError(
            f"attention unpadded computes on CPU, not compiled, found {where}: give auto or sdpa",
            options=("attention",),
        )
    if policy is not Attention.AUTO:
        return policy
    # The kernel for unequal lengths has no dropout.
    if fused and not dropout:
        return Attention.VARLEN
    return Attention.UNPADDED if dynamic else Attention.SDPA


class SelfAttention(nn.Module):
    """Multi-head self-attention: one product for queries, keys and values, one for the output."""

    def __init__(self, config: SpanBertConfig) -> None:
        super().__init__()
        self.heads, self.head_width, self.dropout = config.heads, config.head_width, config.attention_dropout
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden)
        self.out = nn.Linear(config.hidden, config.hidden)

    def forward(self, hidden: Tensor, neighbours: Neighbours) -> Tensor:
        """Map hidden states (R, H) to (R, H)."""
        qkv = self.qkv(hidden).view(-1, 3, self.heads, self.head_width)
        if neighbours.tokens is not None:
            context = self._binwise(qkv, neighbours)
        elif neighbours.mask is not None:
            context = self._masked(qkv, neighbours)
        else:
            context = self._varlen(qkv, neighbours)
        mixed: Tensor = self.out(context.reshape(hidden.shape))
        return mixed

    def _varlen(self, qkv: Tensor, neighbours: Neighbours) -> Tensor:
        """Map (B·L, 3, heads, width) to (B·L, heads, width)."""
        query, key, value = qkv.unbind(1)
        bounds, width = neighbours.cu_seqlens, neighbours.width
        return cast(Tensor, varlen_attn(query, key, value, bounds, bounds, width, width))

    def _masked(self, qkv: Tensor, neighbours: Neighbours) -> Tensor:
        """Map (B·L, 3, heads, width) to (B, L, heads, width)."""
        return self._attend(qkv.view(-1, neighbours.width, 3, self.heads, self.head_width), neighbours.mask)

    def _binwise(self, qkv: Tensor, neighbours: Neighbours) -> Tensor:
        """Map (T, 3, heads, width) to (T, heads, width)."""
        parts = torch.split(qkv, [size for size, _ in neighbours.bins])
        found = [self._attend(part[None], mask)[0] for part, (_, mask) in zip(parts, neighbours.bins, strict=True)]
        return torch.cat(found) if found else qkv[:, 0]

    def _attend(self, bins: Tensor, mask: Tensor | None) -> Tensor:
        """Map (B, n, 3, heads, width) to (B, n, heads, width)."""
        query, key, value = bins.permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout if self.training else 0.0
        return functional.scaled_dot_product_attention(query, key, value, mask, dropout).transpose(1, 2)
