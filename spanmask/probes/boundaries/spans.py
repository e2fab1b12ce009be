"""A dataset's spans, once with the inside masked and once with the text put back, and which part of the documents each belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from spanmask.blocks import borders_of, join
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
    uint64, by their text: of a row of two segments, that of the span's. targets: (N,) original ids by place; meaningless where a span is
    too short to have one. second_starts: (S,) position from which on a row's tokens are of type 1, its length in a row of one segment.
    """

    masked: Ragged[Ids]
    visible: Ragged[Ids]
    second_starts: npt.NDArray[np.int32]
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
    order, blocks, taken, found = Permutation(len(shards), ["boundaries"]), list[MaskedBlock](), list[Offsets](), 0
    for first in range(0, len(shards), _ROWS):
        taken.append(order(np.arange(first, min(first + _ROWS, len(shards)))))
        blocks.append(_read(reader, taken[-1], config.mask_epoch or 0))
        found += len(blocks[-1].spans.starts)
        if found >= config.spans:
            break
    block = _by_text(reader, join(blocks), np.concatenate(taken), config.mask_epoch or 0)
    return spans_of(block, mask=shards.manifest.stated_vocabulary.special.mask, most=config.spans)


def _by_text(reader: RowReader, block: MaskedBlock, rows: Offsets, epoch: int) -> MaskedBlock:
    """Return a block with, for each document's id, a hash of the text that its first row has: no matter where that stands.

    An id of a dataset is a hash of file and place, by which equal texts were two documents, and a file put before others moved all.
    """
    # A document's rows stand together, in the order of their segments, some of which may have been left out.
    firsts = _firsts(reader, block.document_ids, (np.maximum(rows - block.segments, 0), rows.copy()), epoch)
    if block.pairs is None:
        return replace(block, document_ids=_digests(reader, firsts, epoch))
    seconds, ids = firsts.copy(), block.pairs.document_ids
    other = np.flatnonzero(ids != block.document_ids)
    everywhere = (np.zeros(len(other), np.int64), np.full(len(other), len(reader.datasets[0]) - 1))
    seconds[other] = _firsts(reader, ids[other], everywhere, epoch)
    own, of_second = np.split(_digests(reader, np.concatenate([firsts, seconds]), epoch), 2)
    return replace(block, document_ids=own, pairs=replace(block.pairs, document_ids=of_second))


def _firsts(reader: RowReader, documents: Identities, between: tuple[Offsets, Offsets], epoch: int) -> Offsets:
    """Return (D,) the first row of each document. between: (D,) the first and the last row that it may be."""
    low, high = between
    while len(unsure := np.flatnonzero(low < high)):
        middle = (low[unsure] + high[unsure]) // 2
        before = _read(reader, middle, epoch).document_ids < documents[unsure]
        low[unsure], high[unsure] = np.where(before, middle + 1, low[unsure]), np.where(before, high[unsure], middle)
    return low


def _digests(reader: RowReader, firsts: Offsets, epoch: int) -> Identities:
    """Return (D,) a hash of each row's text; of two segments, of the first."""
    unique, which = np.unique(firsts, return_inverse=True)
    digests = np.empty(len(unique), np.uint64)
    for first in range(0, len(unique), _ROWS):
        block = _read(reader, unique[first : first + _ROWS], epoch)
        texts, ends = _visible(block), _second_starts(block)
        digests[first : first + len(texts)] = [_hashed(texts[number][: ends[number]]) for number in range(len(texts))]
    return digests[which]


def _second_starts(block: MaskedBlock) -> npt.NDArray[np.int32]:
    borders = borders_of(block)
    starts: npt.NDArray[np.int32] = np.where(borders > 0, borders, block.input_ids.lengths).astype(np.int32)
    return starts


def _read(reader: RowReader, rows: Offsets, epoch: int) -> MaskedBlock:
    return reader.read(np.zeros(len(rows), np.int64), rows, epoch)


def _hashed(ids: Ids) -> int:
    return int.from_bytes(hashlib.blake2b(ids.astype("<i8").tobytes(), digest_size=8, person=b"text").digest())


def _visible(block: MaskedBlock) -> Ragged[Ids]:
    """Return the original ids of a block's rows."""
    targets = list_targets(block, None)
    visible = block.input_ids.values.astype(np.int64)
    visible[block.input_ids.offsets[targets.row] + targets.position] = targets.labels
    return Ragged(offsets=block.input_ids.offsets, values=visible)


def spans_of(block: MaskedBlock, *, mask: int, most: int) -> Spans:
    """Return the first spans of a block, with its rows. mask: the mask token's id. most: how many at most."""
    targets, visible = list_targets(block, None), _visible(block)
    offsets = visible.offsets
    masked = visible.values.copy()
    masked[offsets[targets.row] + targets.position] = mask
    starts = block.spans.starts[:most].astype(np.int64)
    sizes, rows = block.spans.sizes[:most], block.spans.owners[:most]
    begins, second_starts, documents = offsets[rows] + starts, _second_starts(block), block.document_ids[rows]
    if block.pairs is not None:
        documents = np.where(starts < second_starts[rows], documents, block.pairs.document_ids[rows])
    inside: dict[Place, Offsets] = {Place.FIRST: 0 * sizes, Place.LAST: sizes - 1, Place.INNER: (sizes - 1) // 2}
    return Spans(
        masked=Ragged(offsets=offsets, values=masked),
        visible=visible,
        second_starts=second_starts,
        rows=rows,
        lefts=starts - 1,
        rights=starts + sizes,
        sizes=sizes,
        documents=documents,
        targets={place: visible.values[begins + offset] for place, offset in inside.items()},
    )


def parts_of(documents: Identities, *, selection: float, measured: float) -> dict[Part, Flags]:
    """Return (N,) flags of what each document is for, by a hash of its number: the same whatever else is there.

    Parameters
    ----------
    documents
        (N,) by their text, as `Spans` has them.
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
