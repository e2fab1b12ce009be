"""What `loading` measures on one dataset: epochs of a stream, copies of its batches, masking of its segments, and the peers' rows."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.batches import PackedBatch, PaddedBatch
from spanmask.blocks import restore
from spanmask.loading.backend import Backend
from spanmask.loading.config import LoadConfig
from spanmask.loading.order import Order, Source
from spanmask.loading.position import Position
from spanmask.loading.row_plan import READ_ROWS
from spanmask.loading.rows import Masks, RowReader
from spanmask.loading.stream import Delivered, Stream
from spanmask.masking import Masker, segments_of
from spanmask.records import MaskedBlock
from spanmask.shard.reader import ShardSet

from .baselines.hugging_face_collators import PlainRows

#: Bytes of batches that are copied from: beyond the last-level caches of today's servers.
COPY_BYTES = 128 << 20
#: Bytes of shards that are copied at once.
_PIECE = 1 << 18

Array = npt.NDArray[Any]


class Epochs:
    """Takes the batches of a stream, one whole epoch a call; each call begins the next one, so that nothing is at hand from before."""

    def __init__(self, shards: ShardSet, **options: Any) -> None:
        self.stream = Stream([shards], LoadConfig(backend=Backend.COMPILED, **options))
        self._epoch = 0

    def run(self) -> None:
        """Take the batches of the next epoch."""
        for _ in self.batches(self._epoch):
            pass
        self._epoch += 1

    def batches(self, epoch: int = 0) -> Iterator[Delivered]:
        """Yield the batches of an epoch."""
        return self.stream.batches(Position(epoch=epoch))


class Held:
    """The batches of an epoch, as many as are copied from, and what all of them hold.

    count, bytes, tokens: of all batches; tokens that are no padding.
    """

    def __init__(self, epochs: Epochs) -> None:
        self.batches: list[list[Array]] = []
        self.count, self.bytes, self.tokens = 0, 0, 0
        for delivered in epochs.batches():
            arrays = arrays_of(delivered.batch)
            if self.bytes < COPY_BYTES:
                self.batches.append(arrays)
            self.count += 1
            self.bytes += sum(array.nbytes for array in arrays)
            self.tokens += delivered.counts.tokens

    def copies(self, *, cached: bool) -> Callable[[], None]:
        """Return what copies an epoch's bytes into the arrays of one batch: from batches in memory, or from one that caches hold."""
        sources = [[array.reshape(-1) for array in arrays] for arrays in self.batches[: 1 if cached else None]]
        sizes = [max(array.size for array in column) for column in zip(*sources, strict=True)]
        targets = [np.zeros(size, array.dtype) for size, array in zip(sizes, sources[0], strict=True)]

        def copy() -> None:
            for number in range(self.count):
                for source, target in zip(sources[number % len(sources)], targets, strict=True):
                    np.copyto(target[: source.size], source)

        return copy


def arrays_of(batch: PaddedBatch | PackedBatch) -> list[Array]:
    """Return what a model takes of a batch: of a padded one three arrays, of a packed one all."""
    if isinstance(batch, PaddedBatch):
        return [batch.input_ids, batch.attention_mask, batch.labels]
    pairs = ("token_types", "nsp_positions", "nsp_labels")
    names = [name for name in PackedBatch.__dataclass_fields__ if name not in ("sbo", *pairs)]
    targets = [getattr(batch.sbo, name) for name in batch.sbo.__dataclass_fields__]
    return [*(getattr(batch, name) for name in names), *targets]


def fill_of(epochs: Epochs) -> dict[str, float]:
    """Return the used share of the slots of an epoch's packed batches, by what they are for, and ``second``: of batches, by their shape.

    Slots of bins that hold nothing are left out, those for targets are counted as they are.
    """
    used, slots, second = np.zeros(4, np.int64), np.zeros(4, np.int64), []
    for delivered in epochs.batches():
        batch, counts = delivered.batch, delivered.counts
        if not isinstance(batch, PackedBatch):
            raise TypeError("padded batches have no slots for targets")
        bins = int(np.count_nonzero(batch.sequences))
        used += (counts.tokens, counts.mlm, counts.sbo, counts.sequences)
        targets = (batch.mlm_labels.size, batch.sbo.labels.size)
        slots += (bins * batch.input_ids.shape[1], *targets, bins * batch.rows.shape[1])
        second.append(batch.mlm_labels.size > epochs.stream.slots[0].mlm)
    shares = (used / np.maximum(slots, 1)).tolist()
    return {**dict(zip(("tokens", "mlm", "sbo", "sequences"), shares, strict=True)), "second": float(np.mean(second))}


class Masking:
    """Masks the segments that a dataset's rows were made from, as often as it is called."""

    def __init__(self, shards: ShardSet) -> None:
        vocabulary = shards.manifest.vocabulary
        self._masker = Masker(shards.manifest.config.masking, vocabulary)
        self._segments = [segments_of(block, *restore(block, vocabulary)) for block in _blocks(shards, len(shards))]

    def run(self) -> None:
        """Mask all of them."""
        for segments in self._segments:
            self._masker.mask(segments)


def copies_of_files(shards: ShardSet) -> Callable[[], None]:
    """Return what copies the bytes of all shards, in order, from the mapped files into a place that caches hold."""
    files = [np.frombuffer(shards.file(number).buffer, np.uint8) for number in range(len(shards.split.shards))]
    target = np.zeros(_PIECE, np.uint8)

    def copy() -> None:
        for file in files:
            for start in range(0, len(file), _PIECE):
                piece = file[start : start + _PIECE]
                np.copyto(target[: len(piece)], piece)

    return copy


class Reading:
    """Reads the rows of a dataset in the order of an epoch, a new one each call, and fills nothing: what every stream does first."""

    def __init__(self, shards: ShardSet) -> None:
        self._reader = RowReader([shards], masks=Masks.STORED, backend=Backend.COMPILED)
        self._order = Order([Source.of(shards)], seed=0)
        self._epoch = 0

    def run(self) -> None:
        """Read all of them."""
        for start in range(0, self._order.size, READ_ROWS):
            places = np.arange(start, min(start + READ_ROWS, self._order.size))
            self._reader.read(*self._order(self._epoch, places), self._epoch)
        self._epoch += 1


def plain_rows(shards: ShardSet, count: int) -> PlainRows:
    """Return the first rows of a dataset, unmasked."""
    vocabulary = shards.manifest.vocabulary
    [block] = _blocks(shards, min(count, len(shards)), min(count, len(shards)))
    originals, flags = restore(block, vocabulary)
    return PlainRows.of(originals, block.input_ids.offsets, flags, vocabulary.special.pad)


def _blocks(shards: ShardSet, count: int, size: int = READ_ROWS) -> Iterator[MaskedBlock]:
    """Yield the first rows as they are stored, some at once."""
    reader = RowReader([shards], masks=Masks.STORED, backend=Backend.COMPILED)
    for start in range(0, count, size):
        rows = np.arange(start, min(start + size, count))
        yield reader.read(np.zeros_like(rows), rows, 0)


class Metered:
    """Calls a contestant, and notes the processor seconds of this process and of its children that ended meanwhile."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._used: list[float] = []

    def __call__(self) -> None:
        """Call it."""
        before = processor_seconds()
        self._function()
        self._used.append(processor_seconds() - before)

    def last(self, rounds: int) -> list[float]:
        """Return what the last calls took."""
        return self._used[-rounds:]


def processor_seconds() -> float:
    """Return the processor seconds so far of this process, and of its children that were waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
