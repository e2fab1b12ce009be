"""The cells of a grid: what is made once, in a folder of its own, of what other cells made.

::

    overlap ─▶ vocabulary ─▶ shards/ARM ─▶ tokens ─▶ ARM/seed-K/training ─▶ ARM/seed-K/held-out, ARM/seed-K/PROBE
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from spanmask.errors import ConfigError
from spanmask.options import hint_for
from spanmask.reproduction.arms import Arm
from spanmask.reproduction.plan import Plan
from spanmask.reproduction.probing import HELD_OUT, ProbePlan


class Work(StrEnum):
    """What a cell is."""

    OVERLAP = "overlap"
    VOCABULARY = "vocabulary"
    SHARDS = "shards"
    TOKENS = "tokens"
    TRAINING = "training"
    HELD_OUT = HELD_OUT
    PROBE = "probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell. name: also its folder's, below the grid's. needs: names of the cells that come before it."""

    name: str
    work: Work
    needs: tuple[str, ...] = ()
    arm: Arm | None = None
    seed: int = 0
    probe: ProbePlan | None = None


def cells_of(plan: Plan) -> tuple[Cell, ...]:
    """Return the cells of a grid, in the order in which they are done: seed by seed, so that pairs are whole early."""
    return tuple(_cells(plan))


def _cells(plan: Plan) -> Iterator[Cell]:
    begun: tuple[str, ...] = ()
    if any(probe.evaluated for probe in plan.probes if probe.has_files):
        yield Cell(name="overlap", work=Work.OVERLAP)
        begun = ("overlap",)
    if plan.vocabulary is not None:
        yield Cell(name="vocabulary", work=Work.VOCABULARY, needs=begun)
        begun = ("vocabulary",)
    shards = tuple(f"shards/{name}" for name in plan.shards)
    for name, cell in zip(plan.shards, shards, strict=True):
        yield Cell(name=cell, work=Work.SHARDS, needs=begun, arm=plan.arm(name))
    yield Cell(name="tokens", work=Work.TOKENS, needs=shards)
    for seed in plan.config.seed_numbers:
        for arm in plan.arms:
            yield from _of_training(plan, arm, seed)


def _of_training(plan: Plan, arm: Arm, seed: int) -> Iterator[Cell]:
    """Yield a training, and what its model is asked."""
    place = f"{arm.name}/seed-{seed}"
    training = f"{place}/training"
    yield Cell(name=training, work=Work.TRAINING, needs=("tokens",), arm=arm, seed=seed)
    yield Cell(name=f"{place}/{HELD_OUT}", work=Work.HELD_OUT, needs=(training,), arm=arm, seed=seed)
    for probe in plan.probes:
        if probe.has_files:
            yield Cell(
                name=f"{place}/{probe.name}", work=Work.PROBE, needs=(training,), arm=arm, seed=seed, probe=probe
            )


def chosen(cells: Sequence[Cell], patterns: Sequence[str]) -> tuple[Cell, ...]:
    """Return the cells whose names match a pattern, and all that they need, in order; all where there is no pattern.

    Raises
    ------
    ConfigError
        A pattern matches none.
    """
    known = {cell.name: cell for cell in cells}
    wanted: set[str] = set()
    for pattern in patterns:
        found = [name for name in known if fnmatchcase(name, pattern)]
        if not found:
            raise ConfigError(f"no cell is called {pattern!r}; {hint_for(pattern, known)}", options=("only",))
        wanted.update(found)
    left = list(wanted)
    while left:
        new = set(known[left.pop()].needs) - wanted
        wanted |= new
        left += new
    return tuple(cell for cell in cells if not patterns or cell.name in wanted)
