"""Metaspace and white space as the steps of a pre-tokenizer: what kernels need to know of them."""

from __future__ import annotations

from typing import Any

from spanmask.kernels.metaspace import ALWAYS, FIRST, NEVER, Metaspace

#: What Metaspace writes for a space.
MARK = "▁"

_SCHEMES = {"never": NEVER, "first": FIRST, "always": ALWAYS}


def metaspace_of(steps: list[dict[str, Any]]) -> Metaspace | str:
    """Return how the steps of a pre-tokenizer split, or why that is not known: white space at most first, then at most one Metaspace."""
    white = [step["type"] for step in steps].count("WhitespaceSplit")
    if any(step["type"] != "WhitespaceSplit" for step in steps[:white]) or len(steps) > white + 1:
        return f"its pre-tokenizer is {' and '.join(step['type'] for step in steps)}"
    if len(steps) == white:
        return Metaspace(marked=False, prepend=NEVER, split=False, white=white > 0)
    last = steps[-1]
    if last["type"] != "Metaspace" or last["replacement"] != MARK:
        return f"its pre-tokenizer is {last['type']}, and writes {last.get('replacement', MARK)!r} for a space"
    return Metaspace(marked=True, prepend=_SCHEMES[last["prepend_scheme"]], split=last["split"], white=white > 0)
