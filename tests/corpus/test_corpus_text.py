"""Text files: what errors say, and which documents are left out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from spanmask.config import CorpusConfig, Layout, OnError
from spanmask.corpus import identity, text
from spanmask.corpus.cutting import RawBlock
from spanmask.corpus.inputs import PLACE_LIMIT, Part
from spanmask.corpus.reading import parse_block, read_part
from spanmask.errors import ConfigError, CorpusError, StorageError

BROKEN = b"first\n\nsecond\nline \xff here\n\nthird\n"


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.zst"])
def test_invalid_utf8_is_told_with_the_line_of_the_file(corpus: Any, suffix: str) -> None:
    file = corpus.write(suffix, b"\n\n" * 50 + BROKEN)
    read = corpus.stream if file.compression else corpus.parts
    for size in (10, 1000):
        with pytest.raises(CorpusError) as caught:
            read(file, size)
        assert caught.value.line == 104
        assert str(caught.value).startswith(f"{file.path}:104: byte 0xff is not valid UTF-8 (invalid start byte)")
        assert "--on-error skip" in str(caught.value)


def test_only_the_document_that_is_not_utf8_is_left_out(corpus: Any) -> None:
    file = corpus.write(".txt", BROKEN)
    whole = corpus.parts(file, on_error=OnError.SKIP)
    assert (whole.ids, whole.texts, whole.skipped) == ([0, 27], [b"first\n\n", b"third\n"], 1)
    lines = corpus.parts(file, layout=Layout.DOCUMENTS, on_error=OnError.SKIP)
    assert (lines.texts, lines.skipped) == ([b"first\n\n", b"second\n", b"third\n"], 1)


def test_blocks_without_a_readable_document_still_count_the_skipped(corpus: Any) -> None:
    found = corpus.parts(corpus.write(".txt", b"\xff\n\n\xfe\n"), on_error=OnError.SKIP)
    assert (found.ids, found.skipped, len(found.blocks)) == ([], 2, 1)


def test_odd_but_lawful_bytes_are_accepted(corpus: Any) -> None:
    found = corpus.parts(corpus.write(".txt", b"\xef\xbb\xbfa\0b\r\n\r\nlast line without an end"))
    assert found.ids == [3, 10]
    assert found.texts == [b"a\0b\r\n\r\n", b"last line without an end"]


def test_identities_hold_the_index_of_the_file(corpus: Any) -> None:
    file = dataclasses.replace(corpus.write(".txt", b"a\n\nb"), index=(1 << 24) - 1)
    assert corpus.parts(file).ids == [((1 << 24) - 1) << 40, (((1 << 24) - 1) << 40) + 3]


def test_places_beyond_forty_bits_are_refused(corpus: Any) -> None:
    file = corpus.write(".txt", b"a")
    fits = parse_block(file, RawBlock(number=0, offset=PLACE_LIMIT - 1, data=b"a"), CorpusConfig())
    assert identity.places(next(fits).document_ids).tolist() == [PLACE_LIMIT - 1]
    with pytest.raises(CorpusError, match=r"2\^40"):
        list(parse_block(file, RawBlock(number=0, offset=PLACE_LIMIT, data=b"a"), CorpusConfig()))


def test_a_failing_disk_is_a_storage_error(corpus: Any) -> None:
    file = corpus.write(".txt", b"a")
    memory = dataclasses.replace(file, path="/proc/self/mem", size=100)
    with pytest.raises(StorageError, match="could not read"):
        list(read_part(Part(file=memory, start=0, stop=100), CorpusConfig()))
    for compression in ("gzip", "zstd"):
        with pytest.raises(StorageError, match="could not read"):
            corpus.stream(dataclasses.replace(memory, compression=compression))


def test_a_file_that_went_away_is_a_config_error(corpus: Any) -> None:
    file = corpus.write(".txt", b"a")
    (corpus.folder / file.name).unlink()
    with pytest.raises(ConfigError, match="no such file"):
        corpus.parts(file)


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.xz", ".txt.bz2"])
def test_with_layout_file_a_file_is_one_document(corpus: Any, suffix: str) -> None:
    text = b"\n  \n\xef\xbb\xbfhard wrapped\nlines\n\nof one\n\n\nnote\n"
    file = corpus.write(suffix, b"\xef\xbb\xbf" + text)
    read = corpus.stream if file.compression else corpus.parts
    for size, piece in ((3, 5), (1 << 20, 1 << 20)):
        with corpus.small(piece=piece, block=size):
            found = read(file, size, layout=Layout.FILE)
        assert (found.ids, found.texts) == ([7], [text[4:]])
    for empty in (b"", b"\n \n\n"):
        nothing = corpus.write(suffix, empty)
        assert read(nothing, 3, layout=Layout.FILE).ids == []


@pytest.mark.parametrize("suffix", [".txt", ".txt.zst"])
def test_a_file_that_is_too_long_or_not_utf8_is_left_out_whole(corpus: Any, suffix: str) -> None:
    read = corpus.stream if suffix.endswith(".zst") else corpus.parts
    file = corpus.write(suffix, b"some\n\nwords\n" * 100)
    assert read(file, 7, layout=Layout.FILE, max_document_bytes=1200).texts == [b"some\n\nwords\n" * 100]
    with corpus.small(piece=16, block=16):
        found = read(file, 7, layout=Layout.FILE, max_document_bytes=1000, on_error=OnError.SKIP)
        assert (found.ids, found.skipped) == ([], 1)
        with pytest.raises(CorpusError, match=":1: a document of more than 1,000 bytes"):
            read(file, 7, layout=Layout.FILE, max_document_bytes=1000)
    with pytest.raises(CorpusError, match=":4: byte 0xff"):
        read(corpus.write(suffix, BROKEN), 7, layout=Layout.FILE)
    assert read(corpus.write(suffix, BROKEN), 7, layout=Layout.FILE, on_error=OnError.SKIP).skipped == 1


# --- The defence taken out


def test_a_reader_that_takes_bytes_for_text_is_found(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "is_utf8", lambda _: True)
    with pytest.raises(UnicodeDecodeError):
        test_only_the_document_that_is_not_utf8_is_left_out(corpus)
