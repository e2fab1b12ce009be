"""The charts of an audit: each a figure with one or two sentences that say what to see, and its numbers to unfold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any

from spanmask.report import figures
from spanmask.report.charts import Axes, Series, bar_chart, gather, histogram, key, line_chart, percent
from spanmask.report.page import Html, count, element, folded, heading, paragraph, share, table, text
from spanmask.statistics import HISTOGRAM_LIMIT

#: Standard deviations on either side that hold 95 % of chance.
_BAND = 1.96
_STARTS_TOLD = (
    "The place tried first is drawn uniformly: dots, counts divided by expected ones, should scatter about 1, 19 of 20 in the band. "
    "The outermost dots are single places, those between equal parts of the rest."
)


_LOGARITHMIC = "Heights are logarithmic, so that rare values show."


def charts(audit: dict[str, Any]) -> Iterator[Html]:
    """Yield the figures of an audit; those for which it has no data are left out."""
    yield _lengths(audit)
    yield _replacements(audit)
    if sum(audit["first_starts"]["observed"]):
        yield _first_starts(audit["first_starts"])
    for side in ("first", "last"):
        yield _coverage(audit, side)
    histograms, config = audit["statistics"]["histograms"], audit["config"]
    yield _row_tokens(histograms["row_tokens"], config)
    yield _row_masked(histograms["row_masked"], config)
    yield _span_tokens(histograms["span_tokens"])


def _figure(title: str, told: str, drawing: Html, *, legend: Html | None = None, numbers: Html | None = None) -> Html:
    content = [element("figcaption", heading(3, title), paragraph(told)), drawing]
    if legend is not None:
        content.append(legend)
    if numbers is not None:
        content.append(folded("Numbers", numbers))
    return element("figure", *content, class_="card")


def _lengths(audit: dict[str, Any]) -> Html:
    """Return the chart of span lengths: stored ones, with what was drawn and its law where lengths are drawn."""
    found = figures.lengths(audit)
    axes = Axes(
        title="Shares of spans by their length in words",
        x_name="span length in words",
        labels=[length.label for length in found],
        written=percent,
    )
    stored = Series(name="stored", values=[length.realised for length in found])
    rows = [(text(length.label), share(length.law), share(length.drawn), share(length.realised)) for length in found]
    numbers = table("Shares of spans by length in words", ("words", "law", "drawn", "stored"), rows)
    if not audit["span_lengths"]["law"]:
        return _figure("Span lengths", _lengths_told(audit), bar_chart(axes, [stored]), numbers=numbers)
    drawn = Series(name="drawn", values=[length.drawn for length in found])
    law = Series(name="law", values=[length.law for length in found])
    legend = key([("fill-1", "drawn"), ("fill-2", "stored"), ("line-law", "law")])
    drawing = bar_chart(axes, [drawn, stored], law)
    return _figure("Span lengths", _lengths_told(audit), drawing, legend=legend, numbers=numbers)


def _lengths_told(audit: dict[str, Any]) -> str:
    """Return the sentences over that chart: what should agree, why stored lengths differ from drawn ones, and the means."""
    known, masking = audit["span_lengths"], audit["config"]["masking"]
    stored = f"{figures.mean_of(known['realised']):.2f}"
    if not known["law"]:
        return f"No length is drawn with scheme {masking['scheme']}. Stored spans are {stored} words long on average."
    law = sum(length * p for length, p in enumerate(known["law"], start=1))
    why = (
        "overlapping and touching ones merge"
        if masking["sampler"] == "reference"
        else "a full budget cuts the last one short"
    )
    return (
        f"Bars of what was drawn should end at the law's marks; stored spans differ, as {why}. "
        f"Means: law {law:.2f}, drawn {figures.mean_of(known['drawn']):.2f}, stored {stored} words."
    )


def _replacements(audit: dict[str, Any]) -> Html:
    """Return the chart of what units became, against 80, 10 and 10 %."""
    found = figures.replacements(audit)
    unit = audit["config"]["masking"]["replacement_unit"]
    axes = Axes(
        title=f"Shares of {unit}s by what replaced them",
        x_name=f"what a {unit} became",
        labels=["[MASK]", "random", "kept"],
        written=percent,
    )
    shares = Series(name="", values=[one.share for one in found])
    drawing = bar_chart(axes, [shares], Series(name="law", values=[one.law for one in found]))
    rows = [(text(one.name), count(one.units), share(one.share), share(one.law, 0)) for one in found]
    told = f"Of ten {unit}s, eight should become [MASK], one random tokens, and one should stay; bars should end at the marks."
    numbers = table(f"Replacement of {unit}s", ("", f"{unit}s", "share", "law"), rows)
    return _figure(
        "Replacements", told, drawing, legend=key([("fill-1", "found"), ("line-law", "law")]), numbers=numbers
    )


def _first_starts(starts: dict[str, list[float]]) -> Html:
    """Return the chart of observed over expected first starts, with the band that 19 of 20 dots should lie in by chance."""
    pairs = list(zip(starts["observed"], starts["expected"], strict=True))
    labels = ["first", *(f"{number}" for number in range(1, len(pairs) - 1)), "last"]
    ratios = [observed / expected if expected else None for observed, expected in pairs]
    spread = [_BAND / math.sqrt(expected) if expected else None for _, expected in pairs]
    band = (
        [None if half is None else 1 - half for half in spread],
        [None if half is None else 1 + half for half in spread],
    )
    axes = Axes(
        title="First starts by place, against a uniform draw",
        x_name="place in the sequence, from first to last",
        labels=labels,
        shown=(0, len(pairs) - 1),
        written=lambda value: f"{value:.4g}",
    )
    one = Series(name="uniform", values=[1.0] * len(pairs))
    drawing = line_chart(axes, [Series(name="of expected", values=ratios)], law=one, band=band)
    rows = [
        (text(label), count(int(observed)), Html(f"{expected:,.1f}"))
        for label, (observed, expected) in zip(labels, pairs, strict=True)
    ]
    legend = key([("line-1", "observed ÷ expected"), ("line-law", "uniform"), ("fill-band", "95% of chance")])
    numbers = table("First starts by place", ("place", "observed", "expected"), rows)
    return _figure("Where the first span is tried", _STARTS_TOLD, drawing, legend=legend, numbers=numbers)


def _coverage(audit: dict[str, Any], side: str) -> Html:
    """Return the chart of how often the outermost words are masked, from the edge inwards, beside the same text under other seeds."""
    found = figures.edges(audit, side)
    shown = found if side == "first" else found[::-1]
    inside, _ = figures.inside(audit)
    axes = Axes(
        title=f"How often each of the {side} {len(found)} words is masked",
        x_name="words from the start" if side == "first" else "words from the end",
        labels=[str(edge.word) for edge in shown],
        shown=[place for place, edge in enumerate(shown) if edge.word == 1 or edge.word % 6 == 0],
        written=percent,
    )
    lines = [
        Series(name="masked", values=[edge.measured for edge in shown]),
        Series(name="expected", values=[edge.expected for edge in shown]),
    ]
    entries = [("line-1", "masked"), ("line-2", "expected")]
    law = None if inside is None else Series(name="inside", values=[inside] * len(shown))
    drawing = line_chart(axes, lines, law=law)
    legend = key([*entries, ("line-law", "level inside")] if law else entries)
    rows = [(text(edge.word), share(edge.measured), share(edge.expected)) for edge in found]
    numbers = table(f"Coverage of the {side} words", ("word", "masked", "expected"), rows)
    outer = share(found[0].measured, 1) if found else "–"
    told = (
        f"The {side} word is masked in {outer} of sequences, words inside in {share(inside, 1)}. "
        "The line should follow the dashed one: the same text masked under other seeds."
    )
    return _figure(f"The {side} {len(found)} words", told, drawing, legend=legend, numbers=numbers)


def _row_tokens(counts: Sequence[int], config: dict[str, Any]) -> Html:
    told = (
        f"The median is {_median(counts):,} tokens, special ones included; "
        f"{config['sequence']['max_tokens']:,} are allowed. {_LOGARITHMIC}"
    )
    return _histogram("Sequence lengths", told, ("tokens", "sequences"), counts, logarithmic=True)


def _row_masked(counts: Sequence[int], config: dict[str, Any]) -> Html:
    longest, ratio = config["sequence"]["max_tokens"] - 2, Fraction(repr(config["masking"]["mask_ratio"]))
    told = (
        f"The median is {_median(counts):,} masked tokens; "
        f"a sequence of full length asks for {math.ceil(longest * ratio):,}. {_LOGARITHMIC}"
    )
    return _histogram("Masked tokens of a sequence", told, ("masked tokens", "sequences"), counts, logarithmic=True)


def _span_tokens(counts: Sequence[int]) -> Html:
    told = (
        f"Counted in tokens, spans are {figures.mean_of(counts):.2f} long on average, the longest {len(counts) - 1:,}: "
        "words of several pieces make a tail."
    )
    return _histogram("Span lengths in tokens", told, ("tokens", "spans"), counts)


def _histogram(
    title: str, told: str, names: tuple[str, str], counts: Sequence[int], *, logarithmic: bool = False
) -> Html:
    open_end = len(counts) > HISTOGRAM_LIMIT
    value, unit = names
    axes = Axes(title=f"{title}: {unit} by {value}", x_name=value, unit=unit, logarithmic=logarithmic)
    bins = gather(counts, open_end=open_end)
    rows = [(text(label), count(number)) for label, number in zip(bins.labels, bins.counts, strict=True)]
    numbers = table(f"{unit.capitalize()} by {value}", (value, unit), rows)
    return _figure(title, told, histogram(axes, counts, open_end=open_end), numbers=numbers)


def _median(counts: Sequence[int]) -> int:
    """Return the largest value that at least half of what was counted reaches."""
    total, above = sum(counts), enumerate(accumulate(reversed(counts)), start=1)
    return next((len(counts) - values for values, number in above if 2 * number >= total), 0)
