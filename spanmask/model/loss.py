"""Cross entropy over targets, and how two sums become one loss: L = ΣMLM / N_mlm + w · ΣSBO / N_sbo (paper §3.2, with w = 1).

Counts are those of all bins, micro-batches and ranks of an optimizer step, which the host knows before the first backward pass: so the
gradients of any division of the step add up to the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from spanmask.batches import IGNORED

#: Rows whose scores are in memory at once: for 30,000 entries 15 MB, which stay in a processor's last-level cache.
_ROWS_AT_ONCE = 128


class TargetLoss(NamedTuple):
    """Of R target slots. total: () summed cross entropy in nats. correct: () int64. predicted: (R,) int64 best ids."""

    total: Tensor
    correct: Tensor
    predicted: Tensor


def target_loss(scores: Tensor, labels: Tensor) -> TargetLoss:
    """Return the loss of scores (R, W) against labels (R,), computed in 32 bits or more; a slot labelled `IGNORED` costs nothing."""
    labels = labels.long()
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    total = functional.cross_entropy(wide, labels, ignore_index=IGNORED, reduction="sum")
    predicted = scores.detach().argmax(1)
    return TargetLoss(total, (predicted == labels).sum(), predicted)


def is_scored_whole(rows: Tensor) -> bool:
    """Return whether all scores of some rows are made at once: on a device, or where the compiler fuses them with their loss."""
    return rows.device.type != "cpu" or torch.compiler.is_compiling()


def tied_loss(rows: Tensor, words: Tensor, bias: Tensor, labels: Tensor) -> TargetLoss:
    """Return what `target_loss` does of the scores rows · wordsᵀ + bias, (R, E), (W, E) and (W,), in the way that suits the device."""
    if is_scored_whole(rows):
        return target_loss(functional.linear(rows, words, bias), labels)
    return loss_of_rows(rows, words, bias, labels)


def loss_of_rows(rows: Tensor, words: Tensor, bias: Tensor, labels: Tensor) -> TargetLoss:
    """Return what `target_loss` does of the scores rows · wordsᵀ + bias, (R, H), (W, H) and (W,), which are never all in memory.

    For CPU: slots without a target are not computed, and how many there are is looked at.
    """
    slots = torch.nonzero(labels != IGNORED, as_tuple=True)[0]
    targets = labels[slots].long()
    total, best = cast(tuple[Tensor, Tensor], _RowsLoss.apply(rows[slots], words, bias, targets))  # type: ignore[no-untyped-call]
    predicted = best.new_zeros(len(labels)).index_copy(0, slots, best)
    return TargetLoss(total, (best == targets).sum(), predicted)


class _RowsLoss(torch.autograd.Function):
    """Cross entropy of some rows at a time; while their scores are at hand, they become the gradient of the scores, in place."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, words: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum (), and the best ids (R,)."""
        wide = torch.promote_types(rows.dtype, torch.float32)
        total, best = torch.zeros((), dtype=wide), torch.empty_like(targets)
        wanted = any(ctx.needs_input_grad)
        gradients = [torch.zeros_like(one) for one in (rows, words, bias)] if wanted else []
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            target = targets[part, None]
            scores = torch.addmm(bias, rows[part], words.T).to(wide)
            highest, best[part] = scores.max(1)
            scores -= highest[:, None]
            total -= scores.gather(1, target).sum()
            sums = scores.exp_().sum(1)
            total += sums.log().sum()
            if wanted:
                scores /= sums[:, None]
                scores.scatter_add_(1, target, scores.new_full(target.shape, -1.0))
                _add_gradients(scores.to(rows.dtype), rows[part], words, part, gradients)
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(best)
        return total, best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of rows, words and bias."""
        return *(one * scale.to(one.dtype) for one in ctx.saved_tensors), None


def _add_gradients(scores: Tensor, rows: Tensor, words: Tensor, part: slice, gradients: list[Tensor]) -> None:
    """Add what the gradient of some rows' scores makes of rows, words and bias."""
    of_rows, of_words, of_bias = gradients
    of_rows[part] = scores @ words
    of_words.addmm_(scores.T, rows)
    of_bias += scores.sum(0)


def objective_scales(mlm_count: int, sbo_count: int, nsp_count: int = 0, *, sbo_weight: float = 1.0) -> Tensor:
    """Return what the sums are multiplied with, (3,) float64 on the host: 1 / N_mlm, w / N_sbo and 1 / N_nsp, and 0 where N is 0.

    A tensor, since a Python number would be compiled into the step, and the step anew for each.
    """
    weighted = ((1.0, mlm_count), (sbo_weight, sbo_count), (1.0, nsp_count))
    scales = [weight / count if count else 0.0 for weight, count in weighted]
    return torch.tensor(scales, dtype=torch.float64)
