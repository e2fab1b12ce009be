"""Decoded answers in, the files out that official programs read: predictions.json, nbest_predictions.json and null_odds.json.

The layouts are run_squad.py's: by question id the text; a list of ``{"text", "probability", "start_logit", "end_logit"}``; and by how much
the null answer scores higher than the best other one, which SQuAD 2.0's program takes as ``--na-prob-file``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.probes.qa.decoding import Decoded
from spanmask.probes.qa.questions import Layout, Questions

PREDICTIONS, NBEST, NULL_ODDS = "predictions.json", "nbest_predictions.json", "null_odds.json"

Scores = npt.NDArray[np.float64]
#: An answer and its start and end logits.
_Entry = tuple[str, float, float]


def best_texts(questions: Questions, decoded: Decoded) -> dict[str, str]:
    """Return the best answer of each question by its id, never the null answer; nothing where no answer was found."""
    found = _answers(questions, decoded, 1)
    return {name: answers[0][0] if answers else "" for name, answers in zip(questions.ids, found, strict=True)}


def with_threshold(texts: dict[str, str], null_odds: dict[str, float], threshold: float) -> dict[str, str]:
    """Return no answer for questions whose null answer scores higher by more than a threshold."""
    return {name: "" if null_odds[name] > threshold else text for name, text in texts.items()}


def null_odds_of(questions: Questions, decoded: Decoded) -> dict[str, float]:
    """Return by id how much higher the null answer scores than the best other one."""
    return dict(zip(questions.ids, decoded.null_odds.tolist(), strict=True))


def nbest(questions: Questions, decoded: Decoded) -> dict[str, list[dict[str, Any]]]:
    """Return the best answers of each question by its id, each with its probability among them.

    Of SQuAD 2.0 the null answer is among them; where no answer was found, an empty one.
    """
    most = decoded.logits.shape[1]
    nulls = decoded.nulls.astype(np.float64).tolist()
    held = zip(questions.ids, _answers(questions, decoded, most), nulls, strict=True)
    null = questions.layout is Layout.SQUAD2
    return {
        name: _with_probabilities(_with_null(answers, (start, end), most) if null else answers)
        for name, answers, (start, end) in held
    }


def prediction_files(questions: Questions, decoded: Decoded, threshold: float | None = None) -> dict[str, bytes]:
    """Return the official files by name.

    Parameters
    ----------
    questions, decoded
        Q questions and their answers.
    threshold
        Of SQuAD 2.0: the null odds above which a question is told to have no answer. None: each is answered, and the file of null odds
        tells the rest.
    """
    texts, odds = best_texts(questions, decoded), null_odds_of(questions, decoded)
    if threshold is not None:
        texts = with_threshold(texts, odds, threshold)
    files: dict[str, Any] = {PREDICTIONS: texts, NBEST: nbest(questions, decoded)}
    if questions.layout is Layout.SQUAD2:
        files[NULL_ODDS] = odds
    return {name: _as_lines(content) for name, content in files.items()}


def _as_lines(content: Mapping[str, Any]) -> bytes:
    """Return an object as JSON, a line each key: told apart by eye, and much faster than what indents."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content.items())
    return f"{{\n{lines}\n}}\n".encode()


def best_threshold(odds: Scores, answered: Scores, unanswered: Scores) -> float:
    """Return the null odds above which questions are best told to have no answer.

    Questions of equal odds stay together, unlike in SQuAD 2.0's own program, and of thresholds that are as good the lowest is taken.

    Parameters
    ----------
    odds
        (Q,) null odds, Q ≥ 1.
    answered, unanswered
        (Q,) what each question scores with its best answer, and with none.
    """
    order = np.argsort(odds, kind="stable")
    held = odds[order]
    gains = np.append(0.0, np.cumsum((answered - unanswered)[order]))
    # A threshold takes in all questions up to it, so that gains count at the last one of equals alone; below the first, at none.
    ends = np.append(0, np.flatnonzero(np.append(held[1:] != held[:-1], True)) + 1)
    best = int(ends[np.argmax(gains[ends])])
    return float(held[best - 1]) if best else float(held[0]) - 1.0


def _answers(questions: Questions, decoded: Decoded, most: int) -> list[list[_Entry]]:
    """Return the best answers of each question, so many at most, as texts with their logits."""
    passages = [text.encode() for text in questions.passages.to_pylist()]
    counts, places, logits = np.minimum(decoded.counts, most), decoded.places[:, :most], decoded.logits[:, :most]
    columns = (questions.passage_of, counts, places, logits.astype(np.float64))
    return [
        [
            (passages[passage][start:end].decode(), first, last)
            for (start, end), (first, last) in zip(spans[:count], pairs[:count], strict=True)
        ]
        for passage, count, spans, pairs in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _with_null(answers: list[_Entry], null: tuple[float, float], most: int) -> list[_Entry]:
    """Put the null answer behind those that score as high, and last where it is not among so many of the best."""
    better = sum(start + end >= sum(null) for _, start, end in answers)
    placed = [*answers[:better], ("", *null), *answers[better:]]
    return placed[:most] if better < most else [*placed[:most], ("", *null)]


def _with_probabilities(answers: list[_Entry]) -> list[dict[str, Any]]:
    answers = answers or [("", 0.0, 0.0)]
    highest = max(start + end for _, start, end in answers)
    shares = [math.exp(start + end - highest) for _, start, end in answers]
    total = sum(shares)
    return [
        {"text": text, "probability": share / total, "start_logit": start, "end_logit": end}
        for (text, start, end), share in zip(answers, shares, strict=True)
    ]
