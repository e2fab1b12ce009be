"""Normalizers: text that they provably leave alone is not given to them, and other text no more of than has to be."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from spanmask.blocks import offsets_of, read_only
from spanmask.kernels.normalizing import Behaviour, Parts, find_parts, splice
from spanmask.records import Bytes, Flags, Offsets
from spanmask.tokenization.origins import Origins, PartOrigins, Splices
from spanmask.tokenization.parts import PartNormalizer
from spanmask.tokenization.probing import is_as_probed
from spanmask.tokenization.steps import UnknownStepError, behaviour_of
from spanmask.tokenization.stretches import Stretches
from spanmask.vocab import Vocabulary

#: Parts that there is room for at first, and those looked up at a time.
_ROOM, _LOOKUP = 1 << 12, 1 << 15


class Normalized(NamedTuple):
    """Normalized stretches, and the parts that are not as they were."""

    stretches: Stretches
    splices: Splices


def normalization_of(steps: Sequence[dict[str, Any]], vocabulary: Vocabulary) -> Normalization | str:
    """Return what a normalizer does, or the reason why the library alone can.

    Parameters
    ----------
    steps
        The normalizer's in a tokenizer.json, sequences taken apart.
    vocabulary
        Whose normalizer it is, for errors.
    """
    try:
        behaviour = behaviour_of(steps) if steps else None
    except UnknownStepError as error:
        return str(error)
    other = next((step["type"] for step in steps if not is_as_probed(step["type"])), None)
    if other is not None:
        return f"{other} of tokenizers {version('tokenizers')} changes other characters"
    return Normalization(behaviour, PartNormalizer(steps, vocabulary), PartOrigins(steps, vocabulary))


class Normalization:
    """A normalizer, given the parts of text that it may change."""

    def __init__(self, behaviour: Behaviour | None, parts: PartNormalizer, origins: PartOrigins) -> None:
        self._behaviour = behaviour
        self._parts = parts
        self._origins = origins

    def apply(self, stretches: Stretches) -> Normalized:
        """Normalize the stretches that are text; one of which nothing is left goes."""
        unchanged = Normalized(stretches, Splices(*np.zeros((len(Splices._fields), 0), np.int64)))
        if self._behaviour is None:
            return unchanged
        text, starts, ends, ids, documents = stretches
        parts = _parts_of(stretches, self._behaviour)
        if len(parts.starts) == 0:
            return unchanged
        made, lengths, changed = self._spliced(text, parts)
        # A bound moves by what the parts that end before or at it grew.
        grown = offsets_of(lengths - (parts.ends - parts.starts))
        starts, ends = (bounds + grown[np.searchsorted(parts.ends, bounds, "right")] for bounds in (starts, ends))
        left = starts < ends
        finer = Stretches(read_only(made), starts[left], ends[left], ids[left], documents[left])
        where = documents[parts.sources]
        fields = (parts.starts, parts.ends, parts.starts + grown[:-1], lengths, parts.edges, where)
        return Normalized(finer, Splices(*(field[changed] for field in fields)))

    def origins(self, text: Bytes, normalized: Normalized) -> tuple[Origins, Offsets]:
        """Return the way back to a text from what was made of it, and the numbers of the documents for which there is none."""
        return self._origins.look_up(text, normalized.stretches.text, normalized.splices)

    def _spliced(self, text: Bytes, parts: Parts) -> tuple[Bytes, Offsets, Flags]:
        """Return a text with Q parts normalized, (Q,) the bytes that they have then, and (Q,) whether they changed."""
        made, lengths, changed, at = list[Bytes](), list[Offsets](), np.empty(len(parts.starts), np.bool_), 0
        for first in range(0, len(parts.starts), _LOOKUP):
            some = Parts(*(field[first : first + _LOOKUP] for field in parts))
            results = self._parts.look_up(text, some)
            lengths.append(np.diff(results.offsets)[results.numbers])
            end = int(some.ends[-1])
            made.append(np.empty(end - at + int(lengths[-1].sum() - (some.ends - some.starts).sum()), np.uint8))
            splice(text, at, some, *results, made[-1], changed[first : first + _LOOKUP])
            at = end
        return np.concatenate([*made, text[at:]]), np.concatenate(lengths), changed


def _parts_of(stretches: Stretches, behaviour: Behaviour) -> Parts:
    """Return the parts of stretches that may change."""
    room, count = 0, _ROOM
    while room < count:
        room = count
        parts = Parts(*(np.empty(room, np.int64) for _ in Parts._fields))
        count = find_parts(*stretches[:4], behaviour, parts)
    return Parts(*(field[:count] for field in parts))
