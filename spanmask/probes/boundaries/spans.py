"""A dataset's spans, once with the inside masked and once with the text put back, and which part of the documents each belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from spanmask.blocks import join
from spanmask.errors import ConfigError
from spanmask.escaping import counted
from spanmask.loading.backend import Backend
from spanmask.loading.permutation import Permutation
from spanmask.loading.rows import Masks, RowReader
from spanmask.loading.targets import list_targets
from spanmask.probes.boundaries.config import BoundariesConfig
from spanmask.records import Flags, Identities, MaskedBlock, Offsets, Ragged
from spanmask.shard.reader import ShardSet

#: Rows that are read at once.
_ROWS = 256

Ids = npt.NDArray[np.int64]


class Place(StrEnum):
    """Which token of a span is told: the ``first``; the ``last``, of spans of 2 pieces or more; of 3 or more the ``inner`` one.

    That is the one in the middle, of an even number the earlier: one token a span, so that its place follows from the span.
    """

    FIRST = "first"
    LAST = "last"
    INNER = "inner"

    @property
    def least(self) -> int:
        """Pieces of the shortest spans that have one."""
        return {Place.FIRST: 1, Place.LAST: 2, Place.INNER: 3}[self]


class Part(StrEnum):
    """What a document's spans are for."""

    TRAINING = "training"
    SELECTION = "selection"
    MEASURED = "measured"


_FOR = {Part.TRAINING: "to train on", Part.SELECTION: "to choose by", Part.MEASURED: "to measure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """N spans of S rows, in the rows' order.

    masked, visible: (T,) ids of the rows, special tokens included: the mask token under every span, and the original. rows: (N,) which row
    a span is in. lefts, rights: (N,) positions in it of the tokens before and behind the span. sizes: (N,) its pieces. documents: (N,)
    uint64. targets: (N,) original ids by place; meaningless where a span is too short to have one.
    """

    masked: Ragged[Ids]
    visible: Ragged[Ids]
    rows: Offsets
    lefts: Offsets
    rights: Offsets
    sizes: Offsets
    documents: Identities
    targets: dict[Place, Ids]

    def __len__(self) -> int:
        return len(self.rows)

    def having(self, place: Place) -> Flags:
        """Return (N,) which spans have a token at a place."""
        flags: Flags = self.sizes >= place.least
        return flags

    def boundaries(self) -> Ids:
        """Return (N, 2) the ids of the tokens before and behind each span."""
        starts = self.visible.offsets[self.rows]
        return np.stack([self.visible.values[starts + self.lefts], self.visible.values[starts + self.rights]], axis=1)


def read_spans(shards: ShardSet, config: BoundariesConfig) -> Spans:
    """Return a dataset's spans: of rows in a shuffled order, which is the same for any model and seed, as many as are wanted.

    Parameters
    ----------
    shards
        An open split.
    config
        How many, and of which mask epoch.

    Raises
    ------
    ConfigError
        Nothing is masked.
    MismatchError
        Spans are to be drawn anew, and the dataset was masked by other rules.
    ShardError
        A shard is damaged.
    """
    fresh = config.mask_epoch is not None
    reader = RowReader([shards], masks=Masks.FRESH if fresh else Masks.STORED, backend=Backend.AUTO.resolved)
    order, blocks, found = Permutation(len(shards), ["boundaries"]), list[MaskedBlock](), 0
    for first in range(0, len(shards), _ROWS):
        rows = order(np.arange(first, min(first + _ROWS, len(shards))))
        blocks.append(reader.read(np.zeros(len(rows), np.int64), rows, config.mask_epoch or 0))
        found += len(blocks[-1].spans.starts)
        if found >= config.spans:
            break
    return spans_of(join(blocks), mask=shards.manifest.stated_vocabulary.special.mask, most=config.spans)


def spans_of(block: MaskedBlock, *, mask: int, most: int) -> Spans:
    """Return the first spans of a block, with its rows. mask: the mask token's id. most: how many at most."""
    targets = list_targets(block, None)
    visible = block.input_ids.values.astype(np.int64)
    under = block.input_ids.offsets[targets.row] + targets.position
    visible[under] = targets.labels
    masked = visible.copy()
    masked[under] = mask
    starts = block.spans.starts[:most].astype(np.int64)
    sizes, rows = block.spans.sizes[:most], block.spans.owners[:most]
    begins = block.input_ids.offsets[rows] + starts
    offsets = block.input_ids.offsets
    inside: dict[Place, Offsets] = {Place.FIRST: 0 * sizes, Place.LAST: sizes - 1, Place.INNER: (sizes - 1) // 2}
    return Spans(
        masked=Ragged(offsets=offsets, values=masked),
        visible=Ragged(offsets=offsets, values=visible),
        rows=rows,
        lefts=starts - 1,
        rights=starts + sizes,
        sizes=sizes,
        documents=block.document_ids[rows],
        targets={place: visible[begins + offset] for place, offset in inside.items()},
    )


def parts_of(documents: Identities, *, selection: float, measured: float) -> dict[Part, Flags]:
    """Return (N,) flags of what each document is for, by a hash of its id: the same whatever else is there.

    Parameters
    ----------
    documents
        (N,) ids.
    selection, measured
        About how large shares are wanted.
    """
    unique, which = np.unique(documents, return_inverse=True)
    shares = np.array([_share(int(one)) for one in unique])[which]
    chosen, told = shares < selection, shares >= 1 - measured
    return {Part.TRAINING: ~chosen & ~told, Part.SELECTION: chosen, Part.MEASURED: told}


def _share(document: int) -> float:
    number = hashlib.blake2b(document.to_bytes(8, "little"), digest_size=8, person=b"boundaries").digest()
    return int.from_bytes(number) / (1 << 64)


def asked(spans: Spans, config: BoundariesConfig) -> dict[Place, dict[Part, Offsets]]:
    """Return, by place and part, the numbers of the spans that are asked for it; a place that a part has none of is left out.

    Raises
    ------
    ConfigError
        A part has no span at all.
    """
    parts = parts_of(spans.documents, selection=config.selection, measured=config.measured)
    empty = [part for part, flags in parts.items() if not flags.any()]
    if empty:
        documents = len(np.unique(spans.documents))
        raise ConfigError(
            f"{counted(len(spans), 'span')} of {counted(documents, 'document')} leave nothing {_FOR[empty[0]]}: give a dataset of more "
            "documents, or larger shares",
            options=("selection", "measured"),
        )
    return dict(_asked(spans, parts))


def _asked(spans: Spans, parts: dict[Part, Flags]) -> Iterator[tuple[Place, dict[Part, Offsets]]]:
    for place in Place:
        having = spans.having(place)
        numbers = {part: np.flatnonzero(flags & having) for part, flags in parts.items()}
        if all(map(len, numbers.values())):
            yield place, numbers
