"""What a finished probe run says: written, read again, and refused where it is not what was written."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import changed_file, changed_json

from spanmask.errors import ConfigError, SpanmaskError
from spanmask.probes import Questions, Results, read_questions, read_results
from spanmask.probes.results import QUESTIONS, RESULTS, Named, SeedResult, write_questions, write_results
from spanmask.storage import remove


def results_of(figures: list[float], **changes: Any) -> Results:
    """Results on one file, of seeds from 1."""
    seeds = tuple(
        SeedResult(seed=number, chosen={"lr": 3e-5}, scores={"dev": {"exact_match": value - 9, "f1": value}})
        for number, value in enumerate(figures, start=1)
    )
    values: dict[str, Any] = {
        "task": "qa",
        "model": Named(name="spans", sha256="ab"),
        "train": (Named(name="shifts", sha256="cd"),),
        "eval": (Named(name="dev", sha256="ef"),),
        "metric": "f1",
        "seeds": seeds,
        "protocol": {"epochs": 2},
    }
    return Results(**values | changes)


def questions_of(f1: list[float], paragraphs: list[int] | None = None) -> Questions:
    numbers = np.array(f1, np.float64)
    return Questions(
        eval=["dev"] * len(f1),
        ids=[f"q{place}" for place in range(len(f1))],
        paragraphs=np.array(range(len(f1)) if paragraphs is None else paragraphs, np.int64),
        exact=(numbers == 1).astype(np.float64),
        f1=numbers,
    )


def test_results_come_back_with_mean_and_deviation_of_the_seeds(tmp_path: Path) -> None:
    write_results(tmp_path, results_of([80.0, 83.0, 86.0]))
    assert read_results(tmp_path) == results_of([80.0, 83.0, 86.0])
    told = json.loads((tmp_path / RESULTS).read_bytes())
    assert told["mean"] == {"dev": {"exact_match": 74.0, "f1": 83.0}}
    assert told["deviation"] == {"dev": {"exact_match": 3.0, "f1": 3.0}}
    assert results_of([80.0]).deviation == {"dev": {"exact_match": None, "f1": None}}


def test_questions_come_back_whatever_their_ids_hold(tmp_path: Path) -> None:
    given = questions_of([0.0, 0.25, 1.0], [0, 0, 5])
    given = Questions(
        eval=given.eval, ids=["\u2028", '"\n', "é"], paragraphs=given.paragraphs, exact=given.exact, f1=given.f1
    )
    write_questions(tmp_path, 3, given)
    back = read_questions(tmp_path, 3)
    assert (tuple(back.eval), tuple(back.ids)) == (tuple(given.eval), tuple(given.ids))
    for name in ("paragraphs", "exact", "f1"):
        np.testing.assert_array_equal(getattr(back, name), getattr(given, name))
    write_questions(tmp_path, 4, questions_of([]))
    assert len(read_questions(tmp_path, 4)) == 0


def test_what_contradicts_itself_is_no_result() -> None:
    one, two = results_of([80.0, 81.0]).seeds
    other = SeedResult(seed=2, chosen={}, scores={"dev": {"f1": 3.0}})
    wrongs: list[dict[str, Any]] = [
        {"seeds": ()},
        {"seeds": (one, one)},
        {"seeds": (one, other)},
        {"eval": ()},
        {"eval": results_of([1.0]).eval * 2},
        {"eval": (Named(name="test", sha256="ef"),)},
        {"metric": "accuracy"},
    ]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="expected"):
            results_of([80.0], **wrong)
    assert results_of([80.0], seeds=(one, two)).seeds == (one, two)


def test_a_run_that_is_not_finished_or_of_another_version_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no results\.json there; .* come to its end"):
        read_results(tmp_path)
    (tmp_path / RESULTS).write_text('{"version": 2}')
    with pytest.raises(ConfigError, match="of version 2, this spanmask reads 1"):
        read_results(tmp_path)
    with pytest.raises(ConfigError, match=r"questions\.jsonl: no such file"):
        read_questions(tmp_path, 1)


def test_hostile_results_are_read_or_refused_by_name(tmp_path: Path) -> None:
    rng, told, path = random.Random(5), results_of([80.0, 83.0]).to_json(), tmp_path / RESULTS
    read: list[Results] = []
    refused: list[str] = []
    for _ in range(400):
        path.write_text(json.dumps(changed_json(told, rng)))
        try:
            read.append(read_results(tmp_path))
        except ConfigError as error:
            refused.append(str(error))
    assert len(read) > 20
    assert all(one.to_json().keys() == told.keys() for one in read)
    for _ in range(60):
        remove(path)
        write_results(tmp_path, results_of([80.0]))
        changed_file(path, rng)
        try:
            read_results(tmp_path)
        except SpanmaskError as error:
            refused.append(str(error))
    assert len(refused) > 200
    assert all(str(tmp_path) in message for message in refused)


@pytest.mark.parametrize(
    "change",
    [
        {"f1": 1.5}, {"f1": None}, {"f1": "1"}, {"f1": float("nan")}, {"exact": -1}, {"exact": True}, {"paragraph": 1.0},
        {"paragraph": 1 << 63}, {"id": 7}, {"eval": None}, {"id": "q1"}, {"f1": 10**400},
    ],
)  # fmt: skip
def test_a_line_that_no_probe_writes_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    write_questions(tmp_path, 1, questions_of([0.5, 1.0]))
    path = tmp_path / "seed-1" / QUESTIONS
    first, second = path.read_text().splitlines()
    path.write_text(json.dumps(json.loads(first) | change) + f"\n{second}\n")
    with pytest.raises(ConfigError, match=QUESTIONS):
        read_questions(tmp_path, 1)
    path.write_text(f"{first[:-3]}\n{second}\n")
    with pytest.raises(ConfigError, match=rf"{QUESTIONS}:1: no JSON object"):
        read_questions(tmp_path, 1)
