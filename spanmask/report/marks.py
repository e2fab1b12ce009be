"""The marks that tell roles apart without colour, for streams that carry them and for those that carry ASCII only.

Brackets and signs stand glued to the text they mark. Punctuation is always a piece of its own, with a space before it, so a bracket or an
equals sign of the text looks different: ``[ [`` against ``[[``, ``= house`` against ``=house``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Signs for rows and audits. masked, boundary and gap are repeated to the width of what they stand for."""

    opening: str
    closing: str
    masked: str
    random: str
    kept: str
    boundary: str
    gap: str
    dot: str
    more: str
    passed: str
    failed: str


UNICODE = Marks(
    opening="⟦",
    closing="⟧",
    masked="▒",
    random="≠",
    kept="=",
    boundary="‾",
    gap="·",
    dot=" · ",
    more="…",
    passed="✓",
    failed="✗",
)
ASCII = Marks(
    opening="[[",
    closing="]]",
    masked="_",
    random="!=",
    kept="=",
    boundary="^",
    gap=".",
    dot="; ",
    more="...",
    passed="+",
    failed="x",
)


def marks_for(encoding: str) -> Marks:
    """Return the marks that an encoding can carry."""
    try:
        "".join(getattr(UNICODE, name) for name in UNICODE.__slots__).encode(encoding)
    except UnicodeEncodeError:
        return ASCII
    return UNICODE
