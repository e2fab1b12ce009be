"""`compare`: folders of finished probe runs flow in, paired by seed, and what their differences amount to flows out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.errors import ConfigError, MismatchError
from spanmask.escaping import short_digest
from spanmask.options import differing
from spanmask.probes.intervals import RESAMPLES, over_paragraphs, over_seeds
from spanmask.probes.results import QUESTIONS, Named, Questions, Results, read_questions, read_results
from spanmask.report.named import names_of
from spanmask.report.paired import Comparison, Pair, Probed

#: Of a question, by the figure that its mean is (in per cent).
_EXACT, _F1 = ("exact_match", "exact"), ("f1",)
#: What a mean of questions may be away from its figure, in per cent.
_ROUNDED = 1e-6


def compare(folders: Sequence[str], *, seed: int = 0) -> Comparison:
    """Put finished probe runs side by side, each but the first paired with that by seed.

    Parameters
    ----------
    folders
        Of runs.
    seed
        By which paragraphs are drawn.

    Raises
    ------
    ConfigError
        A folder is no finished run, is given twice, or is damaged.
    MismatchError
        Runs are of another task, protocol, training or evaluation files.
    StorageError
        The file system refused.
    """
    names, results = names_of(folders), [read_results(folder) for folder in folders]
    for name, one in zip(names[1:], results[1:], strict=True):
        _require_alike(names[0], results[0], name, one)
    runs = [_probed(name, one) for name, one in zip(names, results, strict=True)]
    told = [_told(folder, one) for folder, one in zip(folders, results, strict=True)]
    pairs = [
        _resampled(pair, told[0], questions, seed)
        for run, questions in zip(runs[1:], told[1:], strict=True)
        for pair in _pairs(runs[0], run)
    ]
    return Comparison(runs=runs, pairs=pairs, seed=seed, resamples=RESAMPLES)


def _require_alike(first_name: str, first: Results, name: str, other: Results) -> None:
    """Refuse runs whose figures are not of the same thing, naming what is not alike."""
    alike: list[tuple[str, str | list[str], str | list[str]]] = [
        ("task", first.task, other.task),
        ("metric", first.metric, other.metric),
        ("evaluation files", _files(first.eval), _files(other.eval)),
        ("figures", _figures(first), _figures(other)),
        ("training files", _files(first.train), _files(other.train)),
    ]
    for what, one, two in alike:
        if one != two:
            raise MismatchError(
                f"{first_name} and {name} cannot be compared: their {what} are {_told_as(one)} and {_told_as(two)}; "
                "give runs that differ in the model alone"
            )
    protocols = [dict(_flat(first.protocol)), dict(_flat(other.protocol))]
    apart = [f"{key} ({one!r:.80} and {two!r:.80})" for key, (one, two) in differing(protocols)]
    if apart:
        raise MismatchError(
            f"{first_name} and {name} cannot be compared: their protocols differ in {'; '.join(apart)}; "
            "give runs that differ in the model alone"
        )


def _flat(options: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _files(files: Sequence[Named]) -> list[str]:
    return sorted(f"{one.name} ({short_digest(one.sha256)})" for one in files)


def _figures(results: Results) -> list[str]:
    return sorted(f"{figure} of {file}" for file, figures in results.seeds[0].scores.items() for figure in figures)


def _told_as(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value) or "none"


def _probed(name: str, results: Results) -> Probed:
    return Probed(
        name=name,
        task=results.task,
        model=results.model.name,
        digest=results.model.sha256,
        files=tuple(one.name for one in results.eval),
        scores={one.seed: one.scores for one in results.seeds},
        chosen={one.seed: one.chosen for one in results.seeds},
    )


def _told(folder: str, results: Results) -> dict[int, Questions]:
    """Return the questions of each seed, none where the run's task has no such; they are held against the figures.

    Raises
    ------
    ConfigError
        Some seeds have none, or figures are not the means of their questions.
    """
    numbers = [one.seed for one in results.seeds]
    if not any((Path(folder) / f"seed-{number}" / QUESTIONS).exists() for number in numbers):
        return {}
    told = {number: read_questions(folder, number) for number in numbers}
    for one in results.seeds:
        for file, figures in one.scores.items():
            for figure, value in figures.items():
                shares = _shares(told[one.seed], file, figure)
                if shares is not None and not abs(100 * shares.mean() - value) < _ROUNDED:
                    raise ConfigError(
                        f"{folder}: {figure} of {file} is {value} for seed {one.seed}, and {100 * shares.mean():.6f} by its {QUESTIONS}; "
                        "copy the run's folder again"
                    )
    return told


def _shares(questions: Questions, file: str, figure: str) -> npt.NDArray[np.float64] | None:
    """Return what a figure is the mean of, (n,) of the questions of a file; None where it is no such mean."""
    of = questions.exact if figure in _EXACT else questions.f1 if figure in _F1 else None
    chosen = questions.of(file)
    return None if of is None or not chosen.any() else of[chosen]


def _pairs(first: Probed, other: Probed) -> Iterator[Pair]:
    seeds = tuple(seed for seed in first.scores if seed in other.scores)
    for file in first.files:
        for figure in first.figures(file):
            values = ((other.scores[seed][file], first.scores[seed][file]) for seed in seeds)
            differences = tuple(of_other[figure] - of_first[figure] for of_other, of_first in values)
            yield Pair(
                file=file,
                figure=figure,
                first=first.name,
                other=other.name,
                seeds=seeds,
                differences=differences,
                over_seeds=over_seeds(differences),
            )


def _resampled(pair: Pair, first: Mapping[int, Questions], other: Mapping[int, Questions], seed: int) -> Pair:
    """Return a pair that knows the interval over paragraphs, of the mean over its seeds, where questions are told.

    Raises
    ------
    MismatchError
        The runs have not answered the same questions.
    """
    if not pair.seeds or not first or not other:
        return pair
    one = first[pair.seeds[0]]
    total = np.zeros(int(one.of(pair.file).sum()))
    for number in pair.seeds:
        for sign, run, name in ((-1, first, pair.first), (1, other, pair.other)):
            shares = _shares(run[number], pair.file, pair.figure)
            if shares is None:
                return pair
            if not _same_questions(one, run[number], pair.file):
                raise MismatchError(
                    f"{pair.first} and {pair.other} cannot be compared: {name} answered other questions of {pair.file} for seed "
                    f"{number} than {pair.first} for seed {pair.seeds[0]}; make the runs anew"
                )
            total += sign * shares
    paragraphs = one.paragraphs[one.of(pair.file)]
    return replace(pair, over_paragraphs=over_paragraphs(100 * total / len(pair.seeds), paragraphs, seed=seed))


def _same_questions(one: Questions, other: Questions, file: str) -> bool:
    """Tell whether the questions of a file, and their paragraphs, are the same in the same order."""
    here, there = one.of(file), other.of(file)
    return [*compress(one.ids, here)] == [*compress(other.ids, there)] and np.array_equal(
        one.paragraphs[here], other.paragraphs[there]
    )
