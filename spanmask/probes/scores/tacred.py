"""TACRED's micro-averaged scores, as https://github.com/yuhaozhang/tacred-relation/blob/master/utils/scorer.py computes them.

The label ``no_relation`` is no relation: it is neither predicted nor to be found. Precision is 1 where nothing is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores.reading import kind, lines_of, parse_json, read_text, twice

NO_RELATION = "no_relation"
#: Where an object has its label: in files of labels, and in TACRED's own.
_LABEL = ("label", "relation")


def score(gold: str | Path, predictions: str | Path) -> dict[str, float]:
    """Score a file of labels against another.

    Each is a JSON array of labels or of objects (TACRED's own files are such), JSON lines of objects, or one label a line. An object has
    its label under ``label`` or ``relation``. Labels are matched by ``id`` where all objects of both files have one, else by their order.

    Returns
    -------
    dict[str, float]
        ``precision``, ``recall`` and ``f1``, in [0, 1].

    Raises
    ------
    ConfigError
        A file is missing or has no labels, or there are not as many labels in one as in the other.
    CorpusError
        Something in a file is not what it should be, or the ids are not the same.
    StorageError
        The file system refused.
    """
    (names, wanted), (others, found) = _read(gold), _read(predictions)
    if len(wanted) != len(found):
        raise ConfigError(f"{predictions}: {len(found):,} labels, {gold} has {len(wanted):,}; give one for each")
    if names and others:
        by_name = dict(zip(others, found, strict=True))
        strange = next((name for name in names if name not in by_name), None)
        if strange is not None:
            raise CorpusError(f"no label for {strange!r}, which {gold} has; give one for each", path=str(predictions))
        found = [by_name[name] for name in names]
    return micro_scores(wanted, found)


def micro_scores(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return ``precision``, ``recall`` and ``f1`` over relations; both have a label for each example."""
    correct = sum(label == guess != NO_RELATION for label, guess in zip(gold, predicted, strict=True))
    guessed = len(predicted) - predicted.count(NO_RELATION)
    relations = len(gold) - gold.count(NO_RELATION)
    precision = correct / guessed if guessed else 1.0
    recall = correct / relations if relations else 0.0
    f1 = 2.0 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def _read(path: str | Path) -> tuple[list[str], list[str]]:
    """Return the ids of a file, none unless all have one, and its labels."""
    text = read_text(path)
    entries: list[tuple[int | None, Any]]
    if text.lstrip().startswith("["):
        entries = [(None, entry) for entry in parse_json(text, path)]
    elif text.lstrip().startswith("{"):
        entries = [(line, parse_json(told, path, line)) for line, told in enumerate(lines_of(text), 1)]
    else:
        entries = [*enumerate(lines_of(text), 1)]
    if not entries:
        raise ConfigError(f"{path}: no labels; is it the right file?")
    labels = [_label(path, number, *entry) for number, entry in enumerate(entries)]
    names = [str(entry["id"]) for _, entry in entries if isinstance(entry, dict) and "id" in entry]
    if len(names) < len(labels):
        return [], labels
    if len(set(names)) < len(names):
        raise CorpusError(f"id {twice(names)}; leave one", path=str(path))
    return names, labels


def _label(path: str | Path, number: int, line: int | None, entry: Any) -> str:
    found = next((entry[name] for name in _LABEL if name in entry), None) if isinstance(entry, dict) else entry
    if isinstance(found, str) and found:
        return found
    told = (
        "an empty label"
        if found == ""
        else f"{kind(found)} for a label"
        if found is not None
        else f"{kind(entry)} without a label"
    )
    place = "" if line else f"[{number}]: "
    raise CorpusError(
        f'{place}{told}, expected a string, or an object with "label" or "relation"', path=str(path), line=line
    )
