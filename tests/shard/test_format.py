"""FORMAT.md is what the code does: its tables, its example, and its digests recomputed from the page alone."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import spanmask
from spanmask import shard
from spanmask.blocks import columns_of
from spanmask.config import COLUMNS, CorpusConfig, Scheme, VocabularyConfig
from spanmask.errors import ConfigError
from spanmask.shard.schema import BATCH_ROWS, KEPT_TYPES, SHARD_LIMIT, shard_schema

PAGE = (Path(shard.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
RECIPES = ("paper", "single", "reference", "word", "token", "annotated", "stored")


def table(header: str) -> list[list[str]]:
    """The cells of the page's table with this header."""
    lines = PAGE.split(header, 1)[1].splitlines()[2:]
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def names(cell: str) -> list[str]:
    return re.findall(r"`([a-z_0-9]+)`", cell)


@pytest.fixture(params=RECIPES)
def dataset(request, datasets) -> Path:
    return datasets(request.param)


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_bytes())


def shard_paths(folder: Path) -> list[Path]:
    return [folder / entry["path"] for split in manifest_of(folder)["splits"].values() for entry in split["shards"]]


# --- §1, §2


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("words_stored", [False, True])
@pytest.mark.parametrize("scheme", Scheme)
def test_the_column_table_is_the_schema(wide, words_stored, scheme):
    expected = []
    for (name, *_), kind, meaning in (
        (names(row[0]), row[1], row[2]) for row in table("| column | type | meaning |")[:-1]
    ):
        if name == "word_starts" and not words_stored:
            continue
        if name.startswith("annotation") and scheme is not Scheme.ANNOTATED:
            continue
        assert ("only" in meaning) == (name == "word_starts" or name.startswith("annotation"))
        expected.append((name, kind.replace("16", "32") if wide and name in ("input_ids", "labels") else kind))
    kept = [pa.field(f"kept{i}", kind) for i, kind in enumerate(KEPT_TYPES)]
    schema = shard_schema(
        np.dtype(np.uint32 if wide else np.uint16), words_stored=words_stored, scheme=scheme, kept=kept
    )
    found = [(field.name, str(field.type).replace("item: ", "").replace(" not null", "")) for field in schema]
    assert found[: len(expected)] == expected
    assert list(schema)[len(expected) :] == [pa.field(field.name, field.type, nullable=False) for field in kept]
    assert not any(field.nullable for field in schema)
    assert not any(field.type.value_field.nullable for field in schema if pa.types.is_list(field.type))
    assert schema.metadata == {b"spanmask.format_version": b"1"}
    assert "`spanmask.format_version` = `1`" in PAGE


def test_numbers_of_the_page_are_the_codes():
    assert f"exactly {BATCH_ROWS:,} rows" in PAGE
    assert f"at most {SHARD_LIMIT >> 20} MiB" in PAGE


def test_each_invariant_of_the_page_is_checked_by_name():
    numbered = [row[0] for row in table("| number | invariant |")]
    assert numbered == [f"I{k}" for k in range(1, 14)]
    sources = "".join(path.read_text() for path in Path(shard.__file__).parent.glob("*.py"))
    checked = set(re.findall(r'"(I\d+)"', sources)) | set(re.findall(r"\((I\d+)\)", sources))
    assert checked == set(numbered) - {"I7"}
    assert "`verify --source` shows it" in PAGE


def test_shards_are_what_the_page_says(dataset):
    content = manifest_of(dataset)
    keep = content["config"]["corpus"]["keep"]
    for path in shard_paths(dataset):
        assert re.fullmatch(r"shard-\d{5,}-\d{5,}\.arrow", path.name)
        assert path.stat().st_size <= 64 << 20
        with pa.OSFile(str(path)) as source:
            reader = pa.ipc.open_file(source)
            words = ["word_starts"] if content["words"] == "stored" else []
            annotated = (
                ["annotation_starts", "annotation_ends"]
                if content["config"]["masking"]["scheme"] == "annotated"
                else []
            )
            page = [name for row in table("| column | type | meaning |")[:6] for name in names(row[0])]
            assert reader.schema.names == [*page, *words, *annotated, *keep]
            sizes = [reader.get_batch(k).num_rows for k in range(reader.num_record_batches)]
            assert all(size == 1024 for size in sizes[:-1])
            assert 1 <= sizes[-1] <= 1024


def test_a_kept_field_may_not_be_called_like_a_column_of_the_format():
    for name in COLUMNS:
        with pytest.raises(ConfigError, match=name):
            CorpusConfig(keep=("id", name))
    assert set(COLUMNS) == set(shard_schema(np.dtype(np.uint16), words_stored=True, scheme=Scheme.ANNOTATED).names)


# --- §3


def test_identities_are_places_in_the_input(datasets):
    folder = datasets("stored")
    source = (folder.parent / "input.jsonl").read_bytes()
    starts = {0} | {match.end() for match in re.finditer(rb"\n", source)}
    numbers = []
    for path in shard_paths(folder):
        rows = pa.ipc.open_file(path).read_all().select(["document_id", "segment", "number"]).to_pylist()
        for row in rows:
            index, place = divmod(row["document_id"], 1 << 40)
            assert index == 0
            assert place in starts
            assert json.loads(source[place:].split(b"\n", 1)[0])["number"] == row["number"]
            numbers.append((row["document_id"], row["segment"]))
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 150


# --- §4


def test_the_manifest_has_the_keys_of_the_page(dataset):
    content = manifest_of(dataset)
    rows = {name: row[1] for row in table("| key | value |") for name in names(row[0])}
    optional = set() if content["config"]["masking"]["random_ids"] == "unigram" else {"unigram"}
    assert set(content) == set(rows) - optional
    first = next(iter(content["splits"].values()))
    parts = {
        "vocabulary": content["vocabulary"],
        "inputs": content["inputs"][0],
        "conservation": content["conservation"],
        "sampling": next(iter(content["sampling"].values())),
        "splits": first,
    }
    parts |= {"unigram": content["unigram"]} if "unigram" in content else {}
    for key, value in parts.items():
        assert set(value) <= set(names(rows[key])), key
    assert set(first["shards"][0]) <= set(names(rows["splits"]))
    assert set(content["vocabulary"]["special_ids"]) <= set(names(rows["vocabulary"]))
    assert set(content["splits"]) == set(content["statistics"]) == set(content["sampling"])


def canonical(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_manifest_is_canonical_and_its_digests_are_the_pages(dataset):
    data = (dataset / "manifest.json").read_bytes()
    content = json.loads(data)
    assert data == canonical(content) + b"\n"
    assert content["config_fingerprint"] == sha256(
        canonical(
            {
                "config": content["config"],
                "vocabulary": content["vocabulary"]["sha256"],
                "algorithm_version": content["algorithm_version"],
                "format_version": content["format_version"],
            }
        )
    )
    digest = content.pop("digest")
    assert digest == sha256(canonical(content))
    fingerprint = content.pop("fingerprint")
    for split in content["splits"].values():
        del split["shards"]
    assert fingerprint == sha256(canonical(content))


def test_counts_of_the_manifest_fit_together(dataset):
    content = manifest_of(dataset)
    tokens = content["conservation"]["tokens"]
    assert tokens["in"] == tokens["kept"] + sum(tokens["dropped"].values())
    assert tokens["kept"] == sum(counts["tokens"] for counts in content["statistics"].values())
    for name, split in content["splits"].items():
        assert split["rows"] == sum(entry["rows"] for entry in split["shards"]) == content["statistics"][name]["rows"]
        assert split["tokens"] == sum(entry["tokens"] for entry in split["shards"])
        assert split["tokens"] == content["statistics"][name]["tokens"] + 2 * split["rows"]
    source = next(dataset.parent.glob("input.*")).read_bytes()
    assert content["inputs"] == [
        {"index": 0, "name": next(dataset.parent.glob("input.*")).name, "size": len(source), "sha256": sha256(source)}
    ]


def test_the_vocabulary_is_hashed_as_the_page_says(datasets):
    vocabulary = spanmask.load_vocabulary(VocabularyConfig())
    assert manifest_of(datasets("paper"))["vocabulary"]["sha256"] == sha256(
        b"".join(entry.encode() + b"\n" for entry in vocabulary.entries)
    )


def test_unigram_counts_are_hashed_as_the_page_says(datasets):
    unigram = manifest_of(datasets("reference"))["unigram"]
    assert unigram["sha256"] == sha256(struct.pack(f"<{len(unigram['counts'])}Q", *unigram["counts"]))


# --- §5, written from the page with the standard library and pyarrow


CODES = {pa.bool_(): "B", pa.uint16(): "H", pa.uint32(): "I", pa.uint64(): "Q", pa.int64(): "q", pa.float64(): "d"}


def values_bytes(kind: pa.DataType, values: list) -> bytes:
    return struct.pack(f"<{len(values)}{CODES[kind]}", *values)


def content_bytes(batch: pa.RecordBatch) -> bytes:
    out = b""
    for column in batch.columns:
        values = column.to_pylist()
        if pa.types.is_list(column.type):
            offsets = [0, *itertools.accumulate(len(value) for value in values)]
            out += struct.pack(f"<{len(offsets)}i", *offsets)
            out += values_bytes(column.type.value_type, [item for value in values for item in value])
        elif pa.types.is_string(column.type):
            texts = [value.encode() for value in values]
            offsets = [0, *itertools.accumulate(len(text) for text in texts)]
            out += struct.pack(f"<{len(offsets)}q", *offsets) + b"".join(texts)
        else:
            out += values_bytes(column.type, values)
    return out


def test_digests_are_those_of_the_page(dataset):
    for split in manifest_of(dataset)["splits"].values():
        of_split = hashlib.sha256()
        for entry in split["shards"]:
            path = dataset / entry["path"]
            assert entry["bytes"] == path.stat().st_size
            assert entry["sha256"] == sha256(path.read_bytes())
            reader = pa.ipc.open_file(path)
            of_shard = hashlib.sha256()
            rows = []
            for k in range(reader.num_record_batches):
                batch, metadata = reader.get_batch_with_custom_metadata(k)
                content = content_bytes(batch)
                assert dict(metadata) == {b"crc32": f"{zlib.crc32(content):08x}".encode()}
                of_shard.update(content)
                rows += batch.select(["document_id", "segment", "input_ids"]).to_pylist()
            assert entry["content_sha256"] == of_shard.hexdigest()
            assert entry["rows"] == len(rows)
            assert entry["tokens"] == sum(len(row["input_ids"]) for row in rows)
            assert entry["first"] == [rows[0]["document_id"], rows[0]["segment"]]
            assert entry["last"] == [rows[-1]["document_id"], rows[-1]["segment"]]
            of_split.update(of_shard.digest())
        assert split["content_digest"] == of_split.hexdigest()


# --- §7


def test_the_example_of_the_page_is_what_mask_gives():
    text = PAGE.split("## 7. Example", 1)[1]
    entries = tuple(re.search(r"ten entries, `([^`]+)`", text)[1].split())
    words = re.search(r"the text `([^`]+)`", text)[1].split()
    seed = int(re.search(r"seed (\d+)", text)[1])
    ratio = float(re.search(r"`mask_ratio` ([0-9.]+)", text)[1])
    example = json.loads(re.search(r"```json\n(.+?)```", text, re.DOTALL)[1])
    assert len(entries) == 10
    vocabulary = spanmask.Vocabulary(name="ten", entries=entries, cased=True)
    pieces = [piece for word in words for piece in (["cat", "##s"] if word == "cats" else [word])]
    ids = np.array([entries.index(piece) for piece in pieces])
    config = spanmask.MaskingConfig(seed=seed, mask_ratio=ratio)
    row = spanmask.mask(ids, np.array([0, len(ids)]), config, vocabulary)
    assert example["original"] == [2, *ids.tolist(), 3]
    found = {name: column.values.tolist() for name, column in columns_of(row).items()}
    assert found == {name: example[name] for name in found}
    assert spanmask.Tokenizer(vocabulary).encode([" ".join(words)]).token_ids.tolist() == ids.tolist()
