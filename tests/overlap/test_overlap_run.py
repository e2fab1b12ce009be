"""`find_overlap` and `spanmask overlap`: documents found, lists that leave them out, the same for any number of jobs."""

from __future__ import annotations

import json
import os
import random
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from oracle import shared_ngrams
from rows import write_rows

import spanmask
from spanmask.config import CorpusConfig
from spanmask.errors import ConfigError, CorpusError
from spanmask.overlap.config import OverlapConfig
from spanmask.overlap.run import Overlap, find_overlap

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
_WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "nobody",
    "told",
    "it",
    "to",
    "go",
    "Ω",
    "naïve",
    "re-read",
    "“so”",
    "1907",
]


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Any]:
    """A corpus of which some documents quote an evaluation file."""
    choose = random.Random(3)
    texts = [" ".join(choose.choices(_WORDS, k=choose.randint(3, 60))) for _ in range(40)]
    passages = [" ".join(choose.choices(_WORDS, k=30)) for _ in range(6)]
    for number, passage in zip((3, 8, 8, 21), passages, strict=False):
        texts[number] = f"{texts[number]} {passage.upper()}"
    evaluation = tmp_path / "dev.json"
    evaluation.write_text(json.dumps({"data": [{"paragraphs": [{"context": passage} for passage in passages]}]}))
    rows = [{"id": 100 + number, "text": text} for number, text in enumerate(texts)]
    return {"rows": rows, "passages": passages, "evaluation": evaluation, "folder": tmp_path}


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".arrow", ".csv"])
def test_documents_found_are_those_of_the_literal_twin_and_their_list_leaves_out_just_them(
    written: dict[str, Any], suffix: str
) -> None:
    path = write_rows(written["folder"] / f"rows{suffix}", written["rows"])
    config = OverlapConfig(n=8)
    found = find_overlap(written["evaluation"], path, config, id_field="id", jobs=1)
    expected = {row["id"]: shared_ngrams(row["text"], written["passages"], 8) for row in written["rows"]}
    assert {int(one.id or 0): (one.ngrams, one.texts) for one in found.found} == {
        key: counts for key, counts in expected.items() if counts[0]
    }
    assert len(found.ids) >= 3
    listed = written["folder"] / "ids.txt"
    listed.write_text("\n".join(found.ids))
    out = spanmask.PreshardConfig.of(seed=1, min_tokens=1, keep=("id",), exclude=(f"id={listed}",))
    spanmask.preshard(path, written["folder"] / "out", out, jobs=1)
    left = {int(row.kept["id"]) for row in spanmask.open(written["folder"] / "out")}
    assert left == {key for key, counts in expected.items() if not counts[0]}


def test_the_least_is_counted_for_each_evaluation_file(written: dict[str, Any]) -> None:
    path = write_rows(written["folder"] / "rows.jsonl", written["rows"])
    other = written["folder"] / "other.txt"
    other.write_text("\n\n".join(written["passages"][:1]))
    every = find_overlap([written["evaluation"], other], path, OverlapConfig(n=8), jobs=1)
    counts = sorted(one.ngrams for one in every.found)
    some = find_overlap([written["evaluation"], other], path, OverlapConfig(n=8, least=counts[2]), jobs=1)
    assert some.found == tuple(one for one in every.found if one.ngrams >= counts[2])
    assert {one.evaluation for one in every.found} == {"dev.json", "other.txt"}
    assert all(one.id is None for one in every.found)
    rows = path.read_bytes().split(b"\n")
    places = [len(b"\n".join([*rows[:number], b""])) for number in range(len(rows))]
    assert {one.place for one in every.found} <= set(places)


@pytest.mark.slow
def test_any_number_of_jobs_finds_the_same_in_the_same_order(
    written: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanmask.overlap.run._PART_BYTES", 500)
    paths = [write_rows(written["folder"] / f"{k}.jsonl", written["rows"][k::3]) for k in range(3)]
    one, two = (
        find_overlap(written["evaluation"], paths, OverlapConfig(n=6), id_field="id", jobs=jobs) for jobs in (1, 3)
    )
    assert one == two
    assert [one.id for one in one.found] == ["103", "121", "108"]
    assert one.documents == 40


def _found(text: str, row: dict[str, Any], folder: Path, field: str | None = "id", **options: Any) -> Overlap:
    (folder / "eval.txt").write_text("the cat sat on")
    path = write_rows(folder / "rows.jsonl", [{"id": "fine", "text": "other"}, {**row, "text": text}])
    return find_overlap(folder / "eval.txt", path, OverlapConfig(n=3, **options), id_field=field, jobs=1)


@pytest.mark.parametrize("value", [None, "", " x", "x\n", "a\nb", "\u2003x", "\ufeffx"])
def test_a_document_that_no_list_can_name_is_told_only_where_it_would_have_to(
    tmp_path: Path, value: str | None
) -> None:
    with pytest.raises(CorpusError, match=r"rows\.jsonl: the document at \d+ is one to leave out, and its id is"):
        _found("the cat sat", {"id": value}, tmp_path)
    assert _found("the dog sat", {"id": value}, tmp_path).found == ()
    assert len(_found("the cat sat", {"id": value}, tmp_path, field=None).found) == 1


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    for wrong in ({"n": 0}, {"n": 10_000}, {"least": 0}, {"n": "x"}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is "):
            OverlapConfig.of(**wrong)
    with pytest.raises(CorpusError, match="no field 'url'"):
        _found("x", {"id": "a"}, tmp_path, field="url")
    with pytest.raises(ConfigError, match=r"no text of the evaluation files has 9 words; give a smaller n"):
        find_overlap(tmp_path / "eval.txt", tmp_path / "rows.jsonl", OverlapConfig(n=9), jobs=1)
    with pytest.raises(ConfigError, match="jobs is 0"):
        find_overlap(tmp_path / "eval.txt", tmp_path / "rows.jsonl", jobs=0)
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "the cat sat"}\n{"text": 3}\n')
    with pytest.raises(CorpusError, match=r"bad\.jsonl:2"):
        find_overlap(tmp_path / "eval.txt", path, OverlapConfig(n=2), jobs=1)
    skipping = OverlapConfig(n=2, corpus=CorpusConfig(on_error="skip"))
    found = find_overlap(tmp_path / "eval.txt", path, skipping, jobs=1)
    assert (found.documents, found.skipped, len(found.found)) == (1, 1, 1)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the data in {SHARED}, which is not there")
def test_shared_prose_overlaps_as_its_own_list_says(tmp_path: Path, tell: Any) -> None:
    """All that the list says of files that are there, counts included: passages of SQuAD's layout, and LitBank's documents."""
    prose = sorted((SHARED / "prose").glob("*.jsonl.zst"))
    with tarfile.open(SHARED / "coref" / "litbank_coref_conll.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    squads = {
        "squad_dev_v1.1": "squad_dev_v1.1.rebuilt.json",
        "squad_dev_v2.0": "squad_dev_v2.0.rebuilt.json",
        "squadshifts_new_wiki": "squadshifts_new_wiki_v1.0.json",
    }
    listed = json.loads((SHARED / "prose" / "eval_overlap.json").read_text())
    here = [one for one in listed if one["file"] in {path.name for path in prose}]
    of = {(one["file"], one["id"], one["eval"]): (one["shared_13grams"], one["eval_items"]) for one in here}

    config = OverlapConfig(least=5, eval_field=("context",))
    found = find_overlap([SHARED / "qa" / name for name in squads.values()], prose, config, id_field="id")
    names = {name: key for key, name in squads.items()}
    assert {
        (os.path.basename(one.file), one.id, names[one.evaluation]): (one.ngrams, one.texts) for one in found.found
    } == {key: counts for key, counts in of.items() if key[2] in squads}

    coref = find_overlap(tmp_path, prose, OverlapConfig(least=5), id_field="id")
    summed: Counter[tuple[str, str | None, str]] = Counter()
    for one in coref.found:
        summed[os.path.basename(one.file), one.id, "litbank_coref"] += one.ngrams
    assert summed == {key: counts[0] for key, counts in of.items() if key[2] == "litbank_coref"}
    tell(
        f"{len(of):,} entries of the list; {len(found.found) + len(summed):,} found, in {found.text_bytes / 1e6:,.0f} MB"
    )
