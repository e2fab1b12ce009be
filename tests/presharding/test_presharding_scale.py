"""Corpora of very many files: what a run does for each of them takes no longer the more there are. Nothing of the files is there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spanmask import presharding
from spanmask.config import Format, PreshardConfig
from spanmask.corpus.inputs import InputFile, find_inputs
from spanmask.errors import ConfigError
from spanmask.presharding import units
from spanmask.presharding.planning import Plan, make_plan
from spanmask.presharding.state import RunState
from spanmask.presharding.units import Pipeline
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


def test_each_of_many_files_is_looked_at_three_times_to_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each folder above it: a network file system answers a thousand such questions a second."""
    deep = tmp_path.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    for number in range(200):
        (deep / f"{number}.txt").write_text("The cat sat.\n")
    (deep / "link.txt").symlink_to(tmp_path / "elsewhere.txt")
    (tmp_path / "elsewhere.txt").write_text("The dog sat.\n")
    asked: list[str] = []
    for name in ("stat", "lstat"):
        of_system = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path, *rest, ask=of_system, **options: asked.append(path) or ask(path, *rest, **options)
        )
    assert len(find_inputs([tmp_path / "a"], Format.AUTO).files) == 201
    assert len(asked) < 4 * 201
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="named twice"):
        find_inputs([tmp_path / "a", tmp_path / "elsewhere.txt"], Format.AUTO)


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


def test_a_task_among_many_asks_for_its_own_receipt_and_lists_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.txt").write_text("The cat sat on the mat, and the dog on the cat that sat there.\n" * 40)
    plan = presharding.plan(tmp_path / "text.txt", tmp_path / "out", PreshardConfig.of(seed=7, shard_bytes=1 << 10))
    assert len(plan.tasks) > 2

    def listing(*_: object) -> list[str]:
        raise AssertionError("the receipts of all tasks were listed")

    monkeypatch.setattr(RunState, "units", listing)
    first = presharding.run_unit(plan, 1)
    monkeypatch.setattr(Pipeline, "run", listing)
    assert presharding.run_unit(plan, 1) == first
