"""Audits of several datasets as one HTML page: what each is, what differs, span lengths and coverage overlaid, and every gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spanmask.report import comparison
from spanmask.report.charts import Axes, percent
from spanmask.report.comparison import Compared
from spanmask.report.curve_chart import Curve, curve_figure, require_few
from spanmask.report.figures import verdict
from spanmask.report.marks import UNICODE
from spanmask.report.named import listed
from spanmask.report.page import Html, element, heading, page, paragraph, prose_table, share, table, text


def comparison_page(compared: Sequence[Compared], split: str) -> str:
    """Return audits of a split of several datasets, side by side, as a self-contained HTML page.

    Raises
    ------
    ConfigError
        There are more than can be told apart.
    """
    require_few(len(compared), "datasets")
    names = [one.name for one in compared]
    audits = [one.audit for one in compared]
    body = [
        heading(1, f"Audits of {listed(names)}: {split} split"),
        *(paragraph(f"{one.name}: {one.told}", "lead muted") for one in compared),
        *map(_verdict, compared),
        heading(2, "Side by side"),
        table("Schemes, options that differ, and what was counted", ("", *names), _text_rows(audits)),
        heading(2, "What was drawn"),
        element("div", *_charts(compared), class_="grid"),
        table("Shares of stored spans by length in words", ("words", *names), _length_rows(audits)),
        heading(2, "Gates"),
        prose_table("What must hold, and what was found", ("gate", *names), _gates(compared)),
        element("footer", text("Made by spanmask.")),
    ]
    return page(f"Audits of {listed(names)}", body)


def _verdict(one: Compared) -> Html:
    sign, style = (UNICODE.passed, "card verdict") if one.audit["ok"] else (UNICODE.failed, "card verdict failed")
    return element("div", paragraph(f"{sign} {one.name}: {verdict(one.audit)}"), class_=style)


def _text_rows(audits: Sequence[comparison.Audit]) -> list[list[Html]]:
    return [[text(name), *map(text, values)] for name, values in comparison.rows(audits)]


def _length_rows(audits: Sequence[comparison.Audit]) -> list[list[Html]]:
    return [[text(label), *map(share, values)] for label, values in comparison.length_rows(audits)]


def _charts(compared: Sequence[Compared]) -> Iterator[Html]:
    lengths = "Shares of stored spans by length in words"
    yield from _chart(lengths, "words", comparison.length_curves(compared))
    for side, place in (("first", "start"), ("last", "end")):
        title = f"How often each of the {side} words is masked"
        yield from _chart(title, f"words from the {place}", comparison.coverage_curves(compared, side))
    yield from _chart(
        "Sequences of up to so many tokens", "tokens", comparison.histogram_curves(compared, "row_tokens")
    )
    masked = "Sequences with up to so many masked tokens"
    yield from _chart(masked, "masked tokens", comparison.histogram_curves(compared, "row_masked"))
    yield from _chart("Spans of up to so many tokens", "tokens", comparison.histogram_curves(compared, "span_tokens"))


def _chart(title: str, x_name: str, curves: Sequence[Curve]) -> Iterator[Html]:
    """Return a chart; nothing where no value is known, as of a split without rows."""
    return curve_figure(title, Axes(title=title, x_name=x_name, written=percent), curves, from_zero=True)


def _gates(compared: Sequence[Compared]) -> list[list[Html]]:
    found = [{gate["name"]: gate for gate in one.audit["gates"]} for one in compared]
    names = dict.fromkeys(name for gates in found for name in gates)
    return [[text(name), *(_gate(gates.get(name)) for gates in found)] for name in names]


def _gate(gate: dict[str, object] | None) -> Html:
    if gate is None:
        return text("does not apply")
    passed = bool(gate["passed"])
    sign, style = (f"{UNICODE.passed} passed", "passed") if passed else (f"{UNICODE.failed} failed", "failed-mark")
    return element("span", element("span", text(sign), class_=style), text(f": {gate['detail']}"))
