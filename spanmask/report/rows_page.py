"""Rows as an HTML page: what masking replaced as chips with the original beneath, spans bracketed, boundaries underlined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spanmask.escaping import counted
from spanmask.report.marks import UNICODE
from spanmask.report.page import Html, count, element, folded, heading, join, page, paragraph, share, table, text
from spanmask.report.view import REPLACEMENTS, Piece, Role, RowView

_STYLE = """
.legend, .facts { display: flex; flex-wrap: wrap; align-items: baseline; list-style: none; }
.legend { gap: .25rem 1.5rem; margin: 1rem 0; padding: .5rem 1rem; }
.facts { gap: 0 1.25rem; margin: 0 0 .5rem; padding: 0; color: var(--muted); font-size: .9rem; }
.row { font-size: 1.0625rem; line-height: 1.75; overflow-wrap: anywhere; max-width: none; margin: 0; }
.special { color: var(--muted); font-size: .75em; font-family: var(--mono); }
ruby { display: inline-flex; flex-direction: column; text-align: center; margin: .15em 1px .1em; line-height: 1.35; max-width: 100%; }
rp { display: none; }
rt { display: block; font-size: .8em; line-height: 1.3; padding: 0 .1em; text-align: center; }
.chip { padding: 0 .35em; border-radius: .3em; border: 1px solid; }
.masked .chip { color: var(--masked); background: var(--masked-tint); border-color: transparent; font: 600 .75em/1.7 var(--mono); }
.random .chip { color: var(--random); background: var(--random-tint); border-style: dashed; }
.kept .chip { color: var(--kept); background: var(--kept-tint); }
.masked rt { color: var(--masked); } .random rt { color: var(--random); } .kept rt { color: var(--kept); }
.bracket { color: var(--muted); font-weight: 700; font-size: 1.15em; }
.hold { white-space: nowrap; }
.hold ruby { white-space: normal; }
u { text-decoration: underline 2px var(--boundary); text-underline-offset: .22em; }
.original { line-height: 1.6; }
.beside { display: grid; gap: 0 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.beside section { display: flex; flex-direction: column; min-width: 0; }
.beside .card { flex: 1; }
@media print { .chip { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""
_MASK_LABEL = "MASK"
_NAMES = {Role.MASKED: "[MASK]", Role.RANDOM: "random", Role.KEPT: "kept"}


def rows_page(groups: Iterable[Sequence[RowView]], title: str, told: Sequence[str] = ()) -> str:
    """Return rows as a self-contained HTML page.

    Parameters
    ----------
    groups
        From `row_view`: rows that stand side by side, where there is room.
    title, told
        Plain text that stands at the top: which datasets and split, and in lines what they are.
    """
    rows = [list(group) for group in groups]
    datasets: dict[str, list[RowView]] = {}
    for view in (view for group in rows for view in group):
        datasets.setdefault(view.dataset, []).append(view)
    body = [
        heading(1, title),
        *(paragraph(line, "lead muted") for line in told),
        _legend(),
        *(element("div", *map(_row, group), class_="beside") for group in rows),
        heading(2, "Counts"),
        *map(_counts, datasets.values()),
    ]
    return page(title, body, _STYLE)


def _legend() -> Html:
    entries = [
        (_ruby(Role.MASKED, text(_MASK_LABEL), "word"), "masked; the original beneath"),
        (_ruby(Role.RANDOM, text(f"{UNICODE.random} other"), "word"), "a random token instead"),
        (_ruby(Role.KEPT, text(f"{UNICODE.kept} word"), "word"), "chosen, but kept"),
        (join([_bracket(UNICODE.opening), _bracket(UNICODE.closing)], " "), "a span"),
        (element("u", text("word")), "a boundary of a span"),
    ]
    items = [element("li", sign, text(f" {meaning}")) for sign, meaning in entries]
    return element("ul", *items, class_="legend card", aria_label="Legend")


def _row(view: RowView) -> Html:
    """Return a row in a section of its own, under its number, and its dataset's name where there are several."""
    told = f"{view.dataset}, row {view.number}" if view.dataset else f"Row {view.number}"
    identifier = f"{view.dataset or 'row'}-{view.number}".replace(" ", "-")
    title = element("h2", text(told), id=identifier)
    content = element("p", _text(view), class_="row")
    original = folded("Original text", paragraph(view.original, "original"))
    card = element("div", content, original, class_="card")
    return element("section", title, _facts(view), card, aria_labelledby=identifier)


def _facts(view: RowView) -> Html:
    facts = [
        view.origin,
        view.segments,
        f"{view.tokens} tokens + {len(view.pieces) - view.tokens} special",
        f"{view.masked} masked ({view.masked_share:.1%}): {', '.join(f'{view.count(role)} {_NAMES[role]}' for role in REPLACEMENTS)}",
        counted(len(view.spans), "span"),
        *(f"{name}: {value}" for name, value in view.kept_fields),
    ]
    return element("ul", *(element("li", text(fact)) for fact in facts), class_="facts")


def _text(view: RowView) -> Html:
    """Return the pieces of a row; a bracket stays on the line of what it opens or closes."""
    parts = []
    for span, pieces in view.runs:
        inner = [_piece(piece) for piece in pieces]
        if span is not None:
            inner[0] = element("span", _bracket(UNICODE.opening), inner[0], class_="hold")
            inner[-1] = element("span", inner[-1], _bracket(UNICODE.closing), class_="hold")
        parts += [(html if piece.attached else Html(f" {html}")) for piece, html in zip(pieces, inner, strict=True)]
    return Html("".join(parts).removeprefix(" "))


def _piece(piece: Piece) -> Html:
    if piece.role in REPLACEMENTS:
        return _ruby(piece.role, _label(piece), piece.original)
    shown = text(piece.text)
    if piece.role is Role.SPECIAL:
        shown = element("span", shown, class_="special")
    return element("u", shown) if piece.is_boundary else shown


def _label(piece: Piece) -> Html:
    if piece.role is Role.MASKED:
        return text(_MASK_LABEL)
    sign = UNICODE.random if piece.role is Role.RANDOM else UNICODE.kept
    return text(f"{sign} {piece.text}")


def _ruby(role: Role, label: Html, original: str) -> Html:
    """Return a chip with the original beneath; where ruby is not known, the original follows in parentheses."""
    chip = element("span", label, class_="chip")
    aside = element("rp", text("(")), element("rt", text(original)), element("rp", text(")"))
    return element("ruby", chip, *aside, class_=role)


def _bracket(sign: str) -> Html:
    return element("span", text(sign), class_="bracket")


def _counts(rows: Sequence[RowView]) -> Html:
    """Return what is in all the rows shown of a dataset."""
    tokens, masked = sum(view.tokens for view in rows), sum(view.masked for view in rows)
    figures = [
        ("tokens, without special ones", tokens, tokens),
        ("masked", masked, tokens),
        *((f"of these {_NAMES[role]}", sum(view.count(role) for view in rows), masked) for role in REPLACEMENTS),
    ]
    lines = [(text(name), count(number), share(number / max(whole, 1), 1)) for name, number, whole in figures]
    told = f"{counted(len(rows), 'row')} with {counted(sum(len(view.spans) for view in rows), 'span')}"
    named = f"{rows[0].dataset}: " * bool(rows[0].dataset)
    return table(f"{named}{told}. Shares of the last three are of the masked tokens.", ("", "tokens", "share"), lines)
