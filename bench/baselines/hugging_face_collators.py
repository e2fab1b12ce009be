"""What one would otherwise load with: transformers' ``DataCollatorForLanguageModeling`` on tokenized rows, alone or under a DataLoader.

Favourable to the peer: rows are padded before and lie in memory as the features that it is fastest with, special tokens are marked, offsets
are given where it looks for words, and its batch is the fastest one. It reads no file, draws no spans, and makes no boundary targets.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.records import Flags, Offsets, TokenIds
from spanmask.vocab import Vocabulary

from .. import peers
from ..protocol import seconds
from .library_tokenizer import bert_library

#: What of the ``bench`` extra this needs.
PACKAGES = ("torch", "transformers")
SEED = 7
#: What is tried: rows of a batch, and what a feature's values are.
BATCHES, FEATURES = (8, 32, 256), ("lists", "arrays")
#: Worker processes of the DataLoader, and rows that the fastest way is looked for with.
WORKERS, TRIED_ROWS = 2, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRows:
    """S unmasked rows of L slots, as the collator asks for them.

    ids, attention_mask, special: (S, L), the latter 1 where a token is special or padding. offsets: (S, L, 2) places in a text in which a
    blank stands before each word.
    """

    ids: npt.NDArray[np.int64]
    attention_mask: npt.NDArray[np.int64]
    special: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, ids: TokenIds, row_offsets: Offsets, word_starts: Flags, pad_id: int) -> PlainRows:
        """Pad rows. ids, word_starts: (T,) of all rows, ``[CLS]`` and ``[SEP]`` included; row_offsets: (S + 1,) where each begins."""
        sizes = np.diff(row_offsets)
        row = np.repeat(np.arange(len(sizes)), sizes)
        column = np.arange(len(ids)) - row_offsets[row]
        padded = np.full((len(sizes), int(sizes.max())), pad_id)
        mask, special, offsets = np.zeros_like(padded), np.ones_like(padded), np.zeros((*padded.shape, 2), np.int64)
        padded[row, column], mask[row, column], special[row, column] = ids, 1, 0
        special[:, 0] = special[np.arange(len(sizes)), sizes - 1] = 1
        place = column + np.cumsum(word_starts)
        offsets[row, column] = np.stack((place, place + 1), axis=1)
        return cls(ids=padded, attention_mask=mask, special=special, offsets=offsets)

    @property
    def tokens(self) -> int:
        """Tokens that are no padding."""
        return int(self.attention_mask.sum())

    def first(self, count: int) -> PlainRows:
        """Return the first rows."""
        return PlainRows(
            ids=self.ids[:count],
            attention_mask=self.attention_mask[:count],
            special=self.special[:count],
            offsets=self.offsets[:count],
        )

    def features(self, kind: str, *, whole_words: bool) -> list[dict[str, Any]]:
        """Return a dictionary a row, of lists or of arrays."""
        columns = {"input_ids": self.ids, "attention_mask": self.attention_mask, "special_tokens_mask": self.special}
        if whole_words:
            columns["offset_mapping"] = self.offsets
        values: list[Any] = [column.tolist() if kind == "lists" else list(column) for column in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


class CollatorRun:
    """The collator on all rows, once a call.

    Parameters
    ----------
    vocabulary
        One of BERT's.
    rows
        Which rows.
    whole_words
        Whether whole words are masked, with ``[MASK]`` only, as it has it; otherwise single tokens, 80 % ``[MASK]``, 10 % random.
    features
        What the values of a row are: ``lists`` or ``arrays``.
    batch
        Rows of a batch.
    """

    def __init__(
        self, vocabulary: Vocabulary, rows: PlainRows, *, whole_words: bool, features: str, batch: int
    ) -> None:
        transformers = peers.load("transformers")
        roles = {f"{role.lower()}_token": f"[{role}]" for role in ("UNK", "CLS", "SEP", "PAD", "MASK")}
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=bert_library(vocabulary), **roles)
        replacing = {"mask_replace_prob": 1.0, "random_replace_prob": 0.0} if whole_words else {}
        self._collator = transformers.DataCollatorForLanguageModeling(
            tokenizer, whole_word_mask=whole_words, return_tensors="pt", seed=SEED, **replacing
        )
        self._features = rows.features(features, whole_words=whole_words)
        self._cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        self.batch = batch
        self.described = {"batch": batch, "features": features}

    def batches(self) -> Iterator[Mapping[str, Any]]:
        """Yield batches of tensors, made in this process."""
        for start in range(0, len(self._features), self.batch):
            yield self._collator(self._features[start : start + self.batch])

    def run(self) -> None:
        """Make all batches in this process."""
        for _ in self.batches():
            pass

    def run_with_workers(self) -> None:
        """Make all batches in worker processes, which may use all cores that this process could when this was made, and take them."""
        for _ in self.batches_of_workers():
            pass

    def batches_of_workers(self) -> Iterator[Mapping[str, Any]]:
        """Yield batches of tensors, made in worker processes."""
        load = peers.load("torch").utils.data.DataLoader
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            yield from load(
                self._features,
                batch_size=self.batch,
                collate_fn=self._collator,
                num_workers=WORKERS,
                worker_init_fn=partial(_release, self._cores),
            )


def _release(cores: set[int] | None, _worker: int) -> None:
    """Let a worker run on these cores, though its parent is held to one."""
    if cores is not None:
        os.sched_setaffinity(0, cores)


def fastest(vocabulary: Vocabulary, rows: PlainRows, *, whole_words: bool) -> tuple[CollatorRun, dict[str, float]]:
    """Return the collator with the fastest features and batch for these rows, and tokens/s of all on the first of them."""
    part = rows.first(TRIED_ROWS)
    tried = {}
    for features in FEATURES:
        for batch in BATCHES:
            run = CollatorRun(vocabulary, part, whole_words=whole_words, features=features, batch=batch).run
            tried[f"{features}, batch {batch}"] = part.tokens / min(seconds(run), seconds(run))
    features, _, batch_of = max(tried, key=lambda name: tried[name]).partition(", batch ")
    return CollatorRun(vocabulary, rows, whole_words=whole_words, features=features, batch=int(batch_of)), tried


def require_originals(run: CollatorRun, rows: PlainRows) -> None:
    """See that a collator's batches hold the rows it was given, with labels put back.

    Raises
    ------
    AssertionError
        They do not.
    """
    restored = [np.where(b["labels"] == -100, b["input_ids"], b["labels"]) for b in run.batches()]
    if not np.array_equal(np.concatenate(restored), rows.ids):
        raise AssertionError("the collator's batches do not hold the rows that it was given")
