"""`annotate`: what is found is what spaCy alone finds, the same bytes however often a run is stopped, and what is refused."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from annotating.conftest import TEXTS, read_lines, spacy, write_lines
from rows import write_rows

from spanmask.annotating import AnnotateConfig, annotate
from spanmask.annotating.parts import Parts, state_folder
from spanmask.annotating.record import record_path
from spanmask.errors import ConfigError, CorpusError, MismatchError, SpanmaskError


def _config(folder: Path, **options: Any) -> AnnotateConfig:
    return AnnotateConfig.of(**{"pipeline": f"spacy:{folder}", "spans": "entities", **options})


def _run(inputs: Any, out: Path, config: AnnotateConfig, **options: Any) -> Any:
    return annotate(inputs, out, config, jobs=1, **options)[0]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".arrow", ".csv"])
def test_what_is_found_is_what_spacy_alone_finds_and_what_a_record_had_is_kept(
    suffix: str, tmp_path: Path, rules: Path, literal: Callable[[str], list[list[int]]]
) -> None:
    rows = [{"id": f"d{number}", "text": text, "other": 1} for number, text in enumerate(TEXTS)]
    source = write_rows(tmp_path / f"texts{suffix}", rows)
    out = tmp_path / "out.jsonl.zst"
    annotated = _run([source], out, _config(rules, keep=["id"]))
    lines = read_lines(out)
    assert [(line["id"], line["text"]) for line in lines] == [(row["id"], row["text"]) for row in rows]
    assert [line["entities"] for line in lines] == [literal(text) for text in TEXTS]
    assert [*map(set, lines)] == [{"id", "text", "entities"}] * len(rows)
    assert sum(annotated.ranges.values()) == sum(len(line["entities"]) for line in lines) == 8
    assert annotated.omitted == {"CARDINAL": 1, "DATE": 1}
    assert (annotated.documents, annotated.without) == (len(TEXTS), 2)
    assert annotated.blank > 0


def test_offsets_are_code_points_of_the_text_and_ranges_have_no_white_space_around_them(
    tmp_path: Path, rules: Path
) -> None:
    out = tmp_path / "out.jsonl"
    _run([write_lines(tmp_path / "in.jsonl", TEXTS)], out, _config(rules))
    found = [[line["text"][start:end] for start, end in line["entities"]] for line in read_lines(out)]
    assert found[0] == ["Ada Lovelace", "Charles Babbage", "London"]
    assert found[1] == ["Ada Lovelace"]
    assert found[5] == ["Charles Babbage", "Ada Lovelace", "London"]


def test_plain_text_becomes_its_documents_without_the_blank_lines_between_them(tmp_path: Path, rules: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("Ada Lovelace\nspoke.\n\n\n \nLondon\n\n")
    out = tmp_path / "out.jsonl.gz"
    _run(source, out, _config(rules, into="names"))
    assert read_lines(out) == [
        {"text": "Ada Lovelace\nspoke.", "names": [[0, 12]]},
        {"text": "London", "names": [[0, 6]]},
    ]


@pytest.mark.slow
def test_noun_chunks_are_the_parsers(tmp_path: Path, phrases: Path) -> None:
    choose = random.Random(2)
    words = ["the", "a", "cat", "dog", "ball", "saw", "had", "big", "new", ".", "mat"]
    texts = [" ".join(choose.choices(words, k=choose.randint(0, 30))) for _ in range(20)]
    texts += ["the cat saw the black dog ."]
    out = tmp_path / "out.jsonl.zst"
    annotated = _run([write_lines(tmp_path / "in.jsonl", texts)], out, _config(phrases, spans="noun_chunks"))
    nlp = spacy.load(phrases)
    alone = [[[chunk.start_char, chunk.end_char] for chunk in nlp(text).noun_chunks] for text in texts]
    lines = read_lines(out)
    assert [line["noun_chunks"] for line in lines] == alone
    assert "the cat" in [lines[-1]["text"][start:end] for start, end in lines[-1]["noun_chunks"]]
    assert annotated.ranges == {"NP": sum(map(len, alone))}


def test_a_document_longer_than_the_pipeline_takes_is_cut_at_its_paragraphs_and_counted(
    tmp_path: Path, rules: Path, literal: Callable[[str], list[list[int]]]
) -> None:
    nlp = spacy.load(rules)
    nlp.max_length = 1200
    text = "\n\n".join(f"In London, {number} paragraphs on, Ada Lovelace spoke of 🙂." for number in range(90))
    source = write_lines(tmp_path / "in.jsonl", [text, "London"])
    out = tmp_path / "out.jsonl.zst"
    annotated = _run([source], out, _config(rules, max_characters=1000))
    first, second = read_lines(out)
    assert first["entities"] == literal(text)
    assert len(first["entities"]) == 180
    assert second["entities"] == [[0, 6]]
    assert (annotated.cut, annotated.cuts) == (1, {"paragraph": len(text) // 1000})


def test_fields_of_any_names_are_kept_beside_the_text(tmp_path: Path, rules: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"body": "In London", "text": "a title", "n": {"m": 3}}\n')
    out = tmp_path / "out.jsonl"
    config = _config(rules, text_field="body", keep=["text", "n.m"])
    _run([source], out, config)
    assert read_lines(out) == [{"text": "a title", "n.m": 3, "body": "In London", "entities": [[3, 9]]}]
    with pytest.raises(_StoppedError):
        _run([source], out, config, overwrite=True, on_progress=_stopping(1))
    state = source.stat()
    source.write_text(source.read_text().replace("a title", "A TITLE"))
    os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))
    _run([source], out, config, resume=True)
    assert read_lines(out)[0]["text"] == "A TITLE"


def test_labels_to_leave_out_are_those_asked_for_or_none(tmp_path: Path, rules: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", TEXTS)
    for omit, kept in (
        (("PERSON",), {"GPE", "DATE", "CARDINAL"}),
        (("none",), {"PERSON", "GPE", "DATE", "CARDINAL"}),
    ):
        annotated = _run([source], tmp_path / f"{omit[0]}.jsonl", _config(rules, omit=omit))
        assert set(annotated.ranges) == kept


def test_the_record_beside_says_what_was_annotated_with_what(tmp_path: Path, rules: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", TEXTS)
    out = tmp_path / "out.jsonl.zst"
    annotated = _run([source], out, _config(rules))
    known = json.loads(record_path(out).read_text())
    assert known == json.loads(json.dumps(annotated.to_json()))
    assert known["bytes"] == out.stat().st_size
    assert known["pipeline"]["spacy"] == spacy.__version__
    assert known["pipeline"]["components"] == ["entity_ruler"]
    assert known["pipeline"]["labels"] == ["CARDINAL", "DATE", "GPE", "PERSON"]
    assert [(item["name"], item["size"]) for item in known["inputs"]] == [("in.jsonl", source.stat().st_size)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_out.jsonl.zst.json", "in.jsonl", "out.jsonl.zst"]
    assert str(tmp_path) not in record_path(out).read_text()


# --- Going on


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A text of several units."""
    choose = random.Random(3)
    return write_lines(tmp_path / "long.jsonl", [choose.choice(TEXTS) * choose.randint(1, 9) for _ in range(60)])


class _StoppedError(Exception):
    """Ends a run where its progress is told, as a kill would."""


def _stopping(after: int) -> Callable[[int, int], None]:
    left = [after]

    def on_progress(_documents: int, _size: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise _StoppedError

    return on_progress


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["none", "flipped", "cut"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(damage: str, tmp_path: Path, rules: Path, long: Path) -> None:
    config, out = _config(rules, unit_bytes=1024, keep=["id"]), tmp_path / "out.jsonl.zst"
    _run([long], tmp_path / "whole.jsonl.zst", config)
    with pytest.raises(_StoppedError):
        _run([long], out, config, on_progress=_stopping(4))
    assert Parts(out).count() == 4
    assert not out.exists()
    part = state_folder(out) / "parts" / "00000001"
    data = bytearray(part.read_bytes())
    if damage == "flipped":
        data[-9] ^= 1
    part.write_bytes(data[:-20] if damage == "cut" else data)
    with pytest.raises(ConfigError, match="--resume"):
        _run([long], out, config)
    told: list[int] = []
    annotated = _run([long], out, config, resume=True, on_progress=lambda documents, _: told.append(documents))
    assert out.read_bytes() == (tmp_path / "whole.jsonl.zst").read_bytes()
    assert record_path(out).read_bytes() == record_path(tmp_path / "whole.jsonl.zst").read_bytes()
    assert told[-1] == annotated.documents == 60
    assert not state_folder(out).exists()
    before = out.stat()
    assert _run([long], out, config, resume=True) == annotated
    assert out.stat().st_mtime_ns == before.st_mtime_ns


def test_another_run_is_not_gone_on_with_unless_it_is_to_be_replaced(tmp_path: Path, rules: Path, long: Path) -> None:
    out = tmp_path / "out.jsonl.zst"
    with pytest.raises(_StoppedError):
        _run([long], out, _config(rules, unit_bytes=1024), on_progress=_stopping(2))
    other = _config(rules, unit_bytes=1024, omit=["GPE"])
    for resume in (False, True):
        with pytest.raises(MismatchError, match=r"another run was begun there \(other options\), and 2 units"):
            _run([long], out, other, resume=resume)
    _run([long], out, other, overwrite=True)
    with pytest.raises(ConfigError, match="something stands there"):
        _run([long], out, other)
    with pytest.raises(ConfigError, match="something stands there"):
        _run([long], out, _config(rules, unit_bytes=1024), resume=True)


def test_a_pipeline_that_was_changed_is_another_one(tmp_path: Path, long: Path) -> None:
    nlp = spacy.blank("xx")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "GPE", "pattern": "London"}])
    nlp.to_disk(tmp_path / "mine")
    out, config = tmp_path / "out.jsonl", _config(tmp_path / "mine", unit_bytes=1024)
    with pytest.raises(_StoppedError):
        _run([long], out, config, on_progress=_stopping(2))
    nlp.get_pipe("entity_ruler").add_patterns([{"label": "GPE", "pattern": "Nobody"}])
    nlp.to_disk(tmp_path / "mine")
    with pytest.raises(MismatchError, match="other pipeline"):
        _run([long], out, config, resume=True)


def test_a_text_that_changed_is_annotated_anew(tmp_path: Path, rules: Path, long: Path) -> None:
    out, config = tmp_path / "out.jsonl", _config(rules, unit_bytes=1024)
    with pytest.raises(_StoppedError):
        _run([long], out, config, on_progress=_stopping(2))
    state = long.stat()
    long.write_text(long.read_text().replace("London", "Berlin"))
    os.utime(long, ns=(state.st_atime_ns, state.st_mtime_ns))
    _run([long], out, config, resume=True)
    assert "London" not in out.read_text()


# --- What is refused


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pipeline": "nltk:x"}, "give spacy:MODEL"),
        ({"pipeline": "spacy:en_nowhere_sm"}, "python -m spacy download en_nowhere_sm"),
        ({"pipeline": "spacy:blank:en"}, "no component of it finds entities .*it has none"),
        ({"spans": "noun_chunks"}, r"no component of it finds noun_chunks \(parser.*it has entity_ruler"),
        ({"omit": ["PERSN"]}, "no label 'PERSN'; did you mean 'PERSON'"),
        ({"disable": ["entity_rulr"]}, "no component 'entity_rulr'; did you mean 'entity_ruler'"),
        ({"disable": ["entity_ruler"]}, "no component of it finds entities"),
        ({"spans": "noun_chunks", "omit": ["GPE"]}, "omit goes with spans entities"),
        ({"into": "text"}, "into is 'text'"),
        ({"spans_field": "x"}, "spans_field is given"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    options: dict[str, Any], told: str, tmp_path: Path, rules: Path
) -> None:
    source = write_lines(tmp_path / "in.jsonl", TEXTS)
    with pytest.raises(ConfigError, match=told):
        _run([source], tmp_path / "out.jsonl", _config(rules, **options))
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_pipeline_that_spacy_cannot_load_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.cfg").write_text("[nlp]\nlang = 5\n")
    with pytest.raises(ConfigError, match=r"broken: spaCy .* cannot load it"):
        _run([], tmp_path / "out.jsonl", _config(tmp_path / "broken"))


def test_places_and_inputs_that_cannot_be_used_are_refused(tmp_path: Path, rules: Path) -> None:
    source, config = write_lines(tmp_path / "in.jsonl", TEXTS), _config(rules)
    with pytest.raises(ConfigError, match=r"ends in \.jsonl"):
        _run([source], tmp_path / "out.parquet", config)
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ConfigError, match="a folder or a link"):
        _run([source], tmp_path / "folder.jsonl", config)
    with pytest.raises(ConfigError, match="an input, and the file to be written"):
        _run([source], source, config, overwrite=True)
    (tmp_path / "in.txt").write_text("London\n")
    with pytest.raises(ConfigError, match="plain text has no field 'id'"):
        _run([tmp_path / "in.txt"], tmp_path / "out.jsonl", _config(rules, keep=["id"]))
    source.write_text('{"text": "London"}\n{"text": 5}\n')
    with pytest.raises(CorpusError, match=r"in\.jsonl:2: "):
        _run([source], tmp_path / "out.jsonl", config)
    assert not state_folder(tmp_path / "out.jsonl").exists()
    annotated = _run([source], tmp_path / "out.jsonl", _config(rules, on_error="skip"))
    assert (annotated.documents, annotated.documents_skipped) == (1, 1)


def test_a_pipeline_that_fails_is_told_with_the_document_and_what_was_done_stays(
    tmp_path: Path, rules: Path, long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spacy.pipeline import EntityRuler

    call, left = EntityRuler.__call__, [3]

    def failing(self: Any, doc: Any) -> Any:
        left[0] -= len(doc) > 40
        if left[0] < 0:
            raise ValueError("out of rules")
        return call(self, doc)

    out, config = tmp_path / "out.jsonl", _config(rules, unit_bytes=1024)
    monkeypatch.setattr(EntityRuler, "__call__", failing)
    with pytest.raises(
        SpanmaskError, match=r"long\.jsonl, from the document at [\d,]+ on: .*failed \(ValueError: out of rules"
    ):
        _run([long], out, config)
    done = Parts(out).count()
    assert done
    monkeypatch.undo()
    assert _run([long], out, config, resume=True).documents == 60


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path, rules: Path, long: Path) -> None:
    out, config = tmp_path / "out.jsonl", _config(rules, unit_bytes=1024)
    with pytest.raises(_StoppedError):
        _run([long], out, config, on_progress=_stopping(2))
    out.write_text("somebody's\n")
    with pytest.raises(ConfigError, match="a file has come there"):
        _run([long], out, config, resume=True)
    assert out.read_text() == "somebody's\n"
    out.unlink()
    assert _run([long], out, config, resume=True).documents == 60
