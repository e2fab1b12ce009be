"""What the worker processes of a DataLoader must agree on while they live, as numbers in shared memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from spanmask.errors import ConfigError
from spanmask.loading.position import Position

#: Workers of one DataLoader at most: each writes to a place of its own, so that no lock is needed.
MOST_WORKERS = 1024
#: Iterations that each worker remembers: of those under way at once, and the one before.
_REMEMBERED = 4


class SharedNumbers:
    """int64 numbers that processes share, forked or spawned. A copy, or what was pickled otherwise, has numbers of its own."""

    def __init__(self, memory: torch.Tensor) -> None:
        share: Any = memory.share_memory_
        self._memory: torch.Tensor = share()
        self.values: npt.NDArray[np.int64] = memory.numpy()

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedNumbers, (self._memory,)


class Iterations:
    """Where each iteration of a loader begins, as agreed on by the workers of a DataLoader, whose copies of the loader know nothing else.

    Whoever iterates tells nobody: PyTorch copies the loader into new workers for each iteration, or has persistent ones iterate again. But
    the seed that it draws for an iterator is the same in all workers of it, and each worker of an iterator iterates once at a time. So an
    iteration in which another worker of the same seed takes part, and this one does not, is the one to join; else a new one begins, the
    number after the last, and two workers that begin it at once find the same. It begins where the loader was told to be, or else at the
    epoch after the last iteration's, whether that was read to its end or not.
    """

    def __init__(self) -> None:
        self._shared = SharedNumbers(torch.zeros(4 + MOST_WORKERS * _REMEMBERED * 3, dtype=torch.int64))

    @property
    def _told(self) -> npt.NDArray[np.int64]:
        """The last iteration's number when the loader was told where to be; epoch, window and unit."""
        return self._shared.values[:4]

    @property
    def _joined(self) -> npt.NDArray[np.int64]:
        """(workers, remembered, 3): seed, epoch and number of the iterations that each worker joined; number 0: none."""
        return self._shared.values[4:].reshape(MOST_WORKERS, _REMEMBERED, 3)

    def tell(self, position: Position) -> None:
        """Have the next iteration of workers begin at a position."""
        self._told[0] = _last(self._read())[0]
        self.move(position)

    def move(self, position: Position) -> None:
        """Do the same, faster, where no worker iterated since `tell`."""
        self._told[1:] = position.epoch, position.window, position.unit

    def following(self) -> Position | None:
        """Return where the next iteration of workers begins, if any of them iterated since the loader was told; else None."""
        number, epoch = _last(self._read())
        return Position(epoch=epoch + 1) if number > self._told[0] else None

    def join(self, worker: int, seed: int, epoch: int | None = None) -> Position:
        """Return where the iteration begins that a worker takes part in. epoch: the one in which it goes on, where it knows.

        Raises
        ------
        ConfigError
            There are too many workers, or the loader was told another place while they started.
        """
        if worker >= MOST_WORKERS:
            raise ConfigError(f"the DataLoader has more than {MOST_WORKERS} workers: give fewer")
        number, begin = self._find(worker, seed)
        slot = self._joined[worker, number % _REMEMBERED]
        # The number comes last, and goes first: with it, the slot is valid.
        slot[2] = 0
        slot[:2] = seed, begin.epoch if epoch is None else epoch
        slot[2] = number
        return begin

    def _find(self, worker: int, seed: int) -> tuple[int, Position]:
        """Return the number of the iteration to join, and where it begins."""
        joined, (before, *parts) = self._read(), self._told.tolist()
        own = joined[worker]
        ours = joined[(joined[..., 0] == seed) & (joined[..., 2] > 0)]
        ours = ours[~np.isin(ours[:, 2], own[own[:, 0] == seed, 2])]
        number, epoch = (value + 1 for value in _last(joined))
        if len(ours):
            number, epoch = _last(ours)
            if number <= before:
                raise ConfigError("the loader was set to another place while workers started: do so before iterating")
        if number == before + 1:
            return number, Position(epoch=parts[0], window=parts[1], unit=parts[2])
        return number, Position(epoch=epoch)

    def _read(self) -> npt.NDArray[np.int64]:
        """Return what workers joined at one moment: read twice, as others write meanwhile."""
        joined = self._joined.copy()
        while not np.array_equal(joined, self._joined):
            joined = self._joined.copy()
        return joined


def _last(joined: npt.NDArray[np.int64]) -> tuple[int, int]:
    """Return the highest number among iterations that were joined, and its epoch; 0 and 0 where there is none."""
    every = joined.reshape(-1, 3)
    _, epoch, number = every[every[:, 2].argmax()].tolist()
    return number, epoch
