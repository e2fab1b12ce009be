"""Probe runs as a table and as a page: what is known, in both, and no claim that seeds do not carry."""

from __future__ import annotations

import pytest
from terminals import drawn

from spanmask.errors import ConfigError
from spanmask.report.paired import Comparison, Pair, Probed
from spanmask.report.paired_page import paired_page
from spanmask.report.paired_table import render_pairs


def _run(name: str, *values: float) -> Probed:
    scores = {seed: {"dev": {"f1": value, "total": 4}} for seed, value in enumerate(values, start=1)}
    chosen = {seed: {"lr": 3e-5, "batch_size": 16} for seed in scores}
    return Probed(
        name=name, task="qa", model=f"{name}-model", digest="ab" * 32, files=("dev",), scores=scores, chosen=chosen
    )


def _comparison(*runs: Probed, over_paragraphs: tuple[float, float] | None = None) -> Comparison:
    pairs = [
        Pair(
            file="dev",
            figure="f1",
            first=runs[0].name,
            other=run.name,
            seeds=tuple(run.scores),
            differences=tuple(value - 50 for value in run.values("dev", "f1")),
            over_seeds=(0.5, 1.5),
            over_paragraphs=over_paragraphs,
        )
        for run in runs[1:]
    ]
    return Comparison(runs=runs, pairs=pairs, seed=3, resamples=10_000)


def _printed(comparison: Comparison, width: int = 100) -> str:
    return drawn(render_pairs(comparison), width)


def test_table_and_page_tell_the_same_of_six_seeds_and_of_two() -> None:
    six, two = [50.0] * 6, [51.25, 50.75]
    comparison = _comparison(
        _run("words", *six), _run("spans", *[51.0] * 6), _run("few", *two), over_paragraphs=(-1, 2)
    )
    for told in (_printed(comparison), paired_page(comparison)):
        for part in (
            "words-model (abababababababab), qa, 6 seeds: 1, 2, 3, 4, 5, 6",
            "51.000 ± 0.354",
            "+1.000",
            "+0.500 to +1.500",
            "-1.000 to +2.000",
            "higher",
            "not enough seeds to say (2 of 6)",
        ):
            assert part in told
        assert "10,000 resamples, keyed by 3" in " ".join(told.split())
        assert "total" not in told
    assert "higher" not in _printed(_comparison(_run("words", *six), _run("few", *two)))


def test_one_run_stands_alone_without_differences() -> None:
    told = _printed(_comparison(_run("words", 50.0)))
    assert "50.000" in told
    assert "±" not in told.split("\n")[-2]
    assert "minus" not in told
    assert "How to read it" not in paired_page(_comparison(_run("words", 50.0)))


def test_names_and_options_from_outside_are_shown_and_not_obeyed() -> None:
    run = _run("<b>\x1b[2J", 50.0)
    for told in (_printed(_comparison(run)), paired_page(_comparison(run))):
        assert "\x1b" not in told
        assert "␛[2J" in told
    assert "<b>" not in paired_page(_comparison(run))


def test_more_runs_than_can_be_told_apart_have_no_page() -> None:
    runs = [_run(f"run-{number}", 50.0) for number in range(7)]
    with pytest.raises(ConfigError, match="at most 6 can be told apart"):
        paired_page(_comparison(*runs))
    assert "run-6" in _printed(_comparison(*runs), 160)
