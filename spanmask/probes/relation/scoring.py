"""By which rules predicted relations are scored, and the files of them that `spanmask score` takes.

Which rules, the training files say: TACRED's where they are of its layout or have its ``no_relation``; SemEval-2010 task 8's where all
labels are that task's; else each label is as good as another, as in wiki80.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from spanmask.errors import ConfigError
from spanmask.probes.relation.relations import Layout, Relations
from spanmask.probes.scores.glue import accuracy
from spanmask.probes.scores.macro import macro_f1
from spanmask.probes.scores.semeval import LABELS, OTHER, macro_scores
from spanmask.probes.scores.tacred import NO_RELATION, micro_scores
from spanmask.probes.writing import as_tsv


class Rules(StrEnum):
    """By which predictions are scored."""

    TACRED = "tacred"
    SEMEVAL = "semeval"
    CLASSES = "classes"

    @property
    def metric(self) -> str:
        """The figure that chooses."""
        return "accuracy" if self is Rules.CLASSES else "f1"


def rules_of(layouts: Collection[Layout], labels: Collection[str]) -> Rules:
    """Return the rules of training files. layouts: theirs. labels: all they have."""
    if Layout.TACRED in layouts or NO_RELATION in labels:
        return Rules.TACRED
    return Rules.SEMEVAL if LABELS.issuperset(labels) else Rules.CLASSES


def require_scored(rules: Rules, name: str, relations: Relations) -> None:
    """Refuse pairs that the rules have no figure for. name: what they are called.

    Raises
    ------
    ConfigError
        By SemEval's rules: a label is none of that task's, or all are Other.
    """
    if rules is not Rules.SEMEVAL:
        return
    strange = sorted(set(relations.labels) - LABELS)
    if strange:
        raise ConfigError(
            f"{name}: its label {strange[0]!r} is none of SemEval-2010 task 8's, which the training files have; give files of one kind"
        )
    if set(relations.labels) == {OTHER}:
        raise ConfigError(f"{name}: every label is {OTHER}, expected some relations; give more pairs, or other ones")


def figures(rules: Rules, gold: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return the figures of N predictions.

    Returns
    -------
    dict[str, float]
        By TACRED's rules ``precision``, ``recall`` and ``f1`` in [0, 1]; by SemEval's the same in per cent; else ``accuracy`` and
        ``macro_f1`` in [0, 1], the mean F1 of the labels that the gold ones or the predictions have.
    """
    if rules is Rules.TACRED:
        return micro_scores(gold, predicted)
    if rules is Rules.SEMEVAL:
        return macro_scores(_numbered(gold), _numbered(predicted))
    return {"accuracy": accuracy(gold, predicted), "macro_f1": macro_f1(gold, predicted)}


def label_files(
    rules: Rules, ids: Sequence[str], gold: Sequence[str], predicted: Sequence[str], probabilities: Sequence[float]
) -> dict[str, bytes]:
    """Return N gold labels and predictions as files by name, as `spanmask score` takes them.

    By SemEval's rules they are lines of number, tab and label, the numbers from 1 on where ids are none; else JSON lines of id and label,
    of predictions with the probability that the model gives to it.
    """
    if rules is Rules.SEMEVAL:
        numbers = ids if all(name.isascii() and name.isdecimal() for name in ids) else [*_numbered(ids)]
        return {
            "gold.txt": as_tsv(zip(numbers, gold, strict=True)),
            "predictions.txt": as_tsv(zip(numbers, predicted, strict=True)),
        }
    columns: dict[str, Sequence[str | float]] = {"id": ids, "label": predicted, "probability": probabilities}
    return {"gold.jsonl": _json_lines({"id": ids, "label": gold}), "predictions.jsonl": _json_lines(columns)}


def _json_lines(columns: Mapping[str, Sequence[str | float]]) -> bytes:
    rows = zip(*columns.values(), strict=True)
    return "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows).encode()


def _numbered(labels: Sequence[str]) -> dict[str, str]:
    """Return labels by numbers from 1 on, as texts."""
    return {str(number): label for number, label in enumerate(labels, 1)}
