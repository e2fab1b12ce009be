"""What `spanmask probe boundaries` shows while it computes, and the tables at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from spanmask.escaping import counted
from spanmask.probes.boundaries.findings import Inside, Reader
from spanmask.probes.boundaries.watching import Watch
from spanmask.report.columns import columns, title

from .ending import leave_with
from .train_display import Screen

if TYPE_CHECKING:
    from spanmask.probes.boundaries.record import Found
    from spanmask.probes.boundaries.spans import Spans

_TOLD = {
    Reader.UNIGRAM: "no states, frequencies alone (unigram)",
    Reader.SHUFFLED: "the model, shuffled labels",
    Reader.STATIC: "its table of words (static)",
    Reader.RANDOM: "its shape, random weights",
    Reader.MODEL: "the model",
}
_INSIDE = {Inside.MASKED: "inside masked", Inside.VISIBLE: "inside visible"}


class BoundariesDisplay(Watch):
    """Shows what is computed of which model. kept: whether what is found of each is kept."""

    def __init__(self, shown: Screen, *, kept: bool) -> None:
        self._shown, self._kept, self._told = shown, kept, ""

    def begun(self, spans: Spans, models: int) -> None:
        """Say what is asked, and of how many."""
        if self._kept:
            leave_with("stopped; --resume goes on with the model under way")
        self._shown.say(
            f"{counted(len(spans), 'span')} in {counted(len(spans.visible), 'sequence')}, {counted(models, 'model')}"
        )

    def states(self, told: str, done: int, total: int) -> None:
        """Show of what states are computed; the first time say so."""
        if told != self._told:
            self._told = told
            self._shown.report(told)
        self._shown.show([told], done, total)


def tables(found: Mapping[int, Found]) -> RenderableType:
    """Return what was found, the mean of all models, to print with rich."""
    return Group(*_parts([*found.values()]))


def _parts(found: Sequence[Found]) -> Iterator[RenderableType]:
    of = f", mean of {len(found)} models" if len(found) > 1 else ""
    for inside, told in _INSIDE.items():
        places = [one[inside] for one in found]
        names = list(places[0])
        yield title(f"{told}: bits a token, of which saved, and % told right{of}")
        heads = [head for name in names for head in (name, "saved", "right")]
        yield columns("", heads, ((label, _cells(places, names, reader)) for reader, label in _TOLD.items()))
        yield Text(_rest(places))
        yield title(f"{told}: bits that the model saves, by pieces of the span{of}")
        yield columns("", names, _by_length(places, names))


def _rest(places: Sequence[Mapping[str, Any]]) -> str:
    """Return how many of the measured tokens are told as one of the rest only; of an earlier run that is not known."""
    shares = [(name, one["rest"]) for name, one in places[0].items() if "rest" in one]
    told = ", ".join(f"{name} {share:.1f} %" for name, share in shares)
    return f"in the class of the rest: {told or 'not known'}"


def _cells(places: Sequence[Mapping[str, Any]], names: Sequence[str], reader: Reader) -> list[str]:
    cells = []
    for name in names:
        figures = [one[name]["readers"][reader] for one in places]
        bits, saved, accuracy = (fmean(one[key] for one in figures) for key in ("bits", "saved", "accuracy"))
        cells += [f"{bits:.3f}", "" if reader is Reader.UNIGRAM else f"{saved:+.3f}", f"{accuracy:.1f}"]
    return cells


def _by_length(places: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the lengths that any place has, a cell for each place, with how many tokens it is of."""
    for length in places[0][names[0]]["lengths"]:
        cells = []
        for name in names:
            there = [one[name]["lengths"].get(length) for one in places]
            saved = [one["readers"][Reader.MODEL]["saved"] for one in there if one is not None]
            cells.append(f"{fmean(saved):+.3f} of {there[0]['tokens']:,}" if saved else "-")
        yield length, cells
