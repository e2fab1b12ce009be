"""What one rank wishes and all ranks do after the same step: the wishes ride as numbers in each step's sum over the ranks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from spanmask.train.distributed import World


class Wishes(NamedTuple):
    """What shall happen after a step: the run's end, a checkpoint."""

    stop: bool = False
    save: bool = False


#: How many numbers wishes are.
WISHES = len(Wishes._fields)


class Agreement:
    """Hears of every rank's wishes.

    A process alone knows its own. On CUDA the host, which has queued a step, waits for the one before only, so that the device never waits
    for it; wishes come true a step later there.

    Parameters
    ----------
    numbers
        (WISHES,) float32, a part of what ranks add up in each step.
    world
        Whose ranks.
    """

    def __init__(self, numbers: Tensor, world: World) -> None:
        self._numbers, self._world = numbers, world
        self._own = Wishes()
        self._copy: tuple[Tensor, torch.cuda.Event] | None = None

    def tell(self, wishes: Wishes) -> None:
        """Put this rank's wishes into the sum, before it is made."""
        self._own = wishes
        for place, wish in enumerate(wishes):
            self._numbers[place].fill_(float(wish))

    def heard(self) -> Wishes:
        """Return what any rank wishes, the same on all, once after each step."""
        if self._world.size == 1:
            return self._own
        if self._world.device.type != "cuda":
            return _wishes(self._numbers)
        before, self._copy = self._copy, self._begun()
        if before is None:
            return Wishes()
        numbers, copied = before
        copied.synchronize()
        return _wishes(numbers)

    def _begun(self) -> tuple[Tensor, torch.cuda.Event]:
        numbers, copied = torch.empty(WISHES, pin_memory=True), torch.cuda.Event()  # type: ignore[no-untyped-call]
        numbers.copy_(self._numbers, non_blocking=True)
        copied.record()
        return numbers, copied


def _wishes(numbers: Tensor) -> Wishes:
    return Wishes(*(number > 0 for number in numbers.tolist()))
