"""Results as Markdown: tables, verdicts, and the lines that say where and on what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .protocol import MEGABYTE


def table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """Return a table whose first columns, as many as ``texts``, hold text, and the others figures."""
    rule = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def comparison(name: str, ratio: Mapping[str, Any], goal: Mapping[str, Any] | None) -> str:
    """Return an item of a list: a ratio with its range, and whether it is what was asked for."""
    return f"- {name}: {'; '.join([times(ratio), *asked(goal)])}."


def asked(goal: Mapping[str, Any] | None, limit: Mapping[str, Any] | None = None) -> list[str]:
    """Return what was asked of a figure, and whether it is so; nothing where nothing was."""
    if goal:
        return [f"asked for: at least {goal['goal']:g}, {'reached' if goal['reached'] else 'not reached'}"]
    if limit:
        return [f"asked for: less than {limit['limit']:g}, {'kept' if limit['kept'] else 'not kept'}"]
    return []


def times(ratio: Mapping[str, Any]) -> str:
    """Return the median of a ratio with its range."""
    return f"{ratio['median']:.3g} ({ratio['min']:.3g} to {ratio['max']:.3g})"


def interval(found: Sequence[float] | None, digits: int) -> str:
    """Return a difference's interval, or that there is none."""
    return "-" if found is None else " to ".join(f"{end:+.{digits}f}" for end in found)


def megabytes(rate: Mapping[str, float], keys: Sequence[str] = ("median", "min", "max")) -> list[str]:
    """Return bytes/s as cells in MB/s."""
    return [f"{rate[key] / MEGABYTE:,.1f}" for key in keys]


def measured_on(result: Mapping[str, Any]) -> str:
    """Return the sentence that names processor, versions and commit."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(result["versions"].items()))
    changed = " with changes" if result["dirty"] else ""
    commit = f"commit {result['commit']}{changed}" if result["commit"] else "no commit"
    machine = result["machine"]
    return f"Measured on {machine['processor']} ({machine['cores']} cores, {machine['system']}), {versions}, {commit}."
