"""SQuAD 1.1's exact match and F1, as https://github.com/allenai/bi-att-flow/blob/master/squad/evaluate-v1.1.py computes them.

That program is the one of https://rajpurkar.github.io/SQuAD-explorer/. A question without a prediction counts 0; where prediction and
answer are both empty once normalized, they match exactly, and their F1 is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from spanmask.errors import CorpusError
from spanmask.probes.scores.answers import best, normalized
from spanmask.probes.scores.questions import read_predictions, read_squad
from spanmask.probes.scores.reading import tell_unmatched


def score(gold: str | Path, predictions: str | Path) -> dict[str, float]:
    """Score a file of predicted answers by question id against a file in SQuAD's layout.

    Returns
    -------
    dict[str, float]
        ``exact_match`` and ``f1``, in per cent of all questions.

    Raises
    ------
    ConfigError
        A file is missing, or of another layout.
    CorpusError
        Something in a file is not what it should be, or a question has no answer.
    StorageError
        The file system refused.
    """
    answers, predicted = read_squad(gold), read_predictions(predictions)
    unanswerable = next((name for name, texts in answers.items() if not texts), None)
    if unanswerable is not None:
        message = f"question {unanswerable!r} has no answer, as some of SQuAD 2.0 have; score those with squad2"
        raise CorpusError(message, path=str(gold))
    tell_unmatched(answers, predicted, predictions, counted="they count 0")
    return mean_scores(answers, predicted)


def question_scores(answers: Mapping[str, Iterable[str]], predicted: Mapping[str, str]) -> dict[str, tuple[int, float]]:
    """Return exact match, 0 or 1, and F1 of each prediction, by id of its question. answers: accepted ones, by id."""
    return {
        name: best(predicted[name], {*map(normalized, texts)}, nothing=0.0)
        for name, texts in answers.items()
        if name in predicted
    }


def mean_scores(answers: Mapping[str, Iterable[str]], predicted: Mapping[str, str]) -> dict[str, float]:
    """Return ``exact_match`` and ``f1`` in per cent of the questions. answers: accepted ones, by id; predicted: at most one an id."""
    pairs = question_scores(answers, predicted).values()
    exact, f1 = (sum(column) for column in zip(*pairs, strict=True)) if pairs else (0, 0.0)
    return {"exact_match": 100.0 * exact / len(answers), "f1": 100.0 * f1 / len(answers)}
