"""Drawing the pairs of stored rows again: which second segments were to follow, and which stand there from other documents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.blocks import borders_of
from spanmask.pairing import drawn_to_follow, partners_of, philox_key, without_other
from spanmask.records import Flags, MaskedBlock, Offsets, Pairs


@dataclass(slots=True, kw_only=True)
class PairReplay:
    """What stored pairs and their draws show, summed over the record batches of a split.

    seed: of the dataset. follow, other: pairs whose second segment follows the first, and those where it is from another document; of the
    first, without_other are where no other document had a pair. unlike: pairs that are not what is drawn: of any batch, rows whose second
    segment was to follow and does not; of whole blocks of shards, all of both kinds. compared: rows of whole blocks.
    """

    seed: int
    follow: int = 0
    other: int = 0
    without_other: int = 0
    unlike: int = 0
    compared: int = 0
    _held: list[tuple[MaskedBlock, Flags]] = field(default_factory=list)

    def add(self, block: MaskedBlock) -> None:
        """Take in a record batch; those of a shard's block, one after another, until `close`."""
        drawn, labels = drawn_to_follow(block, self.seed), _pairs(block).labels == 1
        paired = borders_of(block) > 0
        self.follow += int(np.count_nonzero(labels))
        self.other += int(np.count_nonzero(paired & ~labels))
        self.without_other += sum(without_other(block, self.seed).values())
        self._held.append((block, drawn))

    def close(self, *, whole: bool) -> None:
        """End a shard's block. whole: whether all of its rows were taken in, so that what they were drawn from is known."""
        held, self._held = self._held, []
        if not whole or not held:
            self.unlike += sum(int(np.count_nonzero(drawn & (_pairs(block).labels == 0))) for block, drawn in held)
            return
        documents, segments, seconds, numbers, labels = (
            np.concatenate(columns) for columns in zip(*(_columns(block) for block, _ in held), strict=True)
        )
        drawn = np.concatenate([flags for _, flags in held])
        counts = np.searchsorted(documents, documents, side="right") - np.searchsorted(documents, documents)
        follows = drawn | (counts == len(documents))
        wanting: Offsets = np.flatnonzero(~follows)
        chosen = partners_of((documents, segments), wanting, philox_key(self.seed))
        unlike = labels != follows
        unlike[wanting] |= (seconds[wanting] != documents[chosen]) | (numbers[wanting] != segments[chosen] + 1)
        self.unlike += int(np.count_nonzero(unlike))
        self.compared += len(documents)


def _pairs(block: MaskedBlock) -> Pairs:
    if block.pairs is None:
        raise ValueError("rows of one segment are no pairs")
    return block.pairs


def _columns(block: MaskedBlock) -> tuple[npt.NDArray[Any], ...]:
    pairs = _pairs(block)
    return block.document_ids, block.segments, pairs.document_ids, pairs.segments, pairs.labels == 1
