"""SemEval-2010 task 8: macro-averaged scores over its relations, as the task's semeval2010_task8_scorer-v1.2.pl computes them.

https://github.com/vzhong/semeval/blob/master/dataset/SemEval2010_task8_scorer-v1.2/semeval2010_task8_scorer-v1.2.pl is a copy. Its official
score is that of the (9 + 1)-way evaluation that takes direction into account: a relation found with its arguments the wrong way round is
wrong, and a prediction of that relation. Other is left out of the mean, and an example without a prediction counts as Other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores.reading import lines_of, read_text, tell_unmatched

OTHER = "Other"
RELATIONS = (
    "Cause-Effect",
    "Component-Whole",
    "Content-Container",
    "Entity-Destination",
    "Entity-Origin",
    "Instrument-Agency",
    "Member-Collection",
    "Message-Topic",
    "Product-Producer",
)
LABELS = frozenset({OTHER, *(f"{name}({order})" for name in RELATIONS for order in ("e1,e2", "e2,e1"))})
_LINE = re.compile(r"([0-9]+)\t(.+)")


def score(gold: str | Path, predictions: str | Path) -> dict[str, float]:
    """Score a file against a key: in both, lines of a number, a tab and a label such as ``Cause-Effect(e2,e1)``, in any order.

    Returns
    -------
    dict[str, float]
        ``precision``, ``recall`` and ``f1``, each the mean over the relations that the key has, Other left out; in per cent.

    Raises
    ------
    ConfigError
        A file is missing or empty, or the key has no relation.
    CorpusError
        A line is not what it should be, a number stands twice, or the key has not all numbers of the predictions.
    StorageError
        The file system refused.
    """
    answers, predicted = _read(gold), _read(predictions)
    unknown = [name for name in predicted if name not in answers]
    if unknown:
        message = f"{len(unknown):,} numbers, {unknown[0]} the first, that {gold} has not; take them out"
        raise CorpusError(message, path=str(predictions))
    if set(answers.values()) == {OTHER}:
        raise ConfigError(f"{gold}: every label is {OTHER}, expected some relations")
    tell_unmatched(answers, predicted, predictions, counted=f"they count as {OTHER}")
    return macro_scores(answers, predicted)


def macro_scores(answers: Mapping[str, str], predicted: Mapping[str, str]) -> dict[str, float]:
    """Return the means of ``precision``, ``recall`` and ``f1`` over the relations of the answers. Both: labels by number."""
    wanted = Counter(map(_relation, answers.values()))
    found = Counter(map(_relation, predicted.values()))
    correct = Counter(_relation(label) for name, label in predicted.items() if answers[name] == label)
    relations = sorted(wanted.keys() - {OTHER})
    triples = [_triple(correct[name], found[name], wanted[name]) for name in relations]
    means = (sum(column) / len(relations) for column in zip(*triples, strict=True))
    return dict(zip(("precision", "recall", "f1"), means, strict=True))


def _triple(correct: int, found: int, wanted: int) -> tuple[float, float, float]:
    precision, recall = 100.0 * correct / found if found else 0.0, 100.0 * correct / wanted
    return precision, recall, 2 * precision * recall / (precision + recall) if correct else 0.0


def _relation(label: str) -> str:
    return label.partition("(")[0]


def _read(path: str | Path) -> dict[str, str]:
    labels: dict[str, str] = {}
    for number, line in enumerate(lines_of(read_text(path)), 1):
        told = _LINE.fullmatch(line)
        if told is None or told[2] not in LABELS:
            message = f"{line[:60]!r}, expected a number, a tab and {OTHER} or a relation such as Cause-Effect(e2,e1)"
            raise CorpusError(message, path=str(path), line=number)
        if told[1] in labels:
            raise CorpusError(f"number {told[1]} stands twice; leave one", path=str(path), line=number)
        labels[told[1]] = told[2]
    if not labels:
        raise ConfigError(f"{path}: no labels; is it the right file?")
    return labels
