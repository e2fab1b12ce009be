"""One update of a model: gradients of its passes added up over the ranks, clipped, and applied by one fused AdamW.

Nothing in it waits for the device. Gradients or losses that are not finite close a gate on the device: that update and all later ones
leave parameters and moments as they are, until the host, which looks every so often, sees the number of the update.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spanmask.train.agreeing import WISHES, Agreement, Wishes
from spanmask.train.checkpoint import Checkpoint, Tensors, on_host
from spanmask.train.config import Precision, TrainConfig
from spanmask.train.distributed import World
from spanmask.train.optimizer import FlatGradients, begin_moments, learning_rate, make_optimizer, moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the host reads: sums over the updates since it last did, over all ranks, and the latest update's gradient norm.

    failed: the first update whose gradients or sums were not finite; 0 if none.
    """

    sums: tuple[float, ...]
    gradient_norm: float
    failed: int


class Updater:
    """A model with its optimizer.

    Parameters
    ----------
    model
        With float32 parameters, on the world's device.
    config
        Options of the optimizer.
    world
        Which ranks add up.
    sums
        How many figures of the passes are added up beside the gradients.
    share
        How many times the learning rate a parameter has, by its name. [once]

    Attributes
    ----------
    model
        The model.
    optimizer
        AdamW over its parameters.
    agreement
        What ranks wish.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        world: World,
        sums: int,
        share: Callable[[str], float] | None = None,
    ) -> None:
        self.model = model
        self._config, self._world = config, world
        self._flat = FlatGradients(model, sums + WISHES)
        self._sums = self._flat.extra[:sums]
        self.agreement = Agreement(self._flat.extra[sums:], world)
        self.optimizer = make_optimizer(model, config, share)
        device = world.device
        self._totals = torch.zeros(sums, dtype=torch.float64, device=device)
        self._norm = torch.zeros((), device=device)
        self._failed, self._number = (torch.zeros((), dtype=torch.int64, device=device) for _ in range(2))

    def begin(self) -> None:
        """Forget the gradients and sums of the update before."""
        self._flat.clear()

    def seed(self, number: int, place: int) -> None:
        """Seed the dropout of a pass: of the update of this number, from 1, the one at this place, from 0."""
        torch.manual_seed(dropout_seed(self._config.seed, number, place, self._world.rank))

    def add(self, loss: Tensor, sums: Sequence[Tensor]) -> None:
        """Add the gradients of a pass's loss, and its sums."""
        loss.backward()  # type: ignore[no-untyped-call]
        self._sums.add_(torch.stack([one.float() for one in sums]))

    def end(self, number: int, wishes: Wishes = Wishes()) -> None:  # noqa: B008 - it cannot change
        """Apply what was added since `begin`; wishes: of this rank, after it."""
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
        for group in self.optimizer.param_groups:
            group["lr"].fill_(group["share"] * learning_rate(number, self._config))
        # What torch's own GradScaler sets: the fused kernel then leaves everything as it is where the flag is not 0.
        self.optimizer.found_inf = (self._failed != 0).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self._totals += self._sums

    def totals(self) -> Totals:
        """Wait for the device, and return what happened since this was last called."""
        *sums, norm, failed = torch.cat([self._totals, self._norm.double()[None], self._failed.double()[None]]).tolist()
        self._totals.zero_()
        return Totals(sums=tuple(sums), gradient_norm=norm, failed=int(failed))

    def resume(self, step: int, optimizer: Tensors) -> Tensors:
        """Give AdamW what a checkpoint after a step has of it, and return its moments where they lie; what is left out is 0."""
        places = begin_moments(self.model, self.optimizer, step)
        for name, tensor in optimizer.items():
            places[name].copy_(tensor)
        return places

    def checkpoint(self, state: dict[str, Any]) -> Checkpoint:
        """Return copies of the model and the optimizer as they are. state: plain JSON values; ``step`` is one."""
        return Checkpoint(
            model=on_host(self.model.state_dict()),
            optimizer=on_host(moments(self.model, self.optimizer)),
            state=state,
        )


def forward_of(model: nn.Module, dtype: torch.dtype) -> Callable[..., Any]:
    """Return the model's forward pass in a type of float; where that is not the parameters' own, they are cast in each pass."""

    def run(*inputs: Any) -> Any:
        if dtype is torch.float32:
            return model(*inputs)
        cast = {name: value.to(dtype) for name, value in model.named_parameters()}
        return functional_call(model, cast, inputs)

    return run


def precision_of(wanted: Precision, device: torch.device) -> torch.dtype:
    """Return what an update computes in."""
    if wanted is Precision.AUTO:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if wanted is Precision.BF16 else torch.float32


def computing_of(wanted: Precision, device: torch.device) -> tuple[str, str]:
    """Return a device's name, and what an update computes in there."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return name, str(Precision.BF16 if precision_of(wanted, device) is torch.bfloat16 else Precision.FP32)


def dropout_seed(seed: int, step: int, place: int, rank: int) -> int:
    """Return the seed of a micro-batch's dropout: a resumed run needs no state of a generator."""
    name = f"dropout {seed} {step} {place} {rank}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) >> 1
