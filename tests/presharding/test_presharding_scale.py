"""Corpora of very many files: what a run does for each of them takes no longer the more there are. Nothing of the files is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from spanmask.config import Format, PreshardConfig
from spanmask.corpus.inputs import InputFile
from spanmask.presharding import units
from spanmask.presharding.planning import Plan, make_plan
from spanmask.vocab import load_vocabulary

MANY = 16_000


def seconds(function: Callable[[], object]) -> float:
    """Return the processor's seconds."""
    start = time.process_time()
    function()
    return time.process_time() - start


def plan_of(count: int, size: int, compression: str | None = None) -> Plan:
    """The plan of so many files of so many bytes."""
    config = PreshardConfig.of(seed=7)
    files = [
        InputFile(
            index=number,
            path=f"/nowhere/{number:06}.txt",
            name=f"{number:06}.txt",
            size=size,
            mtime_ns=number,
            format=Format.TEXT,
            compression=compression,
        )
        for number in range(count)
    ]
    return make_plan(config, load_vocabulary(config.vocabulary), files)


def test_planning_takes_as_long_a_file_for_many_files() -> None:
    """So many that one task joins all: 16,000 of them took three seconds when each was added to all before it."""
    plans: list[Plan] = []
    assert seconds(lambda: plans.append(plan_of(MANY, 100))) < 1.5
    assert [len(task.parts) for task in plans[0].tasks] == [MANY]


def test_what_is_done_is_sorted_out_once_and_not_for_every_large_compressed_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = plan_of(1, 1)
    plan = replace(one, tasks=tuple(replace(one.tasks[0], number=number, streamed=True) for number in range(2_000)))
    skipped: list[set[int]] = []
    monkeypatch.setattr(units, "stream_blocks", lambda file, config, size, skip, rooms: skipped.append(skip) or ())
    done = {f"{number % 2_000:05}-{number // 2_000:05}" for number in range(40_000)}
    done |= {f"{number:05}-{units.END:05}" for number in range(2_000)}
    assert seconds(lambda: list(units.all_units(plan, done))) < 2
    assert skipped == [{*range(20), units.END}] * 2_000
