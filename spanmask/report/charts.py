"""Small charts as inline SVG: bars with a law over them, lines with a band beneath, histograms. No script, no dependency.

Drawings are 360 by 225 units and scale with the page; text is 12 units, so it stays readable at 320 pixels. Colours come from the page's
style sheet by class (``fill-1``, ``line-law`` and so on).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from spanmask.report.page import Html, element, text

WIDTH, HEIGHT = 360, 225
LEFT, RIGHT, _TOP, _BOTTOM = 46, 8, 12, 40
#: Units that a character of a label takes, and the least room between two labels.
_CHARACTER, _LABEL_GAP = 6.8, 14
_TICKS = 5
#: Lines of up to this many points have a dot at each.
DOTTED = 40

Values = Sequence[float | None]


def short_number(value: float) -> str:
    """Return a number as briefly as a tick needs: 950, 1.5k, 12M, 5e-4."""
    if 0 < abs(value) < 0.01:
        digits, power = f"{value:.3e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{sign}"
    return f"{value:.4g}"


def percent(value: float) -> str:
    """Return a share in per cent, without needless digits."""
    return f"{value * 100:.4g}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Values by place, None where there is none, and what they are."""

    name: str
    values: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What a chart shows.

    title: its name for who cannot see it. x_name: what places are. labels: their names. shown: places whose label is written, by default
    as many as have room. unit: what values count. written: how a value is written. logarithmic: whether heights grow with log(1 + value).
    """

    title: str
    x_name: str
    labels: Sequence[str] = ()
    shown: Sequence[int] | None = None
    unit: str = ""
    written: Callable[[float], str] = short_number
    logarithmic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Values to heights, places to the middle of their slot."""

    low: float
    high: float
    places: int
    logarithmic: bool = False

    @property
    def slot(self) -> float:
        """The width of a place."""
        return (WIDTH - LEFT - RIGHT) / max(self.places, 1)

    def x(self, place: float) -> float:
        """Return the middle of a place."""
        return LEFT + (place + 0.5) * self.slot

    def y(self, value: float) -> float:
        """Return the height of a value."""
        low, high, value = (
            map(math.log1p, (self.low, self.high, value)) if self.logarithmic else (self.low, self.high, value)
        )
        part = (value - low) / (high - low)
        return _TOP + (1 - part) * (HEIGHT - _TOP - _BOTTOM)


def ticks(low: float, high: float, wanted: int = _TICKS) -> list[float]:
    """Return round values, evenly apart, that enclose a range."""
    # Less than what rounding leaves of equal values is no range.
    span = high - low if high - low > 1e-9 * max(abs(low), abs(high)) else abs(high) or 1.0
    rough = span / wanted
    exponent = math.floor(math.log10(rough))
    power = 10.0**exponent
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    return [round(number * step, 2 - exponent) for number in range(first, last + 1)]


def powers(high: float) -> list[float]:
    """Return 0 and the powers of ten from 10 up to the first that is at least ``high``."""
    return [0.0, *(10.0**power for power in range(1, max(math.ceil(math.log10(high)), 1) + 1))]


def bar_chart(axes: Axes, bars: Sequence[Series], law: Series | None = None) -> Html:
    """Return bars, side by side where there are several series, with a mark across each place where the law would be."""
    every = _known([*bars, *([law] if law else [])])
    most = max(every, default=1) or 1
    marks = powers(most) if axes.logarithmic else ticks(0, most)
    scale = Scale(low=0, high=marks[-1], places=len(axes.labels), logarithmic=axes.logarithmic)
    drawn = [shape for number, series in enumerate(bars) for shape in _bars(axes, scale, series, (number, len(bars)))]
    if law is not None:
        drawn += _law_marks(scale, law)
    return drawing(axes, scale, marks, drawn, _place_labels(axes, scale))


def line_chart(
    axes: Axes, lines: Sequence[Series], *, law: Series | None = None, band: tuple[Values, Values] | None = None
) -> Html:
    """Return lines from one place to the next; of two, the second is dashed.

    Parameters
    ----------
    axes
        What is shown.
    lines
        One or two series.
    law
        A line for what should be.
    band
        Lower and upper edges of an area beneath everything. With one, the chart does not begin at zero.
    """
    edges = [Series(name="", values=edge) for edge in band or ()]
    every = _known([*lines, *edges, *([law] if law else [])]) or [0.0, 1.0]
    marks = ticks(min(every) if band else 0, max(every))
    scale = Scale(low=marks[0], high=marks[-1], places=len(axes.labels))
    drawn = [_area(scale, *band)] if band else []
    if law is not None:
        drawn.append(path(scale, enumerate(law.values), "line-law"))
    for number, series in reversed(list(enumerate(lines, start=1))):
        drawn.append(path(scale, enumerate(series.values), f"line-{number}"))
        if number == 1 and len(axes.labels) <= DOTTED:
            drawn += _dots(axes, scale, series)
    return drawing(axes, scale, marks, drawn, _place_labels(axes, scale))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """A histogram's counts in ranges of equal width: the label of each range, and its count."""

    labels: list[str]
    counts: list[int]


def gather(counts: Sequence[int], most: int = 36, *, open_end: bool = False) -> Bins:
    """Gather counts by value into at most ``most`` ranges, from the first value counted.

    Parameters
    ----------
    counts
        How often each value, from 0, was counted.
    most
        Ranges, at most.
    open_end
        Whether the last value stands for all beyond, too.
    """
    first = next((value for value, count in enumerate(counts) if count), 0)
    width = _range_width(len(counts) - first, most)
    starts = range(first // width * width, max(len(counts), 1), width)
    labels = [_range_label(start, min(start + width, len(counts)) - 1) for start in starts]
    if open_end and labels:
        labels[-1] = f"{starts[-1]}+"
    return Bins(labels=labels, counts=[sum(counts[start : start + width]) for start in starts])


def _range_width(values: int, most: int) -> int:
    """Return the narrowest power of two that needs at most ``most`` ranges, one of them to spare for a start that is rounded down."""
    width = 1
    while values / width > (most if width == 1 else most - 1):
        width *= 2
    return width


def _range_label(first: int, last: int) -> str:
    return str(first) if first >= last else f"{first}–{last}"


def histogram(axes: Axes, counts: Sequence[int], *, open_end: bool = False) -> Html:
    """Return counts by value as bars of ranges of values, as `gather` makes them; the axes' labels are theirs."""
    bins = gather(counts, open_end=open_end)
    return bar_chart(replace(axes, labels=bins.labels), [Series(name=axes.unit, values=bins.counts)])


def key(entries: Sequence[tuple[str, str]]) -> Html:
    """Return what colours and lines mean. entries: a style class, and the name."""
    items = [element("li", _swatch(style), text(name)) for style, name in entries]
    return element("ul", *items, class_="key")


def _swatch(style: str) -> Html:
    if style.startswith("fill"):
        shape = element("rect", x="2", y="0", width="16", height="12", class_=style)
    else:
        shape = element("path", d="M0 6 H20", class_=style)
    return element("svg", shape, viewBox="0 0 20 12", aria_hidden="true")


def _known(series: Sequence[Series]) -> list[float]:
    return [value for one in series for value in one.values if value is not None]


def _bars(axes: Axes, scale: Scale, series: Series, of: tuple[int, int]) -> Iterator[Html]:
    number, total = of
    dense = total == 1 and scale.places > 12
    room = scale.slot * (0.94 if dense else 0.76)
    width = room / total
    floor = scale.y(0)
    for place, value in enumerate(series.values):
        if not value:
            continue
        top = min(scale.y(value), floor - 1)
        left = scale.x(place) - room / 2 + number * width
        told = element("title", text(f"{axes.labels[place]}: {axes.written(value)} {series.name}".rstrip()))
        yield element("rect", told, **_box(left, top, width, floor - top), class_=f"fill-{number + 1}")


def _box(x: float, y: float, width: float, height: float) -> dict[str, str]:
    return {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}


def _law_marks(scale: Scale, law: Series) -> Iterator[Html]:
    half = scale.slot * 0.44
    for place, value in enumerate(law.values):
        if value is not None:
            x, y = scale.x(place), scale.y(value)
            yield element("path", d=f"M{x - half:.1f} {y:.1f} H{x + half:.1f}", class_="line-law")


def path(scale: Scale, points: Iterable[tuple[float, float | None]], style: str) -> Html:
    """Return a line through values by place, broken where they are missing; nothing where none is known."""
    runs = [list(run) for known, run in groupby(points, key=lambda point: point[1] is not None) if known]
    moves = " ".join("M" + " L".join(f"{scale.x(x):.1f} {scale.y(y or 0):.1f}" for x, y in run) for run in runs)
    return element("path", d=moves, class_=style) if moves else Html("")


def _dots(axes: Axes, scale: Scale, series: Series) -> Iterator[Html]:
    for place, value in enumerate(series.values):
        if value is not None:
            told = element("title", text(f"{axes.labels[place]}: {axes.written(value)} {series.name}".rstrip()))
            at = {"cx": f"{scale.x(place):.1f}", "cy": f"{scale.y(value):.1f}", "r": "3"}
            yield element("circle", told, **at, class_="fill-1")


def _area(scale: Scale, lower: Values, upper: Values) -> Html:
    there = [(scale.x(place), scale.y(value)) for place, value in enumerate(upper) if value is not None]
    back = [(scale.x(place), scale.y(value)) for place, value in enumerate(lower) if value is not None]
    outline = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*there, *reversed(back)])
    return element("polygon", points=outline, class_="fill-band")


def drawing(
    axes: Axes, scale: Scale, marks: Sequence[float], shapes: Sequence[Html], labels: Iterable[tuple[float, str, str]]
) -> Html:
    """Return shapes between their axes. marks: ticks of heights. labels: beneath, each with its point and its anchor there."""
    floor = HEIGHT - _BOTTOM
    content = [
        element("title", text(axes.title)),
        *_y_axis(axes, scale, marks),
        *shapes,
        element("path", d=f"M{LEFT} {floor} H{WIDTH - RIGHT}", class_="axis"),
        *(_label(x, floor + 16, told, anchor) for x, told, anchor in labels),
        _label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, axes.x_name, "middle"),
    ]
    return element("svg", *content, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")


def _y_axis(axes: Axes, scale: Scale, marks: Sequence[float]) -> Iterator[Html]:
    for value in marks:
        y = scale.y(value)
        yield element("path", d=f"M{LEFT} {y:.1f} H{WIDTH - RIGHT}", class_="grid-line")
        yield _label(LEFT - 6, y + 4, axes.written(value), "end")


def _place_labels(axes: Axes, scale: Scale) -> Iterator[tuple[float, str, str]]:
    widest = max((len(label) for label in axes.labels), default=1) * _CHARACTER + _LABEL_GAP
    step = max(math.ceil(widest / scale.slot), 1)
    for place in range(0, len(axes.labels), step) if axes.shown is None else axes.shown:
        yield scale.x(place), axes.labels[place], "middle"


def _label(x: float, y: float, value: str, anchor: str) -> Html:
    return element("text", text(value), x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)
