"""Masked rows as T5's span corruption (Raffel et al. 2020, §3.1.4, arXiv 1910.10683): sentinels in the inputs, spans in the targets.

A row's inputs are its original tokens with each span replaced by one sentinel; its targets are, for each span, the same sentinel and the
span's original tokens, then one more sentinel. What replaced the tokens of a span in the shard plays no part.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from spanmask.blocks import count_up, offsets_of
from spanmask.errors import ConfigError
from spanmask.exporting.config import SentinelConfig
from spanmask.exporting.verified import Shard
from spanmask.records import Flags, MaskedBlock, Offsets, Ragged
from spanmask.shard.manifest import Manifest
from spanmask.shard.schema import from_record_batch
from spanmask.shard.table import Split

Ids = npt.NDArray[np.int32]

#: One beyond the largest id that int32 holds.
_ID_LIMIT = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentinels:
    """Which ids are sentinels: that of number k, from 0, is ``first + step * k``.

    step: 1 or -1. count: how many the row with the most spans needs, the final one included. vocabulary_size: V, of the dataset.
    specials: whether inputs keep ``[CLS]`` and ``[SEP]``.
    """

    first: int
    step: int
    count: int
    vocabulary_size: int
    specials: bool

    @property
    def lowest(self) -> int:
        """The smallest id that is a sentinel."""
        return min(self.first, self.first + self.step * (self.count - 1))

    @property
    def highest(self) -> int:
        """The largest id that is a sentinel."""
        return max(self.first, self.first + self.step * (self.count - 1))


def choose_sentinels(config: SentinelConfig, manifest: Manifest, splits: tuple[Split, ...]) -> Sentinels:
    """Return the sentinels for the rows of some splits.

    Raises
    ------
    ConfigError
        One would be an id that a token may have, or no id at all.
    """
    size = manifest.stated_vocabulary.size
    sentinels = Sentinels(
        first=size if config.first_sentinel is None else config.first_sentinel,
        step=-1 if config.sentinels_descend else 1,
        count=max(_most_spans(manifest, split) for split in splits) + 1,
        vocabulary_size=size,
        specials=config.keep_specials,
    )
    if sentinels.lowest < 0 or sentinels.highest >= _ID_LIMIT:
        raise ConfigError(f"{_told(sentinels)}, and ids go from 0 to {_ID_LIMIT - 1}; choose another --first-sentinel")
    if sentinels.lowest < size:
        _refuse_tokens(sentinels, manifest)
    return sentinels


def _told(sentinels: Sentinels) -> str:
    return f"the {sentinels.count} sentinels would be the ids {sentinels.lowest} to {sentinels.highest}"


def _most_spans(manifest: Manifest, split: Split) -> int:
    """Return the most spans of a row, or the most that a row has room for where the histogram's last bin holds more than one number."""
    counts = manifest.statistics[split.name]
    rows = counts["histograms"]["row_spans"]
    told = sum(number * count for number, count in enumerate(rows)) == counts["spans"]
    return len(rows) - 1 if told else (manifest.config.sequence.max_tokens - 1) // 2


def _refuse_tokens(sentinels: Sentinels, manifest: Manifest) -> None:
    vocabulary = manifest.vocabulary
    tokens = np.concatenate((vocabulary.ordinary_ids, np.array([*vocabulary.special_tokens.values()], np.int64)))
    taken = np.sort(tokens[(tokens >= sentinels.lowest) & (tokens <= sentinels.highest)])
    if len(taken):
        number = int(taken[0])
        raise ConfigError(
            f"{_told(sentinels)}, and {number} is {vocabulary.entries[number]!r}; choose a --first-sentinel whose ids "
            f"are unused, or from {len(vocabulary)} up"
        )


def with_sentinels(shard: Shard, sentinels: Sentinels) -> Shard:
    """Return a shard with the columns document_id, segment, inputs and targets (lists of int32); its metadata names the sentinels."""
    ids = pa.list_(pa.field("item", pa.int32(), nullable=False))
    fields = [shard.schema.field("document_id"), shard.schema.field("segment")]
    fields += [pa.field(name, ids, nullable=False) for name in ("inputs", "targets")]
    schema = pa.schema(fields, metadata={b"spanmask.sentinels": json.dumps(asdict(sentinels), sort_keys=True).encode()})
    return replace(shard, schema=schema, batches=(_converted(batch, sentinels, schema) for batch in shard.batches))


def _converted(batch: pa.RecordBatch, sentinels: Sentinels, schema: pa.Schema) -> pa.RecordBatch:
    block = from_record_batch(batch)
    columns = [batch.column("document_id"), batch.column("segment")]
    for lists in (_inputs(block, sentinels), _targets(block, sentinels)):
        narrow = pa.array(lists.offsets.astype(np.int32))
        columns.append(pa.ListArray.from_arrays(narrow, pa.array(lists.values), type=schema.field("inputs").type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _inputs(block: MaskedBlock, sentinels: Sentinels) -> Ragged[Ids]:
    """Return the inputs of S rows."""
    owner, offsets = block.spans.owners, block.input_ids.offsets
    starts, ends = (offsets[owner] + side for side in (block.spans.starts, block.spans.ends))
    ids = block.input_ids.values.astype(np.int32)
    # A sentinel takes the place of its span's first token; the others of the span go.
    ids[starts] = sentinels.first + sentinels.step * count_up(block.spans.lengths)
    # Checked before sentinels are among them: only true tokens can clash.
    kept = _outside(starts, ends, len(ids))
    _refuse_sentinels(ids[kept], sentinels)
    kept[starts] = True
    if not sentinels.specials:
        kept[offsets[:-1]] = kept[offsets[1:] - 1] = False
    return Ragged(values=ids[kept], offsets=offsets_of(kept)[offsets])


def _outside(starts: Offsets, ends: Offsets, size: int) -> Flags:
    """(size,) whether a position lies in no range. No two ranges start, or end, at one position."""
    edges = np.zeros(size + 1, np.int8)
    edges[starts] += 1
    edges[ends] -= 1
    outside: Flags = np.cumsum(edges[:-1], dtype=np.int8) == 0
    return outside


def _targets(block: MaskedBlock, sentinels: Sentinels) -> Ragged[Ids]:
    """Return the targets of S rows. The final sentinel of a row stands for an empty span at its end."""
    offsets = block.spans.offsets + np.arange(len(block) + 1)
    numbers = count_up(np.diff(offsets))
    sizes = np.zeros(offsets[-1], np.int64)
    final = np.zeros(offsets[-1], np.bool_)
    final[offsets[1:] - 1] = True
    sizes[~final] = block.spans.sizes
    labels = block.labels.values
    _refuse_sentinels(labels, sentinels)
    ids = np.insert(labels.astype(np.int32), offsets_of(sizes)[:-1], sentinels.first + sentinels.step * numbers)
    return Ragged(values=ids, offsets=block.labels.offsets + offsets)


def _refuse_sentinels(ids: npt.NDArray[Any], sentinels: Sentinels) -> None:
    """Refuse rows in which a token is a sentinel: an unused entry that a text holds all the same."""
    found = ids[(ids >= sentinels.lowest) & (ids <= sentinels.highest)]
    if len(found):
        raise ConfigError(
            f"{_told(sentinels)}, and the rows hold {found[0]} as a token; choose another --first-sentinel, "
            f"{sentinels.vocabulary_size} or more"
        )
