"""SQuAD 2.0's scores, as https://worksheets.codalab.org/rest/bundles/0x6b567e1cf2e041ec80d7098f031c5c9e/contents/blob/ computes them.

That program is evaluate-v2.0.py of https://rajpurkar.github.io/SQuAD-explorer/. An empty prediction says that a question has no answer; so
does a figure above `THRESHOLD` where those are given. It stops at a question without a prediction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path

from spanmask.errors import CorpusError
from spanmask.probes.scores.answers import best, normalized
from spanmask.probes.scores.questions import read_predictions, read_squad
from spanmask.probes.scores.reading import read_object, refuse, tell_unmatched

#: A question counts as said to have no answer where its figure is above this: the official program's default, meant for probabilities.
THRESHOLD = 1.0


def score(gold: str | Path, predictions: str | Path, *, na_prob: str | Path | None = None) -> dict[str, float]:
    """Score a file of predicted answers by question id against a file in SQuAD's layout.

    Parameters
    ----------
    gold, predictions
        The files.
    na_prob
        A file of figures by question id that are the higher the surer it is that there is no answer: a JSON object of numbers.

    Returns
    -------
    dict[str, float]
        ``exact``, ``f1`` and ``total``; the same with ``HasAns_`` and ``NoAns_`` of the questions that have answers and those that have
        none, where there are such; with ``na_prob``, ``best_exact``, ``best_exact_thresh``, ``best_f1`` and ``best_f1_thresh``: an
        oracle's, since the thresholds are chosen on ``gold`` itself. Scores in per cent.

    Raises
    ------
    ConfigError
        A file is missing, or of another layout.
    CorpusError
        Something in a file is not what it should be, or a question lacks a prediction or a figure.
    StorageError
        The file system refused.
    """
    answers, predicted = read_squad(gold), read_predictions(predictions)
    _require_all(answers, predicted, predictions, 'prediction; one that says "no answer" is ""')
    tell_unmatched(answers, predicted, predictions)
    figures = {} if na_prob is None else _read_figures(na_prob)
    if na_prob is not None:
        _require_all(answers, figures, na_prob, "figure")
    pairs = question_scores(answers, predicted)
    said = {name for name in answers if figures.get(name, 0.0) > THRESHOLD}
    final = {name: (not answers[name], not answers[name]) if name in said else pair for name, pair in pairs.items()}
    scores = mean_scores(answers, final)
    for column, name in enumerate(("exact", "f1") if figures else ()):
        raw = {question: pair[column] for question, pair in pairs.items()}
        scores[f"best_{name}"], scores[f"best_{name}_thresh"] = best_threshold(raw, answers, predicted, figures)
    return scores


def question_scores(answers: Mapping[str, Sequence[str]], predicted: Mapping[str, str]) -> dict[str, tuple[int, float]]:
    """Return exact match, 0 or 1, and F1 of each question's prediction, by id. answers: accepted ones, none where there is no answer."""
    return {name: best(predicted[name], _accepted(texts), nothing=1.0) for name, texts in answers.items()}


def mean_scores(answers: Mapping[str, Sequence[str]], pairs: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Return ``exact``, ``f1`` and ``total`` of all questions, and of those with and without answers, scores in per cent."""
    scores = _means(pairs)
    for prefix, which in (("HasAns", True), ("NoAns", False)):
        some = {name: pair for name, pair in pairs.items() if bool(answers[name]) is which}
        scores |= {f"{prefix}_{name}": value for name, value in _means(some).items()}
    return scores


def best_threshold(
    scores: Mapping[str, float],
    answers: Mapping[str, Iterable[str]],
    predicted: Mapping[str, str],
    figures: Mapping[str, float],
) -> tuple[float, float]:
    """Return the best mean score in per cent of any threshold, and the first figure that reaches it; all by question id.

    The sweep begins with every question said to have no answer, at threshold 0, and takes answers in one after another by ascending figure,
    equal ones as ``figures`` has them. Hence a threshold may part questions of equal figures, as the official program's may.
    """
    total = top = float(sum(not texts for texts in answers.values()))
    threshold = 0.0
    for name in sorted(figures, key=figures.__getitem__):
        if name in scores:
            total += scores[name] if answers[name] else -bool(predicted[name])
            if total > top:
                top, threshold = total, figures[name]
    return 100.0 * top / len(scores), threshold


def _accepted(texts: Sequence[str]) -> set[str]:
    """Return answers normalized, but for empty ones; without any other, the empty one is right, whether the question has answers or not."""
    return {*map(normalized, texts)} - {""} or {""}


def _means(pairs: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    if not pairs:
        return {}
    exact, f1 = (100.0 * sum(column) / len(pairs) for column in zip(*pairs.values(), strict=True))
    return {"exact": exact, "f1": f1, "total": len(pairs)}


def _require_all(answers: Mapping[str, object], found: Mapping[str, object], path: str | Path, noun: str) -> None:
    missing = [name for name in answers if name not in found]
    if missing:
        message = f"{len(missing):,} of {len(answers):,} questions, {missing[0]!r} the first, lack a {noun}"
        raise CorpusError(message, path=str(path))


def _read_figures(path: str | Path) -> dict[str, float]:
    content = read_object(path, 'figures by id, {"ID": NUMBER}')
    for name, value in content.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse(path, f"the figure of {name!r}", value, "a number")
        if not _finite(value):
            raise CorpusError(f"the figure of {name!r} is {value!s:.20}, expected a finite number", path=str(path))
    return content


def _finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False
