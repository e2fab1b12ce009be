"""A grid of trainings as it is told: what each arm is, figures by seed, and what paired differences say. Pages draw from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from spanmask.report.paired import LEAST_SEEDS, Ends

#: What a claim may be wrong by chance, of all claims of a page together.
ALPHA = 0.05
#: Verdicts that are told before others.
_CLAIMED = ("higher", "lower")
#: By seed, figures of an arm.
BySeed = Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTold:
    """An arm. against: which one it is held against, None of the first. null: whether no difference is to be found.

    options: those that not all arms have alike, by name. facts: what was trained, by what it is called, for people.
    """

    name: str
    against: str | None
    null: bool
    options: Mapping[str, Any]
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A figure of an arm minus that of the one it is held against, by the seeds that both have.

    outcome: PROBE/FILE/FIGURE. over_seeds: the 95 % t-interval of the mean, None for fewer than two. p: of this one alone; adjusted: held
    against all primary ones together (Holm), None of what is not among them.
    """

    outcome: str
    arm: str
    against: str
    null: bool
    primary: bool
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    over_seeds: Ends | None = None
    p: float | None = None
    adjusted: float | None = None

    @property
    def mean(self) -> float | None:
        """The mean difference; None where no seed is in both."""
        return fmean(self.differences) if self.differences else None

    @property
    def verdict(self) -> str:
        """What is claimed: of primary figures alone, and from `LEAST_SEEDS` seeds on."""
        if not self.primary:
            return "beside: nothing is claimed"
        if len(self.seeds) < LEAST_SEEDS or self.adjusted is None:
            return f"not enough seeds to say ({len(self.seeds)} of {LEAST_SEEDS})"
        if self.adjusted >= ALPHA:
            return "no difference shown"
        return "higher" if (self.mean or 0) > 0 else "lower"

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {**asdict(self), "mean": self.mean, "verdict": self.verdict}


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTold:
    """What the paper found of the like: told, names of figures, and figures by what was trained."""

    told: str
    columns: Sequence[str]
    rows: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridTold:
    """A grid. values: by outcome, arm and seed. lines: what else is to be known, a sentence each. undone: cells that are not done."""

    name: str
    question: str
    arms: Sequence[ArmTold]
    primary: Sequence[str]
    values: Mapping[str, Mapping[str, BySeed]]
    differences: Sequence[Difference]
    lines: Sequence[str]
    cells: int
    undone: Sequence[str]
    paper: PaperTold | None = None

    @property
    def beside(self) -> list[str]:
        """The outcomes that nothing is claimed of."""
        return [outcome for outcome in self.values if outcome not in self.primary]

    def of(self, outcome: str) -> list[Difference]:
        """Return the differences of an outcome, by arm."""
        return [one for one in self.differences if one.outcome == outcome]

    @property
    def headline(self) -> list[str]:
        """What the primary outcomes say of each arm that is held against another one, nulls as such."""
        return [
            _claim(arm, [one for one in self.differences if one.primary and one.arm == arm.name])
            for arm in self.arms
            if arm.against
        ]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        told = {name: getattr(self, name) for name in ("name", "question", "cells")}
        lists = {name: list(getattr(self, name)) for name in ("primary", "lines", "undone")}
        return {
            **told,
            **lists,
            "arms": [asdict(arm) for arm in self.arms],
            "values": self.values,
            "differences": [one.to_json() for one in self.differences],
            "headline": self.headline,
            "paper": None if self.paper is None else asdict(self.paper),
        }


def _claim(arm: ArmTold, differences: Sequence[Difference]) -> str:
    """Return what the primary outcomes of an arm say, in a sentence: first those that differ, then what is not shown."""
    by_verdict: dict[str, list[str]] = {}
    for one in differences:
        differs = one.verdict in _CLAIMED
        told = (
            f"{one.outcome} by {signed(abs(one.mean or 0)).lstrip('+')} ({ends(one.over_seeds)})"
            if differs
            else one.outcome
        )
        by_verdict.setdefault(one.verdict, []).append(told)
    parts = [
        f"{verdict}: {', '.join(by_verdict[verdict])}"
        for verdict in sorted(by_verdict, key=lambda verdict: verdict not in _CLAIMED)
    ]
    again = ", the same again" if arm.null else ""
    return f"{arm.name} minus {arm.against}{again}: {'; '.join(parts)}"


def value_rows(told: GridTold, outcomes: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield outcomes, with the mean over the seeds of each arm and its standard deviation."""
    for outcome in outcomes:
        own = told.values.get(outcome, {})
        yield outcome, [_spread(list(own.get(arm.name, {}).values())) for arm in told.arms]


def difference_row(one: Difference) -> list[str]:
    """Return a difference as cells: mean, interval, p, p among the primary ones, what is claimed."""
    mean = "–" if one.mean is None else signed(one.mean)
    return [mean, ends(one.over_seeds), _p(one.p), _p(one.adjusted), one.verdict]


def signed(value: float) -> str:
    """Return a difference as people read it."""
    return f"{value:+.4f}" if abs(value) < 1 else f"{value:+.2f}"


def ends(interval: Ends | None) -> str:
    """Return an interval as people read it."""
    return "–" if interval is None else f"{signed(interval[0])} to {signed(interval[1])}"


def _p(value: float | None) -> str:
    return "–" if value is None else "below 0.0001" if value < 0.0001 else f"{value:.4f}"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    digits = 4 if abs(fmean(values)) < 10 else 2
    return f"{fmean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")
