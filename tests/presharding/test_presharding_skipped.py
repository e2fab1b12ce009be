"""`skipped.jsonl`: which documents were left out, and why, in the same bytes whoever wrote it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from resealed import reseal

from spanmask import verify
from spanmask.presharding.state import RunState
from spanmask.shard.listed import describe_file
from spanmask.shard.skipped import describe_skipped

GOOD = "a text that is long enough to be kept, and then some more of it"
LINES: list[tuple[bytes, str | None, str]] = [
    (json.dumps({"text": GOOD, "words": [0, 2]}).encode(), None, ""),
    (b'{"text": "never ended', "json", "malformed JSON"),
    (b'{"other": 1}', "field", "no field 'text'; fields of this line: 'other'"),
    (b'{"text": null}', "field", "field 'text' is null"),
    (b'{"text": 7}', "field", "field 'text' is an integer, expected a string"),
    (b'{"text": "bad \xff one"}', "encoding", "byte 0xff is not valid UTF-8"),
    (b'{"text": "short", "words": [99]}', "ranges", "the word start 99 is outside the text"),
    (b'["no object"]', "json", "a list instead of a JSON object"),
    (b'{"text": "' + b"x" * 400 + b'", "words": "' + b"y" * 10 + b'"}', "field", "field 'words' is a string"),
    (json.dumps({"text": GOOD * 20}).encode(), "length", "a document of more than 500 bytes"),
    (json.dumps({"text": GOOD}).encode(), None, ""),
]


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_bytes().splitlines()]


def test_each_document_left_out_has_its_line(lab: Any) -> None:
    path = lab.folder / "rows.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line, _, _ in LINES))
    words = pa.array([[0], [0], [0, 500], []], pa.list_(pa.int32()))
    table = pa.table({"text": [GOOD, None, GOOD, GOOD * 20], "words": words})
    pa.parquet.write_table(table, lab.folder / "rows.parquet")
    inputs = [path, lab.folder / "rows.parquet"]
    manifest = lab.run(inputs, "out", on_error="skip", words_field="words", max_document_bytes=500)
    places = [sum(len(line) + 1 for line, _, _ in LINES[:k]) for k in range(len(LINES))]
    wanted = [(0, place, *fault) for place, (_, *fault) in zip(places, LINES, strict=True) if fault[0] is not None]
    wanted += [(1, 1, "field", "field 'text' is null"), (1, 2, "ranges", "field 'words': the word start 500")]
    wanted += [(1, 3, "length", "a document of more than 500 bytes")]
    found = written(lab.folder / "out")
    for line, (file, place, reason, detail) in zip(found, wanted, strict=True):
        assert set(line) == {"input", "place", "reason", "detail"}
        assert (line["input"], line["place"], line["reason"]) == (file, place, reason)
        assert detail in line["detail"]
        assert len(line["detail"]) <= 200
    assert manifest.conservation["documents_skipped"] == len(wanted)
    data = (lab.folder / "out" / "skipped.jsonl").read_bytes()
    assert manifest.content["files"]["skipped.jsonl"] == {**describe_file(data), "lines": len(wanted)}
    assert verify(lab.folder / "out").findings == ()


def test_where_nothing_is_left_out_there_is_no_file(lab: Any) -> None:
    manifest = lab.run(lab.text(), "out", on_error="skip")
    assert not (lab.folder / "out" / "skipped.jsonl").exists()
    assert list(manifest.content["files"]) == ["shards.arrow"]
    (lab.folder / "out" / "skipped.jsonl").write_text("")
    (finding,) = verify(lab.folder / "out").findings
    assert finding.path == "skipped.jsonl"


def test_a_long_document_has_its_line_in_whichever_way_its_file_is_read(lab: Any) -> None:
    text = f"{GOOD}\n\n{GOOD * 200}\n\n{GOOD} again\n".encode()
    for name, data in (("a.txt", text), ("a.txt.gz", gzip.compress(text, mtime=0))):
        (lab.folder / name).write_bytes(data)
        for size in (1 << 10, 1 << 20):
            manifest = lab.run(
                lab.folder / name, "out", overwrite=True, on_error="skip", max_document_bytes=1000, shard_bytes=size
            )
            (line,) = written(lab.folder / "out")
            assert (line["place"], line["reason"]) == (len(GOOD) + 2, "length")
            assert manifest.conservation["documents_in"] == 3
            assert verify(lab.folder / "out").findings == ()


def _bad(lab: Any, count: int = 120) -> list[Path]:
    """Text and lines in which every third document cannot be read, one file compressed and streamed."""
    documents = [f"{GOOD} {k}".encode() + b" \xff" * (k % 3 == 1) for k in range(count)]
    (lab.folder / "a.txt").write_bytes(b"\n\n".join(documents))
    (lab.folder / "b.txt.gz").write_bytes(gzip.compress(b"\n\n".join(documents), mtime=0))
    rows = [json.dumps({"text": f"{GOOD} {k}"}).encode()[: -(k % 3 == 2) or None] for k in range(count)]
    (lab.folder / "c.jsonl").write_bytes(b"\n".join(rows))
    return [lab.folder / name for name in ("a.txt", "b.txt.gz", "c.jsonl")]


@pytest.mark.slow
def test_the_file_has_the_same_bytes_for_any_jobs_and_after_a_kill(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = _bad(lab)
    lab.run(inputs, "one", on_error="skip")
    lab.run(inputs, "two", on_error="skip", jobs=2)
    assert lab.tree("one") == lab.tree("two")
    assert len(written(lab.folder / "one")) == 120
    places = [(line["input"], line["place"]) for line in written(lab.folder / "one")]
    assert places == sorted(set(places))
    saved = RunState.save_receipt
    count = 0

    def stop(state: RunState, receipt: Any) -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise KeyboardInterrupt
        saved(state, receipt)

    with monkeypatch.context() as patch:
        patch.setattr(RunState, "save_receipt", stop)
        with pytest.raises(KeyboardInterrupt):
            lab.run(inputs, "three", on_error="skip")
    assert not (lab.folder / "three" / "manifest.json").exists()
    lab.run(inputs, "three", on_error="skip")
    assert lab.tree("three") == lab.tree("one")


def test_beyond_its_first_lines_documents_are_counted(lab: Any) -> None:
    path = lab.folder / "bad.jsonl"
    path.write_bytes(b"{\n" * 6_000 + json.dumps({"text": GOOD}).encode() + b"\n" + b"[]\n" * 6_000)
    manifest = lab.run(path, "out", on_error="skip")
    assert manifest.conservation["documents_skipped"] == 12_000
    lines = written(lab.folder / "out")
    assert len(lines) == manifest.skipped["lines"] == 10_000
    assert [line["place"] for line in lines[:6_000]] == list(range(0, 12_000, 2))
    assert verify(lab.folder / "out").ok


def test_a_dataset_written_over_another_has_its_own_file_or_none(lab: Any) -> None:
    inputs = _bad(lab, 12)
    lab.run(inputs, "out", on_error="skip")
    lab.run(lab.text(), "out", overwrite=True)
    assert not (lab.folder / "out" / "skipped.jsonl").exists()
    lab.run(inputs[0], "out", on_error="skip", overwrite=True)
    assert len(written(lab.folder / "out")) == 4
    lab.run(inputs, "out", on_error="skip", overwrite=True)
    assert len(written(lab.folder / "out")) == 12
    assert verify(lab.folder / "out").ok


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda _: None,
    "a line less": lambda data: data[data.index(b"\n") + 1 :],
    "another place": lambda data: data.replace(b'"place":', b'"place":1', 1),
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_verify_finds_a_file_that_is_not_the_one_written(lab: Any, name: str) -> None:
    lab.run(_bad(lab, 12), "out", on_error="skip")
    path = lab.folder / "out" / "skipped.jsonl"
    data = DAMAGE[name](path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    (finding,) = verify(lab.folder / "out").findings
    assert finding.path == "skipped.jsonl"


WRONG: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "out of order": lambda lines: lines[::-1],
    "twice": lambda lines: [lines[0], *lines[:-1]],
    "a line less": lambda lines: lines[1:],
    "another reason": lambda lines: [lines[0].replace(b'"encoding"', b'"Mood!"'), *lines[1:]],
    "other words": lambda lines: [lines[0].replace(b":", b": ", 1), *lines[1:]],
    "an input that is none": lambda lines: [*lines[:-1], lines[-1].replace(b'"input":2', b'"input":3')],
    "no object": lambda lines: [b"[]\n", *lines[1:]],
    "no JSON": lambda lines: [b"{\n", *lines[1:]],
    "numbers as text": lambda lines: [lines[0].replace(b'"input":0', b'"input":"0"'), *lines[1:]],
}


@pytest.mark.parametrize("name", WRONG)
def test_verify_holds_lines_to_the_page_though_their_digest_is_right(lab: Any, name: str) -> None:
    lab.run(_bad(lab, 12), "out", on_error="skip")
    path = lab.folder / "out" / "skipped.jsonl"
    before = path.read_bytes()
    data = b"".join(WRONG[name](before.splitlines(keepends=True)))
    assert data != before
    path.write_bytes(data)
    reseal(lab.folder / "out", lambda content: content["files"].update({"skipped.jsonl": describe_skipped(data)}))
    (finding,) = verify(lab.folder / "out").findings
    assert finding.path == "skipped.jsonl"
