"""Questions and answers in the layouts of SQuAD: accepted answers by question, and predicted ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError
from spanmask.probes.scores.reading import by_name, kind, read_json, read_object, refuse

_LAYOUT = 'SQuAD\'s layout, {"data": [{"paragraphs": [{"qas": [{"id", "answers": [{"text"}]}]}]}]}'


def read_squad(path: str | Path) -> dict[str, list[str]]:
    """Return the texts of each question's accepted answers by its id, in the file's order.

    Raises
    ------
    ConfigError
        The file is missing, or has another layout.
    CorpusError
        It is no JSON, something in it is not what it should be, or an id stands twice.
    StorageError
        The file system refused.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise ConfigError(f'{path}: {kind(content)} without an array "data", expected {_LAYOUT}')
    questions = list(_questions(path, content))
    return gathered(path, questions)


def gathered(path: str | Path, questions: list[tuple[str, list[str]]]) -> dict[str, list[str]]:
    """Return answers by id; none, or an id that stands twice, is an error."""
    if not questions:
        raise ConfigError(f"{path}: no questions; is it the right file?")
    return by_name(path, questions)


def read_predictions(path: str | Path) -> dict[str, str]:
    """Return the predicted answers by id: a JSON object of them; errors as of `read_squad`."""
    content = read_object(path, 'predicted answers by id, {"ID": "TEXT"}')
    for name, text in content.items():
        if not isinstance(text, str):
            refuse(path, f"the answer to {name!r}", text, "a string")
    return content


def _questions(path: str | Path, content: Any) -> Iterator[tuple[str, list[str]]]:
    for article, place in _items(path, content, "data", ""):
        for paragraph, inner in _items(path, article, "paragraphs", place):
            for question, innermost in _items(path, paragraph, "qas", inner):
                texts = [
                    _string(path, answer, "text", at) for answer, at in _items(path, question, "answers", innermost)
                ]
                yield _string(path, question, "id", innermost), texts


def _items(path: str | Path, owner: Any, name: str, place: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the objects of an array with their places."""
    values = owner.get(name)
    if not isinstance(values, list):
        refuse(path, f"{place}{name}", values, "an array")
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            refuse(path, f"{place}{name}[{number}]", value, "an object")
        yield value, f"{place}{name}[{number}]."


def _string(path: str | Path, owner: dict[str, Any], name: str, place: str) -> str:
    value = owner.get(name)
    if not isinstance(value, str):
        refuse(path, f"{place}{name}", value, "a string")
    return value
