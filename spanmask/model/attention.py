"""Self-attention within the sequences of a bin: a kernel for unequal lengths on CUDA, part by part on CPU, or a block-diagonal mask.

Where the padding at a bin's end is computed, it attends to itself, so that no row of the softmax is empty and nothing becomes NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from spanmask.errors import ConfigError
from spanmask.model.config import Attention, SpanBertConfig
from spanmask.model.dropout import dropout
from spanmask.model.inputs import PackedTensors

#: Sequences of so many tokens together are computed as one, with a mask: each call costs as much as some scores do.
_TOGETHER = 64


class Neighbours(NamedTuple):
    """Who attends to whom, made once a batch for all layers. Hidden states are those of R slots: of all B·L, or, unpadded, of T tokens.

    cu_seqlens: int32, where each run starts in the B·L slots. mask: (B, 1, L, L) bool, true where a slot attends to another; None where
    another way is taken. width: L. tokens: (T,) the slots that hold a token; None where all are computed. parts: how many tokens one after
    another are computed together, and what is added to their scores, (n, n), None for one sequence.
    """

    cu_seqlens: Tensor
    mask: Tensor | None
    width: int
    tokens: Tensor | None = None
    parts: tuple[tuple[int, Tensor | None], ...] = ()


def neighbours_of(batch: PackedTensors, way: Attention, dtype: torch.dtype) -> Neighbours:
    """Return who attends to whom, computed by ``sdpa``, ``varlen`` or ``unpadded``. dtype: of the scores."""
    index, width = batch.sequence_index, batch.input_ids.shape[1]
    if way is Attention.UNPADDED:
        tokens = torch.nonzero(index.flatten(), as_tuple=True)[0]
        groups = (part for row in index for part in _together(torch.bincount(row)[1:].tolist()))
        parts = tuple((sum(part), _apart(part, dtype)) for part in groups)
        return Neighbours(batch.cu_seqlens, None, width, tokens, parts)
    # Padding has index 0 and so attends to padding, never to a sequence.
    mask = (index[:, None, :, None] == index[:, None, None, :]).detach() if way is Attention.SDPA else None
    return Neighbours(batch.cu_seqlens, mask, width)


def _together(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the lengths of a bin's sequences that are computed together; what lies between two is computed for nothing."""
    part: list[int] = []
    for length in lengths:
        if part and sum(part) + length > _TOGETHER:
            yield part
            part = []
        part.append(length)
    if part:
        yield part


def _apart(lengths: Sequence[int], dtype: torch.dtype) -> Tensor | None:
    """Return what keeps sequences of n tokens apart, (n, n)."""
    # Without a mask the kernel may take its fastest way.
    if len(lengths) == 1:
        return None
    index = torch.repeat_interleave(torch.tensor(lengths))
    apart = index[:, None] != index
    return torch.zeros(apart.shape, dtype=dtype).masked_fill(apart, -torch.inf)


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
    # The meta device, which computes shapes alone, stands for what cannot be had.
    fused = device.type in ("cuda", "meta") and dtype in (torch.bfloat16, torch.float16)
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
            context = self._partwise(qkv, neighbours)
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

    def _partwise(self, qkv: Tensor, neighbours: Neighbours) -> Tensor:
        """Map (T, 3, heads, width) to (T, heads, width)."""
        parts = torch.split(qkv, [size for size, _ in neighbours.parts])
        attend = self._drop if self.training and self.dropout else lambda part, mask: self._attend(part[None], mask)[0]
        found = [attend(part, mask) for part, (_, mask) in zip(parts, neighbours.parts, strict=True)]
        return torch.cat(found) if found else qkv[:, 0]

    def _drop(self, part: Tensor, mask: Tensor | None) -> Tensor:
        """Map (n, 3, heads, width) to (n, heads, width), with dropout of what is attended to, which no kernel of a processor has."""
        query, key, value = part.permute(1, 2, 0, 3).unbind(0)
        scores = torch.bmm(query * self.head_width**-0.5, key.transpose(1, 2))
        weights = (scores if mask is None else scores + mask).softmax(2)
        return torch.bmm(dropout(weights, self.dropout), value).transpose(0, 1)

    def _attend(self, bins: Tensor, mask: Tensor | None) -> Tensor:
        """Map (B, n, 3, heads, width) to (B, n, heads, width)."""
        query, key, value = bins.permute(2, 0, 3, 1, 4).unbind(0)
        share = self.dropout if self.training else 0.0
        return functional.scaled_dot_product_attention(query, key, value, mask, share).transpose(1, 2)
