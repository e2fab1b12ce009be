"""What runs write, as bytes: JSON that people can read, and tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any


def as_json(content: Any) -> bytes:
    """Return plain values as JSON, indented, with a line feed at the end."""
    return (json.dumps(content, indent=2) + "\n").encode()


def as_tsv(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows as lines of columns that tabs part."""
    return "".join("\t".join(row) + "\n" for row in rows).encode()
