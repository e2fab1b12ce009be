"""Charts: ticks, ranges, shapes where the numbers say, labels with room. Figures: shares and causes of any scheme's audit."""

from __future__ import annotations

import copy
import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from terminals import drawn

from spanmask.auditing import audit
from spanmask.config import PreshardConfig
from spanmask.presharding.run import preshard
from spanmask.report import figures
from spanmask.report.audit_page import audit_page
from spanmask.report.audit_table import render_audit
from spanmask.report.charts import (
    HEIGHT,
    WIDTH,
    Axes,
    Series,
    bar_chart,
    gather,
    histogram,
    line_chart,
    percent,
    powers,
    short_number,
    ticks,
)

AXES = Axes(title="A <chart>", x_name="places", labels=["1", "2", "3", "4"])


def shapes(svg: str, name: str, style: str) -> list[dict[str, str]]:
    root = ElementTree.fromstring(svg)
    return [dict(item.attrib) for item in root.iter(name) if item.get("class") == style]


@given(st.floats(0, 2), st.floats(1e-4, 1e6))
def test_ticks_are_even_few_and_enclose_the_range(low: float, size: float) -> None:
    high = low + size
    marks = ticks(low, high)
    assert 2 <= len(marks) <= 9
    slack = 1e-6 * max(abs(low), abs(high), 1)
    assert marks[0] <= low + slack
    assert marks[-1] >= high - slack
    steps = {round((after - before) / (marks[1] - marks[0]), 6) for before, after in itertools.pairwise(marks)}
    assert steps == {1}


def test_what_rounding_leaves_of_equal_values_has_the_ticks_of_one_value() -> None:
    value = 13848.006624761829
    assert ticks(value, value * (1 + 1e-15)) == ticks(value, value)
    assert ticks(value, value)[-1] > ticks(value, value)[0]


@pytest.mark.parametrize(
    ("value", "brief"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (950, "950"),
        (1500, "1.5k"),
        (12e6, "12M"),
        (2.5e9, "2.5G"),
        (5e-4, "5e-4"),
        (-1.5e-3, "-1.5e-3"),
    ],
)
def test_numbers_are_brief(value: float, brief: str) -> None:
    assert short_number(value) == brief


def test_shares_are_in_per_cent() -> None:
    assert [percent(value) for value in (0, 0.05, 0.125, 1)] == ["0%", "5%", "12.5%", "100%"]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=1100), st.integers(2, 60))
def test_ranges_hold_every_count_once(counts: list[int], most: int) -> None:
    bins = gather(counts, most)
    assert sum(bins.counts) == sum(counts)
    assert len(bins.labels) == len(bins.counts) <= most
    assert len(set(bins.labels)) == len(bins.labels)


def test_ranges_are_labelled_by_what_they_hold() -> None:
    bins = gather([0, 0, 5, 1, 0, 2, 9], 4)
    assert bins.labels == ["2–3", "4–5", "6"]
    assert bins.counts == [6, 2, 9]
    assert gather([1] * 11, 4, open_end=True).labels[-1] == "8+"


def test_bars_are_as_high_as_their_values() -> None:
    svg = bar_chart(AXES, [Series(name="", values=[1, 2, 0, 4])], Series(name="law", values=[2, None, 2, 2]))
    bars = [float(bar["height"]) for bar in shapes(svg, "rect", "fill-1")]
    assert len(bars) == 3
    assert bars[1] / bars[0] == pytest.approx(2, rel=0.01)
    assert bars[2] / bars[0] == pytest.approx(4, rel=0.01)
    marks = shapes(svg, "path", "line-law")
    assert len(marks) == 3
    top = float(shapes(svg, "rect", "fill-1")[1]["y"])
    assert {float(mark["d"].split()[1]) for mark in marks} == {top}


def test_logarithmic_bars_show_rare_values() -> None:
    svg = histogram(Axes(title="", x_name="", logarithmic=True), [0, 1, 100_000])
    low, high = (float(bar["height"]) for bar in shapes(svg, "rect", "fill-1"))
    assert low > 3
    assert high > 10 * low
    assert powers(12_345) == [0, 10, 100, 1000, 10_000, 100_000]


def test_lines_break_where_there_is_no_value() -> None:
    svg = line_chart(AXES, [Series(name="", values=[1, 2, None, 4])])
    (line,) = shapes(svg, "path", "line-1")
    assert line["d"].count("M") == 2
    assert len(shapes(svg, "circle", "fill-1")) == 3


def test_a_band_holds_its_edges() -> None:
    svg = line_chart(AXES, [Series(name="", values=[1, 1, 1, 1])], band=([0.9] * 4, [1.1] * 4))
    (band,) = shapes(svg, "polygon", "fill-band")
    assert len(band["points"].split()) == 8


@pytest.mark.parametrize("count", [1, 10, 33, 200])
def test_labels_keep_apart_and_inside(count: int) -> None:
    labels = [f"{1000 + number}–{1001 + number}" for number in range(count)]
    svg = bar_chart(Axes(title="", x_name="x", labels=labels), [Series(name="", values=[1.0] * count)])
    texts = [item for item in ElementTree.fromstring(svg).iter("text") if item.text in labels]
    places = [float(item.get("x", "")) for item in texts]
    assert places
    assert all(after - before > 9 * 6.8 for before, after in itertools.pairwise(places))


def test_charts_of_nothing_are_drawn_empty() -> None:
    nothing = Series(name="", values=[None, None])
    axes = Axes(title="", x_name="", labels=["a", "b"])
    for svg in (bar_chart(axes, [nothing]), line_chart(axes, [nothing]), histogram(axes, []), histogram(axes, [0])):
        ElementTree.fromstring(svg)


def test_everything_is_drawn_inside_and_escaped() -> None:
    svg = bar_chart(AXES, [Series(name="<b>", values=[1, 2, 3, 4]), Series(name="", values=[4, 3, 2, 1])])
    root = ElementTree.fromstring(svg)
    assert root.findtext("title") == "A <chart>"
    for bar in root.iter("rect"):
        assert 0 <= float(bar.get("x", "")) <= WIDTH - float(bar.get("width", ""))
        assert 0 <= float(bar.get("y", "")) <= HEIGHT - float(bar.get("height", ""))


def test_long_laws_are_gathered(audited: dict[str, Any]) -> None:
    audit = copy.deepcopy(audited)
    audit["span_lengths"] = {"law": [0.02] * 50, "drawn": [0] + [1] * 50, "realised": [0, *[1] * 40]}
    found = figures.lengths(audit)
    assert [length.label for length in found][-2:] == ["20", "21+"]
    assert sum(length.law or 0 for length in found) == pytest.approx(1)
    assert found[-1].drawn == pytest.approx(0.6)
    assert found[-1].realised == pytest.approx(0.5)


def test_inside_is_the_mean_far_from_both_ends(audited: dict[str, Any]) -> None:
    coverage = audited["coverage"]
    far = [
        value
        for side in ("first", "last")
        for value in coverage[f"{side}_words"][figures.INSIDE_FROM :]
        if value is not None
    ]
    assert figures.inside(audited)[0] == pytest.approx(sum(far) / len(far))


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": "token"},
        {"scheme": "word", "replacement_unit": "word"},
        {"sampler": "reference"},
        {"scheme": "annotated", "spans_field": "spans"},
        {"max_tokens": 12, "min_tokens": 3, "mask_ratio": 0.9, "max_words": 40},
    ],
    ids=lambda options: "-".join(str(value) for value in options.values()),
)
def test_audits_of_every_scheme_can_be_shown(options: dict[str, Any], tmp_path: Path) -> None:
    text = "the old keeper unbelievably remembered every storm , and the harbour ."
    documents = [{"text": text, "spans": [[4, 14], [28, 38]]} for _ in range(30)]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(document) + "\n" for document in documents), "utf-8")
    manifest = preshard(source, tmp_path / "out", PreshardConfig.of(seed=1, **options), jobs=1)
    found = audit(tmp_path / "out").to_json()
    html = audit_page(found, manifest.content, "shards")
    shown = drawn(render_audit(found))
    for gate in found["gates"]:
        assert gate["name"] in shown
        assert gate["name"].replace("'", "&#x27;") in html
    assert "nan" not in html
    assert not re.search(r"[ \"]-?inf", html)
