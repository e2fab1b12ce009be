"""What a unit of work is and does: documents in, published shards and a receipt out, a pure function of the plan and the unit."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa

from spanmask.buffers import to_arrow
from spanmask.corpus.cutting import RawBlock, Rooms
from spanmask.corpus.reading import parse_block, read_part, stream_blocks
from spanmask.kernels.siphash import hash_documents
from spanmask.masking import Draws, Masker
from spanmask.pairing import joined, pair_up, without_other
from spanmask.places import place_of
from spanmask.presharding.digests import Hashed, InputRanges, UnitHashes
from spanmask.presharding.gathering import gathered
from spanmask.presharding.planning import Plan, Task
from spanmask.presharding.receipt import Ledger, Receipt, unit_order
from spanmask.records import DocumentBlock, Flags, MaskedBlock, Ragged, Ranges, SequenceBlock, TokenizedBlock
from spanmask.sequencing import select, sequence
from spanmask.shard.parts import SPLITS
from spanmask.shard.schema import shard_schema, to_record_batch
from spanmask.shard.table import ShardRecord
from spanmask.shard.writer import file_limit, write_shards
from spanmask.statistics import RowStatistics
from spanmask.tokenization import Tokenizer
from spanmask.words import settle_words

#: Told after every block of documents: input bytes on disk, decompressed bytes and tokens since the last time.
Report = Callable[[int, int, int], None]

#: The number of the unit that ends a streamed task: above those of all blocks.
END = 1 << 32

_TRAIN, _VALIDATION = SPLITS
#: The second half of the hold-out hash's key; the first is the seed.
_HOLDOUT_KEY = np.uint64(0x686F6C646F757421)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one worker does at a time: a whole task, or one block of a streamed task with its bytes.

    A streamed task's last unit is its `END`: no bytes, and what is known when all were read: digests, and how many blocks there are.
    disk_bytes: input bytes on disk that it stands for.
    """

    task: int
    block: int = 0
    raw: RawBlock | None = None
    disk_bytes: int = 0
    hashed: tuple[Hashed, ...] = ()
    blocks: int | None = None

    @property
    def name(self) -> str:
        """The unit's name in receipts and shards."""
        return f"{self.task:05}-{self.block:05}"


def all_units(plan: Plan, done: Collection[str] = (), tasks: Sequence[Task] | None = None) -> Iterator[Unit]:
    """Yield the units of a plan, or of some of its tasks, but for those that are done; those of streamed tasks carry their bytes."""
    rooms, ranges, tasks = Rooms(), InputRanges(plan), plan.tasks if tasks is None else tasks
    # Sorted out once: a streamed task may be one of many thousands, and so may what is done.
    blocks = {task.number: set[int]() for task in tasks if task.streamed}
    for number, block in map(unit_order, done) if blocks else ():
        blocks.get(number, set()).add(block)
    for task in tasks:
        if task.streamed:
            yield from _streamed_units(plan, task, blocks[task.number], rooms, UnitHashes(ranges))
        else:
            unit = Unit(task=task.number, disk_bytes=task.disk_bytes)
            if unit.name not in done:
                yield unit


def useful_jobs(tasks: Sequence[Task], jobs: int) -> int:
    """Return how many processes, of those asked for, have something to do."""
    return 1 if len(tasks) == 1 and not tasks[0].streamed else jobs


def _streamed_units(plan: Plan, task: Task, skip: Set[int], rooms: Rooms, hashes: UnitHashes) -> Iterator[Unit]:
    # One process decompresses, in order; only blocks that are still to be done are held and handed on.
    before, blocks = 0, len(skip - {END})
    with nullcontext(task.parts[0]) if END in skip else hashes.watching(task.parts[0]) as part:
        for raw in stream_blocks(part.file, plan.config.corpus, plan.config.output.shard_bytes, skip, rooms):
            yield Unit(task=task.number, block=raw.number, raw=raw, disk_bytes=raw.disk_offset - before)
            before, blocks = raw.disk_offset, blocks + 1
    if END not in skip:
        nothing = RawBlock(number=END, offset=0, data=b"")
        yield Unit(task=task.number, block=END, raw=nothing, hashed=tuple(hashes.found), blocks=blocks)


class Pipeline:
    """Tokenizer, sequencing and masker of a plan, ready to run units."""

    def __init__(self, plan: Plan, root: str | os.PathLike[str]) -> None:
        self.plan = plan
        self.root = root
        self._tokenizer = Tokenizer(plan.vocabulary)
        self._masker = Masker(plan.config.masking, plan.vocabulary, plan.unigram)
        self._ranges = InputRanges(plan)

    def run(self, unit: Unit, report: Report) -> Receipt:
        """Process a unit, publish its shards, and return its receipt.

        Raises
        ------
        CorpusError
            Text that cannot be read, unless the configuration skips it.
        StorageError
            The file system refused.
        """
        ledger = Ledger()
        shards: dict[str, list[ShardRecord]] = {name: [] for name in SPLITS}
        block, held, size = unit.block, {name: list[pa.RecordBatch]() for name in SPLITS}, 0
        limit = self.plan.config.output.shard_bytes
        told, hashes = 0, UnitHashes(self._ranges)
        for documents in self.documents(unit, hashes):
            # A streamed unit is one block already. Others are cut here, by bytes of text alone, so that shards are the same for any jobs.
            if unit.raw is None and size >= limit:
                self._flush(f"{unit.task:05}-{block:05}", held, shards)
                block, size = block + 1, 0
            tokens = ledger.conservation["tokens"]["in"]
            for name, batch in self.rows(documents, ledger):
                held[name].append(batch)
            size += documents.source_bytes
            # Only an estimate: what is told never passes the unit's bytes, and their rest is told at the end.
            done = min(unit.disk_bytes * ledger.source_bytes // self._text_bytes(unit), unit.disk_bytes)
            report(done - told, documents.source_bytes, ledger.conservation["tokens"]["in"] - tokens)
            told = done
        self._flush(f"{unit.task:05}-{block:05}", held, shards)
        # So that whoever finishes the dataset reads no input.
        if unit.task == 0 and (unit.raw is None or unit.block == END):
            hashes.add_unread()
        report(unit.disk_bytes - told, 0, 0)
        return ledger.receipt(
            unit.name,
            unit.disk_bytes,
            shards,
            through_library=self._tokenizer.through_library,
            hashed=(*unit.hashed, *hashes.found),
            blocks=unit.blocks,
            plan=self.plan.key,
        )

    def documents(self, unit: Unit, hashes: UnitHashes | None = None) -> Iterator[DocumentBlock]:
        """Yield a unit's documents: of pairs, those of a shard's block at once. hashes: takes in what is read of the inputs."""
        limit = self.plan.config.output.shard_bytes if unit.raw is None else None
        documents = self._documents(unit, hashes)
        return gathered(documents, limit) if self.plan.paired else documents

    def _documents(self, unit: Unit, hashes: UnitHashes | None) -> Iterator[DocumentBlock]:
        corpus = self.plan.config.corpus
        parts = self.plan.tasks[unit.task].parts
        if unit.raw is not None:
            yield from parse_block(parts[0].file, unit.raw, corpus) if unit.raw.data else ()
            return
        for part in parts:
            with nullcontext(part) if hashes is None else hashes.watching(part) as watched:
                yield from read_part(watched, corpus, self.plan.config.output.shard_bytes)

    def _text_bytes(self, unit: Unit) -> int:
        """Return about how many bytes of text a unit has."""
        size = self.plan.config.output.shard_bytes if unit.raw is None else len(unit.raw.data)
        return max(size, unit.disk_bytes, 1)

    def sequences(self, documents: DocumentBlock) -> tuple[SequenceBlock, int, int]:
        """Return a block's segments, its tokens, and how many of its documents have none."""
        tokenized = self._tokenizer.tokenize(documents, lines=self.plan.lines_wanted)
        empty = int((np.diff(tokenized.document_offsets) == 0).sum())
        if self.plan.paired:
            segments = self._pairs(documents, tokenized)
        else:
            segments = sequence(tokenized, documents.document_ids, self.plan.config.sequence)
            segments = settle_words(segments, self.plan.vocabulary, tokenized.supplied)
        return segments, len(tokenized.token_ids), empty

    def _pairs(self, documents: DocumentBlock, tokenized: TokenizedBlock) -> SequenceBlock:
        """Return a block's pairs, each of documents of one split."""
        config, vocabulary = self.plan.config, self.plan.vocabulary
        pools = self._held_out(documents).astype(np.int64)
        seed, sep = config.masking.seed, vocabulary.special.sep
        parts, pairs = pair_up(tokenized, documents.document_ids, pools, config.sequence, seed, sep)
        # Each segment's words follow from its own tokens.
        return joined(settle_words(parts, vocabulary, tokenized.supplied), pairs)

    def _held_out(self, documents: DocumentBlock) -> Flags:
        return held_out_documents(documents, self.plan.config.masking.seed, self.plan.config.output.holdout)

    def by_split(self, documents: DocumentBlock, segments: SequenceBlock) -> Iterator[tuple[str, SequenceBlock]]:
        """Yield the segments of each split that has some."""
        chosen = self._held_out(documents)[segments.document_index]
        for name, flags in ((_TRAIN, ~chosen), (_VALIDATION, chosen)):
            # Nearly always one split takes a whole block: then nothing is copied.
            if flags.all() and len(flags):
                yield name, segments
            elif flags.any():
                yield name, select(segments, flags)

    def mask(self, segments: SequenceBlock) -> tuple[MaskedBlock, Draws]:
        """Mask segments as the plan says."""
        return self._masker.mask(segments, store_words=self.plan.words_stored)

    def rows(self, documents: DocumentBlock, ledger: Ledger) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield the masked rows of a block of documents by split, and count everything."""
        segments, tokens, empty = self.sequences(documents)
        ledger.add_documents(documents)
        ledger.add_segments(segments, tokens, empty)
        for name, part in self.by_split(documents, segments):
            block, draws = self.mask(part)
            ledger.add_rows(name, block, draws, self.plan.vocabulary, self.plan.config.masking.mask_fraction)
            ledger.add_draws(name, without_other(block, self.plan.config.masking.seed))
            yield name, self._record_batch(block, part, documents)

    def _record_batch(self, block: MaskedBlock, segments: SequenceBlock, documents: DocumentBlock) -> pa.RecordBatch:
        kept = [] if documents.kept is None else documents.kept.take(to_arrow(segments.document_index)).columns
        fields = [] if documents.kept is None else list(documents.kept.schema)
        schema = shard_schema(
            self.plan.vocabulary.dtype,
            words_stored=self.plan.words_stored,
            scheme=self.plan.config.masking.scheme,
            paired=self.plan.paired,
            kept=fields,
        )
        return to_record_batch(block, kept, schema)

    def _flush(self, name: str, held: dict[str, list[pa.RecordBatch]], shards: dict[str, list[ShardRecord]]) -> None:
        for split, batches in held.items():
            limit = file_limit(self.plan.config.output.shard_bytes)
            shards[split] += write_shards(place_of(self.root), f"{split}/shard-{name}", batches, limit)
            batches.clear()


def held_out_documents(documents: DocumentBlock, seed: int, holdout: float) -> Flags:
    """Return (D,) flags of the documents of the validation split, by a keyed hash of their text: equal texts go together."""
    if holdout == 0:
        return np.zeros(len(documents), np.bool_)
    # By the text and not by the identity: a document that occurs twice never stands in both splits.
    hashes = np.empty(len(documents), np.uint64)
    with np.errstate(over="ignore"):
        hash_documents(documents.text, documents.document_offsets, np.uint64(seed), _HOLDOUT_KEY, hashes)
    return hashes < np.uint64(int(Fraction(repr(holdout)) * (1 << 64)))


@dataclass(frozen=True, kw_only=True)
class PipelineWork:
    """The work that engines hand to their workers. run: what each has its pipeline do with a unit; it must pickle."""

    plan: Plan
    root: str
    run: Callable[[Pipeline, Unit, Report], Any]

    @cached_property
    def _pipeline(self) -> Pipeline:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        return Pipeline(self.plan, self.root)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the pipeline, which is made anew sooner."""
        return partial(PipelineWork, plan=self.plan, root=self.root, run=self.run), ()

    def prepare(self) -> Callable[[Unit, Report], Any]:
        """Return the function that runs units, tokenizing in one thread."""
        return partial(self.run, self._pipeline)

    def warm_up(self) -> None:
        """See `spanmask.engines.workers.Work`."""
        # One small document through every stage: with fields supplied as the plan asks for them, since other types are other kernels.
        text = np.frombuffer(b"The cat sat on the mat, and nobody told the cat that it sat on the mat.", np.uint8)
        ranges = Ranges(offsets=np.array([0, 1]), starts=np.array([4]), ends=np.array([7]))
        corpus = self.plan.config.corpus
        documents = DocumentBlock(
            text=text,
            document_offsets=np.array([0, len(text)]),
            document_ids=np.zeros(1, np.uint64),
            annotations=ranges if corpus.spans_field else None,
            words=Ragged(offsets=np.array([0, 1]), values=np.array([0])) if corpus.words_field else None,
        )
        segments, _, _ = self._pipeline.sequences(documents)
        block, _ = self._pipeline.mask(segments)
        RowStatistics().add(block, self.plan.vocabulary, self.plan.config.masking.mask_fraction)
        held_out_documents(documents, 0, self.plan.config.output.holdout)
