"""One optimizer step of pre-training: forward and backward of each micro-batch, and an update of them together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spanmask.model.pretraining import PretrainingOutput
from spanmask.train.agreeing import Wishes
from spanmask.train.config import TrainConfig
from spanmask.train.distributed import World
from spanmask.train.feeding import StepBatches
from spanmask.train.updating import Updater, forward_of, precision_of

#: Sums of a step: those of `sums_of`.
_SUMS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the host reads: sums over the steps since it last did, over all ranks, and the latest step's gradient norm.

    failed: the first step whose gradients or losses were not finite; 0 if none.
    """

    mlm_sum: float
    sbo_sum: float
    mlm_correct: float
    sbo_correct: float
    nsp_sum: float
    nsp_correct: float
    gradient_norm: float
    failed: int


class TrainStep(Updater):
    """A model with its optimizer; called with a step's number, from 1, its batches, and what this rank wishes after it.

    Parameters
    ----------
    model
        With float32 parameters, on the world's device.
    config
        Options of the optimizer, precision and compiler.
    world
        Which ranks add up.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, world: World) -> None:
        super().__init__(model, config, world, _SUMS)
        forward = forward_of(model, precision_of(config.dtype, world.device))
        compiled = is_compiled(config, world.device)
        self._forward = torch.compile(forward, fullgraph=True, dynamic=False) if compiled else forward

    def __call__(self, number: int, step: StepBatches, wishes: Wishes = Wishes()) -> None:  # noqa: B008 - it cannot change
        """Update the parameters."""
        self.begin()
        for place, batch in enumerate(step.batches):
            self.seed(number, place)
            output: PretrainingOutput = self._forward(batch, step.scales)
            self.add(output.loss, sums_of(output))
        self.end(number, wishes)

    def read(self) -> Reading:
        """Wait for the device, and return what happened since this was last called."""
        totals = self.totals()
        mlm_sum, mlm_correct, sbo_sum, sbo_correct, nsp_sum, nsp_correct = totals.sums
        return Reading(
            mlm_sum=mlm_sum,
            sbo_sum=sbo_sum,
            mlm_correct=mlm_correct,
            sbo_correct=sbo_correct,
            nsp_sum=nsp_sum,
            nsp_correct=nsp_correct,
            gradient_norm=totals.gradient_norm,
            failed=totals.failed,
        )


def sums_of(output: PretrainingOutput) -> tuple[Tensor, ...]:
    """Return the summed loss and the targets predicted right of MLM, of SBO and of NSP, one after another."""
    mlm, sbo = (output.mlm_sum, output.mlm_correct), (output.sbo_sum, output.sbo_correct)
    return *mlm, *sbo, output.nsp_sum, output.nsp_correct


def is_compiled(config: TrainConfig, device: torch.device) -> bool:
    """Return whether updates are compiled."""
    return device.type == "cuda" and config.backbone is None if config.compile is None else config.compile
