"""An audit as an HTML page: the verdict, the gates, charts of what was drawn beside its law, failures, and the configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from spanmask.auditing import FALSE_ALARM
from spanmask.escaping import first_of, short_digest
from spanmask.report import figures
from spanmask.report.audit_charts import charts
from spanmask.report.marks import UNICODE
from spanmask.report.page import Html, count, element, heading, join, page, paragraph, prose_table, text
from spanmask.report.view import split_document_id
from spanmask.shard.input_list import InputRecord, input_names

#: What each gate asks, by its name.
_GATES = {
    "replay equals disk": "Masks are drawn again from the seed and each row's identity, and must equal what is stored, bit for bit.",
    "budgets are met": "Sequences may end short of their budgets by a small share of them in all: else words are too long to mask.",
    "span lengths as drawn": "Lengths drawn, in words, must follow the truncated geometric law.",
    "first starts are uniform": "The place tried first must be equally likely anywhere in a sequence.",
    "replacement 80 / 10 / 10": "Of what is replaced as one, 80% must become [MASK], 10% random tokens, and 10% stay.",
    "a span is replaced as one": "No span may be [MASK] in part: its tokens share one fate.",
    "draws equal the manifest's": "The counts that presharding wrote down must be those of the replay.",
}
_GATES_CAPTION = (
    "What must hold. p is the chance of a deviation at least this large if the law holds; "
    f"each gate that has one rejects a sound dataset once in {1 / FALSE_ALARM:,.0f} audits."
)
_CAUSES = {
    "word over budget": "a word has more tokens than the whole budget",
    "ran past the end": "the span would end beyond the sequence",
    "met another span": "the span would overlap or touch one that is there",
}
_FAILURES_TOLD = "A place that does not fit is drawn again, up to a hundred times; a sequence that finds none ends short of its budget."
_INPUTS_SHOWN = 10
_STYLE = """
.tiles { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 9.5rem), 1fr)); margin: .5rem 0; }
.tiles .card { display: flex; flex-direction: column; padding: .6rem .9rem; }
.tiles dt { order: 1; color: var(--muted); font-size: .875rem; line-height: 1.3; }
.tiles dd { margin: 0; font-size: 1.4rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tiles .note { order: 2; font-size: .8125rem; color: var(--muted); }
"""


def audit_page(audit: dict[str, Any], manifest: dict[str, Any], name: str) -> str:
    """Return an audit as a self-contained HTML page.

    Parameters
    ----------
    audit
        From `Audit.to_json`.
    manifest
        The content of the dataset's manifest: its inputs, vocabulary and fingerprint are named.
    name
        What people call the dataset.
    """
    title = f"Audit of {name}: {audit['split']} split"
    sign, style = (UNICODE.passed, "card verdict") if audit["ok"] else (UNICODE.failed, "card verdict failed")
    body = [
        heading(1, title),
        paragraph(
            first_of(input_names([InputRecord.from_json(item) for item in manifest["inputs"]]), _INPUTS_SHOWN),
            "lead muted",
        ),
        element("div", paragraph(f"{sign} {figures.verdict(audit)}"), class_=style),
        _gates(audit["gates"]),
        *([_differences(audit)] if audit["differing_rows"] else []),
        heading(2, "What was counted"),
        element("dl", *map(_tile, figures.totals(audit)), class_="tiles"),
        heading(2, "What was drawn, beside its law"),
        element("div", *charts(audit), class_="grid"),
        _failures(audit),
        _configuration(audit["config"]),
        element("footer", text(_origin(manifest))),
    ]
    return page(title, body, _STYLE)


def _tile(total: figures.Total) -> Html:
    parts = [element("dt", text(total.name)), element("dd", text(total.value))]
    if total.note:
        parts.append(element("dd", text(total.note), class_="note"))
    return element("div", *parts, class_="card")


def _gates(gates: Sequence[dict[str, Any]]) -> Html:
    rows = [
        (text(gate["name"]), _result(gate["passed"]), text(_GATES.get(gate["name"], "")), text(gate["detail"]))
        for gate in gates
    ]
    columns = ("gate", "result", "what it asks", "what was found")
    return join([heading(2, "Gates"), prose_table(_GATES_CAPTION, columns, rows)])


def _result(passed: bool) -> Html:
    sign, style = (f"{UNICODE.passed} passed", "passed") if passed else (f"{UNICODE.failed} failed", "failed-mark")
    return element("span", text(sign), class_=style)


def _differences(audit: dict[str, Any]) -> Html:
    shown, total = audit["differences"], audit["differing_rows"]
    rows = [[text(value) for value in _difference(row)] for row in shown]
    more = f"; {len(shown)} of them listed" if len(shown) < total else ""
    caption = f"{total:,} rows are not what their replay gives{more}"
    columns = ("row", "input file", "place", "segment", "columns that differ")
    return join([heading(2, "Rows that differ"), prose_table(caption, columns, rows)])


def _difference(row: dict[str, Any]) -> tuple[object, ...]:
    return f"row {row['row']:,}", *split_document_id(row["document_id"]), row["segment"], ", ".join(row["columns"])


def _failures(audit: dict[str, Any]) -> Html:
    rows = [
        (text(cause.name), text(_CAUSES.get(cause.name, "")), count(cause.failed_trials), count(cause.short_rows))
        for cause in figures.causes(audit)
    ]
    columns = ("cause", "which means", "failed trials", "short sequences")
    caption = "Failed trials, and sequences that ended short, by cause"
    content = [heading(2, "Draws that failed"), paragraph(_FAILURES_TOLD), prose_table(caption, columns, rows)]
    too_long = audit["sampling"]["ranges_too_long"]
    if too_long:
        content.append(paragraph(f"{too_long:,} annotated ranges were longer than their budget and left out."))
    return join(content)


def _configuration(config: dict[str, dict[str, Any]]) -> Html:
    rows = [
        (text(name), element("code", text(json.dumps(value, ensure_ascii=False))), text(section))
        for section, options in sorted(config.items())
        for name, value in options.items()
    ]
    return join(
        [
            heading(2, "Configuration"),
            prose_table("As resolved, by option", ("option", "value", "section"), rows),
        ]
    )


def _origin(manifest: dict[str, Any]) -> str:
    vocabulary = manifest["vocabulary"]
    return (
        f"Vocabulary {vocabulary['name']}, {vocabulary['size']:,} entries. Dataset fingerprint {short_digest(manifest['fingerprint'])}. "
        f"Format version {manifest['format_version']}, algorithm version {manifest['algorithm_version']}. Made by spanmask."
    )
