"""Compressed streams: padding, members, windows, and what is said of those that cannot be read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from typing import Any

import pyarrow as pa
import pytest
from planted import plant

from spanmask.corpus import compressed
from spanmask.errors import CorpusError

TEXT = b"one\n\ntwo\n"
GZIP, ZSTD = gzip.compress(TEXT, mtime=0), bytes(pa.Codec("zstd").compress(TEXT))
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


def read(corpus: Any, suffix: str, data: bytes) -> list[bytes]:
    path = corpus.folder / f"a.txt{suffix}"
    path.write_bytes(data)
    return [text.strip() for text in corpus.stream(corpus.find(path)).texts]


@pytest.mark.parametrize("zeros", [1, 2, 512, 1 << 16, (1 << 18) + 1])
def test_zeros_after_a_gzip_member_are_padding(corpus: Any, zeros: int) -> None:
    padding = bytes(zeros)
    assert read(corpus, ".gz", GZIP + padding) == [b"one", b"two"]
    assert read(corpus, ".gz", GZIP + padding + GZIP + padding) == [b"one", b"two\none", b"two"]
    assert read(corpus, ".gz", gzip.compress(b"") + padding + GZIP) == [b"one", b"two"]


@pytest.mark.parametrize(
    "data",
    [bytes(30), b"\0" + GZIP, GZIP + b"\0junk", GZIP + b"\0" + GZIP[:-1], GZIP[:-1]],
    ids=["zeros", "zeros before", "junk", "a truncated member", "truncated"],
)
def test_what_gzip_itself_refuses_is_refused(corpus: Any, data: bytes) -> None:
    with pytest.raises((OSError, EOFError)):
        gzip.GzipFile(fileobj=io.BytesIO(data)).read()
    with pytest.raises(CorpusError, match="not a whole gzip stream"):
        read(corpus, ".gz", data)


def test_a_checksum_that_differs_is_damage(corpus: Any) -> None:
    with pytest.raises(CorpusError, match="incorrect data check"):
        read(corpus, ".gz", GZIP[:-8] + bytes(4) + GZIP[-4:])


@pytest.mark.parametrize("size", [0, 1, 4096, 1 << 17, 1 << 22])
def test_gzip_is_read_in_any_pieces(corpus: Any, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"".join(b"line %d\n" % number for number in range(size // 8))
    members = gzip.compress(text[: size // 3]) + gzip.compress(b"") + gzip.compress(text[size // 3 :], 0)
    for piece in (7, 1 << 16) if size < 1 << 20 else (1 << 16,):
        monkeypatch.setattr("spanmask.corpus.compressed._PIECE_BYTES", piece)
        assert b"".join(read(corpus, ".gz", members)) == text.strip()


def test_frames_to_skip_are_skipped(corpus: Any) -> None:
    assert read(corpus, ".zst", SKIPPABLE + ZSTD + SKIPPABLE + ZSTD) == [b"one", b"two\none", b"two"]


def frame(bits: int) -> bytes:
    """A Zstandard frame of one raw block, with a window of so many bits (RFC 8878 §3.1.1)."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([bits - 10 << 3]) + (len(TEXT) << 3 | 1).to_bytes(3, "little") + TEXT


@pytest.mark.parametrize("bits", [10, 20, 27])
def test_windows_up_to_128_mib_are_read(corpus: Any, bits: int) -> None:
    assert read(corpus, ".zst", frame(bits)) == [b"one", b"two"]


@pytest.mark.parametrize("bits", [28, 29, 30, 31])
def test_larger_windows_are_named_with_the_way_round(corpus: Any, bits: int) -> None:
    with pytest.raises(
        CorpusError, match=rf"its window is 2\^{bits} bytes \(zstd --long={bits}\), and 2\^27"
    ) as caught:
        read(corpus, ".zst", frame(bits))
    assert f"zstd -dc --long={bits} FILE | zstd > NEW.zst" in str(caught.value)


def test_a_large_window_further_on_is_told_too(corpus: Any) -> None:
    for first in (ZSTD, SKIPPABLE, frame(20)):
        with pytest.raises(CorpusError, match=r"its window is larger \(zstd --long=31\)"):
            read(corpus, ".zst", first + frame(31))


def test_a_large_single_segment_is_told_as_a_window(corpus: Any) -> None:
    head = b"\x28\xb5\x2f\xfd\xe0" + (10 << 30).to_bytes(8, "little")
    with pytest.raises(CorpusError, match=r"its window is larger"):
        read(corpus, ".zst", head + b"\x01\x00\x00")


@pytest.mark.parametrize("how", [bz2, lzma], ids=["bz2", "xz"])
@pytest.mark.parametrize("piece", [7, 1 << 16])
def test_bzip2_and_xz_are_read_as_python_reads_them(
    corpus: Any, how: Any, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanmask.corpus.compressed._PIECE_BYTES", piece)
    suffix, text = {bz2: ".bz2", lzma: ".xz"}[how], b"".join(b"line %d\n" % number for number in range(3000))
    parts = how.compress(text[:999]), how.compress(b""), how.compress(text[999:])
    for data in (b"".join(parts), (b"\0" * 4).join(parts) + bytes(8)):
        assert b"".join(read(corpus, suffix, data)) == text.strip()
    assert read(corpus, suffix, b"") == []
    whole = b"".join(parts)
    damaged = whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 0x10]) + whole[len(whole) // 2 + 1 :]
    for data in (whole[:-5], TEXT, damaged, whole + b"junk"):
        with pytest.raises(CorpusError, match=f"not a whole {suffix[1:]} stream"):
            read(corpus, suffix, data)


def test_an_xz_file_that_asks_for_too_much_memory_is_told_the_way_round(
    corpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 64 << 20}]
    monkeypatch.setattr("spanmask.corpus.compressed._XZ_MEMORY", 1 << 20)
    with pytest.raises(CorpusError, match="compress it again with a smaller dictionary"):
        read(corpus, ".xz", lzma.compress(TEXT, filters=filters))


# --- The defence taken out


def test_a_reader_that_takes_the_half_of_a_stream_is_found(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, compressed, 'raise zlib.error("it ends in the middle")', "return False")
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_what_gzip_itself_refuses_is_refused(corpus, GZIP[:-1])
