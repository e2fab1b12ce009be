"""Dropout whose draws cost little on a processor, where torch's take a tenth of a training step and its mask of truth values as much again.

There, each value is dropped by 16 random bits of torch's global generator, so that the share is right to 2⁻¹⁷, and the kept ones are
scaled by the share that was drawn: the mean is exact. Elsewhere, and compiled, it is torch's own (``bench/finetuning.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

#: What 16 bits can be.
_LOWEST, _VALUES = -(1 << 15), 1 << 16


def dropout(values: Tensor, share: float) -> Tensor:
    """Return values of any shape, a share of them set to 0 and the others scaled so that the mean stays."""
    if not share:
        return values
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return functional.dropout(values, share)
    return cast(Tensor, _Dropout.apply(values, share))  # type: ignore[no-untyped-call]


class Dropout(nn.Module):
    """`dropout` in training, nothing in evaluation."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Map values of any shape to such."""
        return dropout(values, self.share) if self.training else values


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Have a model drop nothing while the body runs, and leave it as it was found."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, share: float) -> Tensor:
        count, dropped = values.numel(), min(round(share * _VALUES), _VALUES - 1)
        words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(1 << 63), None)
        kept = (words.view(torch.int16)[:count] >= _LOWEST + dropped).view(values.shape)
        ctx.save_for_backward(kept)
        ctx.scale = _VALUES / (_VALUES - dropped)
        return values * _factors(kept, values.dtype, ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return gradient * _factors(kept, gradient.dtype, ctx.scale), None


def _factors(kept: Tensor, dtype: torch.dtype, scale: float) -> Tensor:
    # A product with truth values takes ten times as long as one with floats.
    return kept.to(dtype).mul_(scale)
