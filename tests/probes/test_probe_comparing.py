"""Probe runs side by side: paired by seed, no claim from few seeds, nothing compared that is not alike."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import changed_json
from probes.test_probe_results import questions_of, results_of

from spanmask.errors import ConfigError, MismatchError, SpanmaskError
from spanmask.probes.comparing import compare
from spanmask.probes.results import QUESTIONS, RESULTS, Named, Questions, SeedResult, write_questions, write_results
from spanmask.report.paired import Comparison, Pair


def write_run(
    folder: Path, figures: Sequence[float], *, seeds: Sequence[int] = (), questions: bool = False, **changes: Any
) -> str:
    """Write a finished run of seeds, from 1 where none are named, with an F1 each; return its folder."""
    numbers = [*seeds] or [*range(1, len(figures) + 1)]
    folder.mkdir(exist_ok=True)
    made = []
    for number, figure in zip(numbers, figures, strict=True):
        told = _answered(figure / 100, number)
        scores = {
            "dev": {"exact_match": float(100 * told.exact.mean()), "f1": float(100 * told.f1.mean()), "total": 24}
        }
        made.append(SeedResult(seed=number, chosen={"lr": 3e-5}, scores=scores))
        if questions:
            write_questions(folder, number, told)
    write_results(folder, results_of([1.0], seeds=tuple(made), **changes))
    return str(folder)


def _answered(mean: float, seed: int) -> Questions:
    """24 questions of 6 paragraphs, whose F1 have a mean."""
    drawn = np.random.default_rng(seed).uniform(0, 0.1, 24)
    return questions_of((drawn - drawn.mean() + mean).tolist(), [place // 4 for place in range(24)])


def _pair(comparison: Comparison, figure: str = "f1") -> Pair:
    [pair] = comparison.of("dev", figure)
    return pair


def test_runs_are_paired_by_seed_whatever_their_order(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", [50, 60, 70, 55], seeds=[4, 2, 9, 7])
    other = write_run(tmp_path / "other", [61, 71, 50.5], seeds=[2, 9, 11])
    pair = _pair(compare([first, other]))
    assert pair.seeds == (2, 9)
    assert pair.differences == pytest.approx((1, 1))
    assert pair.mean == pytest.approx(1)
    assert pair.over_paragraphs is None
    assert {one.figure for one in compare([first, other]).pairs} == {"exact_match", "f1"}


@pytest.mark.parametrize(("shift", "verdict"), [(2.0, "higher"), (-2.0, "lower"), (0.01, "no difference shown")])
def test_six_seeds_say_what_five_do_not(tmp_path: Path, shift: float, verdict: str) -> None:
    noise = [0.3, -0.2, 0.1, -0.3, 0.2, -0.1]
    first = write_run(tmp_path / "first", [60 + value for value in noise])
    six = write_run(tmp_path / "six", [60 + shift - value for value in noise])
    five = write_run(tmp_path / "five", [60 + shift - value for value in noise[:5]])
    assert _pair(compare([first, six])).verdict == verdict
    few = _pair(compare([first, five]))
    assert few.verdict == "not enough seeds to say (5 of 6)"
    assert few.over_seeds is not None
    none = _pair(compare([first, write_run(tmp_path / "none", [60], seeds=[99])]))
    assert (none.verdict, none.mean, none.over_seeds) == ("not enough seeds to say (0 of 6)", None, None)


def test_paragraphs_are_resampled_where_both_runs_tell_their_questions(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", [50, 60], questions=True)
    other = write_run(tmp_path / "other", [55, 62], questions=True)
    silent = write_run(tmp_path / "silent", [50, 60])
    found = compare([first, other, silent])
    told, untold = found.of("dev", "f1")
    assert untold.over_paragraphs is None
    # Of each seed, all questions are as much better: nothing is left to chance but the rounding.
    assert told.over_paragraphs == pytest.approx((3.5, 3.5))
    again = compare([first, other, silent], seed=1)
    assert (again.seed, again.resamples) == (1, 10_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "relation"}, "their task are qa and relation"),
        ({"eval": (Named(name="dev", sha256="00"),)}, r"their evaluation files are dev \(ef\) and dev \(00\)"),
        ({"train": ()}, r"their training files are shifts \(cd\) and none"),
        ({"protocol": {"epochs": 4}}, r"their protocols differ in epochs \(2 and 4\)"),
        ({"protocol": {"epochs": 2, "fine": {"clip": 0.5}}}, r"their protocols differ in fine\.clip \(None and 0\.5\)"),
        ({"metric": "exact_match"}, "their metric are f1 and exact_match"),
    ],
)
def test_runs_that_differ_in_more_than_the_model_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    first = write_run(tmp_path / "first", [50])
    assert compare([first, write_run(tmp_path / "like", [51], model=Named(name="x", sha256="y"))]).pairs
    with pytest.raises(MismatchError, match=rf"first and other cannot be compared: {message}"):
        compare([first, write_run(tmp_path / "other", [51], **change)])


def test_runs_of_other_questions_or_figures_are_refused(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", [50, 60], questions=True)
    other = write_run(tmp_path / "other", [50, 60], questions=True)
    told = _answered(0.6, 2)
    write_questions(other, 2, replace(told, ids=[*told.ids[:-1], "q99"]))
    with pytest.raises(MismatchError, match=r"other answered other questions of dev for seed 2"):
        compare([first, other])
    write_questions(other, 2, replace(told, f1=told.f1 * 0.5))
    with pytest.raises(ConfigError, match=r"f1 of dev is 60\.\d+ for seed 2, and 30\.\d+ by its questions\.jsonl"):
        compare([first, other])
    (tmp_path / "other" / "seed-2" / QUESTIONS).unlink()
    with pytest.raises(ConfigError, match=r"seed-2/questions\.jsonl: no such file"):
        compare([first, other])
    with pytest.raises(ConfigError, match="given twice"):
        compare([first, first])
    with pytest.raises(ConfigError, match=r"no results\.json there"):
        compare([first, str(tmp_path)])


def test_hostile_runs_are_compared_or_refused(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", [50, 60], questions=True)
    other = write_run(tmp_path / "other", [50, 60], questions=True)
    rng, told = random.Random(11), json.loads((tmp_path / "other" / RESULTS).read_bytes())
    refused = 0
    for _ in range(60):
        (tmp_path / "other" / RESULTS).write_text(json.dumps(changed_json(told, rng)))
        try:
            compare([first, other])
        except SpanmaskError:
            refused += 1
    assert 20 < refused < 60
