"""Terminals as tests have them: one that keeps what is written to it, and what rich draws on one of a width."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, RenderableType


class Terminal(io.StringIO):
    """A stream that somebody watches."""

    def isatty(self) -> bool:
        return True


def drawn(thing: RenderableType, width: int = 80, *, encoding: str = "utf-8", **options: Any) -> str:
    """Draw as on a stream of an encoding; what it cannot carry would raise."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    Console(file=stream, width=width, _environ={}, **options).print(thing)
    stream.flush()
    stream.seek(0)
    return stream.read()
