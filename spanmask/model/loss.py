"""Cross entropy over targets, and how two sums become one loss: L = ΣMLM / N_mlm + w · ΣSBO / N_sbo (paper §3.2, with w = 1).

Counts are those of all bins, micro-batches and ranks of an optimizer step, which the host knows before the first backward pass: so the
gradients of any division of the step add up to the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from spanmask.batches import IGNORED


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


def objective_scales(mlm_count: int, sbo_count: int, *, sbo_weight: float = 1.0) -> Tensor:
    """Return what the two sums are multiplied with, (2,) float64 on the host: 1 / N_mlm and w / N_sbo, and 0 where N is 0.

    A tensor, since a Python number would be compiled into the step, and the step anew for each.
    """
    scales = [weight / count if count else 0.0 for weight, count in ((1.0, mlm_count), (sbo_weight, sbo_count))]
    return torch.tensor(scales, dtype=torch.float64)
