"""T5's inputs and targets, against a literal twin: sentinels stand for spans, and put back they give the original."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from finished import LONE_WORD, RECIPES, original_of, splits_of, stored_rows
from hypothesis import given
from hypothesis import strategies as st

import spanmask
from spanmask.blocks import from_columns
from spanmask.config import PreshardConfig, Scheme
from spanmask.errors import ConfigError
from spanmask.exporting.config import ExportConfig, SentinelConfig, Target
from spanmask.exporting.run import Exported, export
from spanmask.exporting.sentinels import Sentinels, with_sentinels
from spanmask.exporting.verified import Shard
from spanmask.presharding.run import preshard
from spanmask.records import Ragged
from spanmask.shard.schema import shard_schema, to_record_batch
from spanmask.shard.table import ShardRecord

Finished = Callable[[str], Path]
Sentinel = Callable[[int], int]


class StoredRow(NamedTuple):
    input_ids: list[int]
    spans: list[tuple[int, int]]
    labels: list[int]


def literal(row: dict[str, Any], sentinel: Sentinel, *, specials: bool) -> tuple[list[int], list[int]]:
    """Inputs and targets, token by token."""
    spans = list(zip(row["span_starts"], row["span_ends"], strict=True))
    original = original_of(row)
    inputs, targets, number = [], [], 0
    for place, token in enumerate(original):
        if any(start == place for start, _ in spans):
            inputs.append(sentinel(number))
            targets.append(sentinel(number))
            number += 1
        if any(start <= place < end for start, end in spans):
            targets.append(token)
        elif specials or 0 < place < len(original) - 1:
            inputs.append(token)
    return inputs, [*targets, sentinel(number)]


def put_back(inputs: list[int], targets: list[int], is_sentinel: Callable[[int], bool]) -> list[int]:
    """The original: what follows a sentinel in the targets, in its place in the inputs."""
    spans: dict[int, list[int]] = {}
    for token in targets:
        if is_sentinel(token):
            last = spans.setdefault(token, [])
        else:
            last.append(token)
    assert list(spans.values())[-1] == []
    return [token for item in inputs for token in (spans[item] if is_sentinel(item) else [item])]


def written(folder: Path, out: Path, *, overwrite: bool = False, **options: Any) -> Exported:
    config = ExportConfig(target=Target.T5, sentinels=SentinelConfig(**options))
    return export(folder, out, config, overwrite=overwrite)


def rows_of(out: Path, split: str) -> list[dict[str, Any]]:
    return [row for path in sorted((out / split).iterdir()) for row in pq.ParquetFile(path).read().to_pylist()]


# --- Real rows


@pytest.mark.parametrize("specials", [False, True])
@pytest.mark.parametrize("recipe", RECIPES)
def test_inputs_and_targets_are_those_of_the_literal_twin_and_give_the_original(
    recipe: str, specials: bool, finished: Finished, tmp_path: Path
) -> None:
    folder = finished(recipe)
    size = 70_000 if "vocab" in RECIPES[recipe] else 28_996
    written(folder, tmp_path / "out", keep_specials=specials)
    for split in splits_of(folder):
        stored, found = stored_rows(folder, split), rows_of(tmp_path / "out", split)
        for row, new in zip(stored, found, strict=True):
            assert list(new) == ["document_id", "segment", "inputs", "targets"]
            assert (new["document_id"], new["segment"]) == (row["document_id"], row["segment"])
            assert (new["inputs"], new["targets"]) == literal(row, lambda k: size + k, specials=specials)
            original = original_of(row) if specials else original_of(row)[1:-1]
            assert put_back(new["inputs"], new["targets"], lambda token: token >= size) == original


def test_the_example_of_format_md_in_full() -> None:
    """§7: `[CLS] the cat ##s sat down the cat ##s sat down [SEP]` with the span `cat ##s sat` of the second sentence."""
    row = StoredRow([2, 5, 6, 7, 8, 9, 5, 4, 4, 4, 9, 3], [(7, 10)], [6, 7, 8])
    found = converted([row], first=10, step=1)
    assert found == [
        {"document_id": 0, "segment": 0, "inputs": [5, 6, 7, 8, 9, 5, 10, 9], "targets": [10, 6, 7, 8, 11]}
    ]


def test_a_row_without_spans_stays_with_its_inputs_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{LONE_WORD}\n\nthe cat sat\n")
    preshard(tmp_path / "a.txt", tmp_path / "shards", PreshardConfig.of(seed=1, min_tokens=3), jobs=1)
    lone = spanmask.open(tmp_path / "shards")[0]
    assert len(lone.span_starts) == 0
    written(tmp_path / "shards", tmp_path / "out")
    first, second = rows_of(tmp_path / "out", "train")
    assert first["inputs"] == lone.input_ids.tolist()[1:-1]
    assert first["targets"] == [28_996]
    assert len(second["targets"]) > 1


# --- Any rows


@st.composite
def stored(draw: st.DrawFn) -> StoredRow:
    """A row that FORMAT.md allows: spans from 1 to L - 1 that do not touch."""
    original = draw(st.lists(st.integers(0, 79), min_size=3, max_size=24))
    cuts = sorted(draw(st.sets(st.integers(1, len(original) - 1), max_size=12)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    spans = [(start, end) for start, end in pairs if start < end]
    labels = [token for start, end in spans for token in original[start:end]]
    ids = list(original)
    for start, end in spans:
        ids[start:end] = draw(st.lists(st.integers(0, 79), min_size=end - start, max_size=end - start))
    return StoredRow(ids, spans, labels)


def converted(rows: list[StoredRow], *, first: int, step: int, specials: bool = False) -> list[dict[str, Any]]:
    def ragged(lists: list[list[int]]) -> Ragged[Any]:
        values = [value for values in lists for value in values]
        return Ragged(values=np.array(values, np.uint16), offsets=np.cumsum([0, *map(len, lists)]))

    sides = {
        f"span_{side}": ragged([[span[k] for span in row.spans] for row in rows])
        for k, side in enumerate(("starts", "ends"))
    }
    lists = {name: ragged([getattr(row, name) for row in rows]) for name in ("input_ids", "labels")}
    block = from_columns(np.arange(len(rows), dtype=np.uint64), np.zeros(len(rows), np.uint32), {**lists, **sides})
    schema = shard_schema(np.dtype(np.uint16), words_stored=False, scheme=Scheme.SPAN)
    record = ShardRecord(path="", rows=0, tokens=0, bytes=0, sha256="", content_sha256="", first=(0, 0), last=(0, 0))
    shard = Shard(record=record, schema=schema, batches=iter([to_record_batch(block, [], schema)]))
    sentinels = Sentinels(first=first, step=step, count=8, vocabulary_size=80, specials=specials)
    new = with_sentinels(shard, sentinels)
    return pa.Table.from_batches(list(new.batches), new.schema).to_pylist()


@given(st.lists(stored(), min_size=1, max_size=6), st.booleans(), st.booleans())
def test_any_rows_become_those_of_the_literal_twin_and_give_the_original(
    rows: list[StoredRow], descending: bool, specials: bool
) -> None:
    first, step = (1000, -1) if descending else (80, 1)
    found = converted(rows, first=first, step=step, specials=specials)
    for row, new in zip(rows, found, strict=True):
        starts, ends = [start for start, _ in row.spans], [end for _, end in row.spans]
        known = {"input_ids": row.input_ids, "span_starts": starts, "span_ends": ends, "labels": row.labels}
        assert all(start > end for (_, end), (start, _) in pairwise(row.spans))
        wanted = literal(known, lambda k: first + step * k, specials=specials)
        assert (new["inputs"], new["targets"]) == wanted
        original = original_of(known) if specials else original_of(known)[1:-1]
        assert put_back(new["inputs"], new["targets"], lambda token: token >= 80) == original


# --- Which ids are sentinels


def test_the_sentinels_are_in_the_metadata_the_marker_and_the_result(finished: Finished, tmp_path: Path) -> None:
    result = written(finished("many"), tmp_path / "out", first_sentinel=32_099, sentinels_descend=True)
    rows = [row for split in ("train", "validation") for row in stored_rows(finished("many"), split)]
    known = {
        "first": 32_099,
        "step": -1,
        "count": 1 + max(len(row["span_starts"]) for row in rows),
        "vocabulary_size": 28_996,
        "specials": False,
    }
    assert result.to_json()["sentinels"] == known
    assert json.loads((tmp_path / "out" / "_spanmask.json").read_bytes())["sentinels"] == known
    for path in (tmp_path / "out").glob("*/*.parquet"):
        assert json.loads(pq.read_schema(path).metadata[b"spanmask.sentinels"]) == known
        assert json.loads(pq.read_metadata(path).metadata[b"spanmask.sentinels"]) == known
    found = [token for row in rows_of(tmp_path / "out", "train") for token in row["targets"] if token >= 28_996]
    assert 32_099 - known["count"] < min(found) < max(found) == 32_099


@pytest.mark.slow
def test_rows_of_more_spans_than_the_manifest_counts_apart_have_room_for_their_sentinels(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat sat on the mat " * 2500)
    config = PreshardConfig.of(seed=1, scheme="token", max_tokens=20_002)
    preshard(tmp_path / "a.txt", tmp_path / "shards", config, jobs=1)
    result = written(tmp_path / "shards", tmp_path / "out")
    (row,) = stored_rows(tmp_path / "shards", "train")
    assert 1024 < len(row["span_starts"]) < 10_000
    assert result.sentinels is not None
    assert result.sentinels.count == 10_001
    (new,) = rows_of(tmp_path / "out", "train")
    assert (new["inputs"], new["targets"]) == literal(row, lambda k: 28_996 + k, specials=False)


def test_unused_entries_may_be_sentinels(finished: Finished, tmp_path: Path) -> None:
    """`[unused1]` is 1 in BERT's cased vocabulary, and they go on to 99."""
    written(finished("many"), tmp_path / "out", first_sentinel=1)
    for row, new in zip(stored_rows(finished("many"), "train"), rows_of(tmp_path / "out", "train"), strict=True):
        assert (new["inputs"], new["targets"]) == literal(row, lambda k: 1 + k, specials=False)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"first_sentinel": 0}, r"would be the ids 0 to \d+, and 0 is '\[PAD\]'"),
        (
            {"first_sentinel": 103},
            r"and 103 is '\[MASK\]'; choose a --first-sentinel whose ids are unused, or from 28996 up",
        ),
        ({"first_sentinel": 28_990}, r"would be the ids 28990 to 2899\d, and 28990 is "),
        ({"first_sentinel": 28_996, "sentinels_descend": True}, r"to 28996, and 2899\d is "),
        ({"first_sentinel": 2, "sentinels_descend": True}, r"the ids -\d+ to 2, and ids go from 0 to 2147483647"),
        ({"first_sentinel": (1 << 31) - 1}, "and ids go from 0 to 2147483647"),
    ],
)
def test_a_sentinel_that_is_a_token_or_no_id_is_refused(
    options: dict[str, Any], told: str, finished: Finished, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        written(finished("many"), tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_negative_sentinel_is_refused() -> None:
    with pytest.raises(ConfigError, match="first_sentinel is -1: give an id, 0 or more"):
        SentinelConfig(first_sentinel=-1)


@pytest.mark.parametrize("place", ["inputs", "labels"])
def test_a_row_that_holds_a_sentinel_as_a_token_is_refused(place: str) -> None:
    """An unused entry that a text holds all the same."""
    row = StoredRow([2, 5, 4, 9, 3], [(2, 3)], [6])
    row = row._replace(labels=[81]) if place == "labels" else row._replace(input_ids=[2, 81, 4, 9, 3])
    with pytest.raises(ConfigError, match="would be the ids 80 to 87, and the rows hold 81 as a token"):
        converted([row], first=80, step=1)
    assert len(converted([row], first=82, step=1)) == 1
