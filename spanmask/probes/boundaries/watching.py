"""What a boundary probe tells whoever watches it."""

from __future__ import annotations

from spanmask.probes.boundaries.spans import Spans


class Watch:
    """Told what happens."""

    def begun(self, spans: Spans, models: int) -> None:
        """Know that all is ready: the spans, and how many models are asked."""

    def states(self, told: str, done: int, total: int) -> None:
        """Know of which model, and of what of it, states are computed: of how many sequences, and of how many."""
