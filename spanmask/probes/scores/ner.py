"""Precision, recall and F1 of spans, as https://github.com/chakki-works/seqeval counts them in its default mode.

Its rules are those of conlleval, the program of the shared tasks of CoNLL-2000 to 2003, which knows no S, and no B behind E. They
take IOB1, IOB2 and IOBES as they come: a span is a run of words of one type, and begins at a tag other than O where that is B or S,
where the word before is O, E or S or of another type, and at the first word of a sentence; whatever else is not O goes on with the
span of the word before, so that I behind O begins one too. A span counts as found where one of its type with its first and its last
word is predicted. What has nothing to divide by is 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from warnings import warn

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores.columns import OUTSIDE, FaultError, Sentence, part_columns, parted
from spanmask.probes.scores.reading import read_text

#: Type, first and last word, both within.
Span = tuple[str, int, int]
_FIGURES = ("precision", "recall", "f1")


def score(gold: str | Path, predictions: str | Path) -> dict[str, Any]:
    """Score tags in columns against others.

    Each file has a word a line, its tag in the last column, as `spanmask.probes.scores.columns` reads them; the words of both are the same.

    Returns
    -------
    dict
        ``precision``, ``recall`` and ``f1`` of all spans together, in [0, 1]; ``types``: by type the same, and its ``support``, the spans
        that are to be found.

    Raises
    ------
    ConfigError
        A file is missing or has no words or no tags, or one has more sentences than the other.
    CorpusError
        A line breaks the format, or the words differ.
    StorageError
        The file system refused.
    """
    wanted, found = _read(gold), _read(predictions)
    if len(wanted) != len(found):
        raise ConfigError(f"{predictions}: {len(found):,} sentences, {gold} has {len(wanted):,}; give one for each")
    for one, other in zip(wanted, found, strict=True):
        _require_same(gold, one, predictions, other)
    figures = span_scores((one.tags for one in wanted), (other.tags for other in found))
    if not any(own["support"] for own in figures["types"].values()):
        warn(f"{gold}: no span to be found in it; recall and F1 are 0 for that reason", stacklevel=2)
    return figures


def span_scores(gold: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]) -> dict[str, Any]:
    """Score tags, sentence by sentence; the figures are those of `score`."""
    wanted, found, right = Counter[str](), Counter[str](), Counter[str]()
    for tags, guesses in zip(gold, predicted, strict=True):
        spans, guessed = spans_of(tags), spans_of(guesses)
        wanted.update(kind for kind, *_ in spans)
        found.update(kind for kind, *_ in guessed)
        right.update(kind for kind, *_ in set(spans) & set(guessed))
    types = {
        kind: {**_rates(right[kind], found[kind], wanted[kind]), "support": wanted[kind]}
        for kind in sorted(wanted.keys() | found.keys())
    }
    return {**_rates(right.total(), found.total(), wanted.total()), "types": types}


def spans_of(tags: Sequence[str]) -> list[Span]:
    """Return the spans of a sentence, in order."""
    spans: list[Span] = []
    prefix_before, kind_before = OUTSIDE, ""
    for place, tag in enumerate(tags):
        prefix, kind = parted(tag)
        if prefix != OUTSIDE:
            begins = prefix in ("B", "S") or prefix_before in (OUTSIDE, "E", "S") or kind != kind_before
            first = place if begins else spans.pop()[1]
            spans.append((kind, first, place))
        prefix_before, kind_before = prefix, kind
    return spans


def scorecard(figures: dict[str, Any]) -> str:
    """Return figures as lines: all spans together, then each type's."""
    types = figures["types"]
    width = max(map(len, ("all", *types))) + 2
    lines = [f"{'all':{width}}" + _line(figures)]
    return "\n".join(lines + [f"{kind:{width}}{_line(own)}  support {own['support']:,}" for kind, own in types.items()])


def _line(figures: dict[str, Any]) -> str:
    return "  ".join(f"{name} {figures[name]:.4f}" for name in _FIGURES)


def _rates(right: int, found: int, wanted: int) -> dict[str, float]:
    precision, recall = (right / count if count else 0.0 for count in (found, wanted))
    f1 = 2 * precision * recall / (precision + recall) if right else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def _read(path: str | Path) -> list[Sentence]:
    columns = part_columns(read_text(path))
    if columns.width < 2:
        found = "one column a line" if columns.width else "no words"
        raise ConfigError(
            f"{path}: {found}, expected a word a line and its tag in the last column; is it the right file?"
        )
    try:
        return [columns.sentence(number) for number in range(len(columns.rows))]
    except FaultError as error:
        raise CorpusError(f"{error}; mend the file", path=str(path), line=error.line) from None


def _require_same(gold: str | Path, one: Sentence, predictions: str | Path, other: Sentence) -> None:
    """Refuse a sentence of predictions whose words are not those of the gold file's."""
    if one.words == other.words:
        return
    pairs = enumerate(zip(one.words, other.words, strict=False))
    place = next((at for at, (wanted, found) in pairs if wanted != found), min(len(one.words), len(other.words)))
    wanted, found = (repr(held.words[place][:60]) if place < len(held.words) else "its end" for held in (one, other))
    raise CorpusError(
        f"the sentence has {found}, where {gold} has {wanted} (line {one.line + place:,}); give tags of the same words in the same order",
        path=str(predictions),
        line=other.line + place,
    )
