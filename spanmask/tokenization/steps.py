"""What the steps of a normalizer may change: from a tokenizer.json's description to an entry for each code point."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from spanmask.kernels.normalizing import (
    BEFORE_SHIFT,
    BEHIND_SHIFT,
    CUT_BEFORE,
    CUT_BEHIND,
    DOUBTFUL,
    LAST_CALM,
    PAIR_MASK,
    PAIRS,
    RANK_SHIFT,
    SEPARATES,
    WIDE,
    Behaviour,
)
from spanmask.records import Flags
from spanmask.tokenization.charsmap import keys_of
from spanmask.tokenization.traits import (
    FORMS,
    JOINS_BEFORE,
    JOINS_BEHIND,
    RANK_MASK,
    STEPS,
    WHITE,
    attaches,
    changes,
    having,
    traits,
)

#: A character or a class, repeated: the regular expressions of which it is known what they may change.
_REPEATED = re.compile(r"(?P<one>\\s|\\?[^\w\s]|[\w ])(?:\+|\{(?P<least>[1-9]\d{0,8}),\})", re.ASCII)
_META = set("\\()[]{}|*+?^$.#")
_POINTS = 0x110000


class UnknownStepError(Exception):
    """A step of which it is not known what it may change; its message says which."""


class _Drawing:
    """What the steps so far may change.

    changed: what changes alone. looked_at: what a step that looks for more than one character looks for. cut_before, cut_behind: where the
    one step that takes clusters of characters (a form of Unicode, or graphemes) may be given a text in two parts.
    """

    def __init__(self) -> None:
        self.changed = np.zeros(_POINTS, np.bool_)
        self.looked_at = np.zeros(_POINTS, np.bool_)
        self.cut_before = np.ones(_POINTS, np.bool_)
        self.cut_behind = np.ones(_POINTS, np.bool_)
        self.pairs = np.zeros(_POINTS, np.uint32)
        self.first = self.last = 0
        self.clusters = self.strips = self.ranked = False
        self.separable = True
        self._pairs = 0

    def add_pair(self, before: Any, behind: Any) -> None:
        """Have what is ``behind`` may change behind what is ``before``. Both: indices or flags of code points."""
        bit = self._next_pair()
        self.pairs[before] |= np.uint32(1 << BEFORE_SHIFT + bit)
        self.pairs[behind] |= np.uint32(1 << BEHIND_SHIFT + bit)

    def _next_pair(self) -> int:
        if self._pairs == PAIRS:
            raise UnknownStepError(f"more than {PAIRS} of its steps look at two characters")
        self._pairs += 1
        return self._pairs - 1

    def add_clusters(self, cut_before: Flags, cut_behind: Flags) -> None:
        """Have a step take clusters. A cut is known to be one only beside what the steps before it leave as it is."""
        # Behind a second such step, nothing is known of where the first one's results may be cut.
        self.separable = not self.clusters
        self.clusters = True
        touched = self.changed | self.looked_at
        self.cut_before, self.cut_behind = cut_before & ~touched, cut_behind & ~touched

    def strip(self, *, left: bool, right: bool) -> None:
        bit = self._next_pair()
        white = having(WHITE)
        self.strips = True
        if left:
            self.first |= 1 << BEFORE_SHIFT + bit
            self.pairs[white] |= np.uint32(1 << BEHIND_SHIFT + bit)
        if right:
            self.last |= 1 << BEHIND_SHIFT + bit
            self.pairs[white] |= np.uint32(1 << BEFORE_SHIFT + bit)

    def behaviour(self) -> Behaviour:
        """Return the entries of all code points."""
        separates = ~self.changed & ~self.looked_at & self.separable
        if self.strips:
            separates &= ~having(WHITE)
        entries = self.pairs
        for flags, bit in (
            (self.changed, DOUBTFUL),
            (separates, SEPARATES),
            (self.cut_before, CUT_BEFORE),
            (self.cut_behind, CUT_BEHIND),
        ):
            entries |= flags.astype(np.uint32) * np.uint32(bit)
        if self.ranked:
            entries |= (traits() & np.uint32(RANK_MASK)) << np.uint32(RANK_SHIFT)
        of_bytes = np.full(256, WIDE, np.uint32)
        of_bytes[:128] = entries[:128]
        cut = CUT_BEFORE | CUT_BEHIND
        restless = np.flatnonzero(entries[: LAST_CALM + 1] & np.uint32(DOUBTFUL | PAIR_MASK << BEHIND_SHIFT))
        return Behaviour(entries, of_bytes, int(restless.max(initial=-1)) + 1, self.first | cut, self.last | cut)


def behaviour_of(steps: Sequence[dict[str, Any]]) -> Behaviour:
    """Return what a normalizer of some steps may change, sequences taken apart.

    Raises
    ------
    UnknownStepError
        It is not known of one of them.
    """
    drawing = _Drawing()
    for step in steps:
        draw = _DRAWN.get(step["type"])
        if draw is None:
            raise UnknownStepError(f"its normalizer has a step {step['type']}")
        draw(drawing, step)
    return drawing.behaviour()


def _draw_form(drawing: _Drawing, step: dict[str, Any]) -> None:
    # Unicode's quick check (UAX #15 §9): what changes neither alone nor with what is before it, and has its marks in order, is in the form.
    drawing.add_clusters(~having(attaches(step["type"])), np.ones(_POINTS, np.bool_))
    drawing.changed |= having(changes(step["type"]))
    drawing.ranked = True


def _draw_map(drawing: _Drawing, step: dict[str, Any]) -> None:
    drawing.changed |= having(changes(step["type"]))


def _draw_strip(drawing: _Drawing, step: dict[str, Any]) -> None:
    drawing.strip(left=step["strip_left"], right=step["strip_right"])


def _draw_precompiled(drawing: _Drawing, step: dict[str, Any]) -> None:
    # A grapheme is looked up whole, and becomes what its shortest prefix does that is a key; then each of its characters is. So nothing
    # changes but keys of one character, and what holds the first two characters of a longer key.
    try:
        keys = keys_of(base64.b64decode(step["precompiled_charsmap"]))
    except ValueError as error:
        raise UnknownStepError(f"the table of its Precompiled has {error}") from None
    drawing.add_clusters(~having(JOINS_BEFORE | JOINS_BEHIND), ~having(JOINS_BEFORE | JOINS_BEHIND))
    drawing.changed[keys.characters] = True
    drawing.add_pair(keys.firsts, keys.seconds)


def _draw_replace(drawing: _Drawing, step: dict[str, Any]) -> None:
    pattern, content = step["pattern"], step["content"]
    if "String" in pattern:
        _draw_literal(drawing, pattern["String"], content)
        return
    found = _REPEATED.fullmatch(pattern["Regex"])
    if found is None or found["one"] in _META:
        raise UnknownStepError(f"its normalizer replaces the regular expression {pattern['Regex'][:80]!r}")
    kept = np.zeros(_POINTS, np.bool_)
    kept[having(WHITE) if found["one"] == r"\s" else ord(found["one"][-1])] = True
    drawing.looked_at |= kept
    drawing.add_pair(kept, kept)
    if int(found["least"] or 1) == 1:
        # One alone is replaced, too, which changes it unless it is what it is replaced by.
        kept = kept.copy()
        if len(content) == 1:
            kept[ord(content)] = False
        drawing.changed |= kept


def _draw_literal(drawing: _Drawing, pattern: str, content: str) -> None:
    points = [ord(character) for character in pattern]
    if not points:
        raise UnknownStepError("its normalizer replaces an empty text")
    if len(points) == 1:
        drawing.changed[points] |= pattern != content
        return
    drawing.looked_at[points] = True
    drawing.add_pair(points[0], points[1])


_DRAWN: dict[str, Callable[[_Drawing, dict[str, Any]], None]] = {
    **dict.fromkeys(FORMS, _draw_form),
    **dict.fromkeys([step for step in STEPS if step not in FORMS], _draw_map),
    "Strip": _draw_strip,
    "Precompiled": _draw_precompiled,
    "Replace": _draw_replace,
}
