"""GAP: pronouns and names, as https://github.com/google-research-datasets/gap-coreference/blob/master/gap_scorer.py scores them.

Each example asks of two names whether a pronoun means them; the gender is the pronoun's. A decision that is missing counts as a false
negative, whatever the answer.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores.reading import read_text, tell_unmatched

_FIELDS = ("ID", "Text", "Pronoun", "Pronoun-offset", "A", "A-offset", "A-coref", "B", "B-offset", "B-coref", "URL")
_GENDERS = dict.fromkeys(("he", "him", "his"), "masculine") | dict.fromkeys(("she", "her", "hers"), "feminine")
_SAID = {"true": True, "false": False}
_COUNTS = ("tp", "fp", "fn", "tn")


def score(gold: str | Path, predictions: str | Path) -> dict[str, Any]:
    """Score a file of decisions against one of GAP's: tab-separated, the latter with its header, the former ``ID``, A, B without one.

    Returns
    -------
    dict[str, Any]
        ``overall``, ``masculine`` and ``feminine``, each with ``recall``, ``precision`` and ``f1`` in per cent and the counts ``tp``,
        ``fp``, ``fn`` and ``tn``; ``bias``: F1 of the feminine divided by that of the masculine, None where one of them is 0.

    Raises
    ------
    ConfigError
        A file is missing or empty, or of another layout.
    CorpusError
        A line is not what it should be, or an id stands twice.
    StorageError
        The file system refused.
    """
    header, *rows = _rows(gold)
    if header[1] != list(_FIELDS):
        raise ConfigError(f"{gold}: the first line is {header[1]!s:.80}, expected GAP's header: {' '.join(_FIELDS)}")
    answers = _decisions(gold, rows, len(_FIELDS), (6, 9))
    predicted = _decisions(predictions, _rows(predictions), 3, (1, 2))
    genders = {row[0]: _gender(gold, line, row[2]) for line, row in rows}
    tell_unmatched(answers, predicted, predictions, counted="each counts as two false negatives")
    return _figures(answers, predicted, genders)


def scorecard(figures: Mapping[str, Any]) -> str:
    """Return what the official program prints."""
    lines = []
    for name in ("overall", "masculine", "feminine"):
        told = figures[name]
        lines += [
            f"{name.capitalize()} recall: {told['recall']:.1f} precision: {told['precision']:.1f} f1: {told['f1']:.1f}",
            f"\t\ttp {told['tp']}\tfp {told['fp']}",
            f"\t\tfn {told['fn']}\ttn {told['tn']}",
        ]
    bias = figures["bias"]
    return "\n".join([*lines, f"Bias (F/M): {'-' if bias is None else format(bias, '.2f')}"])


def _figures(
    answers: Mapping[str, tuple[bool, ...]], predicted: Mapping[str, tuple[bool, ...]], genders: Mapping[str, str]
) -> dict[str, Any]:
    outcomes = {(True, True): "tp", (False, True): "fp", (True, False): "fn", (False, False): "tn"}
    counts = {name: Counter[str]() for name in ("overall", "masculine", "feminine")}
    for name, decisions in answers.items():
        found = predicted.get(name)
        told = [outcomes[pair] for pair in zip(decisions, found, strict=True)] if found else ["fn", "fn"]
        for group in ("overall", genders[name]):
            counts[group].update(told)
    figures: dict[str, Any] = {name: _scores(count) for name, count in counts.items()}
    masculine, feminine = (figures[name]["f1"] for name in ("masculine", "feminine"))
    return figures | {"bias": feminine / masculine if masculine and feminine else None}


def _scores(count: Counter[str]) -> dict[str, float]:
    right = count["tp"]
    recall, precision = (100.0 * right / (right + count[missed]) if right else 0.0 for missed in ("fn", "fp"))
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"recall": recall, "precision": precision, "f1": f1} | {name: count[name] for name in _COUNTS}


def _rows(path: str | Path) -> list[tuple[int, list[str]]]:
    """Return the rows of a file with the lines they end at, blank ones left out."""
    reader = csv.reader(io.StringIO(read_text(path), newline=None), delimiter="\t")
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise CorpusError(
            f"no tab-separated values ({error}); write it anew", path=str(path), line=reader.line_num
        ) from None
    if not rows:
        raise ConfigError(f"{path}: no lines; is it the right file?")
    return rows


def _decisions(
    path: str | Path, rows: Sequence[tuple[int, list[str]]], fields: int, columns: tuple[int, int]
) -> dict[str, tuple[bool, ...]]:
    """Return by id whether the pronoun means A and B. fields: how many a row has; columns: those of the decisions."""
    found: dict[str, tuple[bool, ...]] = {}
    for line, row in rows:
        said = [row[column].lower() for column in columns] if len(row) == fields else []
        if not said or not set(said) <= _SAID.keys():
            message = f"{row!s:.60}, expected {fields} fields with TRUE or FALSE in numbers {columns[0] + 1} and {columns[1] + 1}"
            raise CorpusError(message, path=str(path), line=line)
        if row[0] in found:
            raise CorpusError(f"id {row[0]!r} stands twice; leave one", path=str(path), line=line)
        found[row[0]] = tuple(_SAID[word] for word in said)
    return found


def _gender(path: str | Path, line: int, pronoun: str) -> str:
    if pronoun.lower() not in _GENDERS:
        raise CorpusError(f"{pronoun!r:.40}, expected a pronoun: {', '.join(_GENDERS)}", path=str(path), line=line)
    return _GENDERS[pronoun.lower()]
