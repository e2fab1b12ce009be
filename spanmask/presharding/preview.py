"""The first sequences of a corpus, masked as a run would mask them, without writing anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from spanmask.config import PreshardConfig
from spanmask.corpus.inputs import find_inputs
from spanmask.presharding.plan import make_plan
from spanmask.presharding.units import Pipeline, all_units
from spanmask.records import MaskedBlock, Positions
from spanmask.shard.reader import Row
from spanmask.vocab import Vocabulary, load_vocabulary


def preview(
    inputs: Sequence[str | os.PathLike[str]], config: PreshardConfig, count: int
) -> tuple[list[tuple[int, Row]], Vocabulary]:
    """Return the first ``count`` sequences with their numbers, and the vocabulary they are in; see `preshard` for the errors."""
    vocabulary = load_vocabulary(config.vocabulary)
    plan = make_plan(config, vocabulary, find_inputs(inputs, config.corpus.format).files)
    pipeline = Pipeline(plan, Path())
    rows = (
        row
        for unit in all_units(plan)
        for documents in pipeline.documents(unit)
        for row in _rows(pipeline.mask(pipeline.sequences(documents)[0])[0])
    )
    return list(enumerate(islice(rows, count))), vocabulary


def _rows(block: MaskedBlock) -> Iterator[Row]:
    for i in range(len(block)):
        spans = slice(block.span_offsets[i], block.span_offsets[i + 1])
        yield Row(
            document_id=int(block.document_ids[i]),
            segment=int(block.segments[i]),
            input_ids=block.input_ids[block.input_offsets[i] : block.input_offsets[i + 1]],
            span_starts=block.span_starts[spans],
            span_ends=block.span_ends[spans],
            labels=block.labels[block.label_offsets[i] : block.label_offsets[i + 1]],
            kept={},
            word_starts=_words(block, i),
        )


def _words(block: MaskedBlock, row: int) -> Positions | None:
    words = block.word_starts
    return None if words is None else words.values[words.offsets[row] : words.offsets[row + 1]].astype(np.uint16)
