"""What a dataset holds: hold-out, mask epochs, every scheme, supplied words and ranges, kept fields, conservation."""

from __future__ import annotations

import io
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from planted import plant

import spanmask
from spanmask import CorpusError, sequencing, verify
from spanmask.auditing import audit
from spanmask.errors import ConfigError, ShardError
from spanmask.presharding.comparing import verify_source
from spanmask.presharding.run import preview

Rows = dict[tuple[int, int], dict[str, Any]]


def rows_of(folder: Path, *splits: str) -> Rows:
    """Return every column of every row by identity."""
    found: Rows = {}
    for split in splits or ("train",):
        for path in sorted((folder / split).glob("*.arrow")):
            for row in pa.ipc.open_file(path).read_all().to_pylist():
                found[row["document_id"], row["segment"]] = row
    return found


def originals_of(rows: Rows) -> dict[tuple[int, int], list[int]]:
    def original(row: dict[str, Any]) -> list[int]:
        ids, labels = list(row["input_ids"]), iter(row["labels"])
        for start, end in zip(row["span_starts"], row["span_ends"], strict=True):
            ids[start:end] = [next(labels) for _ in range(start, end)]
        return ids

    return {identity: original(row) for identity, row in rows.items()}


# --- Hold-out


@pytest.fixture(scope="module")
def held(make_lab: Any) -> Any:
    lab = make_lab("holdout")
    documents = [f"document {i} speaks of {i * 7919 % 1009} unbelievable things and ends" for i in range(1500)]
    documents += [f"  {document}\t" for document in documents[:300]]
    lab.path = lab.folder / "text.txt"
    lab.path.write_text("\n\n".join(documents))
    lab.documents = documents
    lab.run(lab.path, "all", shard_bytes=32 << 10)
    lab.run(lab.path, "held", holdout=0.1, shard_bytes=32 << 10)
    return lab


def test_train_and_validation_are_the_rows_without_holdout_with_the_same_masks(held: Any) -> None:
    train, validation = (rows_of(held.folder / "held", split) for split in ("train", "validation"))
    assert not train.keys() & validation.keys()
    assert {**train, **validation} == rows_of(held.folder / "all")


def test_equal_documents_go_to_one_split(held: Any) -> None:
    originals = [
        set(map(tuple, originals_of(rows_of(held.folder / "held", split)).values()))
        for split in ("train", "validation")
    ]
    assert not originals[0] & originals[1]


def test_the_share_held_out_is_the_one_asked_for(held: Any) -> None:
    """The chance that 1,500 documents drawn with 0.1 miss by more than 5 standard deviations is below one in a million."""
    rows = rows_of(held.folder / "held", "validation")
    distinct = len(set(map(tuple, originals_of(rows).values())))
    assert abs(distinct - 150) < 5 * math.sqrt(1500 * 0.1 * 0.9)


def test_a_larger_holdout_holds_the_smaller_one(held: Any) -> None:
    held.run(held.path, "more", holdout=0.3, shard_bytes=32 << 10)
    assert rows_of(held.folder / "held", "validation").keys() < rows_of(held.folder / "more", "validation").keys()


def test_another_seed_holds_out_other_documents(held: Any) -> None:
    held.run(held.path, "seed", holdout=0.1, seed=8, shard_bytes=32 << 10)
    assert rows_of(held.folder / "held", "validation").keys() != rows_of(held.folder / "seed", "validation").keys()


def test_a_holdout_that_leaves_a_split_empty_leaves_it_out(lab: Any) -> None:
    path = lab.folder / "one.txt"
    path.write_text("one document that is long enough to be kept here")
    splits = [set(lab.run(path, f"out{share}", holdout=share).splits) for share in (0.000001, 0.999999)]
    assert splits == [{"train"}, {"validation"}]
    assert "validation/" not in lab.tree("out1e-06")
    assert "train/" not in lab.tree("out0.999999")
    assert verify(lab.folder / "out0.999999").ok


# --- Mask epochs


def test_another_mask_epoch_masks_the_same_sequences_otherwise(lab: Any) -> None:
    path = lab.text()
    lab.run(path, "zero")
    lab.run(path, "one", mask_epoch=1)
    zero, one = rows_of(lab.folder / "zero"), rows_of(lab.folder / "one")
    assert list(zero) == list(one)
    assert originals_of(zero) == originals_of(one)
    assert sum(zero[i]["span_starts"] != one[i]["span_starts"] for i in zero) > len(zero) / 2


# --- Schemes, ranges, words, kept fields


def _annotated(lab: Any) -> Path:
    rows = []
    for i, document in enumerate(lab.text().read_text().split("\n\n")):
        spaces = [place for place, char in enumerate(document) if char == " "][:6]
        starts = [0, *(place + 1 for place in spaces)]
        ranges = [[starts[0], starts[1] - 1], [starts[2], starts[2] + 1]] if len(starts) > 3 else []
        words = [place for place in starts if place % 2 == 0]
        rows.append(
            {
                "text": document,
                "spans": ranges,
                "words": words,
                "id": f"n{i}",
                "rank": i,
                "score": i / 2,
                "good": i % 2 == 0,
            }
        )
    return lab.jsonl(rows)


SCHEMES = [
    {"scheme": "span"},
    {"scheme": "span", "sampler": "reference"},
    {"scheme": "word"},
    {"scheme": "word", "replacement_unit": "word"},
    {"scheme": "token"},
    {"scheme": "annotated", "spans_field": "spans"},
    {"scheme": "annotated", "spans_field": "spans", "words_field": "words"},
    {"scheme": "span", "words_field": "words", "random_ids": "unigram"},
    {"scheme": "span", "segmentation": "sentence", "vocab": "uncased"},
]


@pytest.mark.parametrize("options", SCHEMES, ids=lambda options: "-".join(map(str, options.values())))
def test_every_scheme_makes_a_dataset_that_verifies_and_replays(lab: Any, options: dict[str, Any]) -> None:
    manifest = lab.run(_annotated(lab), "out", holdout=0.2, max_tokens=32, **options)
    out = lab.folder / "out"
    assert verify(out).findings == ()
    assert audit(out).to_json()["differing_rows"] == 0
    assert manifest.words_stored is ("words_field" in options)
    columns = set(next(iter(rows_of(out).values())))
    assert ("word_starts" in columns) is ("words_field" in options)
    assert ("annotation_starts" in columns) is (options["scheme"] == "annotated")


def test_annotated_ranges_are_stored_and_masked_more_often(lab: Any) -> None:
    lab.run(_annotated(lab), "out", scheme="annotated", spans_field="spans")
    rows = rows_of(lab.folder / "out").values()
    ranges = [
        (row, pair) for row in rows for pair in zip(row["annotation_starts"], row["annotation_ends"], strict=True)
    ]
    spans = [pair in zip(row["span_starts"], row["span_ends"], strict=True) for row, pair in ranges]
    assert len(ranges) > 150
    assert sum(spans) / len(spans) > 0.2


def test_words_that_are_supplied_are_never_cut(lab: Any) -> None:
    lab.run(_annotated(lab), "out", words_field="words")
    for row in rows_of(lab.folder / "out").values():
        starts, ends = set(row["word_starts"]), {*row["word_starts"], len(row["input_ids"]) - 1}
        assert set(row["span_starts"]) <= starts
        assert set(row["span_ends"]) <= ends


@pytest.mark.parametrize("holdout", [0, 0.3])
def test_kept_fields_stand_beside_their_rows(lab: Any, holdout: float) -> None:
    path = _annotated(lab)
    lab.run(path, "out", keep=["id", "rank", "score", "good"], holdout=holdout, max_tokens=16, min_tokens=4)
    rows = rows_of(lab.folder / "out", "train", "validation")
    offsets = {}
    place = 0
    for i, line in enumerate(path.read_bytes().splitlines(keepends=True)):
        offsets[place] = i
        place += len(line)
    assert len(rows) > len({row["document_id"] for row in rows.values()}) > 100
    for row in rows.values():
        i = offsets[row["document_id"] & ((1 << 40) - 1)]
        assert (row["id"], row["rank"], row["score"], row["good"]) == (f"n{i}", i, i / 2, i % 2 == 0)


def _with_nulls(lab: Any) -> list[dict[str, Any]]:
    """Rows of which some have no value of a field, or no such field, or a field that is always null."""
    values = {"name": "é", "rank": 7, "score": 0.5, "good": True, "never": None}
    rows = []
    for number, text in enumerate(lab.text(count=150).read_text().split("\n\n")):
        kept = {name: None if (number + k) % 3 == 0 else value for k, (name, value) in enumerate(values.items())}
        rows.append({"text": text, **{name: value for name, value in kept.items() if value is not None or number % 2}})
    return rows


def test_a_field_that_is_null_or_missing_is_kept_as_null(lab: Any) -> None:
    rows = _with_nulls(lab)
    names = ["name", "rank", "score", "good", "never"]
    path = lab.jsonl(rows)
    for jobs in (1, 2):
        lab.run(path, f"out{jobs}", keep=names, holdout=0.2, jobs=jobs)
    assert lab.tree("out1") == lab.tree("out2")
    assert verify(lab.folder / "out1").findings == ()
    starts, place = {}, 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True)):
        starts[place] = number
        place += len(line)
    for split in ("train", "validation"):
        for row in spanmask.open(lab.folder / "out1", split):
            known = rows[starts[row.document_id & ((1 << 40) - 1)]]
            assert row.kept == {name: known.get(name) for name in names}


def test_a_null_that_is_changed_is_found(lab: Any) -> None:
    lab.run(lab.jsonl(_with_nulls(lab)), "out", keep=["rank", "name"], shard_bytes=1 << 20)
    (path,) = (lab.folder / "out" / "train").glob("*")
    column = pa.ipc.open_file(path).get_batch(0).column("rank")
    bitmap = column.buffers()[0].to_pybytes()[: len(column) // 8]
    data = path.read_bytes()
    assert data.count(bitmap) == 1
    valid, null = ([1 << k for k in range(8) if (bitmap[0] >> k & 1) == known] for known in (1, 0))
    # Alone a bit contradicts the number of nulls that Arrow states; two make up for each other.
    for bits, message in ((valid[0], "damaged"), (null[0], "damaged"), (valid[0] | null[0], "checksum")):
        path.write_bytes(data.replace(bitmap, bytes([bitmap[0] ^ bits]) + bitmap[1:]))
        with pytest.raises(ShardError, match=message):
            spanmask.open(lab.folder / "out")[0]


def test_what_lies_under_a_null_is_not_written(lab: Any) -> None:
    """Arrow leaves open what a buffer holds where a value is null: datasets do not depend on it."""
    trees = []
    for garbage in (0, 77):
        numbers = pa.py_buffer(np.array([1, garbage, garbage, 4], np.int64))
        texts = pa.array(["a", "bb" if garbage else "", "c", "d"])
        column = pa.Array.from_buffers(pa.int64(), 4, [pa.py_buffer(bytes([0b1001])), numbers])
        names = pa.Array.from_buffers(pa.string(), 4, [pa.py_buffer(bytes([0b1101])), *texts.buffers()[1:]])
        flags = pa.Array.from_buffers(
            pa.bool_(), 4, [pa.py_buffer(bytes([0b0011])), pa.py_buffer(bytes([garbage & 0b1110]))]
        )
        text = pa.array([f"a text that is long enough to be kept {k}" for k in range(4)])
        table = pa.table({"text": text, "number": column, "name": names, "flag": flags})
        with pa.ipc.new_file(lab.folder / "rows.arrow", table.schema) as writer:
            writer.write_table(table)
        lab.run(lab.folder / "rows.arrow", f"out{garbage}", keep=["number", "name", "flag"], overwrite=True)
        trees.append({name: data for name, data in lab.tree(f"out{garbage}").items() if name.startswith("train/")})
    assert trees[0] == trees[1]
    kept = [row.kept for row in spanmask.open(lab.folder / "out77")]
    assert [row["number"] for row in kept] == [1, None, None, 4]
    assert [row["name"] for row in kept] == ["a", None, "c", "d"]


def test_inputs_are_named_below_the_folder_given_and_ties_are_told_apart(lab: Any) -> None:
    for name in ("c/a/x.txt", "c/b/x.txt", "d/x.txt", "e/x.txt"):
        (lab.folder / name).parent.mkdir(parents=True, exist_ok=True)
        lab.text(name, 20, seed=len(name))
    given = [lab.folder / "c", lab.folder / "d" / "x.txt", lab.folder / "e" / "x.txt"]
    manifest = lab.run(given, "out")
    assert [item.name for item in manifest.inputs] == ["a/x.txt", "b/x.txt", "x.txt", "x.txt"]
    card = (lab.folder / "out" / "README.md").read_text()
    assert "`a/x.txt`, `b/x.txt`, `x.txt (input 2)`, `x.txt (input 3)`" in card
    one_by_one = [lab.folder / name for name in ("c/a/x.txt", "c/b/x.txt", "d/x.txt", "e/x.txt")]
    assert lab.run(one_by_one, "out").digest == manifest.digest, "the same files, however they were given"
    assert verify_source(lab.folder / "out", one_by_one, jobs=1) == []


@pytest.mark.parametrize(
    "option", [{"spans_field": "spans", "scheme": "annotated"}, {"words_field": "words"}, {"keep": ["id"]}]
)
def test_fields_of_plain_text_are_refused(lab: Any, option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"text\.txt: plain text has no field '(spans|words|id)'"):
        lab.run(lab.text(), "out", **option)


# --- Counts


def test_tokens_in_are_kept_or_dropped_by_reason(lab: Any) -> None:
    path = lab.text(count=120)
    manifest = lab.run(path, "out", max_tokens=16, min_tokens=12, holdout=0.3)
    tokens = manifest.conservation["tokens"]
    everything = spanmask.Tokenizer().encode(path.read_text().split("\n\n"))
    rows = rows_of(lab.folder / "out", "train", "validation")
    assert tokens["in"] == len(everything.token_ids)
    assert tokens["kept"] == sum(len(row["input_ids"]) - 2 for row in rows.values())
    assert tokens["dropped"]["short_segment"] == tokens["in"] - tokens["kept"] > 0


def test_documents_that_cannot_be_read_are_skipped_and_counted(lab: Any) -> None:
    good = [document.encode() for document in lab.text(count=50).read_text().split("\n\n")]
    path = lab.folder / "bad.txt"
    path.write_bytes(b"\n\n".join([*good[:10], b"bad \xff one", *good[10:], b"\xc3( two"]))
    with pytest.raises(CorpusError, match=r"bad\.txt:\d+: byte 0xff is not valid UTF-8"):
        lab.run(path, "failed")
    manifest = lab.run(path, "out", on_error="skip")
    conservation = manifest.conservation
    assert (conservation["documents_in"], conservation["documents_skipped"]) == (52, 2)


def test_documents_without_tokens_are_counted(lab: Any) -> None:
    path = lab.jsonl([{"text": "a text that is long enough to be kept"}, {"text": ""}, {"text": "\u200b"}])
    manifest = lab.run(path, "out")
    assert manifest.conservation["documents_empty"] == 2


def test_a_word_longer_than_a_sequence_is_counted(lab: Any) -> None:
    path = lab.folder / "long.txt"
    path.write_text("un" * 40 + " and a few words more")
    assert lab.run(path, "out", max_tokens=8, min_tokens=3).conservation["words_cut"] == 1


def test_a_run_that_keeps_documents_of_any_length_is_found(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defence taken out: rows of less than ``min_tokens`` are no more dropped."""
    plant(monkeypatch, sequencing, "max(config.min_tokens - SPECIAL_TOKENS, 1)", "1")
    lab.run(lab.jsonl([{"text": "a text that is long enough to be kept"}, {"text": "one"}]), "out")
    assert "(I1)" in verify(lab.folder / "out").findings[0].message


def test_nothing_left_says_why(lab: Any) -> None:
    path = lab.folder / "short.txt"
    path.write_text("one\n\ntwo\n")
    with pytest.raises(CorpusError, match=r"no sequence is left of 2 documents .* shorter than 8 tokens.*--min-tokens"):
        lab.run(path, "out")
    path.write_text(" \n\n\t\n")
    with pytest.raises(CorpusError, match="every input is empty"):
        lab.run(path, "empty")


def test_progress_ends_at_everything(lab: Any) -> None:
    path = lab.text()
    seen: list[Any] = []
    manifest = spanmask.preshard(path, lab.folder / "out", lab.config(), jobs=1, on_progress=seen.append)
    last = seen[-1]
    assert last.disk_total == last.text_bytes == path.stat().st_size
    assert last.disk_total * 0.99 < last.disk_bytes <= last.disk_total
    assert last.tokens == manifest.conservation["tokens"]["in"]
    assert last.shards == len(manifest.splits["train"].shards)
    assert all(a.disk_bytes <= b.disk_bytes for a, b in pairwise(seen))


# --- Preview


def test_a_preview_is_the_first_rows_of_the_run(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    path = lab.text()
    rows, vocabulary, _ = preview([path], lab.config(), 20)
    lab.run(path, "out")
    stored = spanmask.open(lab.folder / "out")
    assert [number for number, _ in rows] == list(range(20))
    assert len(vocabulary) == 28_996
    for number, row in rows:
        other = stored[number]
        assert (row.document_id, row.segment) == (other.document_id, other.segment)
        for name in ("input_ids", "span_starts", "span_ends", "labels"):
            assert getattr(row, name).tolist() == getattr(other, name).tolist()
