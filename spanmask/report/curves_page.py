"""The HTML page of training runs: their curves, overlaid where there are several, and what the validation split gave."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spanmask.escaping import short_digest
from spanmask.report.charts import Axes
from spanmask.report.curve_chart import Curve, curve_figure, require_few
from spanmask.report.named import listed
from spanmask.report.page import (
    Html,
    count,
    element,
    folded,
    heading,
    join,
    page,
    paragraph,
    prose_table,
    share,
    table,
    text,
)
from spanmask.report.runs import (
    ACCURACIES,
    COURSE,
    LOSSES,
    UNIT,
    Lines,
    Quantity,
    Told,
    differing_options,
    sentence,
    thinned,
    with_waiting,
)

_RECOVERY = "Spans whose every token was predicted right, by length in tokens: from the masked places (MLM), from the boundaries (SBO)"

#: A curve's name, its lines, and the figure of them that is drawn.
_Drawn = tuple[str, Lines, str]


def curves_page(runs: Sequence[Told]) -> str:
    """Return one run, or several side by side, as a self-contained HTML page.

    Raises
    ------
    ConfigError
        There are more than can be told apart.
    """
    require_few(len(runs), "runs")
    title = f"Training run{'s' * (len(runs) > 1)} {listed([told.name for told in runs])}"
    one = runs[0] if len(runs) == 1 else None
    trained = list(_training(runs))
    body = [
        heading(1, title),
        *(paragraph(sentence(told) if one else f"{told.name}: {sentence(told)}", "lead muted") for told in runs),
        *([element("div", *trained, class_="grid")] if trained else []),
        *_held_out(runs),
        _options(one) if one else _differences(runs),
        element("footer", *(paragraph(_origin(told)) for told in runs)),
    ]
    return page(title, body)


def _training(runs: Sequence[Told]) -> Iterator[Html]:
    """Yield the charts of training: losses and accuracies of both heads, then what training tells of itself."""
    lines = {told.name: thinned(with_waiting(told.metrics)) for told in runs}
    yield from _of_heads(lines)
    for quantity in COURSE:
        yield from _figure(quantity.title, quantity, _each(lines, quantity))


def _of_heads(lines: Mapping[str, Lines]) -> Iterator[Html]:
    """Yield losses and accuracies: of one run both heads in one chart, of several a chart for each head."""
    for pair, title in ((LOSSES, f"Loss, {UNIT}"), (ACCURACIES, "Targets predicted right")):
        if len(lines) == 1:
            [only] = lines.values()
            yield from _figure(title, pair[0], [(one.title[:3], only, one.key) for one in pair])
        else:
            for one in pair:
                unit = f", {UNIT}" if pair is LOSSES else ""
                yield from _figure(f"{one.title}{unit}", one, _each(lines, one))


def _each(lines: Mapping[str, Lines], quantity: Quantity) -> list[_Drawn]:
    return [(name, own, quantity.key) for name, own in lines.items()]


def _figure(title: str, quantity: Quantity, drawn: Sequence[_Drawn]) -> Iterator[Html]:
    """Return a chart by step; nothing where no value is known. Who has none keeps its colour, so that it is one on the whole page."""
    curves = [
        Curve(name=name, places=[line["step"] for line in lines], values=[line.get(key) for line in lines])
        for name, lines, key in drawn
    ]
    return curve_figure(title, Axes(title=title, x_name="step", written=quantity.written), curves)


def _held_out(runs: Sequence[Told]) -> list[Html]:
    """Return the section on the validation split: the last figures in a sentence, curves from two evaluations on, recovery by length."""
    told = [one for one in runs if one.evaluations]
    if not told:
        return []
    lines = {one.name: thinned(one.evaluations) for one in runs}
    charts = list(_of_heads(lines)) if max(map(len, lines.values())) > 1 else []
    return [
        heading(2, "Validation split"),
        *(paragraph(f"{f'{one.name}: ' * (len(runs) > 1)}{_last(one)}") for one in told),
        element("div", *charts, class_="grid"),
        *(_recovery(one, named=len(runs) > 1) for one in told),
    ]


def _last(told: Told) -> str:
    last = told.evaluations[-1]
    losses = [f"{one.title} {last[one.key]:.4f}" for one in LOSSES if last[one.key] is not None]
    rights = [f"{last[one.key]:.2%} of {one.title}" for one in ACCURACIES if last[one.key] is not None]
    return f"After step {last['step']:,}: {', '.join(losses)} {UNIT}; {', '.join(rights)}; {last['mlm_targets']:,} masked tokens."


def _recovery(told: Told, *, named: bool) -> Html:
    rows = [
        (text(row["length"]), count(row["spans"]), share(row["mlm"]), count(row["sbo_spans"]), share(row["sbo"]))
        for row in told.evaluations[-1]["recovery"]
    ]
    caption = f"{told.name}: {_RECOVERY}" if named else _RECOVERY
    return table(caption, ("length", "spans", "MLM", "spans with SBO", "SBO"), rows)


def _options(told: Told) -> Html:
    tables = []
    for name in ("config", "model"):
        rows = [(text(key), _code(value)) for key, value in sorted(told.run[name].items())]
        tables.append(prose_table(f"{name}, as resolved", ("option", "value"), rows))
    return join([heading(2, "Options"), folded("All options", *tables)])


def _differences(runs: Sequence[Told]) -> Html:
    rows = [(text(name), *map(_code, values)) for name, values in differing_options(runs)]
    caption = "Options and shapes that are not alike" if rows else "All options are alike"
    return join([heading(2, "Options"), prose_table(caption, ("option", *(told.name for told in runs)), rows)])


def _code(value: Any) -> Html:
    return element("code", text(json.dumps(value)))


def _origin(told: Told) -> str:
    run = told.run
    versions = ", ".join(f"{name} {value}" for name, value in sorted(run["versions"].items()))
    # Runs that began before names were told have none.
    names = {digest: f"{name} " for digest, name in run.get("names", {}).items()}
    datasets = ", ".join(f"{names.get(one, '')}with fingerprint {short_digest(one)}" for one in run["datasets"])
    return f"{told.name}: datasets {datasets}; vocabulary {short_digest(run['vocabulary'])}; {versions}."
