"""Where the time of presharding goes: the stages of one job, called one after another on the same blocks, each on the clock.

The production code is not instrumented; this is the one place that knows which of its functions make a stage. ``read`` is the bytes on
disk; ``decompress`` is handing on blocks of whole documents, less that reading; ``count`` is the statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spanmask.config import PreshardConfig
from spanmask.corpus.cutting import RawBlock
from spanmask.corpus.inputs import InputFile, find_inputs
from spanmask.corpus.reading import parse_block, stream_blocks
from spanmask.presharding.planning import make_plan
from spanmask.presharding.units import Pipeline
from spanmask.records import DocumentBlock
from spanmask.sequencing import sequence
from spanmask.shard.schema import shard_schema, to_record_batch
from spanmask.shard.writer import write_shards
from spanmask.statistics import RowStatistics
from spanmask.tokenization import Tokenizer
from spanmask.vocab import load_vocabulary

from .protocol import Clock

STAGES = ("read", "decompress", "parse", "tokenize", "sequence", "mask", "count", "write")
_READ_BYTES = 4 << 20


class StagedRun:
    """Presharding of text or JSONL, compressed or not, into one folder, stage by stage.

    Parameters
    ----------
    source
        The file.
    folder
        Where shards are written, over those that are there; no manifest is.
    config
        What is done.
    """

    def __init__(self, source: Path, folder: Path, config: PreshardConfig) -> None:
        vocabulary = load_vocabulary(config.vocabulary)
        files = find_inputs([source], config.corpus.format).files
        self._file: InputFile = files[0]
        self._plan = make_plan(config, vocabulary, files)
        self._pipeline = Pipeline(self._plan, folder)
        self._tokenizer = Tokenizer(vocabulary)
        self._folder = folder
        self._schema = shard_schema(
            vocabulary.dtype, words_stored=self._plan.words_stored, scheme=config.masking.scheme
        )
        self._clock = Clock(STAGES)

    def run(self) -> dict[str, float]:
        """Do all of it once; return the seconds of each stage."""
        self._clock = Clock(STAGES)
        config = self._plan.config
        self._clock.time("read", _read, self._file.path)
        blocks = stream_blocks(self._file, config.corpus, config.output.shard_bytes)
        statistics = RowStatistics()
        for raw in self._clock.each("decompress", blocks):
            self._shard(raw, statistics)
        spent = self._clock.spent
        return {**spent, "decompress": max(spent["decompress"] - spent["read"], 0.0)}

    def _shard(self, raw: RawBlock, statistics: RowStatistics) -> None:
        batches: list[Any] = []
        for documents in self._clock.each("parse", parse_block(self._file, raw, self._plan.config.corpus)):
            batches += self._batches(documents, statistics)
        self._clock.time("write", write_shards, self._folder, f"train/shard-{raw.number:05}", batches)

    def _batches(self, documents: DocumentBlock, statistics: RowStatistics) -> Iterator[Any]:
        plan, clock = self._plan, self._clock
        tokens = clock.time("tokenize", self._tokenizer.tokenize, documents, lines=plan.lines_wanted)
        segments = clock.time("sequence", sequence, tokens, documents.document_ids, plan.config.sequence)
        for _, part in clock.each("sequence", self._pipeline.by_split(documents, segments)):
            block, _ = clock.time("mask", self._pipeline.mask, part)
            clock.time("count", statistics.add, block, plan.vocabulary, plan.config.masking.mask_fraction)
            yield clock.time("write", to_record_batch, block, [], self._schema)


def _read(path: str) -> None:
    with open(path, "rb", buffering=0) as file:
        while file.read(_READ_BYTES):
            pass
