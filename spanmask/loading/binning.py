"""Which rows share a bin: best fit, the longest rows first, under four capacities; no row is split or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np

from spanmask.blocks import offsets_of
from spanmask.errors import ConfigError
from spanmask.options import Options
from spanmask.records import Identities, Offsets, Segments


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacities(Options):
    """What a bin holds at most.

    Attributes
    ----------
    tokens, mlm, sbo, sequences
        L tokens, P MLM targets, Q SBO targets (0: without that objective), K sequences.
    """

    tokens: int
    mlm: int
    sbo: int
    sequences: int

    def _check(self) -> None:
        self._require(lambda value: value >= 1, "1 or more", "tokens", "mlm", "sequences")
        self._require(lambda value: value >= 0, "0 or more", "sbo")


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
        offsets = offsets_of([len(members) for members in bins])
        members = np.concatenate(bins) if bins else offsets[:0]
        return Bins(offsets=offsets, members=members.astype(np.int64, copy=False))


class Identified(NamedTuple):
    """Identities of S rows, for messages: document_ids (S,), segments (S,)."""

    document_ids: Identities
    segments: Segments


def assign(
    tokens: Offsets, mlm: Offsets, sbo: Offsets, capacities: Capacities, *, identities: Identified | None = None
) -> Bins:
    """Put rows into bins, none over any capacity.

    The longest row comes first, of equals the one given first. It goes to the bin with the fewest tokens left that has room for all it
    needs; where no bin of a few that are tried has, a new one is opened. Time grows with the number of rows, not with its square.

    Bins are in the order of the rows that opened them, their longest: where rows are shuffled, bins are, too, without a leaning of
    neighbours to be alike.

    Parameters
    ----------
    tokens, mlm, sbo
        (S,) what each row needs: tokens, special ones included, from 1; masked tokens; SBO targets.
    capacities
        What a bin holds at most.
    identities
        Names of the rows, for the error.

    Raises
    ------
    ConfigError
        A row alone is over a capacity.
    """
    from spanmask.kernels import packing as kernels

    needs = kernels.Needs(*(np.ascontiguousarray(values, np.int64) for values in (tokens, mlm, sbo)))
    for name, values in zip(needs._fields, needs, strict=True):
        _require_fit(name, values, getattr(capacities, name), identities)
    order, bin_of, openers, members = (np.empty(len(needs.tokens), np.int64) for _ in range(4))
    kernels.sort_descending(needs.tokens, capacities.tokens, order)
    rooms = kernels.Rooms(capacities.tokens, capacities.mlm, capacities.sbo, capacities.sequences)
    offsets = np.zeros(kernels.best_fit(needs, rooms, order, bin_of, openers) + 1, np.int64)
    kernels.list_members(bin_of, openers, offsets, members)
    return Bins(offsets=offsets, members=members)


def _require_fit(name: str, values: Offsets, capacity: int, identities: Identified | None) -> None:
    most = int(values.max(initial=0))
    if most <= capacity:
        return
    row = int(values.argmax())
    who = (
        f"row {row}"
        if identities is None
        else f"document {identities.document_ids[row]} segment {identities.segments[row]}"
    )
    unit = {"tokens": "tokens", "mlm": "MLM targets", "sbo": "SBO targets"}[name]
    raise ConfigError(f"{who} has {most} {unit}, a bin holds {capacity}: raise the capacity {name} to {most} or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """How much of some bins is used: what they hold, and slots for it. Fills can be added."""

    bins: int = 0
    tokens: int = 0
    token_slots: int = 0
    mlm: int = 0
    mlm_slots: int = 0
    sbo: int = 0
    sbo_slots: int = 0
    sequences: int = 0
    sequence_slots: int = 0

    @classmethod
    def of(cls, tokens: Offsets, mlm: Offsets, sbo: Offsets, bins: int, capacities: Capacities) -> Self:
        """Measure bins, empty ones counted, that hold some rows; arguments as of `assign`."""
        return cls(
            bins=bins,
            tokens=int(tokens.sum()),
            token_slots=bins * capacities.tokens,
            mlm=int(mlm.sum()),
            mlm_slots=bins * capacities.mlm,
            sbo=int(sbo.sum()),
            sbo_slots=bins * capacities.sbo,
            sequences=len(tokens),
            sequence_slots=bins * capacities.sequences,
        )

    def __add__(self, other: Fill) -> Fill:
        return Fill(**{item.name: getattr(self, item.name) + getattr(other, item.name) for item in fields(Fill)})

    @property
    def rates(self) -> dict[str, float]:
        """The used share of the slots for tokens, mlm, sbo and sequences; 0 where there are none."""
        pairs = {
            "tokens": (self.tokens, self.token_slots),
            "mlm": (self.mlm, self.mlm_slots),
            "sbo": (self.sbo, self.sbo_slots),
            "sequences": (self.sequences, self.sequence_slots),
        }
        return {name: used / offered if offered else 0.0 for name, (used, offered) in pairs.items()}

    def __str__(self) -> str:
        names = {"tokens": "token", "mlm": "MLM", "sbo": "SBO", "sequences": "sequence"}
        shares = ", ".join(f"{rate:.1%} of {names[name]} slots" for name, rate in self.rates.items())
        return f"{self.bins:,} bins: {shares} used"
