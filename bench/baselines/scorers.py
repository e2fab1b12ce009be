"""Scorers of others, each as a process of its own: ``python -m spanmask_bench.baselines.scorers NAME GOLD PREDICTIONS``.

Those of coreference are given entities as JSON, ``{"document": [[[first, last], …], …]}``, so that they parse no CoNLL. Each prints what it
found, as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spanmask.probes.scores.conll_files import files


def torchmetrics(gold: str, predictions: str) -> Any:
    """Return exact match and F1 of SQuAD 1.1 by torchmetrics, which imports torch and has tensors of one number."""
    squad = importlib.import_module("torchmetrics.functional.text.squad").squad
    predicted = _read(predictions)
    asked = [
        {
            "id": question["id"],
            "answers": {"text": [answer["text"] for answer in question["answers"]], "answer_start": [0]},
        }
        for article in _read(gold)["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    given = [{"id": question["id"], "prediction_text": predicted[question["id"]]} for question in asked]
    return {name: float(value) for name, value in squad(given, asked).items()}


def scorch(gold: str, predictions: str) -> Any:
    """Return recall, precision and F1 of each document by scorch: MUC, B³, both CEAF and BLANC; it knows no LEA."""
    scores = importlib.import_module("scorch.scores")
    metrics = {
        "muc": scores.muc,
        "bcub": scores.b_cubed,
        "ceafm": scores.ceaf_m,
        "ceafe": scores.ceaf_e,
        "blanc": scores.blanc,
    }
    found = {}
    predicted = _read(predictions)
    for name, entities in _read(gold).items():
        sides = [[set(map(tuple, mentions)) for mentions in side] for side in (entities, predicted[name])]
        found[name] = {metric: [float(value) for value in count(*sides)] for metric, count in metrics.items()}
    return found


def coreference_eval(gold: str, predictions: str) -> Any:
    """Return precision, recall and F1 by coreference-eval: MUC, B³, CEAF by entities and LEA, right where no entity has one mention."""
    corefeval = importlib.import_module("corefeval")
    scorer, predicted = corefeval.Scorer(), _read(predictions)
    for name, entities in _read(gold).items():
        scorer.update(corefeval.Document(predicted=predicted[name], truth=entities))
    return scorer.detailed_score("", "", verbose=False)[1]


def json_alone(gold: str, predictions: str) -> Any:
    """Read both files as JSON."""
    return [len(_read(path)) for path in (gold, predictions)]


def lines_alone(gold: str, predictions: str) -> Any:
    """Read both files, archives too, as lines."""
    return [sum(len(data.split(b"\n")) for _, _, data in files(Path(path))) for path in (gold, predictions)]


def _read(path: str) -> Any:
    return json.loads(Path(path).read_bytes())


SCORERS: dict[str, Callable[[str, str], Any]] = {
    function.__name__: function for function in (torchmetrics, scorch, coreference_eval, json_alone, lines_alone)
}

if __name__ == "__main__":
    json.dump(SCORERS[sys.argv[1]](*sys.argv[2:]), sys.stdout)
