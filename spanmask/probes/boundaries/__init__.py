"""How well the two states at a span's boundaries tell what is between them: no task, no labels, a frozen encoder and a linear reader.

::

    dataset ─read_spans▶ Spans ─boundary_states▶ (N, 2·H) ─read_tokens▶ bits and guesses ─found_of▶ figures

What the span boundary objective trains (paper §3.2) is measured here of any encoder. Names are imported when first used; only `probe`
needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spanmask._lazy import lazy_names

if TYPE_CHECKING:
    from spanmask.probes.boundaries.classes import Classes, classes_of
    from spanmask.probes.boundaries.config import BoundariesConfig
    from spanmask.probes.boundaries.run import Findings, probe
    from spanmask.probes.boundaries.spans import Part, Place, Spans, read_spans

__all__ = [
    "BoundariesConfig",
    "Classes",
    "Findings",
    "Part",
    "Place",
    "Spans",
    "classes_of",
    "probe",
    "read_spans",
]

_HOMES = {
    "BoundariesConfig": "config",
    "Classes": "classes",
    "Findings": "run",
    "Part": "spans",
    "Place": "spans",
    "Spans": "spans",
    "classes_of": "classes",
    "probe": "run",
    "read_spans": "spans",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
