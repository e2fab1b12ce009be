"""Audits of several datasets in the terminal: what each is, gates that failed, then figures and span lengths, a column a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from spanmask.escaping import visible
from spanmask.report import comparison
from spanmask.report.columns import columns, title
from spanmask.report.comparison import Compared


def render_comparison(compared: Sequence[Compared]) -> RenderableType:
    """Return audits, side by side, to print with rich."""
    names, audits = [one.name for one in compared], [one.audit for one in compared]
    lengths = [(label, [f"{share:.2%}" for share in shares]) for label, shares in comparison.length_rows(audits)]
    return Group(
        *(Text.assemble((f"{visible(one.name)}: ", "bold"), visible(one.told)) for one in compared),
        *_failed(compared),
        Text(),
        columns("", names, comparison.rows(audits)),
        title("Stored spans by length in words"),
        columns("words", names, lengths),
    )


def _failed(compared: Sequence[Compared]) -> Iterator[Text]:
    for one in compared:
        for gate in one.audit["gates"]:
            if not gate["passed"]:
                told = f"{one.name}: FAILED {gate['name']}: {gate['detail']}"
                yield Text(visible(told), "bold red")
