"""Rows by number, in slices and in blocks, from shards of any size; zero copy; and what an outsider reads with pyarrow alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

import spanmask.data
from spanmask.blocks import columns_of
from spanmask.config import MaskingConfig, Scheme, VocabularyConfig
from spanmask.masking import mask
from spanmask.shard.listed import describe_file
from spanmask.shard.manifest import read_manifest, seal, write_manifest
from spanmask.shard.reader import ShardSet, open_shards
from spanmask.shard.schema import from_record_batch, shard_schema, to_record_batch
from spanmask.shard.table import SHARDS, Split, table_bytes
from spanmask.shard.verify import verify
from spanmask.shard.writer import write_shards
from spanmask.statistics import RowStatistics
from spanmask.vocab import load_vocabulary

VOCABULARY = load_vocabulary(VocabularyConfig())
CONFIG = MaskingConfig(seed=7)
SCHEMA = shard_schema(VOCABULARY.dtype, words_stored=False, scheme=Scheme.SPAN)


def batch_of(rows: range) -> pa.RecordBatch:
    """Masked rows of 6 to 46 tokens whose document numbers are their own."""
    lengths = [4 + row * 7 % 41 for row in rows]
    ids = VOCABULARY.ordinary_ids[np.arange(sum(lengths)) * 7919 % len(VOCABULARY.ordinary_ids)]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    block = mask(ids, offsets, CONFIG, VOCABULARY, document_ids=np.array(rows))
    return to_record_batch(block, [], SCHEMA)


@pytest.fixture
def sized(datasets: Callable[[str], Path], tmp_path: Path) -> Callable[[list[int]], Path]:
    """A dataset whose shards have so many rows."""

    def make(sizes: list[int]) -> Path:
        folder = tmp_path / "sized"
        (folder / "train").mkdir(parents=True)
        content = json.loads((datasets("single") / "manifest.json").read_bytes())
        del content["digest"]
        counted, records, row = RowStatistics(), [], 0
        for number, size in enumerate(sizes):
            batch = batch_of(range(row, row + size))
            row += size
            records += write_shards(folder, f"train/shard-{number:05}-00000", [batch])
            counted.add(from_record_batch(batch), VOCABULARY, CONFIG.mask_fraction)
        splits = {"train": Split.of("train", records)}
        content["splits"] = {"train": splits["train"].to_json()}
        content["files"] = {SHARDS: describe_file(table_bytes(splits))}
        content["statistics"] = {"train": counted.to_json()}
        kept = content["statistics"]["train"]["tokens"]
        content["conservation"]["tokens"] = {"in": kept, "kept": kept, "dropped": {}}
        write_manifest(folder, seal(content, splits))
        return folder

    return make


SIZES = [[1], [1, 1, 1], [1024], [1023, 1, 1025], [2048, 1], [3, 2500, 7]]


@pytest.mark.parametrize("sizes", SIZES)
def test_each_row_is_found_by_its_number(sizes, sized):
    folder = sized(sizes)
    assert verify(folder).ok
    shards = open_shards(folder)
    expected = [(shard, row) for shard, size in enumerate(sizes) for row in range(size)]
    assert len(shards) == len(expected) == sum(sizes)
    assert [shards.locate(i) for i in range(len(shards))] == expected
    assert [shards.locate(i - len(shards)) for i in range(len(shards))] == expected
    assert [shards[i].document_id for i in range(len(shards))] == list(range(len(shards)))
    assert [row.document_id for row in shards] == list(range(len(shards)))
    blocks = [(shard, k) for shard, size in enumerate(sizes) for k in range(-(-size // 1024))]
    assert [shards.locate_block(i) for i in range(shards.block_count())] == blocks
    firsts = [shards.first_row_of_block(i) for i in range(shards.block_count())]
    assert firsts == [block.document_ids[0] for block in shards.blocks]


@pytest.mark.parametrize("sizes", SIZES[3:])
def test_numbers_slices_and_their_limits(sizes, sized):
    shards = open_shards(sized(sizes))
    count = len(shards)

    def numbers(rows):
        return [row.document_id for row in rows]

    everything = list(range(count))
    assert shards[-1].document_id == count - 1
    assert shards[-count].document_id == 0
    for wanted in (
        slice(None, 5),
        slice(-5, None),
        slice(2, -count, -1),
        slice(0, count, 500),
        slice(5, 2),
        slice(-1, count + 9),
    ):
        assert numbers(shards[wanted]) == everything[wanted]
    for beyond in (count, -count - 1, 1 << 40):
        with pytest.raises(IndexError, match=str(count)):
            shards[beyond]
    blocks = shards.blocks
    for beyond in (len(blocks), -len(blocks) - 1):
        with pytest.raises(IndexError, match="block"):
            blocks[beyond]
    assert np.array_equal(blocks[-1].input_ids.values, blocks[len(blocks) - 1].input_ids.values)
    assert [len(block) for block in blocks[1:]] == [len(block) for block in blocks][1:]
    assert shards[np.int64(1)].document_id == 1


@pytest.mark.parametrize("recipe", ["paper", "single", "reference", "annotated", "stored"])
def test_rows_and_blocks_are_the_same(recipe, datasets):
    for split in read_manifest(datasets(recipe)).splits:
        shards = open_shards(datasets(recipe), split)
        number = 0
        for block in shards.blocks:
            for i in range(len(block)):
                row = shards[number]
                number += 1
                assert (row.document_id, row.segment) == (block.document_ids[i], block.segments[i])
                assert np.array_equal(row.input_ids, block.input_ids[i])
                assert np.array_equal((row.span_starts, row.span_ends), block.spans[i])
                assert np.array_equal(row.labels, block.labels[i])
        assert number == len(shards)


def test_kept_fields_come_with_their_rows(datasets):
    folder = datasets("stored")
    lines = [json.loads(line) for line in (folder.parent / "input.jsonl").read_text().splitlines()]
    numbers = set()
    for row in open_shards(folder):
        number = row.kept["number"]
        assert row.kept == {name: lines[number][name] for name in ("number", "name", "flag", "score")}
        numbers.add(number)
    assert len(numbers) > 100


# --- Zero copy


def mapped_ranges(path: Path) -> list[range]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [range(*(int(end, 16) for end in line.split()[0].split("-"))) for line in lines if line.endswith(str(path))]


def test_rows_are_views_of_the_mapped_file(sized):
    folder = sized([1500, 20])
    shards = open_shards(folder)
    before = pa.total_allocated_bytes()
    rows = [shards[i] for i in (0, 1023, 1024, 1510, -1)]
    blocks = list(shards.blocks)
    assert pa.total_allocated_bytes() == before
    mapped = [place for record in shards.split.shards for place in mapped_ranges(folder / record.path)]
    assert mapped
    arrays = [getattr(row, name) for row in rows for name in ("input_ids", "span_starts", "span_ends", "labels")]
    arrays += [column.values for block in blocks for column in columns_of(block).values()]
    for array in [*arrays, *(block.document_ids for block in blocks), *(block.segments for block in blocks)]:
        address = array.__array_interface__["data"][0]
        assert any(address in place for place in mapped)
        assert not array.flags.writeable
    assert rows[0].original().flags.writeable


def test_a_batch_is_checked_once(sized, monkeypatch):
    shards = open_shards(sized([3]))
    checked = []
    monkeypatch.setattr("spanmask.shard.shard_file.structure_problem", lambda block, _: checked.append(len(block)))
    for _ in range(3):
        shards[1].original()
        list(shards.blocks)
    assert checked == [3]


# --- An outsider


def outsiders_rows(folder: Path) -> list[tuple[int, int, list[int]]]:
    """Identities and originals by pyarrow and numpy alone, as FORMAT.md §2 says."""
    content = json.loads((folder / "manifest.json").read_bytes())
    found = []
    shards = pa.ipc.open_file(folder / "shards.arrow").read_all().to_pylist()
    splits = [
        name for name in ("train", "validation") for _ in range(content["splits"].get(name, {"shards": 0})["shards"])
    ]
    for split, shard in zip(splits, shards, strict=True):
        part = f"_{shard['part']:02}" if shard["part"] else ""
        path = folder / split / f"shard-{shard['task']:05}-{shard['block']:05}{part}.arrow"
        for row in pa.ipc.open_file(path).read_all().to_pylist():
            ids, labels = np.array(row["input_ids"]), np.array(row["labels"])
            positions = [np.arange(*span) for span in zip(row["span_starts"], row["span_ends"], strict=True)]
            if positions:
                ids[np.concatenate(positions)] = labels
            found.append((row["document_id"], row["segment"], ids.tolist()))
    return found


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    path = Path(spanmask.data.__file__).parent / "bert-base-cased-vocab.txt"
    entries = path.read_text(encoding="utf-8").splitlines()
    made = Tokenizer(WordPiece({entry: i for i, entry in enumerate(entries)}, unk_token="[UNK]"))
    made.normalizer = BertNormalizer(lowercase=False, strip_accents=False)
    made.pre_tokenizer = BertPreTokenizer()
    return made


@pytest.mark.parametrize("recipe", ["paper", "single", "reference", "word", "token"])
def test_originals_put_back_by_an_outsider_are_what_tokenizers_gives(recipe, datasets, tokenizer):
    folder = datasets(recipe)
    source = (folder.parent / "input.txt").read_bytes()
    documents = {match.start(): match[0].decode() for match in re.finditer(rb"[^\n]+(\n[^\n]+)*", source)}
    rows = sorted(outsiders_rows(folder))
    wanted = {place: tokenizer.encode(text, add_special_tokens=False).ids for place, text in documents.items()}
    seen = set()
    for place, of_document in groupby(rows, key=lambda row: row[0]):
        held = list(of_document)
        assert [segment for _, segment, _ in held] == list(range(len(held)))
        assert all(ids[0] == 101 and ids[-1] == 102 for *_, ids in held)
        tokens = [token for *_, ids in held for token in ids[1:-1]]
        assert tokens == wanted[place][: len(tokens)]
        assert len(wanted[place]) - len(tokens) + 2 < 6, "only a tail shorter than min_tokens is left out"
        seen.add(place)
    assert all(len(tokens) + 2 < 6 for place, tokens in wanted.items() if place not in seen)


@pytest.mark.parametrize("recipe", ["annotated", "stored"])
def test_originals_of_json_lines_put_back_are_what_tokenizers_gives(recipe, datasets, tokenizer):
    folder = datasets(recipe)
    source = (folder.parent / "input.jsonl").read_bytes()
    starts = [0, *(match.end() for match in re.finditer(rb"\n", source))]
    texts = {start: json.loads(source[start:end])["text"] for start, end in pairwise(starts)}
    for place, of_document in groupby(sorted(outsiders_rows(folder)), key=lambda row: row[0]):
        tokens = [token for *_, ids in of_document for token in ids[1:-1]]
        wanted = tokenizer.encode(texts[place], add_special_tokens=False).ids
        assert tokens == wanted[: len(tokens)]
        assert len(wanted) - len(tokens) + 2 < 6


def test_originals_of_rows_and_an_outsiders_are_the_same(datasets):
    folder = datasets("paper")
    ours = []
    for split in read_manifest(folder).splits:
        ours += [(row.document_id, row.segment, row.original().tolist()) for row in open_shards(folder, split)]
    assert ours == outsiders_rows(folder)


# --- Writing


def test_a_block_beyond_the_limit_goes_on_in_numbered_parts(tmp_path):
    (tmp_path / "train").mkdir()
    limit = (1 << 20) + 300_000
    batches = [batch_of(range(700)), batch_of(range(700, 9000)), batch_of(range(9000, 12_000))]
    records = write_shards(tmp_path, "train/shard-00003-00005", batches, limit)
    assert len(records) > 2
    names = [
        "train/shard-00003-00005.arrow",
        *(f"train/shard-00003-00005_{k:02}.arrow" for k in range(1, len(records))),
    ]
    assert [record.path for record in records] == names
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == sorted(Path(name).name for name in names)
    row = 0
    for record in records:
        file = pa.ipc.open_file(tmp_path / record.path)
        sizes = [file.get_batch(k).num_rows for k in range(file.num_record_batches)]
        assert set(sizes[:-1]) <= {1024}
        assert record is records[-1] or sizes[-1] == 1024
        assert record.bytes == (tmp_path / record.path).stat().st_size <= limit
        assert (record.first, record.last) == ((row, 0), (row + record.rows - 1, 0))
        row += record.rows
    assert row == 12_000


def test_a_single_batch_beyond_the_limit_is_one_file(tmp_path):
    (tmp_path / "train").mkdir()
    records = write_shards(tmp_path, "train/shard-00000-00000", [batch_of(range(1025))], 1000)
    assert [record.rows for record in records] == [1024, 1]


def test_nothing_is_written_for_no_rows(tmp_path):
    assert write_shards(tmp_path, "train/shard-00000-00000", []) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rows", [1, 1023, 1024, 1025, 2048, 3000])
def test_batches_hold_1024_rows_but_for_the_last_however_rows_come(rows, tmp_path):
    (tmp_path / "train").mkdir()
    whole = batch_of(range(rows))
    written = set()
    for piece in (rows, 1000, 77):
        pieces = [whole.slice(start, piece) for start in range(0, rows, piece)]
        (record,) = write_shards(tmp_path, "train/shard-00000-00000", pieces)
        file = pa.ipc.open_file(tmp_path / record.path)
        sizes = [file.get_batch(k).num_rows for k in range(file.num_record_batches)]
        assert sizes == [min(1024, rows - start) for start in range(0, rows, 1024)]
        written.add((record.sha256, record.content_sha256))
    assert len(written) == 1, "the file's bytes follow from the rows"


def test_shards_are_mapped_when_first_needed(sized):
    shards = open_shards(sized([5, 5]))
    assert isinstance(shards, ShardSet)
    assert shards._files == {}
    shards[7].original()
    assert list(shards._files) == [1]
