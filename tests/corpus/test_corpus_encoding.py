"""Text of other encodings: the documents of the same text in UTF-8, and what cannot be decoded is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spanmask.config import CorpusConfig, Format, Layout, OnError
from spanmask.corpus.inputs import find_inputs
from spanmask.errors import ConfigError, CorpusError

TEXT = "Grüße aus Köln\nzweite Zeile\n\n\nnächstes Stück, ein längeres\n" * 40


def _find(corpus: Any, suffix: str, data: bytes, encoding: str) -> Any:
    file = corpus.write(suffix, data)
    return find_inputs([file.path], Format.AUTO, encoding).files[0]


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp037", "gb18030"]
)
@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.xz"])
def test_documents_are_those_of_the_text_in_utf8(corpus: Any, encoding: str, suffix: str) -> None:
    config = CorpusConfig(encoding=encoding)
    file = _find(corpus, suffix, TEXT.encode(encoding), config.encoding)
    plain = corpus.parts(corpus.write(".txt", TEXT.encode()))
    with corpus.small(piece=13, block=100):
        read = corpus.stream if file.is_sequential else corpus.parts
        found = read(file, 64)
        whole = read(file, 64, layout=Layout.FILE)
    if encoding != "utf-8-sig":
        assert found.ids == plain.ids
    assert [text.strip() for text in found.texts] == [text.strip() for text in plain.texts]
    assert whole.texts == [TEXT.encode()]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv"])
def test_every_kind_of_text_has_an_encoding(corpus: Any, suffix: str) -> None:
    rows = [{"id": str(number), "text": f"Grüße {number}"} for number in range(50)]
    mark = "," if suffix == ".csv" else "\t"
    text = {
        ".jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        ".json": json.dumps(rows, ensure_ascii=False),
    }.get(suffix, "".join(mark.join(row) + "\n" for row in [["id", "text"], *(row.values() for row in rows)]))
    file = _find(corpus, suffix, text.encode("utf-16"), "utf-16")
    found = (corpus.stream if file.has_lines else corpus.parts)(file, keep=("id",))
    assert [text.decode() for text in found.texts] == [row["text"] for row in rows]
    assert found.kept == [{"id": row["id"]} for row in rows]


@pytest.mark.parametrize(
    ("encoding", "bad"),
    [("utf-16-le", b"\x00\xd8a\0"), ("ascii", b"\xe9"), ("gb18030", b"\xff"), ("euc-jp", b"\xff")],
)
def test_what_cannot_be_decoded_is_told_with_its_line_or_left_out(corpus: Any, encoding: str, bad: bytes) -> None:
    config = CorpusConfig(encoding=encoding)
    parts = ["one\n\ntwo ".encode(encoding), bad, "\n\nthree\n".encode(encoding)]
    file = _find(corpus, ".txt", b"".join(parts), config.encoding)
    with pytest.raises(CorpusError, match=f":3: what stands there is not {config.encoding}: name another --encoding"):
        corpus.stream(file)
    found = corpus.stream(file, on_error=OnError.SKIP)
    assert [text.strip() for text in found.texts] == [b"one", b"three"]
    assert [one.detail for block in found.blocks for one in block.skipped_documents] == [f"not {config.encoding}"]


@pytest.mark.parametrize("name", ["", "latin-99", "rot13", "base64", "undefined", "\0", "x" * 5000])
def test_what_is_no_encoding_of_text_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"encoding is .*give the name of one that Python knows"):
        CorpusConfig(encoding=name)


def test_one_encoding_has_one_name() -> None:
    assert {CorpusConfig(encoding=name).encoding for name in ("latin-1", "LATIN1", "iso-8859-1")} == {"iso8859-1"}
    assert {CorpusConfig(encoding=name).encoding for name in ("UTF8", "utf-8-sig", "utf_8")} == {"utf-8"}


def test_text_without_the_mark_that_its_encoding_asks_for_is_told(corpus: Any) -> None:
    with pytest.raises(CorpusError, match=r"no text in utf-16 \(.*BOM.*\); name another --encoding"):
        corpus.stream(_find(corpus, ".txt", "aé".encode("latin-1") * 9, "utf-16"))
