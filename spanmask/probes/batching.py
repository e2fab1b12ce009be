"""Examples into bins, as pre-training packs its rows, or by groups: which ones an update takes, and batches of them as tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from spanmask.batches import PackedBatch
from spanmask.blocks import offsets_of
from spanmask.errors import ConfigError
from spanmask.loading.binning import Bins, Capacities, TargetSlots, assign
from spanmask.loading.packing import fill
from spanmask.loading.permutation import Permutation
from spanmask.model.inputs import PackedTensors, packed_tensors
from spanmask.probes.examples import Examples
from spanmask.records import MaskedBlock, Offsets, Ragged, Ranges


class Batch(NamedTuple):
    """n examples in B bins of L slots.

    packed: without targets of pre-training. firsts: (n,) the number of the B·L slots at which each example begins. owners: (B·L,) which of
    the n examples a slot belongs to, n in padding. targets: (n, …) each. which: (n,) the examples' numbers, on the host. units: of how
    many examples, or groups, it is.
    """

    packed: PackedTensors
    firsts: Tensor
    owners: Tensor
    targets: dict[str, Tensor]
    which: Offsets
    units: int

    def to(self, device: torch.device) -> Self:
        """Return the batch on a device."""
        targets = {name: values.to(device) for name, values in self.targets.items()}
        firsts, owners = self.firsts.to(device), self.owners.to(device)
        return self._replace(packed=self.packed.to(device), firsts=firsts, owners=owners, targets=targets)


class Packing(Protocol):
    """What makes batches of the units of a set: its examples, or groups of them, or parts of groups.

    examples: the set.
    """

    examples: Examples

    def __len__(self) -> int:
        """Return how many units there are."""

    def batches(self, which: Offsets, key: tuple[int, int] | None = None) -> Iterator[Batch]:
        """Yield units, (n,) by their numbers, each in one batch. key: of what is drawn, seed and update; None: nothing is."""


class Packer:
    """Packs examples of one set.

    Parameters
    ----------
    examples
        The set.
    width
        Slots of a bin.
    pad_id
        What empty slots hold.
    bins
        Bins of a batch at most.

    Attributes
    ----------
    examples
        The set.
    lengths
        (N,) tokens of each.

    Raises
    ------
    ConfigError
        An example is longer than a bin, or has no token.
    """

    def __init__(self, examples: Examples, *, width: int, pad_id: int, bins: int) -> None:
        _require_fit(examples, width)
        self.examples, self.lengths = examples, examples.input_ids.lengths
        self._width, self._pad_id, self._bins = width, pad_id, bins

    def __len__(self) -> int:
        return len(self.examples)

    def batches(self, which: Offsets, key: tuple[int, int] | None = None) -> Iterator[Batch]:  # noqa: ARG002 - nothing is drawn
        """Yield examples, (n,) by their numbers, each in one batch; the fewer bins, the fewer batches."""
        bins = assign(self.lengths[which], Capacities(tokens=self._width, sequences=min(len(which), self._width)))
        for start in range(0, len(bins), self._bins):
            part = bins.slice(start, start + self._bins)
            counted = Bins(offsets=part.offsets, members=np.arange(len(part.members)))
            numbers = which[part.members]
            yield _batch(self.examples.take(numbers), numbers, counted, width=self._width, pad_id=self._pad_id)


class GroupPacker:
    """Packs groups of examples of one set: one a batch, in order, each example a bin of its own, no wider than the longest.

    Parameters
    ----------
    examples
        The set, those of a group together.
    width
        The longest example there may be.
    pad_id
        What empty slots hold.
    most
        Examples of a batch at most: a group of n is ⌈n / most⌉ units, each of so many neighbours, from one on that is drawn; None: it is
        one, of any number.

    Attributes
    ----------
    examples
        The set.

    Raises
    ------
    ConfigError
        An example is longer than a bin, or has no token.
    """

    def __init__(self, examples: Examples, *, width: int, pad_id: int, most: int | None = None) -> None:
        _require_fit(examples, width)
        _, counts = np.unique(examples.groups, return_counts=True)
        self.examples, self._pad_id, self._most = examples, pad_id, most
        self._bounds = offsets_of(counts)
        self._groups = np.repeat(np.arange(len(counts)), 1 if most is None else -(-counts // most))

    def __len__(self) -> int:
        return len(self._groups)

    def batches(self, which: Offsets, key: tuple[int, int] | None = None) -> Iterator[Batch]:
        """Yield groups, or parts of them, (n,) by the units' numbers, a batch each; see `Packing`."""
        for unit in which.tolist():
            group = self._groups[unit]
            start, end = self._bounds[group : group + 2].tolist()
            if key is not None and self._most is not None and end - start > self._most:
                start += _drawn((*key, unit), end - start - self._most + 1)
                end = start + self._most
            numbers = np.arange(start, end)
            taken = self.examples.take(numbers)
            bins = Bins(offsets=np.arange(len(numbers) + 1), members=np.arange(len(numbers)))
            width = int(taken.input_ids.lengths.max())
            yield _batch(taken, numbers, bins, width=width, pad_id=self._pad_id)._replace(units=1)


def _drawn(key: tuple[int, ...], count: int) -> int:
    """Return a number below ``count`` that is a function of a key."""
    digest = hashlib.blake2b(" ".join(map(str, key)).encode(), digest_size=8, person=b"neighbours").digest()
    return int.from_bytes(digest) % count


def _require_fit(examples: Examples, width: int) -> None:
    lengths = examples.input_ids.lengths
    if len(lengths) and not 1 <= int(lengths.min()) <= int(lengths.max()) <= width:
        raise ConfigError(
            f"examples have {lengths.min()} to {lengths.max()} tokens, and a bin {width} slots: cut them to that"
        )


def _batch(taken: Examples, which: Offsets, bins: Bins, *, width: int, pad_id: int) -> Batch:
    """Return examples, in the order of the bins that they are in, as a batch. which: their numbers."""
    packed = _filled(taken, bins, width, pad_id)
    index = packed.sequence_index.astype(np.int64)
    inside = index > 0
    owners = np.where(inside, index - 1 + bins.offsets[:-1, None], len(which))
    firsts = np.flatnonzero(inside & (packed.positions == 0))
    seconds = np.append(taken.second_starts, width)
    types = (inside & (packed.positions >= seconds[owners])).astype(np.int64)
    return Batch(
        packed=packed_tensors(packed)._replace(token_types=torch.from_numpy(types)),
        firsts=torch.from_numpy(firsts),
        owners=torch.from_numpy(owners.reshape(-1)),
        targets={name: torch.from_numpy(values) for name, values in taken.targets.items()},
        which=which,
        units=len(which),
    )


def _filled(taken: Examples, bins: Bins, width: int, pad_id: int) -> PackedBatch:
    """Return examples, in the order of the bins that they are in, as rows without spans are packed."""
    count = len(taken)
    none: Any = np.empty(0, np.uint16)
    nowhere = offsets_of(np.zeros(count, np.int64))
    block = MaskedBlock(
        document_ids=np.zeros(count, np.uint64),
        segments=np.zeros(count, np.uint32),
        input_ids=taken.input_ids,
        spans=Ranges(offsets=nowhere, starts=none, ends=none),
        labels=Ragged(offsets=nowhere, values=taken.input_ids.values[:0]),
    )
    most = int(np.diff(bins.offsets).max(initial=1))
    return fill(
        block,
        np.arange(count),
        np.zeros(count, np.int64),
        bins,
        bins_wanted=len(bins),
        capacities=Capacities(tokens=width, sequences=most),
        slots=TargetSlots(mlm=0, sbo=0),
        pad_id=pad_id,
        rule=None,
    )


def examples_of(update: int, *, count: int, batch_size: int, seed: int) -> Offsets:
    """Return the examples, or other units, of an update, (batch_size,) of ``count``: all epochs' next ones.

    Each epoch is shuffled anew, and they are laid end to end.

    Parameters
    ----------
    update
        Its number, from 1.
    """
    places = np.arange((update - 1) * batch_size, update * batch_size)
    epochs, inside = np.divmod(places, count)
    which = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs).tolist():
        chosen = epochs == epoch
        which[chosen] = Permutation(count, ["examples", seed, epoch])(inside[chosen])
    return which
