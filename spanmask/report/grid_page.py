"""A grid of trainings as one HTML page: what is claimed, every difference and figure, what each arm is, and the paper's own numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from spanmask.escaping import counted
from spanmask.report.grid import ALPHA, Difference, GridTold, PaperTold, difference_row, value_rows
from spanmask.report.interval_chart import interval_chart
from spanmask.report.page import Html, element, folded, heading, page, paragraph, prose_table, table, text
from spanmask.report.paired import LEAST_SEEDS

_COLUMNS = ("mean", "95 % over seeds", "p", "p of all primary ones", "so it is")
_STYLE = ".claims li { margin: .25rem 0; } .claims { margin: .25rem 0; padding-left: 1.2rem; }"
_SHOWN = 30


def grid_page(told: GridTold) -> str:
    """Return a grid as a self-contained HTML page."""
    title = f"Grid {told.name}"
    body = [
        heading(1, title),
        *([paragraph(told.question, "lead muted")] if told.question else []),
        *_progress(told),
        _claims(told),
        heading(2, "Primary outcomes"),
        element("div", *_charts(told), class_="grid"),
        *(_differences(told, outcome) for outcome in told.primary),
        heading(2, "Arms"),
        _arms(told),
        *map(paragraph, told.lines),
        heading(2, "Figures"),
        _values(told, "Primary outcomes: mean over the seeds ± standard deviation", told.primary),
        *_beside(told),
        *([] if told.paper is None else _paper(told.paper)),
        heading(2, "How to read it"),
        *map(paragraph, explanation(told)),
        element("footer", text("Made by spanmask reproduce.")),
    ]
    return page(title, body, _STYLE)


def explanation(told: GridTold) -> Iterator[str]:
    """Yield what the figures and intervals are, in sentences."""
    claims = sum(not one.null for outcome in told.primary for one in told.of(outcome))
    yield (
        "A difference is that of two trainings of one seed, which begin with the same weights by name and read the same text in the same "
        f"order; the interval is Student's t over the seeds. Nothing is claimed with fewer than {LEAST_SEEDS} seeds."
    )
    yield (
        f"Claims are made of {counted(len(told.primary), 'primary outcome')} alone, which the plan fixed beforehand: "
        f"{counted(claims, 'difference')} together, wrong by chance, by Holm's method, with a probability of {ALPHA:g} at most. "
        "No difference shown is not the same as none: the interval says how large one may be. All other figures stand beside; of twenty "
        "of them that are alike one is outside its interval."
    )
    if any(arm.null for arm in told.arms):
        yield (
            "The same again is an arm that differs from another by the draw of its masks alone: there is no difference to be found, and "
            "how far its figures scatter is what chance does. It is held against Holm's method by itself."
        )
    yield (
        "held-out/ARM/…: text that no arm was trained on, masked as that arm masks: losses in nats a masked token (less is better), and "
        "per cent of tokens told right (accuracy) and of spans of up to ten tokens told whole (spans); mlm: from their own places, sbo: "
        "from the tokens beside them; nsp: whether the second segment of a pair follows. Other figures are those of spanmask probe."
    )


def _progress(told: GridTold) -> Iterator[Html]:
    if told.undone:
        names = ", ".join(told.undone[:_SHOWN]) + (", …" if len(told.undone) > _SHOWN else "")
        yield paragraph(f"{counted(len(told.undone), 'cell')} of {told.cells} are not done yet:")
        yield folded("which", paragraph(names))


def _claims(told: GridTold) -> Html:
    warned = any(line.startswith("WARNING") for line in told.lines)
    items = [element("li", text(line)) for line in told.headline]
    style = "card verdict failed" if warned else "card"
    return element("div", element("ul", *items, class_="claims"), class_=style)


def _charts(told: GridTold) -> Iterator[Html]:
    for outcome in told.primary:
        known = [one for one in told.of(outcome) if one.differences]
        if known:
            chart = interval_chart(outcome, known)
            yield element("figure", element("figcaption", text(outcome)), chart, class_="card")


def _differences(told: GridTold, outcome: str) -> Html:
    return prose_table(outcome, ("", *_COLUMNS), [_row(one) for one in told.of(outcome)])


def _row(one: Difference) -> list[Html]:
    return [text(_name(one)), *map(text, difference_row(one))]


def _name(one: Difference) -> str:
    return f"{one.arm} minus {one.against}" + (", the same again" if one.null else "")


def _arms(told: GridTold) -> Html:
    names = list(dict.fromkeys(name for arm in told.arms for name in arm.facts))
    options = list(dict.fromkeys(name for arm in told.arms for name in arm.options))
    rows = [
        ("held against", [arm.against or "–" for arm in told.arms]),
        *((name, [arm.facts.get(name, "–") for arm in told.arms]) for name in names),
        *((name, [json.dumps(arm.options.get(name)).strip('"') for arm in told.arms]) for name in options),
    ]
    shown = [[text(name), *map(text, cells)] for name, cells in rows]
    return prose_table("What each arm is, and what it took", ("", *(arm.name for arm in told.arms)), shown)


def _values(told: GridTold, caption: str, outcomes: Sequence[str]) -> Html:
    rows = [[text(name), *map(text, cells)] for name, cells in value_rows(told, outcomes)]
    return table(caption, ("", *(arm.name for arm in told.arms)), rows)


def _beside(told: GridTold) -> Iterator[Html]:
    """Yield what nothing is claimed of, by probe."""
    probes = dict.fromkeys(outcome.partition("/")[0] for outcome in told.beside)
    for probe in probes:
        outcomes = [outcome for outcome in told.beside if outcome.partition("/")[0] == probe]
        columns = ("", *_COLUMNS[:3])
        rows = [
            [text(f"{outcome}, {_name(one)}"), *map(text, difference_row(one)[:3])]
            for outcome in outcomes
            for one in told.of(outcome)
        ]
        yield folded(
            f"Beside: {probe}, {counted(len(outcomes), 'figure')}",
            _values(told, f"{probe}: mean over the seeds ± standard deviation", outcomes),
            table(f"{probe}: differences, of which nothing is claimed", columns, rows),
        )


def _paper(known: PaperTold) -> Iterator[Html]:
    yield heading(2, "The paper's own numbers")
    yield paragraph(
        f"{known.told}. They are of other models, texts and tasks, and no figure above has any part in them."
    )
    rows = [[text(name), *(text(f"{value:.1f}") for value in values)] for name, values in known.rows.items()]
    yield table("Joshi et al. 2020", ("", *known.columns), rows)
