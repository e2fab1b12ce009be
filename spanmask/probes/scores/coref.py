"""Coreference: MUC, B³, CEAF by mentions and by entities, BLANC, LEA, and the mean of three that CoNLL-2012 ranked by.

Equal to the official scorer v8.01, https://github.com/conll/reference-coreference-scorers, which has all of them but LEA (Moosavi and
Strube 2016, https://aclanthology.org/P16-1060, whose own program is https://github.com/ns-moosavi/coval). What documents count is added up
before anything is divided.

A mention that stands twice counts once, for the entity whose first opening bracket comes first. The official scorer does so in predictions,
for mentions that the key has (and scores nothing beyond ten); it leaves those of the key twice, by which a key would not equal itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any
from warnings import warn

from spanmask.errors import ConfigError, CorpusError
from spanmask.options import hint_for
from spanmask.probes.scores.conll import Document, Entities, read_conll
from spanmask.probes.scores.coref_metrics import COUNTS, Meeting, distinct
from spanmask.probes.scores.reading import tell_unmatched

#: Numerator and denominator of recall, then of precision.
_Sums = list[float]


def score(
    gold: str | Path, predictions: str | Path, *, singletons: str = "keep", on_error: str = "fail"
) -> dict[str, Any]:
    """Score predicted entities against a key, both as `conll.read_conll` reads them.

    Documents are matched by their ``#begin document`` lines. One that the predictions lack counts as if it had no mention there, one that
    the key lacks counts nothing; both are warned of.

    Parameters
    ----------
    gold, predictions
        Files, folders or archives.
    singletons
        ``keep``, which scores all that there is, or ``drop``, which leaves entities of one mention out of both.
    on_error
        What is done about brackets without their other half: ``fail``, or ``skip``, which leaves them out and warns.

    Returns
    -------
    dict
        As of `score_documents`.

    Raises
    ------
    ConfigError
        A file is missing or has no document, or no document of the key is among the predictions.
    CorpusError
        A file breaks the format, has a document twice, or one of other length than in the key.
    MissingExtraError
        SciPy, of the extra ``probes``, is not installed.
    StorageError
        The file system refused.
    """
    _check_policy("on_error", on_error, ("fail", "skip"))
    key, response = read_conll(gold, on_error=on_error), read_conll(predictions, on_error=on_error)
    _tell_left_out(gold, key)
    _tell_left_out(predictions, response)
    _check(key, response, predictions)
    alone = _singletons(response)
    if singletons == "keep" and alone and not _singletons(key):
        warn(
            f"{predictions}: entities of one mention, of which the key has none: {alone:,}; they lower precision, and singletons = 'drop' "
            "(--singletons drop) leaves them out",
            stacklevel=2,
        )
    none = Document(place=("", 0), tokens=0, entities=[])
    return score_documents(
        ((document.entities, response.get(name, none).entities) for name, document in key.items()),
        singletons=singletons,
    )


def score_documents(documents: Iterable[tuple[Entities, Entities]], *, singletons: str = "keep") -> dict[str, Any]:
    """Score entities of the key and predicted ones, document by document.

    Returns
    -------
    dict
        ``muc``, ``bcub``, ``ceafm``, ``ceafe``, ``blanc``, ``lea`` and ``mentions``, each ``recall``, ``precision`` and ``f1`` in [0, 1],
        0 where there is nothing to divide by; ``conll_f1``, the mean F1 of MUC, B³ and CEAF by entities.
    """
    _check_policy("singletons", singletons, ("keep", "drop"))
    least = 2 if singletons == "drop" else 1
    sums = {name: [0.0] * 4 for name in COUNTS}
    for key, response in documents:
        meeting = Meeting.of(distinct(key, least=least), distinct(response, least=least))
        for name, count in COUNTS.items():
            sums[name] = [total + value for total, value in zip(sums[name], count(meeting), strict=True)]
    plain = {name: _figures(*_rates(sums[name])) for name in COUNTS if name not in ("coreferent", "apart")}
    order = ("muc", "bcub", "ceafm", "ceafe", "blanc", "lea", "mentions")
    figures = plain | {"blanc": _blanc(sums["coreferent"], sums["apart"])}
    ranked = [figures[name]["f1"] for name in ("muc", "bcub", "ceafe")]
    return {name: figures[name] for name in order} | {"conll_f1": sum(ranked) / len(ranked)}


def _rates(sums: _Sums) -> tuple[float, float]:
    recalled, wanted, right, given = sums
    return recalled / wanted if wanted else 0.0, right / given if given else 0.0


def _figures(recall: float, precision: float) -> dict[str, float]:
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"recall": recall, "precision": precision, "f1": f1}


def _blanc(coreferent: _Sums, apart: _Sums) -> dict[str, float]:
    """Return the mean of both kinds of links, or the one kind that the key has."""
    kinds = [_figures(*_rates(sums)) for sums in (coreferent, apart) if sums[1]] or [_figures(0.0, 0.0)]
    return {name: sum(kind[name] for kind in kinds) / len(kinds) for name in kinds[0]}


def _check_policy(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} = {value!r}; {hint_for(value, known)}")


def _tell_left_out(path: str | Path, documents: Mapping[str, Document]) -> None:
    """Warn of brackets and of mentions that count nothing."""
    unpaired = sum(document.unpaired for document in documents.values())
    if unpaired:
        warn(f"{path}: brackets without their other half, left out: {unpaired:,}", stacklevel=3)
    repeated = sum(
        sum(map(len, document.entities)) - len(set(chain.from_iterable(document.entities)))
        for document in documents.values()
    )
    if repeated:
        warn(f"{path}: mentions that stand there more than once, counted once: {repeated:,}", stacklevel=3)


def _singletons(documents: Mapping[str, Document]) -> int:
    return sum(len(mentions) == 1 for document in documents.values() for mentions in document.entities)


def _check(key: Mapping[str, Document], response: Mapping[str, Document], predictions: str | Path) -> None:
    """Refuse documents that cannot be the same, and warn of those on one side only."""
    if not key.keys() & response.keys():
        raise ConfigError(
            f"{predictions}: no document of the key is there; its first is {next(iter(response))!r}, the key's {next(iter(key))!r}, "
            "and they are matched by what stands behind '#begin document'"
        )
    for name in (name for name in key if name in response):
        wanted, found = key[name], response[name]
        if wanted.tokens != found.tokens:
            raise CorpusError(
                f"document {name!r} has {found.tokens:,} tokens, and {wanted.tokens:,} in the key ({wanted.place[0]}, line "
                f"{wanted.place[1]:,}); it must be the same text",
                path=found.place[0],
                line=found.place[1],
            )
    tell_unmatched(key, response, predictions, counted="they count as without mentions")
