"""A grid of `spanmask reproduce` as Markdown: what its primary outcomes say, and question answering and coreference beside.

``results/spans.json`` is the ``report.json`` of ``plans/spans.toml``, whose header says how it is made; ``results/spans.html`` is its page.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from . import markdown

#: Figures beside the primary outcomes, by how they end.
BESIDE = ("/exact_match", "/f1", "/conll_f1", "/conll_f1_without_singletons", "/mentions_f1")


def table(report: Mapping[str, Any]) -> str:
    """Return a grid's report as Markdown."""
    shown = [one for one in report["differences"] if one["primary"] or one["outcome"].endswith(BESIDE)]
    head = ["outcome", "compared", *("mean of the first", "difference", "95 % over seeds", "p of all"), "so it is"]
    arms = ", ".join(f"`{arm['name']}` {arm['facts']['masked']} masked" for arm in report["arms"])
    parts = (
        markdown.table(head, [_row(report, one) for one in shown], texts=2),
        "\n".join(f"- {line}" for line in report["headline"]),
        f"{arms}. {' '.join(report['lines'])}",
    )
    return "\n\n".join(parts) + "\n"


def _row(report: Mapping[str, Any], one: Mapping[str, Any]) -> list[str]:
    adjusted = one["adjusted"]
    return [
        one["outcome"],
        f"{one['arm']} minus {one['against']}{', the same again' if one['null'] else ''}",
        f"{fmean(report['values'][one['outcome']][one['arm']].values()):.4f}",
        f"{one['mean']:+.4f}",
        markdown.interval(one["over_seeds"], 4),
        "–" if adjusted is None else f"{adjusted:.2g}",
        one["verdict"],
    ]
