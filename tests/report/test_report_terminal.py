"""Rows and audits in the terminal: marks without colour, escaping, widths, encodings."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
from rich.cells import cell_len
from terminals import drawn

from spanmask.report.audit_table import render_audit
from spanmask.report.marks import ASCII, UNICODE, marks_for
from spanmask.report.terminal import render_rows
from spanmask.report.view import REPLACEMENTS, Role, RowView, join_text

WIDTHS = (40, 80, 160)
#: A width at which every row is one line, or one pair of lines.
ENDLESS = 100_000


def row_lines(view: RowView, width: int, **options: Any) -> list[str]:
    """Return the lines of a row, without the legend over it."""
    lines = drawn(render_rows([view]), width, **options).splitlines()
    return lines[lines.index("") + 1 :]


def pair(view: RowView, **options: Any) -> tuple[str, str]:
    """Return a row's text and what stands beneath it, each on one line."""
    _, above, *beneath = row_lines(view, ENDLESS, **options)
    return above, "".join(beneath)


def columns(line: str) -> list[str]:
    """Return a line's terminal cells; the second of a wide character is empty."""
    return [cell for character in line for cell in [character, *[""] * (cell_len(character) - 1)]]


def test_brackets_balance_and_are_as_many_as_spans(views: list[RowView]) -> None:
    for view in views:
        above, _ = pair(view)
        depths = re.sub(f"[^{UNICODE.opening}{UNICODE.closing}]", "", above)
        assert depths == (UNICODE.opening + UNICODE.closing) * len(view.spans)


def test_roles_are_told_apart_without_colour(views: list[RowView]) -> None:
    for view in views:
        above, _ = pair(view, no_color=True)
        inside = re.findall(f"{UNICODE.opening}(.*?){UNICODE.closing}", above)
        assert len(inside) == len(view.spans)
        for shown, (span, pieces) in zip(inside, [run for run in view.runs if run[0] is not None], strict=True):
            roles = {piece.role for piece in pieces}
            assert (UNICODE.masked in shown) == (Role.MASKED in roles), span
            assert shown.count(UNICODE.random) == sum(piece.role is Role.RANDOM for piece in pieces)
            assert shown.startswith(UNICODE.kept) or Role.KEPT not in roles


def test_no_color_leaves_no_colour_and_plain_streams_no_escape(views: list[RowView]) -> None:
    thing = render_rows(views[:4])
    assert "\x1b" not in drawn(thing)
    coloured = drawn(thing, force_terminal=True, color_system="standard")
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", coloured)
    assert not re.search(
        r"\x1b\[[0-9;]*3[0-9]m", drawn(thing, force_terminal=True, color_system="standard", no_color=True)
    )


def test_originals_stand_beneath_their_spans(views: list[RowView]) -> None:
    for view in views:
        above, beneath = map(columns, pair(view))
        starts, ends = (
            [i for i, cell in enumerate(above) if cell == mark] for mark in (UNICODE.opening, UNICODE.closing)
        )
        runs = [pieces for span, pieces in view.runs if span is not None]
        for start, end, pieces in zip(starts, ends, runs, strict=True):
            original = join_text((piece.original, piece.attached) for piece in pieces)
            assert " ".join("".join(beneath[start + 1 : end]).split()) == original


def test_boundaries_are_marked_beneath(views: list[RowView]) -> None:
    for view in views:
        above, beneath = map(columns, pair(view))
        marked = [cell for cell, mark in zip(above, beneath, strict=False) if mark == UNICODE.boundary]
        assert "".join(marked) == "".join(piece.text for piece in view.pieces if piece.is_boundary)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_no_line_is_wider_than_asked_for(
    views: list[RowView], hostile: RowView, audited: dict[str, Any], width: int, encoding: str
) -> None:
    for thing in (render_rows([*views[:10], hostile]), render_audit(audited)):
        lines = drawn(thing, width, encoding=encoding).splitlines()
        assert lines
        assert max(map(cell_len, lines)) <= width


def test_a_width_of_its_own_is_kept_within_the_console(views: list[RowView], audited: dict[str, Any]) -> None:
    for thing in (render_rows(views[:1], 50), render_audit(audited, 50)):
        assert 30 < max(cell_len(line.rstrip()) for line in drawn(thing, 120).splitlines()) <= 50


@pytest.mark.parametrize("width", WIDTHS)
def test_every_piece_is_shown_at_every_width(views: list[RowView], width: int) -> None:
    for view in views[:10]:
        shown = "".join("".join(row_lines(view, width)).split())
        assert all(piece.text in shown for piece in view.pieces if piece.role not in REPLACEMENTS)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_text_that_means_harm_reaches_no_terminal_raw(hostile: RowView, audited: dict[str, Any], encoding: str) -> None:
    gates = [{"name": "\x1b[2J[bold]x", "passed": False, "detail": "\x9b[red]\u202e", "p_value": None}]
    for thing in (render_rows([hostile]), render_audit({**audited, "gates": gates})):
        shown = drawn(thing, 60, encoding=encoding).replace("\n", "")
        assert not [character for character in shown if unicodedata.category(character) in ("Cc", "Cf")]
    shown = drawn(render_rows([hostile]), ENDLESS)
    assert "[bold red]x[/]" in shown
    assert "␛[31mred␛[0m" in shown
    assert "\\u202eevil␇bell" in shown
    assert "title: ␛]0;owned␇ [red]<img src=x>" in shown


def test_brackets_of_the_text_do_not_look_like_those_of_spans(hostile: RowView) -> None:
    above, _ = pair(hostile)
    literal = sum(piece.text == UNICODE.opening and piece.span is None for piece in hostile.pieces)
    assert literal
    assert len(re.findall(f"{UNICODE.opening}(?= |$)", above)) == literal
    above, _ = pair(hostile, encoding="ascii")
    assert len(re.findall(r"\]\](?= |$)", above)) >= len(hostile.spans)


def test_a_stream_that_carries_ascii_only_gets_ascii(views: list[RowView]) -> None:
    assert marks_for("ascii") is marks_for("latin-1") is ASCII
    assert marks_for("utf-8") is UNICODE
    shown = drawn(render_rows(views[:6]), encoding="ascii")
    assert shown.isascii()
    assert ASCII.opening in shown


def test_heading_names_the_row_and_counts(views: list[RowView]) -> None:
    view = next(view for view in views if len(view.spans) > 1)
    heading = row_lines(view, ENDLESS)[0]
    for fact in (
        f"row {view.number} ",
        f"file {view.file}, place {view.place} ",
        f"segment {view.segment} ",
        f"{view.tokens} tokens",
        f"{view.masked} masked ({view.masked / view.tokens:.1%})",
        f"{len(view.spans)} spans",
    ):
        assert fact in heading


def test_rows_share_one_legend_of_one_line(views: list[RowView]) -> None:
    for encoding in ("utf-8", "ascii"):
        lines = drawn(render_rows(views[:3]), 80, encoding=encoding).splitlines()
        assert [number for number, line in enumerate(lines) if "original below" in line] == [0]


def test_words_of_wide_characters_wrap_between_them(hostile: RowView) -> None:
    for width in (12, 13):
        assert max(map(cell_len, drawn(render_rows([hostile]), width).splitlines())) <= width


def test_audit_shows_the_numbers_of_the_json(audited: dict[str, Any]) -> None:
    shown = drawn(render_audit(audited), 200)
    assert shown.count(f"{UNICODE.passed} passed") == len(audited["gates"])
    drawn_lengths = audited["span_lengths"]["drawn"]
    for number, p in enumerate(audited["span_lengths"]["law"], start=1):
        share = drawn_lengths[number] / sum(drawn_lengths)
        assert re.search(rf"^{number} +{p:.2%} +{share:.2%} ", shown, re.MULTILINE)
    assert f"{audited['mask_rate']:.2%}" in shown
    first = audited["coverage"]["first_words"][0], audited["coverage"]["expected_first_words"][0]
    assert re.search(rf"first +{first[0]:.2%} +{first[1]:.2%}", shown)
    for name, count in audited["sampling"]["replacement_units"].items():
        assert re.search(rf"{name} +{count:,} ", shown)
    causes = ("over budget", "past the end", "another span")
    for cause, count in zip(causes, audited["sampling"]["failed_trials"].values(), strict=True):
        assert re.search(rf"{cause} +{count:,} ", shown)


def test_failed_gates_are_named_in_words(audited: dict[str, Any]) -> None:
    gates = [{**audited["gates"][0], "passed": False}, *audited["gates"][1:]]
    assert drawn(render_audit({**audited, "gates": gates})).startswith("✗ FAILED  replay equals disk")
    assert drawn(render_audit({**audited, "gates": gates}), encoding="ascii").startswith("x FAILED  replay")
