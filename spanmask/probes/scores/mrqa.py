"""MRQA's exact match and F1, as https://github.com/mrqa/MRQA-Shared-Task-2019/blob/master/mrqa_official_eval.py computes them.

SQuAD 1.1's rules over another layout: JSON lines, a header first. A question without a prediction counts 0.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores.questions import gathered, read_predictions
from spanmask.probes.scores.reading import kind, parse_json, tell_unmatched
from spanmask.probes.scores.squad import mean_scores
from spanmask.storage import reporting, require_file

_GZIP = b"\x1f\x8b"
_LAYOUT = '{"qas": [{"qid": "ID", "answers": ["TEXT"]}]}'


def score(gold: str | Path, predictions: str | Path) -> dict[str, float]:
    """Score a file of predicted answers by question id against one in MRQA's layout, plain or compressed by gzip.

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
    answers, predicted = gathered(gold, list(_questions(gold))), read_predictions(predictions)
    tell_unmatched(answers, predicted, predictions, counted="they count 0")
    return mean_scores(answers, predicted)


def _questions(path: str | Path) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(_lines(path), 1):
        content = parse_json(line, path, number)
        if number == 1 and isinstance(content, dict) and "data" in content:
            raise ConfigError(f"{path}: SQuAD's layout, expected MRQA's, a line each of {_LAYOUT}; score it with squad")
        if number > 1 or not isinstance(content, dict) or "header" not in content:
            yield from _asked(content, path, number)


def _asked(content: Any, path: str | Path, line: int) -> Iterator[tuple[str, list[str]]]:
    questions = content.get("qas") if isinstance(content, dict) else None
    if not isinstance(questions, list):
        raise CorpusError(f'{kind(content)} without an array "qas", expected {_LAYOUT}', path=str(path), line=line)
    for number, question in enumerate(questions):
        name, texts = (question.get("qid"), question.get("answers")) if isinstance(question, dict) else (None, None)
        if (
            not isinstance(name, str)
            or not texts
            or not isinstance(texts, list)
            or not all(isinstance(text, str) for text in texts)
        ):
            message = f'qas[{number}] has {kind(name)} for "qid" and {kind(texts)} for "answers", expected a string and strings in an array'
            raise CorpusError(message, path=str(path), line=line)
        yield name, texts


def _lines(path: str | Path) -> Iterator[bytes]:
    require_file(Path(path))
    with reporting(path, "read"), open(path, "rb") as file:
        compressed = file.read(2) == _GZIP
        file.seek(0)
        try:
            with gzip.open(file) if compressed else nullcontext(file) as lines:
                yield from lines
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CorpusError(f"damaged gzip data ({error}); copy the file again", path=str(path)) from None
