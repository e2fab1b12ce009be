"""What one would otherwise run: ``tokenizers``, the whole-word masking of transformers' collator, and Arrow files.

Favourable to the peer: texts are cut where the library is fastest, arrays are made in bulk, padding is done once with NumPy, the collator's
batch is the fastest one, replacement is ``[MASK]`` only (the collator's own advice), and what is written are ids and labels, without
identities, spans, digests or manifest. It masks single words where spanmask draws spans, and reports nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.config import VocabularyConfig
from spanmask.vocab import Vocabulary, load_vocabulary

from .. import peers
from ..protocol import Clock, seconds
from .library_tokenizer import bert_library, pieces

#: What of the ``bench`` extra this needs.
PACKAGES = ("tokenizers", "transformers", "zstandard")
SEED = 7
#: Documents in hand at once, sequence length with special tokens, and the batches that the collator is tried with.
DOCUMENTS, LENGTH, BATCHES = 64, 512, (1, 4, 8, 32)
STEPS = ("read", "tokenize", "cut", "mask", "write")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """S sequences: ids (S, 512), special (S, 512) 1 where a token is special, offsets (S, 512, 2) in code points, as the collator asks."""

    ids: npt.NDArray[np.int64]
    special: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]


def read_jsonl(path: Path) -> Iterator[str]:
    """Yield the texts of a .jsonl.zst file."""
    with peers.load("zstandard").open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def read_text(path: Path) -> Iterator[str]:
    """Yield the documents of a text file, which blank lines part."""
    held: list[str] = []
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            if line == "\n":
                yield "".join(held)
                held = []
            else:
                held.append(line)
    if held:
        yield "".join(held)


class CollatorPipeline:
    """The peer pipeline, from a file to a file.

    Parameters
    ----------
    vocabulary
        One of BERT's.
    padded
        Whether the collator is called as its documentation says, on a list of features, which it pads; otherwise its masking is called
        on arrays, which spares it more than half of its time, and which few would write.
    batch
        Sequences that the collator takes at once.
    """

    def __init__(self, vocabulary: Vocabulary, *, padded: bool = True, batch: int = 1) -> None:
        transformers = peers.load("transformers")
        self._library = bert_library(vocabulary)
        self._ids = vocabulary.ids
        roles = {f"{role.lower()}_token": f"[{role}]" for role in ("UNK", "CLS", "SEP", "PAD", "MASK")}
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=self._library, **roles)
        self._collator = transformers.DataCollatorForLanguageModeling(
            tokenizer,
            whole_word_mask=True,
            mask_replace_prob=1.0,
            random_replace_prob=0.0,
            return_tensors="np",
            seed=SEED,
        )
        self._mask = self._collate if padded else self._mask_arrays
        self.batch = batch
        #: Of the last run: tokens without special ones, and seconds of each step.
        self.tokens = 0
        self.spent: dict[str, float] = {}

    def run(self, source: Path, target: Path) -> None:
        """Mask the documents of a .jsonl.zst or .txt file into an Arrow file."""
        schema = pa.schema({"input_ids": pa.list_(pa.uint16(), LENGTH), "labels": pa.list_(pa.int32(), LENGTH)})
        self.tokens, clock = 0, Clock(STEPS)
        documents = read_text(source) if source.suffix == ".txt" else read_jsonl(source)
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            while texts := clock.time("read", list, islice(documents, DOCUMENTS)):
                encoded = clock.time("tokenize", self._tokenize, texts)
                sequences = clock.time("cut", self._cut, encoded)
                ids, labels = clock.time("mask", self._masked, sequences)
                writer.write_batch(clock.time("write", _record_batch, ids, labels, schema))
        self.spent = clock.spent

    def _tokenize(self, texts: Sequence[str]) -> list[list[Any]]:
        """Return each document's encodings, with offsets, without which the collator finds no words."""
        cut = [list(pieces(text)) for text in texts]
        encoded = iter(self._library.encode_batch(list(chain.from_iterable(cut)), add_special_tokens=False))
        return [[next(encoded) for _ in of_document] for of_document in cut]

    def _cut(self, documents: list[list[Any]]) -> Sequences:
        """Cut every document at 510 tokens, put special ones around, and pad the last of its sequences."""
        inner = LENGTH - 2
        counts = np.array([sum(map(len, encodings)) for encodings in documents])
        rows = -(-counts // inner)
        self.tokens += int(counts.sum())
        places = np.concatenate([np.arange(0), *map(np.arange, counts)])
        places += np.repeat((np.cumsum(rows) - rows) * inner, counts)
        row, column = places // inner, places % inner + 1
        ids = np.full((int(rows.sum()), LENGTH), self._ids["[PAD]"])
        special, offsets = np.ones_like(ids), np.zeros((*ids.shape, 2), np.int64)
        encodings = list(chain.from_iterable(documents))
        ids[row, column] = np.fromiter(chain.from_iterable(item.ids for item in encodings), np.int64, len(places))
        spots = chain.from_iterable(chain.from_iterable(item.offsets for item in encodings))
        offsets[row, column] = np.fromiter(spots, np.int64, 2 * len(places)).reshape(-1, 2)
        special[row, column] = 0
        ids[:, 0] = self._ids["[CLS]"]
        ids[np.arange(len(ids)), LENGTH - special[:, :0:-1].argmin(axis=1)] = self._ids["[SEP]"]
        return Sequences(ids=ids, special=special, offsets=offsets)

    def _masked(self, sequences: Sequences) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        parts = [
            self._mask(sequences, slice(start, start + self.batch))
            for start in range(0, len(sequences.ids), self.batch)
        ]
        ids, labels = zip(*parts, strict=True)
        return np.concatenate(ids), np.concatenate(labels)

    def _collate(self, sequences: Sequences, part: slice) -> tuple[Any, Any]:
        rows = zip(sequences.ids[part], sequences.special[part], sequences.offsets[part], strict=True)
        names = ("input_ids", "special_tokens_mask", "offset_mapping")
        batch = self._collator([dict(zip(names, row, strict=True)) for row in rows])
        return batch["input_ids"], batch["labels"]

    def _mask_arrays(self, sequences: Sequences, part: slice) -> tuple[Any, Any]:
        found: tuple[Any, Any] = self._collator.numpy_mask_tokens(
            sequences.ids[part], special_tokens_mask=sequences.special[part], offset_mapping=sequences.offsets[part]
        )
        return found


def fastest(source: Path, target: Path, *, padded: bool) -> tuple[CollatorPipeline, dict[str, float]]:
    """Return the pipeline with the collator's fastest batch, having run it once, and the seconds with every batch."""
    vocabulary = load_vocabulary(VocabularyConfig())
    pipelines = [CollatorPipeline(vocabulary, padded=padded, batch=batch) for batch in BATCHES]
    taken = {pipeline: seconds(partial(pipeline.run, source, target)) for pipeline in pipelines}
    best = min(taken, key=lambda pipeline: taken[pipeline])
    return best, {f"batch {pipeline.batch}": found for pipeline, found in taken.items()}


def _record_batch(ids: npt.NDArray[Any], labels: npt.NDArray[Any], schema: pa.Schema) -> pa.RecordBatch:
    columns: list[npt.NDArray[Any]] = [ids.astype(np.uint16), labels.astype(np.int32)]
    arrays = [pa.FixedSizeListArray.from_arrays(pa.array(column.ravel()), LENGTH) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
