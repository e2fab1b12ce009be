"""The first sequences of a corpus, masked as a run would mask them, without writing anything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from spanmask.blocks import row_of
from spanmask.config import PreshardConfig
from spanmask.corpus.inputs import find_inputs
from spanmask.presharding.plan import make_plan
from spanmask.presharding.units import Pipeline, all_units
from spanmask.records import Row
from spanmask.vocab import Vocabulary, load_vocabulary


def preview(
    inputs: Sequence[str | os.PathLike[str]], config: PreshardConfig, count: int
) -> tuple[list[tuple[int, Row]], Vocabulary]:
    """Return the first ``count`` sequences with their numbers, and the vocabulary they are in; see `preshard` for the errors."""
    vocabulary = load_vocabulary(config.vocabulary)
    plan = make_plan(config, vocabulary, find_inputs(inputs, config.corpus.format).files)
    pipeline = Pipeline(plan, Path())
    blocks = (
        pipeline.mask(pipeline.sequences(documents)[0])[0]
        for unit in all_units(plan)
        for documents in pipeline.documents(unit)
    )
    rows = (row_of(block, number) for block in blocks for number in range(len(block)))
    return list(enumerate(islice(rows, count))), vocabulary
