"""Self-contained HTML pages: one file, no script, nothing fetched. Builders take plain text and escape it; what they return is HTML.

`Html` marks what is HTML already, so that text from data cannot pass for it unescaped: mypy tells the two apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NewType

from spanmask.escaping import escape
from spanmask.report.style import style_sheet

#: Text that is HTML, with everything from data in it escaped.
Html = NewType("Html", str)

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def page(title: str, body: Iterable[Html], style: str = "") -> str:
    """Return a page. style: rules of its own, after those that all pages share."""
    return _PAGE.format(title=escape(title), style=style_sheet(style), body="\n".join(body))


def text(value: object) -> Html:
    """Return a value's text, escaped."""
    return Html(escape(value))


def element(name: str, *content: Html, **attributes: str) -> Html:
    """Return an element; of attributes, ``class_`` is written ``class``, and other underscores become hyphens."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{written}>{''.join(content)}</{name}>")


def join(parts: Iterable[Html], separator: str = "") -> Html:
    """Return parts as one; the separator is escaped."""
    return Html(escape(separator).join(parts))


def paragraph(value: object, class_: str = "") -> Html:
    """Return a paragraph of text."""
    return element("p", text(value), **({"class_": class_} if class_ else {}))


def heading(level: int, value: object) -> Html:
    """Return a heading."""
    return element(f"h{level}", text(value))


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Html]]) -> Html:
    """Return a table whose first column names its rows and whose others hold numbers, which stand right."""
    return _table(caption, columns, rows, "number")


def prose_table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Html]]) -> Html:
    """Return a table whose first column names its rows and whose others hold words; where it is narrow, cells stand below each other."""
    labelled = [
        [row[0], *(element("span", cell, data_label=name) for name, cell in zip(columns[1:], row[1:], strict=True))]
        for row in rows
    ]
    return _table(caption, columns, labelled, "words")


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Html]], style: str) -> Html:
    heads = [
        element("th", text(name), scope="col", class_=style if place else "name") for place, name in enumerate(columns)
    ]
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", cell, class_=style) for cell in row[1:]))
        for row in rows
    ]
    content = element("caption", text(caption)), element("thead", element("tr", *heads)), element("tbody", *body)
    kind = "scroll" if style == "number" else "scroll prose"
    return element("div", element("table", *content), class_=kind)


def count(value: int) -> Html:
    """Return a whole number with thousands separators."""
    return Html(f"{value:,}")


def share(value: float | None, digits: int = 2) -> Html:
    """Return a share in per cent; a dash where there is none."""
    return Html("–" if value is None else f"{value:.{digits}%}")


def folded(summary: str, *content: Html) -> Html:
    """Return content that opens with a click."""
    return element("details", element("summary", text(summary)), *content)
