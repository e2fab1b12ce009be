"""Readers on real text: shared prose, whole and in parts."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from spanmask.config import CorpusConfig
from spanmask.corpus.reading import stream_blocks

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "prose"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the prose in {SHARED}, which is not there"),
]


def test_wikitext_is_the_same_in_parts_and_compressed(corpus: Any) -> None:
    plain = corpus.find(SHARED / "wikitext-2" / "valid.txt")
    data = Path(plain.path).read_bytes()
    whole = corpus.parts(plain, 1 << 30)
    assert len(whole.ids) > 1000
    for place, text in zip(whole.ids, whole.texts, strict=True):
        assert data[place : place + len(text)] == text
    for target in (997, 65_536):
        assert (parts := corpus.parts(plain, target)).ids == whole.ids
        assert parts.texts == whole.texts
    (corpus.folder / "valid.txt.gz").write_bytes(gzip.compress(data, 1))
    compressed = corpus.find(corpus.folder / "valid.txt.gz")
    assert corpus.stream(compressed, 65_536).texts == whole.texts


def test_wikipedia_streams_in_blocks_that_any_reader_finds_again(corpus: Any) -> None:
    file = corpus.find(SHARED / "enwiki2018.000.jsonl.zst")
    config = CorpusConfig()
    raws = list(itertools.islice(stream_blocks(file, config, 1 << 20), 6))
    assert [raw.number for raw in raws] == list(range(6))
    whole = corpus.write(".jsonl", b"".join(raw.data for raw in raws))
    streamed, parts = corpus.stream(whole, 1 << 20), corpus.parts(whole, 300_000)
    assert len(parts.ids) > 100
    assert (parts.ids, parts.texts) == (streamed.ids, streamed.texts)
    with pa.OSFile(file.path) as raw, pa.CompressedInputStream(raw, "zstd") as plain:
        assert plain.read(len(raws[0].data)) == raws[0].data
