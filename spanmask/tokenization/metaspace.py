"""Metaspace and white space as the steps of a pre-tokenizer: what kernels need to know of them."""

from __future__ import annotations

from typing import Any

from spanmask.kernels.metaspace import ALWAYS, ANYWAY, FIRST, NEVER, Metaspace

#: What Metaspace writes for a space.
MARK = "▁"

#: Steps of a normalizer that write ▁ for every space, and put one in front.
_MARKING = {"type": "Replace", "pattern": {"String": " "}, "content": MARK}
_PREPENDING = {"type": "Prepend", "prepend": MARK}
_SCHEMES = {"never": NEVER, "first": FIRST, "always": ALWAYS}


def metaspace_of(steps: list[dict[str, Any]]) -> Metaspace | str:
    """Return how the steps of a pre-tokenizer split, or why that is not known: white space at most first, then at most one Metaspace."""
    white = [step["type"] for step in steps].count("WhitespaceSplit")
    if any(step["type"] != "WhitespaceSplit" for step in steps[:white]) or len(steps) > white + 1:
        return f"its pre-tokenizer is {' and '.join(step['type'] for step in steps)}"
    if len(steps) == white:
        return Metaspace(marked=False, prepend=NEVER, split=False, white=white > 0)
    last = steps[-1]
    if last["type"] != "Metaspace":
        return f"its pre-tokenizer is {last['type']}"
    if last["replacement"] != MARK:
        return f"its pre-tokenizer writes {last['replacement']!r} for a space"
    return Metaspace(marked=True, prepend=_SCHEMES[last["prepend_scheme"]], split=last["split"], white=white > 0)


def marks_of(
    normalizer: list[dict[str, Any]], steps: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], Metaspace | str]:
    """Return the steps of a normalizer but those that write ▁, and how text is split, or why that is not known.

    A splitter of spaces behind such a normalizer has none to split at.
    """
    if normalizer[-1:] != [_MARKING]:
        return normalizer, metaspace_of(steps)
    if any((step.get("pattern"), step.get("invert")) != ({"String": " "}, False) for step in steps):
        return normalizer, f"its normalizer writes {MARK!r}, and its pre-tokenizer is {steps[0]['type']}"
    prepends = normalizer[-2:-1] == [_PREPENDING]
    kept = normalizer[: -2 if prepends else -1]
    return kept, Metaspace(marked=True, prepend=ANYWAY if prepends else NEVER, split=False, white=False)
