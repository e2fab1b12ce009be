"""Which tasks of a plan are one array task's: by a share as it is typed, by what a scheduler says in the environment, or by number.

Shares are by number alone: the i-th of n has the tasks whose number leaves i when it is divided by n. So a lost one is run again by its
number, whatever others do.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from spanmask.errors import ConfigError

_SHARE = re.compile(r"(?P<index>[0-9]{1,9}|env)/(?P<count>[0-9]{1,9})")
_RANGE = re.compile(r"(?P<first>[0-9]{1,9})(?:-(?P<last>[0-9]{1,9})(?::(?P<step>[0-9]{1,9}))?)?")
_FORMS = "i/n for the i-th share of n, from 0 on; env or env/n for the share of a scheduler's array; or numbers as 3,7-9,10-90:8"
#: Steps that are looked at when numbers are told in few ranges, and how many numbers are worth a step.
_STEPS, _WORTH = 64, 3


@dataclass(frozen=True, slots=True)
class _Scheduler:
    """What a scheduler says to the tasks of an array: their index and how many there are, and of indices where they begin, end and step."""

    name: str
    index: str
    count: str
    first: str = ""
    last: str = ""
    step: str = ""

    @property
    def told(self) -> str:
        return f"{self.name} ({self.index} and {self.count})"


_SCHEDULERS = (
    _Scheduler(
        "Slurm",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_COUNT",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_MAX",
        "SLURM_ARRAY_TASK_STEP",
    ),
    _Scheduler("Kubernetes", "JOB_COMPLETION_INDEX", "JOB_COMPLETIONS"),
    _Scheduler("AWS Batch", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Tasks that were chosen, before the plan is known. ranges: of numbers; share: of n, instead."""

    ranges: tuple[range, ...] = ()
    share: tuple[int, int] | None = None

    def numbers(self, total: int) -> Iterable[int]:
        """Return the numbers of the tasks, of so many in the plan, ascending.

        Raises
        ------
        ConfigError
            A number is beyond the last task.
        """
        if self.share is not None:
            index, count = self.share
            return range(index, total, count)
        found = sorted({number for one in self.ranges for number in one[: total + 1]})
        if found[-1] >= total:
            raise ConfigError(f"task is {found[-1]}: the plan has {total} tasks, from 0 on", options=("task",))
        return found

    def __str__(self) -> str:
        return f"share {self.share[0]} of {self.share[1]}" if self.share else f"tasks {told_numbers(*self.ranges)}"


def choose(text: str, environment: Mapping[str, str]) -> Chosen:
    """Return what ``--task`` asks for. environment: variables, of which those of schedulers are looked at where the text says ``env``.

    Raises
    ------
    ConfigError
        It is of no such form, or the environment does not say which task of how many this is.
    """
    share = _SHARE.fullmatch(text)
    if text == "env" or (share and share["index"] == "env"):
        return Chosen(share=_from_environment(environment, int(share["count"]) if share else None))
    if share:
        return Chosen(share=_checked(int(share["index"]), int(share["count"]), f"task is {text}"))
    found = [_RANGE.fullmatch(part) for part in text.split(",")]
    ranges = tuple(
        range(int(one["first"]), int(one["last"] or one["first"]) + 1, int(one["step"] or 1) or 1)
        for one in found
        if one
    )
    if len(ranges) < len(found) or not all(map(len, ranges)):
        raise ConfigError(f"task is {text!r}: give {_FORMS}", options=("task",))
    return Chosen(ranges=ranges)


def _checked(index: int, count: int, told: str) -> tuple[int, int]:
    if not index < count:
        raise ConfigError(f"{told}: expected a share from 0 to n - 1, of n ≥ 1; give {_FORMS}", options=("task",))
    return index, count


def _from_environment(environment: Mapping[str, str], count: int | None) -> tuple[int, int]:
    """Return the share of this task. count: of shares, where it was given."""
    there = [one for one in _SCHEDULERS if one.index in environment]
    if len(there) != 1:
        looked = ", ".join(one.told for one in (there or _SCHEDULERS))
        what = "variables of several schedulers are there" if there else "no scheduler's variables are there"
        raise ConfigError(f"task is env: {what}, of {looked}; give i/n instead", options=("task",))
    one = there[0]
    index, step = _number(environment, one, one.index), _number(environment, one, one.step, 1) or 1
    if count is not None:
        # Of any n indices that follow each other, each leaves another rest: so also of some that are run again alone.
        return _checked(index // step % max(count, 1), count, f"task is env/{count}")
    if one.count not in environment:
        raise ConfigError(
            f"task is env: {one.name} says {one.index}={index}, and {one.count} is not there: how many tasks has the array? "
            "give env/n with its number of tasks",
            options=("task",),
        )
    count = _number(environment, one, one.count)
    first, last = (_number(environment, one, name, bound) for name, bound in ((one.first, 0), (one.last, -1)))
    if last >= 0 and (last - first) // step + 1 != count:
        raise ConfigError(
            f"task is env: the {count} indices of the array, from {first} to {last}, do not follow each other; "
            "give env/n with the number of tasks of the whole array",
            options=("task",),
        )
    return _checked(index // step % max(count, 1), count, f"task is env ({one.index}={index}, {one.count}={count})")


def _number(environment: Mapping[str, str], scheduler: _Scheduler, name: str, missing: int = 0) -> int:
    text = environment.get(name, str(missing))
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise ConfigError(
            f"task is env: {name} of {scheduler.name} is {text!r}, expected a number; give i/n", options=("task",)
        )
    return int(text)


def told_numbers(numbers: Iterable[int], *more: Iterable[int]) -> str:
    """Return numbers as ``--task`` takes them, in few ranges: a lost share of n is one, of every n-th number."""
    ordered = sorted({number for some in (numbers, *more) for number in some})
    left, told = set(ordered), []
    for place, first in enumerate(ordered):
        if first in left:
            near = (number for number in islice(ordered, place + 1, None) if number in left)
            runs = (_run(left, first, number - first) for number in islice(near, _STEPS))
            best = max(runs, key=len, default=range(first, first + 1))
            if len(best) < _WORTH and best.step > 1:
                best = best[:1]
            left.difference_update(best)
            step = f":{best.step}" if best.step > 1 else ""
            told.append(f"{first}-{best[-1]}{step}" if len(best) > 1 else str(first))
    return ",".join(told)


def _run(left: Collection[int], first: int, step: int) -> range:
    """Return the numbers that follow each other by steps from the first one on."""
    stop = first
    while stop in left:
        stop += step
    return range(first, stop, step)
