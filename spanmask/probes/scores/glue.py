"""GLUE's metrics (https://gluebenchmark.com/tasks), as https://github.com/nyu-mll/GLUE-baselines reckons them with scikit-learn and SciPy.

Gold files are the official TSVs that have labels, as ``dev.tsv``; predictions are what one submits: ``index`` and ``prediction`` under a
header, tab-separated. The index is the gold file's own where it has that column, else the number of the row from 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan, sqrt
from pathlib import Path

from spanmask._lazy import told_by_extra
from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores.reading import lines_of, read_text

_BINARY, _ENTAILS = ("0", "1"), ("entailment", "not_entailment")
_NLI = ("contradiction", "entailment", "neutral")


def accuracy(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the share of predictions that are right, in [0, 1]."""
    return sum(map(str.__eq__, gold, predicted)) / len(gold)


def f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return F1 of the label ``1`` in [0, 1]; 0 where nobody has it."""
    hits, found, wanted = _counts(gold, predicted)
    return 2 * hits / (found + wanted) if found + wanted else 0.0


def matthews(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return Matthews' correlation of the labels ``0`` and ``1`` in [-1, 1]; 0 where either has one of them only."""
    hits, found, wanted = _counts(gold, predicted)
    total = len(gold)
    spread = found * (total - found) * wanted * (total - wanted)
    return (total * hits - found * wanted) / sqrt(spread) if spread else 0.0


def pearson(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return Pearson's correlation of numbers, by SciPy; NaN where there is none."""
    return _correlation("pearsonr", gold, predicted)


def spearman(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Return Spearman's correlation of numbers, by SciPy; NaN where there is none."""
    return _correlation("spearmanr", gold, predicted)


Metric = Callable[[Sequence[str], Sequence[str]], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class GlueTask:
    """A task as the official download has it.

    folder: its folder there, and the file of its predictions in a submission. texts: the columns of a text, or of a pair of them. column:
    that of labels. header: the columns of files with labels, where these do not begin with a header. labels: in the order of a head's
    scores, none for numbers. parts: what the names of its files to score and to submit end with, ``dev_matched.tsv`` and ``MNLI-m.tsv``.
    """

    folder: str
    metrics: Mapping[str, Metric]
    texts: tuple[str, ...] = ("sentence1", "sentence2")
    column: str = "label"
    header: tuple[str, ...] = ()
    labels: tuple[str, ...] = _BINARY
    parts: Mapping[str, str] = field(default_factory=lambda: {"": ""})


_ACCURACY: dict[str, Metric] = {"accuracy": accuracy}
_BOTH: dict[str, Metric] = {"f1": f1, "accuracy": accuracy}
TASKS = {
    "cola": GlueTask(
        folder="CoLA",
        texts=("sentence",),
        header=("source", "label", "star", "sentence"),
        metrics={"matthews_correlation": matthews},
    ),
    "sst2": GlueTask(folder="SST-2", texts=("sentence",), metrics=_ACCURACY),
    "mrpc": GlueTask(folder="MRPC", texts=("#1 String", "#2 String"), column="Quality", metrics=_BOTH),
    "stsb": GlueTask(folder="STS-B", column="score", labels=(), metrics={"pearson": pearson, "spearman": spearman}),
    "qqp": GlueTask(folder="QQP", texts=("question1", "question2"), column="is_duplicate", metrics=_BOTH),
    "mnli": GlueTask(
        folder="MNLI",
        column="gold_label",
        labels=_NLI,
        parts={"_matched": "-m", "_mismatched": "-mm"},
        metrics=_ACCURACY,
    ),
    "qnli": GlueTask(folder="QNLI", texts=("question", "sentence"), labels=_ENTAILS, metrics=_ACCURACY),
    "rte": GlueTask(folder="RTE", labels=_ENTAILS, metrics=_ACCURACY),
    "wnli": GlueTask(folder="WNLI", metrics=_ACCURACY),
}


def score(gold: str | Path, predictions: str | Path, *, task: str) -> dict[str, float]:
    """Score a file of predictions against a task's TSV.

    Returns
    -------
    dict[str, float]
        ``accuracy``, ``f1`` (of the label 1) with it, ``matthews_correlation``, or ``pearson`` and ``spearman``, as the task has them.

    Raises
    ------
    ConfigError
        A file is missing or of another layout, or the task is none.
    CorpusError
        A label is none of the task's, an index stands twice, the indices of both are not the same, or nothing varies that should correlate.
    StorageError
        The file system refused.
    MissingExtraError
        SciPy is not installed, which STS-B needs.
    """
    if task not in TASKS:
        raise ConfigError(f"no task {task!r} of GLUE, expected one of {', '.join(TASKS)}")
    chosen = TASKS[task]
    wanted = _labels(gold, chosen, chosen.column, chosen.header)
    found = _labels(predictions, chosen, "prediction")
    if wanted.keys() != found.keys():
        odd = sorted(wanted.keys() ^ found.keys())
        message = f"{len(found):,} predictions, {gold} has {len(wanted):,} labels, and index {odd[0]} is in one alone; give one for each"
        raise CorpusError(message, path=str(predictions))
    in_order = [found[index] for index in wanted]
    figures = {name: metric([*wanted.values()], in_order) for name, metric in chosen.metrics.items()}
    if not all(map(isfinite, figures.values())):
        message = f"no correlation with {gold}: in one of them all numbers are the same, or too large; nothing can be said of such"
        raise CorpusError(message, path=str(predictions))
    return figures


def _labels(path: str | Path, task: GlueTask, column: str, header: tuple[str, ...] = ()) -> dict[str, str]:
    """Return labels by index. column: where they stand. header: the columns, where the file does not begin with them."""
    rows = [line.split("\t") for line in lines_of(read_text(path))]
    names = list(header) or (rows.pop(0) if rows else [])
    needed = {column, "index"} if column == "prediction" else {column}
    if not needed <= set(names):
        expected = " and ".join(sorted(map(repr, needed)))
        raise ConfigError(
            f"{path}: the first line is {names!s:.80}, expected tab-separated columns, {expected} among them"
        )
    if not rows:
        raise ConfigError(f"{path}: no labels; is it the right file?")
    place = names.index(column)
    index = names.index("index") if "index" in names else None
    labels: dict[str, str] = {}
    for number, row in enumerate(rows):
        name = str(number) if index is None else row[index] if index < len(row) else ""
        line = number + 1 + (not header)
        label = row[place] if place < len(row) else ""
        if not fits(label, task.labels):
            expected = " or ".join(task.labels) or "a number"
            raise CorpusError(f"{label[:40]!r}, expected {expected}", path=str(path), line=line)
        if name in labels:
            raise CorpusError(f"index {name!r} stands twice; leave one", path=str(path), line=line)
        labels[name] = label
    return labels


def fits(label: str, labels: tuple[str, ...]) -> bool:
    """Tell whether a text is one of a task's labels, or, where it has none, a number."""
    if labels:
        return label in labels
    try:
        return isfinite(float(label))
    except ValueError:
        return False


def _counts(gold: Sequence[str], predicted: Sequence[str]) -> tuple[int, int, int]:
    """Return how often both say ``1``, the predictions do, and the gold labels do."""
    hits = sum(label == guess == "1" for label, guess in zip(gold, predicted, strict=True))
    return hits, predicted.count("1"), gold.count("1")


def _correlation(measure: str, gold: Sequence[str], predicted: Sequence[str]) -> float:
    try:
        from scipy import stats
    except ModuleNotFoundError as error:
        raise told_by_extra("a correlation", error) from None
    numbers = [[*map(float, column)] for column in (gold, predicted)]
    if min(len(set(column)) for column in numbers) < 2:
        return nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What overflows there comes out as NaN.
        return float(getattr(stats, measure)(*numbers).statistic)
