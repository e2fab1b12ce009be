"""What audits say, as the rows of tables and the points of charts: shares, labels and sentences. Terminal and HTML both draw from it.

Input is the JSON of an audit (`spanmask.auditing.Audit.to_json`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

#: Plain words for the causes of failed trials and short sequences.
CAUSES = {
    "long_word": "word over budget",
    "past_end": "ran past the end",
    "occupied": "met another span",
}
#: Plain words for the lines of the word rule (FORMAT.md §6.7).
WORD_RULE = {
    "supplied_words": "words supplied by the corpus",
    "base_words": "words of the tokenizer, or set apart by white space where it splits nothing",
    "white_space": "pre-tokens of white space joined to a word",
    "combining_marks": "pre-tokens behind a combining mark joined to a word",
    "scripts_without_spaces": "words begun by a script without spaces",
    "long_words": "words over 16 pieces counted piece by piece",
}
#: The share of replacement units that each replacement gets (paper §3.1).
REPLACEMENT_LAW = {"masked": 0.8, "random": 0.1, "kept": 0.1}
#: Words from either end from which on coverage counts as inside.
INSIDE_FROM = 12
#: Span lengths told apart; longer ones are shown as one.
LENGTHS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """A span length in words, with the shares of spans that have it: by law, as drawn, as stored."""

    label: str
    law: float | None
    drawn: float | None
    realised: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacementShare:
    """A replacement: the units that got it, their share, and the share it should have."""

    name: str
    units: int
    share: float
    law: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why trials fail and sequences end short of their budget, with how many did."""

    name: str
    failed_trials: int
    short_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """How often a word is masked, 1 being the outermost of the first or last words; expected: under other seeds."""

    word: int
    measured: float | None
    expected: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """A figure over all rows: what it counts, its value, and what to hold it against."""

    name: str
    value: str
    note: str = ""


def verdict(audit: dict[str, Any]) -> str:
    """Return the result of an audit in one sentence or two."""
    gates, rows = audit["gates"], audit["rows"]
    failed = [gate["name"] for gate in gates if not gate["passed"]]
    looked = "" if rows == audit["rows_in_split"] else f" of {audit['rows_in_split']:,}"
    if failed:
        return f"{len(failed)} of {len(gates)} gates failed over {rows:,}{looked} rows: {'; '.join(failed)}."
    return (
        f"All {len(gates)} gates passed: every one of {rows:,}{looked} rows replays exactly as stored, "
        "and what was drawn follows its law."
    )


def lengths(audit: dict[str, Any]) -> list[Length]:
    """Return span lengths from one word up."""
    known = audit["span_lengths"]
    law = known["law"]
    drawn, realised = shares(known["drawn"][1:]), shares(known["realised"][1:])
    columns = [_gathered(column) for column in (law, drawn, realised)]
    return [
        Length(
            label=f"{number}+" if number > LENGTHS_SHOWN else str(number),
            law=p if law else None,
            drawn=share if law else None,
            realised=found,
        )
        for number, (p, share, found) in enumerate(zip_longest(*columns, fillvalue=0.0), start=1)
    ]


def _gathered(values: Sequence[float]) -> list[float]:
    tail = values[LENGTHS_SHOWN:]
    return [*values[:LENGTHS_SHOWN], *([sum(tail)] if tail else [])]


def shares(counts: Sequence[float]) -> list[float]:
    """Return counts as shares of their sum, zero where that is zero."""
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def mean_of(histogram: Sequence[int]) -> float:
    """Return the mean of values from how often each was counted."""
    return sum(value * count for value, count in enumerate(histogram)) / max(sum(histogram), 1)


def replacements(audit: dict[str, Any]) -> list[ReplacementShare]:
    """Return what units were replaced by."""
    units = audit["sampling"]["replacement_units"]
    total = max(sum(units.values()), 1)
    return [
        ReplacementShare(name=name, units=units[name], share=units[name] / total, law=law)
        for name, law in REPLACEMENT_LAW.items()
    ]


def causes(audit: dict[str, Any]) -> list[Cause]:
    """Return failed trials and short sequences by cause."""
    sampling = audit["sampling"]
    failed, short = sampling["failed_trials"], sampling["short_rows"]
    return [
        Cause(name=CAUSES.get(name, name), failed_trials=count, short_rows=short.get(name, 0))
        for name, count in failed.items()
    ]


def edges(audit: dict[str, Any], side: str) -> list[Edge]:
    """Return the coverage of the ``first`` or ``last`` words, the outermost first."""
    coverage = audit["coverage"]
    pairs = zip_longest(coverage[f"{side}_words"], coverage[f"expected_{side}_words"])
    return [
        Edge(word=word, measured=measured, expected=expected)
        for word, (measured, expected) in enumerate(pairs, start=1)
    ]


def inside(audit: dict[str, Any]) -> tuple[float | None, float | None]:
    """Return how often words far from both ends are masked: measured, and expected."""
    far = [edge for side in ("first", "last") for edge in edges(audit, side) if edge.word > INSIDE_FROM]
    measured = [edge.measured for edge in far if edge.measured is not None]
    expected = [edge.expected for edge in far if edge.expected is not None]
    return _mean(measured), _mean(expected)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def totals(audit: dict[str, Any]) -> list[Total]:
    """Return what was counted over all rows, written for people."""
    counts = audit["statistics"]
    asked = audit["config"]["masking"]["mask_ratio"]
    spans = f"{mean_of(counts['histograms']['span_words']):.3g} words long on average"
    return [
        Total(name="of tokens masked", value=f"{audit['mask_rate']:.2%}", note=f"{asked:.4g} asked for"),
        Total(name="sequences", value=f"{counts['rows']:,}"),
        Total(name="tokens", value=f"{counts['tokens']:,}", note=f"in {counts['words']:,} words"),
        Total(name="masked tokens", value=f"{counts['masked_tokens']:,}", note=f"budget {counts['budget_tokens']:,}"),
        Total(name="spans", value=f"{counts['spans']:,}", note=spans),
        Total(name="sequences short of their budget", value=f"{counts['rows_short_of_budget']:,}"),
        Total(name="sequences without a span", value=f"{counts['rows_without_spans']:,}"),
        Total(name="unknown tokens", value=f"{counts['unknown_tokens']:,}"),
        *word_rule(audit["word_rule"]),
    ]


def word_rule(counts: dict[str, int]) -> list[Total]:
    """Return how often each line of the word rule that acted did so in a whole dataset, of which a manifest has the counts."""
    return [
        Total(name=name, value=f"{counts[line]:,}", note="in all splits")
        for line, name in WORD_RULE.items()
        if counts.get(line)
    ]
