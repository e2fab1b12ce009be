"""HTML pages: well formed, self-contained, escaped, readable, and true to what they show."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from spanmask.report.audit_page import audit_page
from spanmask.report.page import element, page, prose_table, table, text
from spanmask.report.rows_page import rows_page
from spanmask.report.style import COLOURS
from spanmask.report.view import REPLACEMENTS, RowView
from spanmask.shard.reader import ShardSet

VOID = {"meta", "link", "br", "img", "input", "hr"}
#: A colour of text, and the surfaces it is seen on.
ON_SURFACES = ("page", "surface")
SEEN = [
    *((ink, surface) for ink in ("ink", "muted", "good", "bad", "boundary") for surface in ON_SURFACES),
    *((role, surface) for role in ("masked", "random", "kept") for surface in (*ON_SURFACES, f"{role}-tint")),
]
SERIES = [(name, "surface") for name in ("series-1", "series-2", "series-law")]


class Reader(HTMLParser):
    """Checks that elements nest, and gathers attributes, elements and text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.names.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self.open), data))

    def text(self, inside: str = "main") -> str:
        return "".join(data for place, data in self.texts if inside in place)

    def cells(self, heading: str) -> Iterator[str]:
        """Yield the cells of the table with a caption, in order."""
        found = False
        for place, data in self.texts:
            if "caption" in place:
                found = data == heading
            elif found and ("td" in place or "th" in place):
                yield data


@pytest.fixture(scope="session")
def audit_html(audited: dict[str, Any], shards: ShardSet) -> str:
    return audit_page(audited, shards.manifest.content, "shards")


@pytest.fixture(scope="session")
def rows_html(views: list[RowView], hostile: RowView) -> str:
    return rows_page([[view] for view in (*views[:5], hostile)], "<i>Rows</i>", ["of \x1b a & b"])


@pytest.fixture(params=["audit", "rows"])
def source(request: pytest.FixtureRequest) -> str:
    html: str = request.getfixturevalue(f"{request.param}_html")
    return html


def test_pages_are_well_formed(source: str) -> None:
    reader = Reader(source)
    assert source.startswith("<!DOCTYPE html>")
    assert reader.names.count("h1") == 1
    assert ("html", "lang", "en") in reader.attributes
    assert ("meta", "charset", "utf-8") in reader.attributes
    assert ("meta", "name", "viewport") in reader.attributes
    assert reader.text("title").strip()


def test_headings_leave_out_no_level(source: str) -> None:
    levels = [int(name[1]) for name in Reader(source).names if re.fullmatch(r"h[1-6]", name)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_pages_fetch_nothing_and_run_nothing(source: str) -> None:
    reader = Reader(source)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(reader.names)
    assert not {"src", "href", "srcset", "style", "action"} & {name for _, name, _ in reader.attributes}
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?:", source)


def test_identifiers_are_unique(source: str) -> None:
    identifiers = [value for _, name, value in Reader(source).attributes if name == "id"]
    assert len(set(identifiers)) == len(identifiers)


def test_tables_have_captions_and_drawings_titles(source: str) -> None:
    reader = Reader(source)
    assert reader.names.count("table") == reader.names.count("caption") >= 1
    drawings = re.findall(r"<svg[^>]*>(.{7})", source)
    named = [opening for opening in re.findall(r"<svg[^>]*>", source) if 'role="img"' in opening]
    assert all('aria-hidden="true"' in opening for opening in re.findall(r"<svg[^>]*>", source) if opening not in named)
    assert drawings.count("<title>") == len(named)


def test_text_that_means_harm_is_shown_not_obeyed(rows_html: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u200b]", rows_html)
    shown = Reader(rows_html).text()
    for harm in (
        "<script>alert(1)</script>",
        "␛[31mred␛[0m",
        "\\u202eevil",
        '"onload="x',
        "&amp;",
        "<img src=x>",
        "<i>Rows</i>",
        "␛ a & b",
    ):
        assert harm in shown


def test_rows_show_every_piece_and_what_masking_hid(rows_html: str, views: list[RowView]) -> None:
    reader = Reader(rows_html)
    hidden = [data for place, data in reader.texts if "rt" in place and "section" in place]
    wanted = [piece.original for view in views[:5] for piece in view.pieces if piece.role in REPLACEMENTS]
    assert hidden[: len(wanted)] == wanted
    brackets = [data for place, data in reader.texts if data in ("⟦", "⟧") and "section" in place and "p" in place]
    assert "".join(brackets).startswith("⟦⟧" * sum(len(view.spans) for view in views[:5]))
    for view in views[:5]:
        assert view.original in reader.text("details")
        assert f"Row {view.number}" in reader.text("h2")
    boundaries = [data for place, data in reader.texts if "u" in place and "section" in place]
    assert boundaries[:2] == [piece.text for piece in views[0].pieces if piece.is_boundary][:2]


def test_roles_differ_by_sign_as_well_as_colour(rows_html: str, views: list[RowView]) -> None:
    chips = re.findall(r'<ruby class="(\w+)"><span class="chip">(.)', rows_html)
    signs = {"masked": "M", "random": "≠", "kept": "="}
    assert {role for role, _ in chips} == set(signs)
    assert all(sign == signs[role] for role, sign in chips)


def test_counts_of_rows_are_added_up(rows_html: str, views: list[RowView], hostile: RowView) -> None:
    shown = [*views[:5], hostile]
    tokens, masked = sum(view.tokens for view in shown), sum(view.masked for view in shown)
    counted = Reader(rows_html).text("tbody")
    assert f"tokens, without special ones{tokens:,}100.0%masked{masked:,}{masked / tokens:.1%}" in counted


def test_audit_page_shows_the_numbers_of_the_json(audit_html: str, audited: dict[str, Any]) -> None:
    reader = Reader(audit_html)
    shown = reader.text()
    drawn = audited["span_lengths"]["drawn"]
    cells = list(reader.cells("Shares of spans by length in words"))[4:]
    for number, p in enumerate(audited["span_lengths"]["law"]):
        assert cells[4 * number : 4 * number + 3] == [
            str(number + 1),
            f"{p:.2%}",
            f"{drawn[number + 1] / sum(drawn):.2%}",
        ]
    coverage = audited["coverage"]
    for side in ("first", "last"):
        cells = list(reader.cells(f"Coverage of the {side} words"))[3:]
        pairs = zip(coverage[f"{side}_words"], coverage[f"expected_{side}_words"], strict=True)
        wanted = [["–" if value is None else f"{value:.2%}" for value in pair] for pair in pairs]
        assert [cells[i + 1 : i + 3] for i in range(0, len(cells), 3)] == wanted
    starts = list(reader.cells("First starts by place"))[3:]
    assert starts[1::3] == [f"{count:,}" for count in audited["first_starts"]["observed"]]
    for name, count in audited["sampling"]["replacement_units"].items():
        assert f"{name}{count:,}" in shown
    for count in audited["sampling"]["failed_trials"].values():
        assert f"{count:,}" in list(reader.cells("Failed trials, and sequences that ended short, by cause"))
    for gate in audited["gates"]:
        assert gate["name"] in shown
        assert gate["detail"] in shown
    statistics = audited["statistics"]
    for name in ("rows", "tokens", "words", "masked_tokens", "spans", "budget_tokens", "unknown_tokens"):
        assert f"{statistics[name]:,}" in shown
    lengths = list(reader.cells("Sequences by tokens"))[2:]
    assert sum(int(count.replace(",", "")) for count in lengths[1::2]) == statistics["rows"]


def test_audit_page_explains_every_gate(audit_html: str, audited: dict[str, Any]) -> None:
    cells = Reader(audit_html).text("tbody")
    for gate in audited["gates"]:
        told = cells.split(gate["name"], 1)[1].split(gate["detail"])[0]
        assert len(told) > 40


def test_verdict_names_failed_gates_and_rows_that_differ(audited: dict[str, Any], shards: ShardSet) -> None:
    gates = [{**audited["gates"][0], "passed": False}, *audited["gates"][1:]]
    differences = [{"row": 5, "document_id": (2 << 40) + 77, "segment": 3, "columns": ["input_ids", "labels"]}]
    failed = {**audited, "ok": False, "gates": gates, "differing_rows": 3, "differences": differences}
    reader = Reader(audit_page(failed, shards.manifest.content, "shards"))
    shown = reader.text()
    assert f"✗ 1 of {len(gates)} gates failed over {audited['rows']:,} rows: replay equals disk." in shown
    cells = list(reader.cells("3 rows are not what their replay gives; 1 of them listed"))
    assert cells[5:] == ["row 5", "2", "77", "3", "input_ids, labels"]


def test_verdict_tells_of_a_sample(audited: dict[str, Any], shards: ShardSet) -> None:
    shown = Reader(audit_page({**audited, "rows_in_split": 123_456}, shards.manifest.content, "shards")).text()
    assert f"every one of {audited['rows']:,} of 123,456 rows replays" in shown


def test_names_of_inputs_are_escaped(audited: dict[str, Any], shards: ShardSet) -> None:
    inputs = [{"index": k, "name": "<b>\x1b", "size": 1, "sha256": ""} for k in range(12)]
    shown = Reader(audit_page(audited, {**shards.manifest.content, "inputs": inputs}, "shards")).text()
    assert "<b>␛ (input 0), <b>␛ (input 1)" in shown
    assert "and 2 more" in shown


@pytest.mark.parametrize(("ink", "surface"), SEEN)
def test_text_contrasts_with_what_it_stands_on(ink: str, surface: str) -> None:
    for scheme in (0, 1):
        assert contrast(COLOURS[ink][scheme], COLOURS[surface][scheme]) >= 4.5


@pytest.mark.parametrize(("colour", "surface"), SERIES)
def test_drawings_contrast_with_what_they_stand_on(colour: str, surface: str) -> None:
    for scheme in (0, 1):
        assert contrast(COLOURS[colour][scheme], COLOURS[surface][scheme]) >= 3


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of WCAG 2.1."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_colour_used_is_defined(source: str) -> None:
    used = set(re.findall(r"var\(--([\w-]+)\)", source))
    assert used <= set(COLOURS) | {"sans", "mono"}


def test_builders_escape_what_they_are_given() -> None:
    made = page("<t>", [element("p", text("<x>"), title='"><b>'), table("<c>", ("<h>",), [(text("<r>"),)])])
    assert Reader(made).text() == "\n<x>\n<c><h><r>\n"
    assert "<x>" not in made
    cells = prose_table("c", ("a", "b"), [(text("1"), text("2"))])
    assert 'data-label="b"' in cells


def test_the_same_sequences_of_several_datasets_stand_together(views: list[RowView]) -> None:
    named = [[replace(view, dataset=name) for name in ("a b", "<c>")] for view in views[:2]]
    reader = Reader(rows_page(named, "a b and <c>", ["a b: of one kind", "<c>: of another"]))
    headings = [data for place, data in reader.texts if "h2" in place]
    first, second = (view.number for view in views[:2])
    assert headings == [f"{name}, row {n}" for n in (first, second) for name in ("a b", "<c>")] + ["Counts"]
    identifiers = [value for _, name, value in reader.attributes if name in ("id", "aria-labelledby")]
    assert not [value for value in identifiers if " " in value]
    captions = [data for place, data in reader.texts if "caption" in place]
    assert [caption.partition(":")[0] for caption in captions] == ["a b", "<c>"]


def test_a_row_alone_is_one_row(views: list[RowView]) -> None:
    view = next(view for view in views if len(view.spans) != 1)
    one = replace(view, spans=view.spans[:1])
    shown = Reader(rows_page([[one]], "x")).text()
    assert "1 row with 1 span." in shown
    assert "1 spans" not in shown
