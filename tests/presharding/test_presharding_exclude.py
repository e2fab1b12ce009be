"""Documents left out by a field: the rest of the corpus as it is, counted, under the digest of the list."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from rows import write_rows

import spanmask
from spanmask import verify
from spanmask.errors import ConfigError, CorpusError, MismatchError
from spanmask.presharding import locations
from spanmask.presharding.comparing import verify_source


def _written(lab: Any, suffix: str) -> Path:
    rows = [
        {"id": 100 + n, "text": text}
        for n, text in enumerate(lab.text(count=30).read_text().rstrip("\n").split("\n\n"))
    ]
    return write_rows(lab.folder / f"rows{suffix}", rows)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".csv"])
def test_listed_documents_are_left_out_counted_and_nothing_else_moves(lab: Any, suffix: str) -> None:
    path = _written(lab, suffix)
    taken = lab.folder / "taken.txt"
    taken.write_text("\ufeff103\r\n\n 117 \n9999\n")
    lab.run(path, "all", keep=("id",))
    manifest = lab.run(path, "some", keep=("id",), exclude=(f"id={taken}",))
    counts = manifest.conservation
    assert (counts["documents_in"], counts["documents_excluded"], counts["documents_skipped"]) == (30, 2, 0)
    assert manifest.config.corpus.exclude == (f"id=taken.txt#sha256:{hashlib.sha256(taken.read_bytes()).hexdigest()}",)
    kept = [(int(row.kept["id"]), row.document_id, row.input_ids.tolist()) for row in spanmask.open(lab.folder / "all")]
    left = [
        (int(row.kept["id"]), row.document_id, row.input_ids.tolist()) for row in spanmask.open(lab.folder / "some")
    ]
    assert left == [row for row in kept if row[0] not in (103, 117)]
    assert verify(lab.folder / "some").ok
    assert verify_source(lab.folder / "some") == []
    lab.run(path, "two", keep=("id",), exclude=(f"id={taken}",), jobs=2)
    assert lab.tree("two") == lab.tree("some")
    assert str(lab.folder).encode() not in b"".join(lab.tree("some").values())


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".csv"])
@pytest.mark.parametrize("keep", [(), ("id",)])
def test_unigrams_are_counted_in_what_is_left(lab: Any, suffix: str, keep: tuple[str, ...]) -> None:
    taken = lab.folder / "taken.txt"
    taken.write_text("".join(f"{number}\n" for number in range(101, 130)))
    path = _written(lab, suffix)
    all_counts = lab.run(path, "all", keep=keep, sampler="reference").unigram
    counts = lab.run(path, "one", keep=keep, sampler="reference", exclude=(f"id={taken}",)).unigram
    assert 0 < sum(counts) < sum(all_counts) / 5


def test_another_list_is_another_dataset_and_the_same_one_nothing_to_do(lab: Any) -> None:
    path, taken = _written(lab, ".jsonl"), lab.folder / "taken.txt"
    taken.write_text("103\n")
    first = lab.run(path, "out", exclude=(f"id={taken}",))
    assert lab.run(path, "out", exclude=(f"id={taken}",)).digest == first.digest
    taken.write_text("104\n")
    with pytest.raises(MismatchError, match="exclude: "):
        lab.run(path, "out", exclude=(f"id={taken}",))
    with pytest.raises(ConfigError, match="not the list that the dataset was made without"):
        verify_source(lab.folder / "out")


@pytest.mark.parametrize(
    ("name", "remembered"),
    [
        ("taken.txt", None),
        ("taken#1.txt", None),
        ("#", None),
        ("taken.txt", b"5"),
        ("taken.txt", b"{"),
        ("taken.txt", b'["a", "b"]'),
        ("taken.txt", b"[" * 100_000),
    ],
)
def test_a_list_is_found_here_where_its_place_is_not_remembered(
    lab: Any, name: str, remembered: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locations, "user_cache_folder", lambda: lab.folder / "cache")
    (lab.folder / name).write_text("103\n")
    lab.run(_written(lab, ".jsonl"), "out", exclude=(f"id={lab.folder / name}",))
    lab.run(lab.folder / "rows.jsonl", "all")
    [record] = (lab.folder / "cache").rglob("*.lists.json")
    record.unlink() if remembered is None else record.write_bytes(remembered)
    monkeypatch.chdir(lab.folder)
    assert verify_source("out", jobs=1) == []


def test_texts_themselves_may_be_listed(lab: Any) -> None:
    path = lab.jsonl(
        [{"text": "the cat sat on the mat again"}, {"text": "an evaluation text of some words"}, {"text": None}]
    )
    taken = lab.folder / "texts.txt"
    taken.write_text("an evaluation text of some words\n")
    counts = lab.run(path, "out", exclude=(f"text={taken}",), on_error="skip").conservation
    assert (counts["documents_in"], counts["documents_excluded"], counts["documents_skipped"]) == (3, 1, 1)


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ("100\n101\n102\n", "of 3 documents (0 skipped, 3 excluded, 0 empty, the rest shorter than 8 tokens)"),
        ("102\n101\n", "of 3 documents (0 skipped, 2 excluded, 0 empty, the rest shorter than 8 tokens)"),
        ("9\n", "of 3 documents (0 skipped, 0 excluded, 0 empty, the rest shorter than 8 tokens)"),
        (None, "of 3 documents (0 skipped, 0 empty, the rest shorter than 8 tokens)"),
    ],
)
def test_excluded_documents_are_told_where_nothing_is_left(lab: Any, listed: str | None, told: str) -> None:
    path = lab.jsonl([{"id": 100 + number, "text": "too short"} for number in range(3)])
    (lab.folder / "f.txt").write_text(listed or "")
    with pytest.raises(CorpusError) as caught:
        lab.run(path, "out", exclude=() if listed is None else (f"id={lab.folder / 'f.txt'}",))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "content"), [(".jsonl", ""), (".json", ""), (".csv", ""), (".tsv", ""), (".jsonl", " \n")]
)
def test_empty_inputs_are_told_as_that(lab: Any, suffix: str, content: str) -> None:
    path = lab.folder / f"empty{suffix}"
    path.write_text(content)
    (lab.folder / "f.txt").write_text("a text")
    with pytest.raises(CorpusError, match="every input is empty"):
        lab.run(path, "out", exclude=(f"text={lab.folder / 'f.txt'}",))


@pytest.mark.parametrize(
    ("given", "content", "error", "message"),
    [
        ("id", "1", ConfigError, "give FIELD=FILE"),
        ("=f.txt", "1", ConfigError, "give FIELD=FILE"),
        ("id=", "1", ConfigError, "give FIELD=FILE"),
        ("id=absent.txt", "1", ConfigError, "absent.txt"),
        ("id={}", "\n \n", ConfigError, "no value to exclude"),
        ("id={}", b"\xff", CorpusError, "not UTF-8"),
        ("ident={}", "1", CorpusError, "no field 'ident'; fields of the first document: 'id', 'text'"),
    ],
)
def test_a_list_that_cannot_be_used_is_told(lab: Any, given: str, content: Any, error: Any, message: str) -> None:
    taken = lab.folder / "f.txt"
    taken.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=message):
        lab.run(_written(lab, ".jsonl"), "out", exclude=(given.format(taken),))


@pytest.mark.parametrize("field", ["id", "text", "body"])
@pytest.mark.parametrize("layout", ["sentences", "documents", "file"])
def test_plain_text_has_no_field_to_exclude_by(lab: Any, field: str, layout: str) -> None:
    (lab.folder / "f.txt").write_text("1")
    with pytest.raises(ConfigError, match=f"plain text has no field '{field}'"):
        lab.run(lab.text(), "out", exclude=(f"{field}={lab.folder / 'f.txt'}",), layout=layout)
