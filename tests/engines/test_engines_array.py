"""Which tasks of a plan an array's task has: every task is somebody's, whatever schedulers call themselves."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanmask import ConfigError
from spanmask.engines.array import choose, told_numbers


def _slurm(index: int, count: int, first: int = 0, step: int = 1) -> dict[str, str]:
    last = first + (count - 1) * step
    told = {"ID": index, "COUNT": count, "MIN": first, "MAX": last, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in told.items()}


def _kubernetes(index: int, count: int, *_: int) -> dict[str, str]:
    return {"JOB_COMPLETION_INDEX": str(index), "JOB_COMPLETIONS": str(count)}


def _batch(index: int, count: int, *_: int) -> dict[str, str]:
    return {"AWS_BATCH_JOB_ARRAY_INDEX": str(index), "AWS_BATCH_JOB_ARRAY_SIZE": str(count)}


@pytest.mark.parametrize(
    ("scheduler", "first", "step"),
    [(_slurm, 0, 1), (_slurm, 1, 1), (_slurm, 5, 1), (_slurm, 3, 4), (_kubernetes, 0, 1), (_batch, 0, 1)],
)
@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_the_tasks_of_a_schedulers_array_have_every_task_once(scheduler, first, step, count):
    indices = [first + k * step for k in range(count)]
    shares = [list(choose("env", scheduler(index, count, first, step)).numbers(100)) for index in indices]
    assert sorted(chain(*shares)) == list(range(100))
    assert len(shares) == count
    # A lost one, run again in an array of its own, has the same share where the number of all is given.
    again = [list(choose(f"env/{count}", scheduler(index, 1, index, step)).numbers(100)) for index in indices]
    assert again == shares


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0/1", range(10)),
        ("3/4", [3, 7]),
        ("12/64", []),
        ("4", [4]),
        ("3,7-9", [3, 7, 8, 9]),
        ("1-9:4,2", [1, 2, 5, 9]),
        ("5-6,6-7", [5, 6, 7]),
    ],
)
def test_a_share_or_numbers_are_taken_as_they_are_typed(text, numbers):
    assert list(choose(text, {}).numbers(10)) == list(numbers)


@pytest.mark.parametrize(
    ("text", "environment", "told"),
    [
        ("4/4", {}, "task is 4/4: expected a share from 0 to n - 1"),
        ("0/0", {}, "task is 0/0: expected a share"),
        ("-1/4", {}, "task is '-1/4': give i/n"),
        ("1/4/2", {}, "give i/n"),
        ("", {}, "give i/n"),
        ("9-3", {}, "give i/n"),
        ("ENV", {}, "give i/n"),
        (
            "env",
            {},
            r"no scheduler's variables are there.*SLURM_ARRAY_TASK_ID.*JOB_COMPLETION_INDEX.*AWS_BATCH_JOB_ARRAY",
        ),
        ("env/4", {}, "no scheduler's variables are there"),
        ("env", _slurm(0, 2) | _kubernetes(0, 2), "several schedulers.*Slurm.*Kubernetes"),
        ("env", {"SLURM_ARRAY_TASK_ID": "3"}, "SLURM_ARRAY_TASK_COUNT is not there.*give env/n"),
        ("env", {"JOB_COMPLETION_INDEX": "3"}, "JOB_COMPLETIONS is not there.*give env/n"),
        ("env", {"SLURM_ARRAY_TASK_ID": "x", "SLURM_ARRAY_TASK_COUNT": "4"}, "SLURM_ARRAY_TASK_ID of Slurm is 'x'"),
        ("env", _slurm(9, 2) | {"SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "9"}, "do not follow each other"),
        ("env", _kubernetes(0, 0), "expected a share"),
        ("env/0", _kubernetes(0, 4), "expected a share"),
    ],
)
def test_what_does_not_say_which_tasks_is_refused(text, environment, told):
    with pytest.raises(ConfigError, match=told):
        choose(text, environment)


def test_a_number_beyond_the_plan_is_refused():
    with pytest.raises(ConfigError, match="task is 10: the plan has 10 tasks"):
        choose("3,10", {}).numbers(10)
    with pytest.raises(ConfigError, match="the plan has 10 tasks"):
        choose("3-999999999", {}).numbers(10)


@given(st.sets(st.integers(0, 200), min_size=1))
def test_numbers_that_are_told_are_taken_again(numbers):
    assert list(choose(told_numbers(numbers), {}).numbers(201)) == sorted(numbers)


def test_what_lost_shares_had_is_told_in_as_many_ranges():
    lost = chain(range(3, 300_000, 64), range(5, 300_000, 64))
    assert told_numbers(lost) == "3-299971:64,5-299973:64"
    assert told_numbers(range(300_000)) == "0-299999"
