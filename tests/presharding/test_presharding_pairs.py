"""Pairs of segments: those that FORMAT.md §6.8 says, the same bytes for any jobs and order of tasks, and their law in real text."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pyarrow as pa
import pytest
import zstandard
from resealed import reseal

import spanmask
from spanmask import PreshardConfig, Tokenizer, audit, preshard, verify
from spanmask.blocks import columns_of
from spanmask.masking import Masker
from spanmask.presharding.comparing import verify_source
from spanmask.shard.writer import write_shard
from spanmask.statistics import upper_tail

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "prose"
OPTIONS: dict[str, Any] = {"segmentation": "pairs", "holdout": 0.2, "max_tokens": 48}
ROOM, LEAST = 45, 3


@pytest.fixture(scope="module")
def paired(make_lab: Any) -> Any:
    lab = make_lab("pairs")
    lab.inputs = lab.corpus()
    lab.manifest = lab.run(lab.inputs, "one", **OPTIONS)
    return lab


def rows_of(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Every row with its shard's name, labels put back."""
    rows = []
    for path in sorted(folder.glob("*/*.arrow")):
        for row in pa.ipc.open_file(path).read_all().to_pylist():
            ids, labels = row["input_ids"], iter(row["labels"])
            for start, end in zip(row["span_starts"], row["span_ends"], strict=True):
                ids[start:end] = [next(labels) for _ in range(start, end)]
            rows.append((f"{path.parent.name}/{path.stem}", row))
    return rows


def test_rows_are_those_of_the_literal_twin(make_lab: Any) -> None:
    lab = make_lab("twin")
    path = lab.jsonl([{"text": text} for text in lab.text(count=120).read_text().split("\n\n")])
    lab.run(path, "out", **OPTIONS)
    tokenizer, texts, tokens = Tokenizer("cased"), {}, {}
    source = path.read_bytes()
    starts = accumulate((len(line) + 1 for line in source.splitlines()), initial=0)
    lines_of = {
        place: json.loads(line)["text"].split("\n") for place, line in zip(starts, source.splitlines(), strict=False)
    }
    encoded = tokenizer.encode([line for lines in lines_of.values() for line in lines])
    bounds = iter(pairwise(encoded.document_offsets.tolist()))
    for place, lines in lines_of.items():
        slices = [slice(*next(bounds)) for _ in lines]
        tokens[place] = [token for one in slices for token in encoded.token_ids[one].tolist()]
        words = [flag for one in slices for flag in encoded.word_starts[one].tolist()]
        texts[place] = oracle.Text(place, words, [k == one.start for one in slices for k in range(one.start, one.stop)])
    rows = rows_of(lab.folder / "out")
    groups: dict[str, set[int]] = defaultdict(set)
    for name, row in rows:
        groups[name].add(row["document_id"])
    wanted = {}
    for members in groups.values():
        found, _ = oracle.pairs([texts[place] for place in sorted(members)], 7, ROOM, LEAST)
        for a, b, follows in found:
            both = [tokens[half.document_id][half.start : half.end] for half in (a, b)]
            ids = [101, *both[0], 102, *both[1], 102]
            wanted[a.document_id, a.segment] = (ids, len(both[0]) + 2, int(follows), b.document_id, b.segment)
    columns = ("pair_border", "pair_label", "pair_document_id", "pair_segment")
    assert len(rows) > 200
    assert len(groups) > 5
    assert {
        (row["document_id"], row["segment"]): (row["input_ids"], *map(row.get, columns)) for _, row in rows
    } == wanted
    assert {row["pair_label"] for _, row in rows} == {0, 1}


def test_bytes_are_the_same_for_any_jobs_and_order_of_tasks(paired: Any) -> None:
    wanted = paired.tree("one")
    paired.run(paired.inputs, "two", jobs=2, **OPTIONS)
    assert paired.tree("two") == wanted
    plan = spanmask.plan(paired.inputs, paired.folder / "tasks", paired.config(**OPTIONS))
    for number in reversed(range(len(plan.tasks))):
        spanmask.run_unit(plan, number)
    spanmask.finalize(paired.folder / "tasks")
    assert paired.tree("tasks") == wanted


def test_a_dataset_of_pairs_is_verified_and_audited(paired: Any) -> None:
    folder = paired.folder / "one"
    assert verify(folder).ok
    assert verify_source(folder, paired.inputs, jobs=1) == []
    result = audit(folder)
    assert result.ok
    gates = {gate.name: gate.detail for gate in result.gates}
    assert gates["pairs equal their draws"] == f"0 of {result.rows} pairs differ"
    tokens = paired.manifest.conservation["tokens"]
    assert tokens["repeated"] == sum(counts["repeated_tokens"] for counts in paired.manifest.statistics.values()) > 0
    assert tokens["in"] == tokens["kept"] + tokens["dropped"]["short_segment"]


def test_another_second_segment_than_was_drawn_is_told(paired: Any, tmp_path: Path) -> None:
    """Digests, invariants and counts are right; only drawing the pairs again tells."""
    lab, folder = paired, tmp_path / "out"
    lab.run(lab.inputs, folder, **OPTIONS)
    record, *others = spanmask.open(folder).split.shards
    table = pa.ipc.open_file(folder / record.path).read_all()
    rows = table.to_pylist()
    place = next(k for k, row in enumerate(rows) if row["pair_label"] == 0)
    rows[place]["pair_segment"] += 1
    changed = write_shard(folder, record.path, pa.Table.from_pylist(rows, schema=table.schema))
    reseal(folder, records={"train": [changed, *others]})
    assert verify(folder).ok
    (failed,) = (gate for gate in audit(folder).gates if not gate.passed)
    assert (failed.name, failed.detail[:4]) == ("pairs equal their draws", "1 of")
    (finding,) = verify_source(folder, lab.inputs, jobs=1)
    assert "is another pair than the inputs make" in finding.message


def test_other_mask_epochs_mask_the_same_pairs(paired: Any) -> None:
    paired.run(paired.inputs, "later", mask_epoch=3, **OPTIONS)
    first, later = (spanmask.open(paired.folder / name) for name in ("one", "later"))
    config = later.manifest.config.masking
    remasked = Masker(config, first.manifest.vocabulary).remask(first.blocks[0])
    for name, column in columns_of(later.blocks[0]).items():
        assert np.array_equal(columns_of(remasked)[name].values, column.values)
    assert [row.original().tolist() for row in first] == [row.original().tolist() for row in later]
    assert [row.pair for row in first] == [row.pair for row in later]
    assert [row.input_ids.tolist() for row in first] != [row.input_ids.tolist() for row in later]


def test_one_document_has_pairs_of_its_own_alone(lab: Any) -> None:
    (lab.folder / "one.txt").write_text("the cat sat on the mat and ran down to the sea " * 40)
    manifest = lab.run(lab.folder / "one.txt", "out", **{**OPTIONS, "holdout": 0.0})
    rows = spanmask.open(lab.folder / "out")
    assert all(row.pair is not None and row.pair.label == 1 for row in rows)
    assert 0 < manifest.sampling["train"]["no_other_document"] < len(rows)
    assert audit(lab.folder / "out").ok


def test_words_and_ranges_of_both_segments_are_stored(lab: Any) -> None:
    texts = [f"{'the cat sat on the mat and ran to the sea ' * 12}{k}" for k in range(20)]
    words = [place + 1 for place, character in enumerate(texts[0]) if character == " "]
    rows = [{"text": text, "spans": [[4, 11], [15, 22]], "words": words, "id": text[-2:]} for text in texts]
    options = {**OPTIONS, "words_field": "words", "spans_field": "spans", "scheme": "annotated", "keep": ("id",)}
    lab.run(lab.jsonl(rows), "out", **options)
    assert verify(lab.folder / "out").ok
    assert audit(lab.folder / "out").ok
    kept = {row.document_id: row.kept["id"] for row in spanmask.open(lab.folder / "out")}
    assert len(set(kept.values())) == len(kept) > 10


@pytest.mark.slow
@pytest.mark.data
def test_twenty_thousand_pairs_of_wikipedia_follow_their_law(tmp_path: Path) -> None:
    """FORMAT.md §6.8: half of the second segments are random, a tenth of the pairs short; lengths, borders, and no B of A's document."""
    file = SHARED / "enwiki2018.000.jsonl.zst"
    if not file.is_file():
        pytest.skip(f"{file.name} is not in ../shared/data/prose")
    with file.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as stream:
        text = b"".join(islice(io.BufferedReader(stream), 400))
    (tmp_path / "wiki.jsonl").write_bytes(text)
    config = PreshardConfig.of(seed=11, segmentation="pairs", max_tokens=128)
    preshard(tmp_path / "wiki.jsonl", tmp_path / "out", config, jobs=1)
    assert verify(tmp_path / "out").ok
    assert audit(tmp_path / "out").ok
    shards = spanmask.open(tmp_path / "out")
    assert len(shards) >= 20_000
    random_ones, sizes = 0, np.zeros(126, np.int64)
    for row in shards:
        pair = row.pair
        assert pair is not None
        total = len(row.input_ids) - 3
        assert pair.border - 2 >= 3
        assert total - (pair.border - 2) >= 3
        assert total <= 125
        assert row.input_ids[pair.border - 1] == 102
        assert not ((row.span_starts < pair.border) & (pair.border <= row.span_ends)).any()
        assert (pair.document_id == row.document_id) == (pair.label == 1)
        random_ones += pair.label == 0
        sizes[total] += 1
    n = len(shards)
    assert upper_tail(1, (2 * random_ones - n) ** 2 / n) > 1e-6
    # A tenth is short; others end with their document, or at the last word that fits.
    assert 0.05 < sizes[:100].sum() / n < 0.2
    assert sizes[118:].sum() / n > 0.7
