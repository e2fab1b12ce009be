"""What the tests of readers share: files in every shape, reading all of them, and flattening blocks."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import itertools
import lzma
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest

from spanmask.config import CorpusConfig, Format
from spanmask.corpus import cutting, reading, streams
from spanmask.corpus.inputs import InputFile, find_inputs
from spanmask.corpus.reading import divide, parse_block, read_part, stream_blocks
from spanmask.records import DocumentBlock

_NUMBERS = itertools.count()


@dataclass
class Documents:
    """Documents out of their blocks: identities, texts, ranges, points, kept values, and how many were skipped."""

    ids: list[int]
    texts: list[bytes]
    ranges: list[list[tuple[int, int]]]
    points: list[list[int]]
    kept: list[dict[str, Any]]
    skipped: int
    blocks: list[DocumentBlock]


def _ragged(offsets: np.ndarray, values: Iterable[Any]) -> list[list[Any]]:
    flat = list(values)
    return [flat[start:end] for start, end in itertools.pairwise(offsets.tolist())]


def flatten(blocks: Iterable[DocumentBlock]) -> Documents:
    found = Documents(ids=[], texts=[], ranges=[], points=[], kept=[], skipped=0, blocks=list(blocks))
    for block in found.blocks:
        assert block.document_offsets.dtype == np.int64
        assert block.document_ids.dtype == np.uint64
        assert block.text.dtype == np.uint8
        assert len(block.document_offsets) == len(block) + 1
        assert block.document_offsets[-1] == len(block.text)
        text = block.text.tobytes()
        text.decode()
        found.ids += block.document_ids.tolist()
        found.texts += [text[start:end] for start, end in itertools.pairwise(block.document_offsets.tolist())]
        if block.annotations is not None:
            pairs = zip(block.annotations.starts.tolist(), block.annotations.ends.tolist(), strict=True)
            found.ranges += _ragged(block.annotations.offsets, pairs)
        if block.words is not None:
            found.points += _ragged(block.words.offsets, block.words.values.tolist())
        if block.kept is not None:
            assert len(block.kept) == len(block)
            found.kept += block.kept.to_pylist()
        found.skipped += block.skipped
    assert found.ids == sorted(set(found.ids))
    return found


class Corpus:
    """Writes files into a folder and reads them in every way there is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, suffix: str, data: bytes) -> InputFile:
        path = self.folder / f"file-{next(_NUMBERS)}{suffix}"
        if suffix.endswith(".gz"):
            data = gzip.compress(data, 1)
        if suffix.endswith(".zst"):
            data = bytes(pa.Codec("zstd").compress(data))
        if suffix.endswith(".bz2"):
            data = bz2.compress(data)
        if suffix.endswith(".xz"):
            data = lzma.compress(data)
        path.write_bytes(data)
        return self.find(path)

    def find(self, path: Path, format: Format = Format.AUTO) -> InputFile:
        return find_inputs([path], format).files[0]

    def parts(self, file: InputFile, target_bytes: int = 1 << 20, **options: Any) -> Documents:
        config = CorpusConfig(**options)
        return flatten(b for part in divide(file, config, target_bytes) for b in read_part(part, config))

    def stream(self, file: InputFile, block_bytes: int = 1 << 20, **options: Any) -> Documents:
        config = CorpusConfig(**options)
        return flatten(b for raw in stream_blocks(file, config, block_bytes) for b in parse_block(file, raw, config))

    def small(self, piece: int, block: int) -> contextlib.ExitStack:
        """Read in pieces, and hand on blocks, of so few bytes while this context lasts."""
        stack = contextlib.ExitStack()
        for module, name, value in (
            (streams, "CHUNK_BYTES", piece),
            (streams, "_LOOK_BACK", 1),
            (cutting, "BLOCK_BYTES", block),
            (reading, "BLOCK_BYTES", block),
        ):
            stack.enter_context(mock.patch.object(module, name, value))
        return stack


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path)


@pytest.fixture(scope="module")
def shared_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus"))
