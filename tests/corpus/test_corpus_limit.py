"""Documents that are too long: which ones are, that each is an error or counted, and that little of them is held."""

from __future__ import annotations

import gzip
import io
import itertools
import time
from typing import Any

import pyarrow as pa
import pytest
from memory import traced, with_peak

from spanmask.config import CorpusConfig, OnError
from spanmask.corpus.inputs import Part
from spanmask.corpus.kept import with_kept
from spanmask.corpus.reading import read_part
from spanmask.corpus.streams import lines
from spanmask.errors import ConfigError, CorpusError

MIB = 1 << 20


@pytest.mark.parametrize("text", [b"", b"a", b"a\nb\n", b"\n\n"])
def test_a_small_file_is_read_in_little_memory(text: bytes) -> None:
    for _ in range(2):
        with traced() as found:
            assert b"".join(chunk.data for chunk in lines(io.BytesIO(text), 0, MIB)) == text
    assert found.peak < 64 << 10


def test_the_limit_is_stated_and_a_size(corpus: Any) -> None:
    assert CorpusConfig().max_document_bytes == 256 * MIB
    assert CorpusConfig.of(max_document_bytes="2MiB").max_document_bytes == 2 * MIB
    for wrong in (0, -1, (1 << 40) + 1, "2 M"):
        with pytest.raises(ConfigError, match="max_document_bytes"):
            CorpusConfig.of(max_document_bytes=wrong)
    text = b"a" * MIB
    assert corpus.parts(corpus.write(".txt", text), max_document_bytes=MIB).texts == [text]
    with pytest.raises(CorpusError, match=r"more than 1,048,575 bytes.*raise --max-document-bytes.*--on-error skip"):
        corpus.parts(corpus.write(".txt", text), max_document_bytes=MIB - 1)


@pytest.mark.parametrize(
    ("suffix", "options", "helps"),
    [
        (".txt", {}, True),
        (".txt", {"layout": "documents"}, False),
        (".jsonl", {}, False),
    ],
)
def test_another_layout_is_advised_where_it_would_help(
    corpus: Any, suffix: str, options: dict[str, Any], helps: bool
) -> None:
    data = b'{"text": "' + b"a" * 99 + b'"}\n' if suffix == ".jsonl" else b"a" * 99 + b"\n"
    file = corpus.write(suffix, data)
    with pytest.raises(CorpusError, match="raise --max-document-bytes") as caught:
        corpus.parts(file, max_document_bytes=50, **options)
    assert ("--layout documents" in str(caught.value)) is helps


def repeated(
    corpus: Any, suffix: str, head: bytes, times: int, tail: bytes = b"", piece: bytes = b"a" * 16 * MIB
) -> Any:
    """Write a file that holds a piece many times: compressed once, and repeated as members or frames."""
    pack = {".gz": lambda data: gzip.compress(data, 1), ".zst": pa.Codec("zstd").compress}.get(
        suffix[-4:].lstrip("tl"), bytes
    )
    path = corpus.folder / f"endless-{times}{suffix}"
    whole, packed = bytes(pack(head)), bytes(pack(piece))
    with path.open("wb") as file:
        file.write(whole)
        for _ in range(times):
            file.write(packed)
        file.write(bytes(pack(tail)))
    return corpus.find(path)


def read(file: Any, **options: Any) -> tuple[list[bytes], int]:
    """Read a file as a run does, keeping nothing of it but short texts; return them and how many documents were skipped."""
    config = CorpusConfig(**options)
    texts, skipped = [], 0
    for block in read_part(Part(file=file, start=0, stop=file.size), config, 4 * MIB):
        offsets = block.document_offsets.tolist()
        stripped = (
            block.text[start:end].tobytes().decode().strip().encode() for start, end in itertools.pairwise(offsets)
        )
        texts += [text for text in stripped if len(text) < 1000]
        skipped += block.skipped
    return texts, skipped


PIECES = {
    "a line": (b"one\n\n", b"a" * 16 * MIB, b"\n\ntwo\n", [b"one", b"two"], 1),
    "lines": (b"one\n\n", (b"a" * 1023 + b"\n") * 16 * 1024, b"\ntwo\n", [b"one", b"two"], 1),
    "white space": (b"one\n", b" " * 16 * MIB, b"\ntwo\n", [b"one", b"two"], 0),
    "white space, then text": (b"one\n\n", b" " * 16 * MIB, b"x\n\ntwo\n", [b"one", b"two"], 1),
    "blank lines": (b"one\n", b" \n" * 8 * MIB, b"two\n", [b"one", b"two"], 0),
    "wide white space": (b"one\n", "\u3000".encode() * 4 * MIB, b"\ntwo\n", [b"one", b"two"], 0),
}


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        *((kind, ".txt.zst") for kind in PIECES),
        ("a line", ".txt.gz"),
        ("a line", ".txt"),
        ("white space, then text", ".txt"),
    ],
)
def test_of_a_document_without_end_little_is_held(corpus: Any, kind: str, suffix: str) -> None:
    head, piece, tail, texts, skipped = PIECES[kind]
    file = repeated(corpus, suffix, head, 8, tail, piece)
    read(corpus.write(".txt", b"\xff\n\nwarm\n"), on_error=OnError.SKIP)
    found, peak = with_peak(lambda: read(file, max_document_bytes=MIB, on_error=OnError.SKIP))
    assert found == (texts, skipped)
    # 128 MiB went by: what is held is a block, a few chunks, and what decompresses, among what earlier tests left of memory.
    assert peak < 64 * MIB
    if skipped:
        with pytest.raises(CorpusError, match="more than 1,048,576 bytes") as caught:
            read(file, max_document_bytes=MIB)
        assert caught.value.line == 3


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_of_a_line_of_json_without_end_little_is_held(corpus: Any, suffix: str) -> None:
    file = repeated(corpus, suffix, b'{"text": "one"}\n{"text": "', 8, b'"}\n{"text": "two"}\n')
    read(corpus.write(".jsonl", b'{"text": "warm"}\n{"text": 1}\n'), on_error=OnError.SKIP)
    found, peak = with_peak(lambda: read(file, max_document_bytes=MIB, on_error=OnError.SKIP))
    assert found == ([b"one", b"two"], 1)
    assert peak < 64 * MIB
    with pytest.raises(CorpusError, match="more than 1,048,576 bytes") as caught:
        read(file, max_document_bytes=MIB)
    assert caught.value.line == 2
    start = time.monotonic()
    with pytest.raises(CorpusError, match="no field 'id'; fields of the first document: 'text'"):
        with_kept([file], CorpusConfig(max_document_bytes=MIB, keep=("id",)))
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("suffix", [".txt.zst", ".jsonl.zst", ".txt.gz"])
def test_ten_gigabytes_in_one_line_are_refused_at_once(corpus: Any, suffix: str) -> None:
    file = repeated(corpus, suffix, b"one\n\n", 640)
    start = time.monotonic()

    def refused() -> str:
        with pytest.raises(CorpusError) as caught:
            read(file, max_document_bytes=32 * MIB, keep=())
        return str(caught.value)

    said, peak = with_peak(refused)
    assert "malformed" in said if "jsonl" in suffix else "more than 33,554,432 bytes" in said
    assert peak < 256 * MIB
    assert time.monotonic() - start < 10


@pytest.mark.slow
@pytest.mark.parametrize("limit", [MIB, 256 * MIB])
def test_ten_gigabytes_in_one_line_are_passed_over(corpus: Any, limit: int) -> None:
    file = repeated(corpus, ".txt.zst", b"one\n\n", 640, b"\n\ntwo\n")
    assert file.size < 2 * MIB
    found, peak = with_peak(lambda: read(file, max_document_bytes=limit, on_error=OnError.SKIP))
    assert found == ([b"one", b"two"], 1)
    assert peak < 5 * limit + 96 * MIB
