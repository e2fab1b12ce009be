"""A result of `tokenizing` as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import markdown, protocol
from .baselines.fast_tokenizers import CONTESTANTS, LIBRARY, OURS
from .tokenizing import STATES, state_of


def table(result: Mapping[str, Any]) -> str:
    """Return it."""
    head = ["text, tokenizer", "contestant", *(f"MB/s, {state}" for state in STATES), "times the library, new"]
    rows = [row for name in result["cases"] for row in _rows(result, name)]
    comparisons = [markdown.comparison(name, result["ratios"][name], goal) for name, goal in result["goals"].items()]
    parts = (markdown.table(head, rows, texts=2), "\n".join(comparisons), _beside(result), _footer(result))
    return "\n\n".join(filter(None, parts)) + "\n"


def strongest(result: Mapping[str, Any], name: str, state: str) -> str:
    """Return the fastest contestant beside spanmask in a case and a state, of those whose ids are exact on all texts."""
    contestants = result["cases"][name]["contestants"]
    differing = _vocabulary(result, name)["differences"]
    exact: list[str] = [each for each in contestants if each != OURS and each not in differing]
    return max(exact, key=lambda each: _median(contestants[each], state))


def _vocabulary(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    vocabulary: Mapping[str, Any] = result["vocabularies"][name.partition(", ")[2]]
    return vocabulary


def _median(contestant: Mapping[str, Any], state: str) -> float:
    median: float = state_of(contestant, state)["bytes_per_second"]["median"]
    return median


def _rows(result: Mapping[str, Any], name: str) -> Iterator[list[str]]:
    contestants = result["cases"][name]["contestants"]
    differing = _vocabulary(result, name)["differences"]
    beside = sorted(contestants.keys() - {OURS}, key=lambda each: -_median(contestants[each], "new"))
    for each in (OURS, *beside):
        rates = [state_of(contestants[each], state)["bytes_per_second"] for state in STATES]
        times = _median(contestants[each], "new") / _median(contestants[LIBRARY], "new")
        marked = f"{each}, not exact on other text" if each in differing else each
        yield [name, marked, *map(_spread, rates), f"{times:.1f}"]


def _spread(rate: Mapping[str, float]) -> str:
    median, least, most = markdown.megabytes(rate)
    return f"{median} ({least} to {most})"


def _beside(result: Mapping[str, Any]) -> str:
    """Return who differs, with the first difference on each text, and who cannot read which tokenizer."""
    lines = [
        f"- {name}: {each} differs on {found['text']} first in document {found['document']} at token {found['token']}: "
        f"{_ids(found['ids'])}, the library {_ids(found['wanted'])}."
        for name, vocabulary in result["vocabularies"].items()
        for each, differences in vocabulary["differences"].items()
        for found in differences
    ]
    lines += [
        f"- {name}: not read by {', '.join(vocabulary['refused'])}."
        for name, vocabulary in result["vocabularies"].items()
        if vocabulary["refused"]
    ]
    return "\n".join(lines)


def _ids(ids: list[int]) -> str:
    return " ".join(map(str, ids)) or "no more"


def _footer(result: Mapping[str, Any]) -> str:
    cases = result["cases"]
    inputs = {name.partition(",")[0]: case["input"]["measured"] for name, case in cases.items()}
    described = "; ".join(f"{name}: {_described(source)}" for name, source in inputs.items())
    trained = "; ".join(
        f"{name}: {vocabulary['model']}, {vocabulary['entries']:,} entries"
        + (f", trained by {vocabulary['trainer']}" if "trainer" in vocabulary else "")
        for name, vocabulary in result["vocabularies"].items()
    )
    ways = {
        each: sorted({case["contestants"][each]["way"] for case in cases.values() if each in case["contestants"]})
        for each in CONTESTANTS
    }
    called = "; ".join(f"{each}: {' or '.join(found)}" for each, found in ways.items() if found)
    construct = max(case["contestants"][OURS]["construct_seconds"]["median"] for case in cases.values())
    return (
        f"Texts, of which as much again warms up: {described}. {result['parameters']['rounds']} rounds.\n"
        f"Tokenizers: {trained}.\n"
        f"The fastest way to call each: {called}. Making a `Tokenizer`, which no figure includes: {construct:.2f} s at most.\n"
        f"{markdown.measured_on(result)}"
    )


def _described(source: Mapping[str, Any]) -> str:
    what = f"made up ({source['law']})" if source["kind"] == "synthetic" else ", ".join(source["names"])
    return f"{what}, {source['bytes'] / protocol.MEGABYTE:,.1f} MB in {source['documents']:,} documents"
