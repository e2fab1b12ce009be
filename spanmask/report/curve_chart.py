"""Curves over a number, as inline SVG: several lines told apart by colour and by dashes, each with places of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spanmask.errors import ConfigError
from spanmask.report.charts import (
    DOTTED,
    LEFT,
    RIGHT,
    WIDTH,
    Axes,
    Scale,
    Values,
    drawing,
    key,
    path,
    short_number,
    ticks,
)
from spanmask.report.page import Html, element, text

#: Lines that can be told apart.
MOST_CURVES = 6
_X_TICKS = 4
#: Units from the right edge from which on a label ends at its tick, so that it is not cut.
_EDGE = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Values at ascending places, None where there is none, and what they are of."""

    name: str
    places: Sequence[float]
    values: Values

    @property
    def points(self) -> list[tuple[float, float]]:
        """Where there are values."""
        return [(place, value) for place, value in zip(self.places, self.values, strict=True) if value is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plane(Scale):
    """Values to heights, and numbers from ``first`` to ``last`` to the width."""

    first: float
    last: float

    def x(self, place: float) -> float:
        return LEFT + (place - self.first) / ((self.last - self.first) or 1.0) * (WIDTH - LEFT - RIGHT)


def require_few(number: int, what: str) -> None:
    """Refuse more lines than can be told apart.

    Raises
    ------
    ConfigError
        There are more.
    """
    if number > MOST_CURVES:
        raise ConfigError(
            f"{number} {what}: at most {MOST_CURVES} can be told apart on a page; give fewer, or no --html"
        )


def curve_chart(axes: Axes, curves: Sequence[Curve], *, from_zero: bool = False) -> Html:
    """Return curves in one drawing; one has a value at least. from_zero: whether heights begin there, not near the least value."""
    values = [value for curve in curves for _, value in curve.points]
    places = [place for curve in curves for place, _ in curve.points]
    marks = ticks(0.0 if from_zero else min(values), max(values))
    plane = _Plane(low=marks[0], high=marks[-1], places=1, first=min(places), last=max(places))
    drawn = [shape for number, curve in enumerate(curves, start=1) for shape in _shapes(axes, plane, curve, number)]
    return drawing(axes, plane, marks, drawn, _place_labels(plane))


def curve_figure(caption: str, axes: Axes, curves: Sequence[Curve], *, from_zero: bool = False) -> Iterator[Html]:
    """Yield a chart under its caption, with its key where there are several curves; nothing where no value is known."""
    if not any(curve.points for curve in curves):
        return
    names = [(f"curve-{number}", curve.name) for number, curve in enumerate(curves, start=1)]
    legend = [key(names)] if len(names) > 1 else []
    chart = curve_chart(axes, curves, from_zero=from_zero)
    yield element("figure", element("figcaption", text(caption)), chart, *legend, class_="card")


def _shapes(axes: Axes, plane: _Plane, curve: Curve, number: int) -> Iterator[Html]:
    """Yield a curve's line, and dots where there are few."""
    yield path(plane, zip(curve.places, curve.values, strict=True), f"curve-{number}")
    if len(curve.places) <= DOTTED:
        for place, value in curve.points:
            told = element("title", text(f"{place:,g}: {axes.written(value)} {curve.name}".rstrip()))
            at = {"cx": f"{plane.x(place):.1f}", "cy": f"{plane.y(value):.1f}", "r": "2.5"}
            yield element("circle", told, **at, class_=f"dot-{number}")


def _place_labels(plane: _Plane) -> Iterator[tuple[float, str, str]]:
    # Lengths, words and steps are whole numbers.
    for place in ticks(plane.first, plane.last, _X_TICKS):
        if plane.first <= place <= plane.last and place == int(place):
            x = plane.x(place)
            yield x, short_number(place), "end" if x > WIDTH - _EDGE else "middle"
