"""FORMAT.md is what the code does: its tables, its example, and its digests recomputed from the page alone."""

from __future__ import annotations

import dataclasses
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
from spanmask.config import (
    COLUMNS,
    CorpusConfig,
    OutputConfig,
    PreshardConfig,
    Scheme,
    VocabularyConfig,
)
from spanmask.errors import ConfigError
from spanmask.options import kinds
from spanmask.records import SKIPPED_LIMIT
from spanmask.shard.schema import BATCH_ROWS, KEPT_TYPES, SHARD_LIMIT, shard_schema
from spanmask.shard.writer import file_limit

PAGE = (Path(shard.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
RECIPES = ("paper", "single", "reference", "word", "token", "annotated", "stored", "nulls")


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


def table_of(folder: Path) -> pa.Table:
    return pa.ipc.open_file(folder / "shards.arrow").read_all()


def shards_of(folder: Path) -> dict[str, list[tuple[Path, dict]]]:
    """By split, the path of each shard and its row of the table, from the page alone."""
    rows, found = table_of(folder).to_pylist(), {}
    splits = manifest_of(folder)["splits"]
    for name in (name for name in ("train", "validation") if name in splits):
        count = splits[name]["shards"]
        found[name] = [(folder / name / name_of(row), row) for row in rows[:count]]
        del rows[:count]
    assert rows == []
    return found


def name_of(row: dict) -> str:
    part = f"_{row['part']:02}" if row["part"] else ""
    return f"shard-{row['task']:05}-{row['block']:05}{part}.arrow"


def shard_paths(folder: Path) -> list[Path]:
    return [path for shards in shards_of(folder).values() for path, _ in shards]


# --- §1, §2


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("words_stored", [False, True])
@pytest.mark.parametrize("scheme", Scheme)
@pytest.mark.parametrize("paired", [False, True])
def test_the_column_table_is_the_schema(wide, words_stored, scheme, paired):
    expected = []
    for (name, *_), kind, meaning in (
        (names(row[0]), row[1], row[2]) for row in table("| column | type | meaning |")[:-1]
    ):
        if name == "word_starts" and not words_stored:
            continue
        if name.startswith("annotation") and scheme is not Scheme.ANNOTATED:
            continue
        if name.startswith("pair") and not paired:
            continue
        assert ("only" in meaning) == (name == "word_starts" or name.startswith(("annotation", "pair")))
        expected.append((name, kind.replace("16", "32") if wide and name in ("input_ids", "labels") else kind))
    kept = [pa.field(f"kept{i}", kind) for i, kind in enumerate(KEPT_TYPES)]
    schema = shard_schema(
        np.dtype(np.uint32 if wide else np.uint16), words_stored=words_stored, scheme=scheme, paired=paired, kept=kept
    )
    found = [(field.name, str(field.type).replace("item: ", "").replace(" not null", "")) for field in schema]
    assert found[: len(expected)] == expected
    assert list(schema)[len(expected) :] == kept
    assert [field.nullable for field in schema] == [False] * len(expected) + [True] * len(kept)
    assert not any(field.type.value_field.nullable for field in schema if pa.types.is_list(field.type))
    assert schema.metadata == {b"spanmask.format_version": b"2"}
    assert "`spanmask.format_version` = `2`" in PAGE


def test_numbers_of_the_page_are_the_codes():
    assert f"exactly {BATCH_ROWS:,} rows" in PAGE
    assert f"at most {SHARD_LIMIT >> 30} GiB" in PAGE
    assert file_limit(OutputConfig().shard_bytes) == file_limit(1 << 10) == 64 << 20
    assert file_limit(200 << 20) == 400 << 20
    assert file_limit(1 << 30) == SHARD_LIMIT
    assert f"the first {SKIPPED_LIMIT:,} documents" in PAGE


def test_the_defaults_of_the_page_are_the_codes():
    known = {
        (section, option): value for section, option, value in (row for row in table("| section | option | default |"))
    }
    found = {}
    for section, kind in kinds(PreshardConfig).items():
        for field in dataclasses.fields(kind.type):
            value = list(field.default) if isinstance(field.default, tuple) else field.default
            required = field.default is dataclasses.MISSING
            found[f"`{section}`", f"`{field.name}`"] = (
                "none: it always enters" if required else f"`{json.dumps(value)}`"
            )
    assert known == found


def test_the_table_of_shards_is_what_the_page_says(dataset):
    kinds_by_name = {name: row[1] for row in table("| table column | type | meaning |") for name in names(row[0])}
    order = names(PAGE.split("The columns stand in the order ", 1)[1].split(".", 1)[0])
    found = table_of(dataset)
    assert found.schema.names == order
    assert {field.name: str(field.type) for field in found.schema} == kinds_by_name
    assert not any(field.nullable for field in found.schema)
    assert found.schema.metadata == {b"spanmask.format_version": b"2"}
    listed = manifest_of(dataset)["files"]["shards.arrow"]
    data = (dataset / "shards.arrow").read_bytes()
    assert listed == {"bytes": len(data), "sha256": sha256(data)}
    for shards in shards_of(dataset).values():
        numbers = [(row["task"], row["block"], row["part"]) for _, row in shards]
        assert numbers == sorted(set(numbers))
        assert all(path.stat().st_size == row["bytes"] for path, row in shards)


def test_each_invariant_of_the_page_is_checked_by_name():
    numbered = [row[0] for row in table("| number | invariant |")]
    assert numbered == [f"I{k}" for k in range(1, 16)]
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
    assert set(COLUMNS) == set(
        shard_schema(np.dtype(np.uint16), words_stored=True, scheme=Scheme.ANNOTATED, paired=True).names
    )


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
    assert set(content["files"]) == {"shards.arrow"}
    assert set(content["tokenized_by"]) == {"library", "version"}
    assert set(content["vocabulary"]["special_ids"]) <= set(names(rows["vocabulary"]))
    assert set(content["splits"]) == set(content["statistics"]) == set(content["sampling"])


def canonical(value) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def differing(config: dict) -> dict:
    """A configuration without the options that have the page's defaults."""
    known = {(names(row[0])[0], names(row[1])[0]): row[2].strip("`") for row in table("| section | option | default |")}
    parts = {
        section: {name: value for name, value in options.items() if json.dumps(value) != known[section, name]}
        for section, options in config.items()
    }
    return {section: options for section, options in parts.items() if options}


def test_the_manifest_is_canonical_and_its_digests_are_the_pages(dataset):
    data = (dataset / "manifest.json").read_bytes()
    content = json.loads(data)
    assert data == canonical(content) + b"\n"
    assert content["config_fingerprint"] == sha256(
        canonical(
            {
                "config": differing(content["config"]),
                "vocabulary": content["vocabulary"]["sha256"],
                "algorithm_version": content["algorithm_version"],
                "format_version": content["format_version"],
            }
        )
    )
    digest = content.pop("digest")
    assert digest == sha256(canonical(content))
    fingerprint = content.pop("fingerprint")
    del content["files"], content["tokenized_by"]
    for split in content["splits"].values():
        del split["shards"]
    assert fingerprint == sha256(canonical(content))


def test_counts_of_the_manifest_fit_together(dataset):
    content = manifest_of(dataset)
    tokens = content["conservation"]["tokens"]
    assert tokens["in"] == tokens["kept"] + sum(tokens["dropped"].values())
    assert tokens["kept"] == sum(counts["tokens"] for counts in content["statistics"].values())
    for name, split in content["splits"].items():
        shards = [row for _, row in shards_of(dataset)[name]]
        assert split["shards"] == len(shards)
        assert split["rows"] == sum(row["rows"] for row in shards) == content["statistics"][name]["rows"]
        assert split["tokens"] == sum(row["tokens"] for row in shards)
        assert split["tokens"] == content["statistics"][name]["tokens"] + 2 * split["rows"]
    path = next(dataset.parent.glob("input.*"))
    source = path.read_bytes()
    (stated,) = content["inputs"]
    if "range_bytes" in stated:
        size = stated.pop("range_bytes")
        ranges = [source[at : at + size] for at in range(0, len(source), size)]
        assert len(ranges) > 1
        source_digest = sha256(b"".join(hashlib.sha256(one).digest() for one in ranges))
    else:
        source_digest = sha256(source)
    assert stated == {"index": 0, "name": path.name, "size": len(source), "sha256": source_digest}


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
        zero = "" if pa.types.is_string(column.type) else 0
        values = [zero if value is None else value for value in column.to_pylist()]
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
    for number, column in enumerate(batch.columns):
        nulls = [value is None for value in column.to_pylist()]
        if any(nulls):
            out += struct.pack("<i", number) + bytes(nulls)
    return out


def test_digests_are_those_of_the_page(dataset):
    for name, split in manifest_of(dataset)["splits"].items():
        of_split = hashlib.sha256()
        for path, entry in shards_of(dataset)[name]:
            assert entry["bytes"] == path.stat().st_size
            assert entry["sha256"].hex() == sha256(path.read_bytes())
            reader = pa.ipc.open_file(path)
            of_shard = hashlib.sha256()
            rows = []
            for k in range(reader.num_record_batches):
                batch, metadata = reader.get_batch_with_custom_metadata(k)
                content = content_bytes(batch)
                assert dict(metadata) == {b"crc32": f"{zlib.crc32(content):08x}".encode()}
                of_shard.update(content)
                rows += batch.select(["document_id", "segment", "input_ids"]).to_pylist()
            assert entry["content_sha256"].hex() == of_shard.hexdigest()
            assert reader.schema.metadata == {
                b"spanmask.format_version": b"2",
                b"spanmask.content_sha256": of_shard.hexdigest().encode(),
            }
            assert entry["rows"] == len(rows)
            assert entry["tokens"] == sum(len(row["input_ids"]) for row in rows)
            for outer, row in (("first", rows[0]), ("last", rows[-1])):
                assert [entry[f"{outer}_{name}"] for name in ("document_id", "segment")] == [
                    row["document_id"],
                    row["segment"],
                ]
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
