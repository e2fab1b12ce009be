"""One optimizer step: forward and backward of each micro-batch, one sum over the ranks, one fused update.

Nothing in it waits for the device. Gradients or losses that are not finite close a gate on the device: that update and all later ones
leave parameters and moments as they are, until the host, which looks every so often, sees the number of the step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spanmask.model.inputs import PackedTensors
from spanmask.model.pretraining import PretrainingOutput
from spanmask.train.agreeing import WISHES, Agreement, Wishes
from spanmask.train.config import Precision, TrainConfig
from spanmask.train.distributed import World
from spanmask.train.feeding import StepBatches
from spanmask.train.optimizer import FlatGradients, learning_rate, make_optimizer

#: Sums of a step: MLM and SBO loss, MLM and SBO targets predicted right.
_SUMS = 4

Forward = Callable[[PackedTensors, Tensor], PretrainingOutput]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the host reads: sums over the steps since it last did, over all ranks, and the latest step's gradient norm.

    failed: the first step whose gradients or losses were not finite; 0 if none.
    """

    mlm_sum: float
    sbo_sum: float
    mlm_correct: float
    sbo_correct: float
    gradient_norm: float
    failed: int


class TrainStep:
    """A model with its optimizer; called with a step's number, from 1, its batches, and what this rank wishes after it.

    Parameters
    ----------
    model
        With float32 parameters, on the world's device.
    config
        Options of the optimizer, precision and compiler.
    world
        Which ranks add up.

    Attributes
    ----------
    optimizer
        AdamW over the model's parameters.
    agreement
        What ranks wish.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, world: World) -> None:
        self.model = model
        self._config, self._world = config, world
        self._flat = FlatGradients(model, _SUMS + WISHES)
        self._sums = self._flat.extra[:_SUMS]
        self.agreement = Agreement(self._flat.extra[_SUMS:], world)
        self.optimizer = make_optimizer(model, config)
        self._rate: Tensor = self.optimizer.param_groups[0]["lr"]
        forward = forward_of(model, precision_of(config, world.device))
        compiled = is_compiled(config, world.device)
        self._forward: Forward = torch.compile(forward, fullgraph=True, dynamic=False) if compiled else forward
        device = world.device
        self._totals = torch.zeros(_SUMS, dtype=torch.float64, device=device)
        self._norm = torch.zeros((), device=device)
        self._failed, self._number = (torch.zeros((), dtype=torch.int64, device=device) for _ in range(2))

    def __call__(self, number: int, step: StepBatches, wishes: Wishes = Wishes()) -> None:  # noqa: B008 - it cannot change
        """Update the parameters."""
        self._flat.clear()
        for place, batch in enumerate(step.batches):
            torch.manual_seed(dropout_seed(self._config.seed, number, place, self._world.rank))
            output = self._forward(batch, step.scales)
            output.loss.backward()  # type: ignore[no-untyped-call]
            sums = output.mlm_sum, output.sbo_sum, output.mlm_correct, output.sbo_correct
            self._sums.add_(torch.stack([one.float() for one in sums]))
        self.agreement.tell(wishes)
        self._world.all_reduce(self._flat.everything)
        self._update(number)

    def _update(self, number: int) -> None:
        """Clip and apply the gradients if they, and the losses, are finite. The sums of all ranks decide, so that all ranks do the same."""
        flat = self._flat
        self._norm = torch.linalg.vector_norm(flat.gradients)
        finite = self._norm.isfinite() & self._sums.isfinite().all()
        # fill_ hands a number to a kernel; as an operand it would be copied, and waited for.
        self._number.fill_(number)
        self._failed = torch.where((self._failed == 0) & ~finite, self._number, self._failed)
        if self._config.clip:
            flat.gradients.mul_((self._config.clip / (self._norm + 1e-6)).clamp(max=1.0))
        self._rate.fill_(learning_rate(number, self._config))
        # What torch's own GradScaler sets: the fused kernel then leaves everything as it is where the flag is not 0.
        self.optimizer.found_inf = (self._failed != 0).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self._totals += self._sums

    def read(self) -> Reading:
        """Wait for the device, and return what happened since this was last called."""
        read = torch.cat([self._totals, self._norm.double()[None], self._failed.double()[None]]).tolist()
        self._totals.zero_()
        mlm_sum, sbo_sum, mlm_correct, sbo_correct, norm, failed = read
        return Reading(
            mlm_sum=mlm_sum,
            sbo_sum=sbo_sum,
            mlm_correct=mlm_correct,
            sbo_correct=sbo_correct,
            gradient_norm=norm,
            failed=int(failed),
        )


def forward_of(model: nn.Module, dtype: torch.dtype) -> Forward:
    """Return the model's forward pass in a type of float; where that is not the parameters' own, they are cast in each pass."""

    def run(batch: PackedTensors, scales: Tensor) -> PretrainingOutput:
        if dtype is torch.float32:
            plain: PretrainingOutput = model(batch, scales)
            return plain
        cast = {name: value.to(dtype) for name, value in model.named_parameters()}
        output: PretrainingOutput = functional_call(model, cast, (batch, scales))
        return output

    return run


def precision_of(config: TrainConfig, device: torch.device) -> torch.dtype:
    """Return what a step computes in."""
    if config.dtype is Precision.AUTO:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if config.dtype is Precision.BF16 else torch.float32


def is_compiled(config: TrainConfig, device: torch.device) -> bool:
    """Return whether updates are compiled."""
    return device.type == "cuda" if config.compile is None else config.compile


def dropout_seed(seed: int, step: int, place: int, rank: int) -> int:
    """Return the seed of a micro-batch's dropout: a resumed run needs no state of a generator."""
    name = f"dropout {seed} {step} {place} {rank}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) >> 1
