"""Audits of several datasets side by side, as the rows of tables and the curves of charts. Terminal and HTML both draw from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from spanmask.options import differing
from spanmask.report import figures
from spanmask.report.curve_chart import Curve

Audit = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A dataset that is compared. told: what it is, in one line. audit: from `Audit.to_json`."""

    name: str
    told: str
    audit: Audit


def rows(audits: Sequence[Audit]) -> Iterator[tuple[str, list[str]]]:
    """Yield what is compared, with the value of each audit: scheme, options that differ, then what was counted."""
    yield "scheme", [scheme_of(audit["config"]) for audit in audits]
    yield from _differing(audits)
    for name, written in _COUNTED:
        yield name, [written(audit) for audit in audits]


def scheme_of(config: dict[str, Any]) -> str:
    """Return a configuration's scheme, with its sampler where it has one."""
    masking = config["masking"]
    return f"{masking['scheme']} ({masking['sampler']})" if masking["sampler"] else str(masking["scheme"])


def length_rows(audits: Sequence[Audit]) -> Iterator[tuple[str, list[float]]]:
    """Yield span lengths in words as people write them, with the share of each audit's stored spans that has it."""
    columns = [figures.lengths(audit) for audit in audits]
    for known in zip_longest(*columns):
        label = next(length.label for length in known if length is not None)
        yield label, [length.realised if length is not None else 0.0 for length in known]


def length_curves(compared: Sequence[Compared]) -> list[Curve]:
    """Return the shares of stored spans by their length in words."""
    shares = [[length.realised for length in figures.lengths(one.audit)] for one in compared]
    return [_curve(one, own) for one, own in zip(compared, shares, strict=True)]


def coverage_curves(compared: Sequence[Compared], side: str) -> list[Curve]:
    """Return how often each of the ``first`` or ``last`` words is masked, from the edge inwards."""
    return [_curve(one, [edge.measured for edge in figures.edges(one.audit, side)]) for one in compared]


def histogram_curves(compared: Sequence[Compared], name: str) -> list[Curve]:
    """Return the shares of values in a histogram of the statistics, each summed up to the value, so that unlike ranges can be compared."""
    curves = []
    for one in compared:
        total, summed = 0.0, []
        for share in figures.shares(one.audit["statistics"]["histograms"][name]):
            total += share
            summed.append(total)
        curves.append(Curve(name=one.name, places=range(len(summed)), values=summed))
    return curves


def _curve(one: Compared, values: Sequence[float | None]) -> Curve:
    return Curve(name=one.name, places=range(1, len(values) + 1), values=values)


def _differing(audits: Sequence[Audit]) -> Iterator[tuple[str, list[str]]]:
    """Yield the options that are not alike; scheme and sampler have a row of their own."""
    flat = [
        {name: value for options in audit["config"].values() for name, value in options.items()} for audit in audits
    ]
    for name, values in differing(flat):
        if name not in ("scheme", "sampler"):
            yield name, ["-" if value is None else str(value) for value in values]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _count(name: str) -> Callable[[Audit], str]:
    return lambda audit: f"{audit['statistics'][name]:,}"


def _part(name: str, whole: str) -> Callable[[Audit], str]:
    return lambda audit: _share(audit["statistics"][name] / max(audit["statistics"][whole], 1))


def _mean(name: str) -> Callable[[Audit], str]:
    return lambda audit: f"{figures.mean_of(audit['statistics']['histograms'][name]):.3f}"


def _replaced(place: int) -> Callable[[Audit], str]:
    return lambda audit: _share(figures.replacements(audit)[place].share)


def _edge(side: str) -> Callable[[Audit], str]:
    return lambda audit: _share(figures.edges(audit, side)[0].measured)


def _gates(audit: Audit) -> str:
    return f"{sum(gate['passed'] for gate in audit['gates'])} of {len(audit['gates'])}"


_COUNTED: tuple[tuple[str, Callable[[Audit], str]], ...] = (
    ("gates passed", _gates),
    ("sequences", _count("rows")),
    ("tokens", _count("tokens")),
    ("tokens masked", lambda audit: _share(audit["mask_rate"])),
    ("budget left", _part("tokens_short_of_budget", "budget_tokens")),
    ("replaced by [MASK]", _replaced(0)),
    ("replaced at random", _replaced(1)),
    ("kept", _replaced(2)),
    ("spans", _count("spans")),
    ("words a span", _mean("span_words")),
    ("tokens a span", _mean("span_tokens")),
    ("first word masked", _edge("first")),
    ("words inside masked", lambda audit: _share(figures.inside(audit)[0])),
    ("last word masked", _edge("last")),
    ("sequences short of budget", _count("rows_short_of_budget")),
    ("sequences without a span", _count("rows_without_spans")),
    ("unknown tokens", _part("unknown_tokens", "tokens")),
)
