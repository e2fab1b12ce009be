"""Which rows share a bin: best fit, the longest rows first, under two capacities; no row is split or dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spanmask.blocks import offsets_of
from spanmask.errors import ConfigError
from spanmask.options import Options
from spanmask.records import Offsets


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacities(Options):
    """What a bin holds at most.

    Attributes
    ----------
    tokens, sequences
        L tokens, K sequences.
    """

    tokens: int
    sequences: int

    def _check(self) -> None:
        self._require(lambda value: value >= 1, "1 or more", "tokens", "sequences")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSlots:
    """How many targets a packed batch has room for: P MLM targets, Q SBO targets (0: without that objective)."""

    mlm: int
    sbo: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Which of S rows lie in which of n bins. offsets: (n + 1,); members: (S,) rows, bin by bin, ascending in each."""

    offsets: Offsets
    members: Offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Offsets:
        if not 0 <= index < len(self):
            raise IndexError(f"bin {index} of {len(self)}")
        return self.members[self.offsets[index] : self.offsets[index + 1]]

    def slice(self, start: int, stop: int) -> Bins:
        """Return the bins [start, stop) of these, as many as there are."""
        offsets = self.offsets[start : stop + 1]
        if not len(offsets):
            return Bins(offsets=np.zeros(1, np.int64), members=self.members[:0])
        return Bins(offsets=offsets - offsets[0], members=self.members[offsets[0] : offsets[-1]])

    @classmethod
    def of(cls, bins: Sequence[Offsets]) -> Bins:
        """Return the bins whose members are given one by one."""
        offsets = offsets_of(np.array([len(members) for members in bins], np.int64))
        members = np.concatenate(bins) if bins else offsets[:0]
        return Bins(offsets=offsets, members=members.astype(np.int64, copy=False))


def assign(tokens: Offsets, capacities: Capacities, *, name: Callable[[int], str] = "row {}".format) -> Bins:
    """Put rows into bins, none over any capacity.

    The longest row comes first, of equals the one given first. It goes to the bin with the fewest tokens left that has room for it; where
    there is none, a new one is opened.

    Bins are in the order of the rows that opened them, their longest: where rows are shuffled, bins are, too, without a leaning of
    neighbours to be alike.

    Parameters
    ----------
    tokens
        (S,) what each row needs, special tokens included, from 1.
    capacities
        What a bin holds at most.
    name
        Names a row by its number, for the error.

    Raises
    ------
    ConfigError
        A row has no token, or alone more than a bin.
    """
    from spanmask.kernels import binning as kernels

    tokens = np.ascontiguousarray(tokens, np.int64)
    most = int(tokens.max(initial=0))
    if len(tokens) and tokens.min() < 1:
        # The kernels count by length: another would be counted outside their table.
        raise ConfigError(f"{name(int(tokens.argmin()))} has {tokens.min()} tokens: give rows of 1 or more")
    if most > capacities.tokens:
        raise ConfigError(
            f"{name(int(tokens.argmax()))} has {most} tokens, a bin holds {capacities.tokens}: "
            f"raise the capacity tokens to {most} or more"
        )
    order, bin_of, openers, members = (np.empty(len(tokens), np.int64) for _ in range(4))
    kernels.sort_descending(tokens, capacities.tokens, order)
    rooms = kernels.Rooms(capacities.tokens, capacities.sequences)
    offsets = np.zeros(kernels.best_fit(tokens, rooms, order, bin_of, openers) + 1, np.int64)
    kernels.list_members(bin_of, openers, offsets, members)
    return Bins(offsets=offsets, members=members)
