"""From text to shards and back, for every kind of tokenizer and every scheme: what is stored verifies, replays and masks again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import trained
from resealed import records_of, reseal
from schemes import SCHEMES

import spanmask
from spanmask import audit, load_vocabulary, verify
from spanmask.blocks import columns_of
from spanmask.config import VocabularyConfig
from spanmask.errors import ConfigError, MismatchError, ShardError
from spanmask.masking import segments_of
from spanmask.presharding.comparing import verify_source
from spanmask.presharding.run import preview
from spanmask.shard.invariants import Rows
from spanmask.shard.manifest import read_manifest
from spanmask.shard.writer import write_shard

TOKENIZERS = {
    "wordpiece": None,
    "byte level": trained.byte_level,
    "unigram": trained.unigram,
    "wide": trained.wide,
    "supplied words": trained.byte_level,
}


def rows() -> list[dict[str, Any]]:
    paragraphs = [text for text in trained.stories()[60_000:80_000].split("\n") if len(text) > 60]
    found = []
    for text in paragraphs[:40]:
        spaces = [place + 1 for place, char in enumerate(text) if char == " "]
        spans = [[spaces[2], spaces[4] - 1], [spaces[6], spaces[6] + 2]]
        found.append({"text": text, "spans": spans, "words": [0, *spaces]})
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    return path


def masked_again(folder: Path) -> None:
    """Assert that `spanmask.mask` makes the stored rows of their originals, by what the dataset says alone."""
    shards = spanmask.open(folder)
    manifest = shards.manifest
    for block in shards.blocks:
        known = Rows(block=block, config=manifest.config, vocabulary=manifest.vocabulary)
        segments = segments_of(block, *known.restored)
        sizes = segments.ends - segments.starts
        inner = np.concatenate([np.arange(a, b) for a, b in zip(segments.starts, segments.ends, strict=True)])
        found = spanmask.mask(
            segments.token_ids[inner],
            np.concatenate(([0], np.cumsum(sizes))),
            manifest.config.masking,
            manifest.vocabulary,
            word_starts=segments.word_starts[inner],
            document_ids=block.document_ids,
            segments=block.segments,
            annotations=segments.annotations,
            unigram=None if manifest.unigram is None else np.array(manifest.unigram),
        )
        for name, column in columns_of(block).items():
            assert np.array_equal(columns_of(found)[name].values, column.values), name
            assert np.array_equal(columns_of(found)[name].offsets, column.offsets), name


def each_pair() -> Iterator[Any]:
    """Every tokenizer with every scheme; kernels on 32-bit ids are compiled apart, which takes long."""
    for tokenizer in TOKENIZERS:
        for scheme in SCHEMES:
            slow = tokenizer == "wide"
            yield pytest.param(tokenizer, scheme, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(("tokenizer", "scheme"), list(each_pair()))
def test_what_is_stored_verifies_replays_and_masks_again(lab: Any, source: Path, tokenizer: str, scheme: str) -> None:
    make = TOKENIZERS[tokenizer]
    options: dict[str, Any] = {} if make is None else {"vocab": trained.saved(make(), lab.folder)}
    options |= {"words_field": "words"} if tokenizer == "supplied words" else {}
    manifest = lab.run(source, "out", max_tokens=48, **options, **SCHEMES[scheme])
    (lab.folder / "tokenizer.json").unlink(missing_ok=True)
    out = lab.folder / "out"
    assert verify(out).findings == ()
    assert verify_source(out, [source], jobs=1) == []
    result = audit(out)
    assert result.ok
    assert result.differing_rows == 0
    masked_again(out)
    assert manifest.words_stored is (make is not None)
    row = spanmask.open(out)[0]
    special = manifest.vocabulary.special
    assert row.input_ids.dtype == row.labels.dtype == (np.uint32 if tokenizer == "wide" else np.uint16)
    assert (row.input_ids[0], row.input_ids[-1]) == (special.cls, special.sep)
    assert (row.word_starts is None) is (make is None)


def test_a_wide_vocabulary_masks_with_ids_beyond_16_bits(lab: Any, source: Path) -> None:
    vocab = trained.saved(trained.wide(), lab.folder)
    lab.run(source, "out", vocab=vocab)
    shards = spanmask.open(lab.folder / "out")
    mask = shards.manifest.vocabulary.special.mask
    ids = np.concatenate([row.input_ids for row in shards])
    originals = np.concatenate([row.original() for row in shards])
    assert mask > 65_535
    assert np.count_nonzero(ids == mask) > 50
    assert int(originals.max()) < mask
    assert set(ids[(ids > 65_535) & (ids == originals)].tolist()) == set()
    assert np.count_nonzero(ids > 65_535) < 1.05 * np.count_nonzero(ids == mask), "all but a few random ones"
    assert (ids > 1000).sum() > (ids == mask).sum()


def test_rows_put_back_are_the_librarys_tokens_with_its_word_starts(lab: Any, source: Path) -> None:
    vocab = trained.saved(trained.byte_level(), lab.folder)
    lab.run(source, "out", vocab=vocab, max_tokens=512)
    encoded = spanmask.Tokenizer(vocab).encode([row["text"] for row in rows()])
    shards = spanmask.open(lab.folder / "out")
    offsets = encoded.document_offsets
    assert len(shards) == len(offsets) - 1
    for k, row in enumerate(shards):
        tokens = slice(offsets[k], offsets[k + 1])
        assert row.original()[1:-1].tolist() == encoded.token_ids[tokens].tolist()
        assert row.word_starts is not None
        assert (row.word_starts - 1).tolist() == np.flatnonzero(encoded.word_starts[tokens]).tolist()


def test_blank_lines_between_documents_are_in_no_row(lab: Any) -> None:
    path = lab.text(count=30)
    vocab = trained.saved(trained.byte_level(), lab.folder)
    lab.run(path, "out", vocab=vocab, max_tokens=512)
    vocabulary = load_vocabulary(VocabularyConfig(vocab=vocab))
    newline = vocabulary.ids["Ċ"]
    found = [row.original()[1:-1].tolist() for row in spanmask.open(lab.folder / "out")]
    assert any(newline in ids for ids in found)
    assert not any(ids[-1] == newline for ids in found)


def test_lines_are_kept_whole_where_that_is_asked_for(lab: Any) -> None:
    path = lab.folder / "lines.txt"
    words = trained.stories()[60_000:70_000].split()
    path.write_text("\n".join(" ".join(words[k : k + 12]) for k in range(0, len(words), 12)))
    vocab = trained.saved(trained.byte_level(), lab.folder)
    lab.run(path, "out", vocab=vocab, segmentation="sentence", max_tokens=200)
    shards = spanmask.open(lab.folder / "out")
    newline = shards.manifest.vocabulary.ids["Ċ"]
    assert len(shards) > 10
    assert [row.original()[-2] == newline for row in shards] == [True] * (len(shards) - 1) + [False]
    assert verify_source(lab.folder / "out", [path], jobs=1) == []


def test_jobs_do_not_change_what_a_tokenizer_makes(lab: Any, source: Path) -> None:
    vocab = trained.saved(trained.unigram(), lab.folder)
    lab.run(source, "one", vocab=vocab)
    lab.run(source, "two", vocab=vocab, jobs=2)
    assert lab.tree("one") == lab.tree("two")


def test_another_normalizer_is_another_vocabulary(lab: Any, source: Path) -> None:
    lab.run(source, "out", vocab=trained.saved(trained.unigram(), lab.folder))
    path = trained.saved(trained.unigram(normalized=False), lab.folder)
    with pytest.raises(MismatchError, match="vocabulary: its entries differ"):
        lab.run(source, "out", vocab=path)


def test_a_preview_is_what_the_run_stores(lab: Any, source: Path) -> None:
    vocab = trained.saved(trained.byte_level(), lab.folder)
    shown, *_ = preview([source], lab.config(vocab=vocab), 5)
    lab.run(source, "out", vocab=vocab)
    for (_, row), stored in zip(shown, spanmask.open(lab.folder / "out"), strict=False):
        for name in ("input_ids", "labels", "word_starts"):
            assert getattr(row, name).tolist() == getattr(stored, name).tolist()


def test_masking_without_word_starts_is_refused() -> None:
    vocabulary = spanmask.Tokenizer("cased").vocabulary
    config = spanmask.MaskingConfig(seed=1)
    assert len(spanmask.mask(np.arange(20) + 1000, np.array([0, 20]), config, vocabulary)) == 1
    tokenizer = spanmask.vocab.vocabulary_from_tokenizer("bpe", trained.byte_level())
    with pytest.raises(ConfigError, match="word starts do not follow from its ids; give word_starts"):
        spanmask.mask(np.arange(20) + 100, np.array([0, 20]), config, tokenizer)


# --- Manifests


@pytest.fixture
def dataset(lab: Any, source: Path) -> Path:
    lab.run(source, "out", vocab=trained.saved(trained.byte_level(), lab.folder))
    return Path(lab.folder / "out")


def test_ids_of_another_release_of_the_library_are_told_as_that(lab: Any, source: Path) -> None:
    manifest = lab.run(source, "out", vocab=trained.saved(trained.byte_level(), lab.folder))
    out = lab.folder / "out"
    assert manifest.tokenized_by == {"library": "tokenizers", "version": version("tokenizers")}
    assert lab.run(source, "bert").tokenized_by == {"library": "spanmask", "version": version("spanmask")}
    reseal(out, lambda content: content["tokenized_by"].update(version="0.0.1"))
    assert read_manifest(out).fingerprint == manifest.fingerprint, "which release made it is no part of what it holds"
    assert verify(out).ok
    assert verify_source(out, [source], jobs=1) == []
    first = spanmask.open(out)[0]
    records = records_of(out)
    table = pa.ipc.open_file(out / records[0].path).read_all()
    rows = table.to_pylist()
    masked = {place for span in zip(first.span_starts, first.span_ends, strict=True) for place in range(*span)}
    rows[0]["input_ids"][min({*range(1, len(first.input_ids) - 1)} - masked)] += 1
    written = write_shard(out, records[0].path, pa.Table.from_pylist(rows, schema=table.schema))
    reseal(out, records={"train": [written, *records[1:]]})
    *_, last = verify_source(out, [source], jobs=1)
    assert (
        last.message
        == f"its ids are those of tokenizers 0.0.1, compared with those of tokenizers {version('tokenizers')}"
    )


def resealed(folder: Path, **changes: Any) -> None:
    words = changes.pop("words", None)

    def change(content: dict[str, Any]) -> None:
        content["vocabulary"] |= changes
        content |= {"words": words} if words else {}

    reseal(folder, change)


def test_the_manifest_holds_the_tokenizer_to_the_last_character(dataset: Path) -> None:
    known = read_manifest(dataset).content["vocabulary"]
    assert known["tokenizer"] == trained.byte_level()
    assert "entries" not in known
    assert (known["cased"], known["size"], known["special_ids"]["mask"]) == (None, 600, 4)


@pytest.mark.parametrize(
    "changes",
    [{"tokenizer": 3}, {"cased": True}, {"entries": []}, {"words": "table"}],
    ids=["no text", "cased", "entries too", "words in a table"],
)
def test_a_manifest_that_garbles_its_tokenizer_is_refused(dataset: Path, changes: dict[str, Any]) -> None:
    resealed(dataset, **changes)
    with pytest.raises(ShardError, match="lacks or garbles a part"):
        read_manifest(dataset)


@pytest.mark.parametrize(("text", "expected"), [("{}".center(600), "not a tokenizer.json"), (None, "hashes to")])
def test_another_tokenizer_in_the_manifest_is_found(dataset: Path, text: str | None, expected: str) -> None:
    resealed(dataset, tokenizer=text or trained.byte_level(prefix=True))
    assert [expected in finding.message for finding in verify(dataset).findings] == [True]
