"""Differences as inline SVG: a row each, with its seeds as dots, its mean, and the interval of that, against a line at none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from spanmask.report.charts import WIDTH, short_number, ticks
from spanmask.report.grid import Difference, ends, signed
from spanmask.report.page import Html, element, text

_LEFT, _RIGHT, _TOP, _ROW, _FOOT = 10, 10, 6, 40, 24
#: Ticks at most, as many as have room.
_TICKS = 4


def interval_chart(title: str, differences: Sequence[Difference]) -> Html:
    """Return a chart of differences; one is known at least."""
    drawn = [one for one in differences if one.differences]
    edges = [value for one in drawn for value in (*one.differences, *(one.over_seeds or ()))]
    marks = ticks(min(0.0, *edges), max(0.0, *edges), _TICKS)
    low, high = marks[0], marks[-1]

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    floor = _TOP + _ROW * len(drawn)
    content = [element("title", text(title))]
    for mark in marks:
        style = "axis" if mark == 0 else "grid-line"
        content.append(element("path", d=f"M{x(mark):.1f} {_TOP} V{floor}", class_=style))
        anchor = "start" if mark == low else "end" if mark == high else "middle"
        content.append(
            element("text", text(short_number(mark)), x=f"{x(mark):.1f}", y=f"{floor + 16}", text_anchor=anchor)
        )
    for number, one in enumerate(drawn):
        content += _row(one, _TOP + _ROW * number, x)
    return element("svg", *content, viewBox=f"0 0 {WIDTH} {floor + _FOOT}", role="img")


def _row(one: Difference, top: int, x: Callable[[float], float]) -> Iterator[Html]:
    """Yield what stands for a difference."""
    middle, colour = top + 27, 2 if one.null else 1
    again = ", the same again" if one.null else ""
    yield element("text", text(f"{one.arm} − {one.against}{again}"), x=f"{_LEFT}", y=f"{top + 13}")
    for seed, value in zip(one.seeds, one.differences, strict=True):
        told = element("title", text(f"seed {seed}: {signed(value)}"))
        at = {"cx": f"{x(value):.1f}", "cy": f"{middle}", "r": "2.8", "fill_opacity": "0.5"}
        yield element("circle", told, **at, class_=f"dot-{colour}")
    if one.over_seeds is not None:
        first, last = map(x, one.over_seeds)
        yield element("path", d=f"M{first:.1f} {middle} H{last:.1f}", class_=f"curve-{colour}")
    told = element("title", text(f"mean {signed(one.mean or 0)} ({ends(one.over_seeds)})"))
    at = {"x": f"{x(one.mean or 0) - 4:.1f}", "y": f"{middle - 4}", "width": "8", "height": "8"}
    yield element("rect", told, **at, class_=f"dot-{colour}")
