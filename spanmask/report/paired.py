"""Probe runs side by side, and what their paired seeds say of the difference. Terminal and HTML both draw from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from spanmask.escaping import counted, short_digest

#: Seeds below which nothing is said of a difference.
LEAST_SEEDS = 6
#: Figures that count, or are thresholds: no measure of how good a model is.
_NO_MEASURE = ("total", "thresh")

#: The lower and the upper end of an interval.
Ends = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """A finished probe run. name: for people. model, digest: what was fine-tuned. files: what it was evaluated on.

    scores: by seed, evaluation file and figure. chosen: by seed.
    """

    name: str
    task: str
    model: str
    digest: str
    files: tuple[str, ...]
    scores: Mapping[int, Mapping[str, Mapping[str, float]]]
    chosen: Mapping[int, Mapping[str, Any]]

    def figures(self, file: str) -> list[str]:
        """Return the figures of an evaluation file that measure something."""
        return [name for name in next(iter(self.scores.values()))[file] if not name.endswith(_NO_MEASURE)]

    def values(self, file: str, figure: str) -> list[float]:
        """Return a figure of an evaluation file, of each seed."""
        return [scores[file][figure] for scores in self.scores.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A figure of a run minus the same of the first one. first, other: their names.

    seeds: those that both have, in order. differences: one a seed. over_seeds: the 95 % t-interval of their mean, None for fewer than two.
    over_paragraphs: the 95 % interval over the paragraphs of the file, of these seeds' models; None where questions are not told.
    """

    file: str
    figure: str
    first: str
    other: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    over_seeds: Ends | None = None
    over_paragraphs: Ends | None = None

    @property
    def mean(self) -> float | None:
        """The mean difference; None where no seed is in both."""
        return fmean(self.differences) if self.differences else None

    @property
    def verdict(self) -> str:
        """What the seeds say."""
        if len(self.seeds) < LEAST_SEEDS or self.over_seeds is None:
            return f"not enough seeds to say ({len(self.seeds)} of {LEAST_SEEDS})"
        low, high = self.over_seeds
        return "higher" if low > 0 else "lower" if high < 0 else "no difference shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs in order, and the pairs of each other one with the first. seed: by which paragraphs were drawn; resamples: how often."""

    runs: Sequence[Probed]
    pairs: Sequence[Pair]
    seed: int
    resamples: int

    def of(self, file: str, figure: str) -> list[Pair]:
        """Return the pairs of a figure of an evaluation file, by run."""
        return [pair for pair in self.pairs if (pair.file, pair.figure) == (file, figure)]


def sentence(run: Probed) -> str:
    """Return what a run is, in one line."""
    seeds = ", ".join(map(str, run.scores))
    return f"{run.model} ({short_digest(run.digest)}), {run.task}, {counted(len(run.scores), 'seed')}: {seeds}"


def figure_rows(comparison: Comparison, file: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the figures of an evaluation file, with the mean of each run and its standard deviation."""
    for figure in comparison.runs[0].figures(file):
        yield figure, [_spread(run.values(file, figure)) for run in comparison.runs]


def pair_rows(comparison: Comparison, file: str, figure: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what is known of the difference of a figure, a cell for each run but the first."""
    pairs = comparison.of(file, figure)
    yield figure, ["-" if pair.mean is None else f"{pair.mean:+.3f}" for pair in pairs]
    yield "  95% over seeds", [_ends(pair.over_seeds) for pair in pairs]
    if any(pair.over_paragraphs for pair in pairs):
        yield "  95% over paragraphs", [_ends(pair.over_paragraphs) for pair in pairs]
    yield "  so it is", [pair.verdict for pair in pairs]


def explanation(comparison: Comparison) -> list[str]:
    """Return what the intervals are, in sentences."""
    told = [
        "Over seeds: Student's t of the differences between runs of one seed, trained anew. It alone decides what is said, from "
        f"{LEAST_SEEDS} seeds in both runs on; each figure is looked at by itself, and of twenty that are alike one is called different."
    ]
    if any(pair.over_paragraphs for pair in comparison.pairs):
        told.append(
            "Over paragraphs: the same models on other paragraphs of such a file, averaged over the seeds; "
            f"{comparison.resamples:,} resamples, keyed by {comparison.seed}. It knows nothing of other trainings."
        )
    return told


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _ends(ends: Ends | None) -> str:
    return "-" if ends is None else f"{ends[0]:+.3f} to {ends[1]:+.3f}"
