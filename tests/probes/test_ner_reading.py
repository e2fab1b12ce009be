"""Tagged sentences, read: schemes, faults, files that are none, and the real ones."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanmask.config import OnError
from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.ner import TagScheme, most_frequent_tags, read_tagged
from spanmask.probes.ner.tags import scheme_of, tags_of
from spanmask.probes.scores.ner import Span, span_scores, spans_of

SPANS = Path(__file__).resolve().parents[3] / "shared" / "data" / "spans"
needs_spans = pytest.mark.skipif(not SPANS.is_dir(), reason=f"needs the tagged texts in {SPANS}, which are not there")
SCHEMES = [TagScheme.IOB1, TagScheme.IOB2, TagScheme.IOBES]


def write(path: Path, *sentences: str) -> Path:
    """Write sentences of tags, the words being w0, w1 and so on."""
    held = ["".join(f"w{place} {tag}\n" for place, tag in enumerate(tags.split())) for tags in sentences]
    path.write_text("\n".join(held), "utf-8")
    return path


# --- Schemes


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        (TagScheme.IOB1, "I-X I-X B-X O I-Y I-X O"),
        (TagScheme.IOB2, "B-X I-X B-X O B-Y B-X O"),
        (TagScheme.IOBES, "B-X E-X S-X O S-Y S-X O"),
    ],
)
def test_schemes_are_told_apart_and_become_iob2(scheme: TagScheme, tags: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", tags, "O O")
    for asked in (TagScheme.AUTO, scheme):
        read = read_tagged(path, asked)
        assert (read.scheme, read.irregular, read.kinds) == (scheme, 0, {"X", "Y"})
        assert [" ".join(sentence.tags) for sentence in read.sentences] == ["B-X I-X B-X O B-Y B-X O", "O O"]


@st.composite
def spans_and_size(draw: st.DrawFn) -> tuple[list[Span], int]:
    """Spans that may touch, and the words of their sentence."""
    spans: list[Span] = []
    at = 0
    for gap, length, kind in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["A", "B-c"])))
    ):
        spans.append((kind, at + gap, at + gap + length - 1))
        at += gap + length
    return spans, at + draw(st.integers(0, 2))


@given(spans_and_size(), st.sampled_from(SCHEMES))
def test_spans_written_in_any_scheme_are_read_as_they_were(held: tuple[list[Span], int], scheme: TagScheme) -> None:
    spans, words = held
    tags = tags_of(spans, words, scheme)
    assert len(tags) == words
    assert spans_of(tags) == spans
    assert scheme_of([tags])[1] == 0


def test_tags_that_a_scheme_has_otherwise_are_read_as_they_score_and_counted(tmp_path: Path) -> None:
    """I behind O is no IOB2: it begins a span, as it does where it is scored."""
    path = write(tmp_path / "a.conll", "O I-X I-X O B-X I-X", "B-X O B-Y I-X")
    read = read_tagged(path)
    assert (read.scheme, read.irregular) == (TagScheme.IOB2, 2)
    assert [" ".join(sentence.tags) for sentence in read.sentences] == ["O B-X I-X O B-X I-X", "B-X O B-Y B-X"]
    assert read_tagged(path, TagScheme.IOB1).irregular == 3
    assert read_tagged(path, TagScheme.IOBES).irregular == 6


# --- Faults


@pytest.mark.parametrize(
    ("fault", "line", "told"),
    [
        ("b O O", "3 columns in 'b O O', where most lines have 2", {"columns": 1}),
        ("b", "1 columns in 'b'", {"columns": 1}),
        ("New York O", "3 columns in 'New York O'", {"columns": 1}),
        ("b PER", "the tag 'PER', expected O or one of B-TYPE", {"tag": 1}),
        ("b IPER", "the tag 'IPER'", {"tag": 1}),
    ],
)
def test_a_faulty_sentence_ends_reading_or_is_left_out_and_counted(
    fault: str, line: str, told: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "a.conll"
    path.write_text(f"a O\n\na B-X\n{fault}\nc O\n\nd B-X\n", "utf-8")
    with pytest.raises(CorpusError, match=line) as caught:
        read_tagged(path)
    assert caught.value.line == 4
    assert "--on-error skip" in str(caught.value)
    read = read_tagged(path, on_error=OnError.SKIP)
    assert [sentence.words for sentence in read.sentences] == [("a",), ("d",)]
    assert [sentence.line for sentence in read.sentences] == [1, 7]
    assert {str(kind): count for kind, count in read.left_out.items()} == told


def test_what_a_scheme_that_was_asked_for_does_not_have_is_a_fault(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "B-X E-X", "O O")
    assert read_tagged(path).scheme is TagScheme.IOBES
    with pytest.raises(CorpusError, match="the tag 'E-X', expected O or one of B-TYPE, I-TYPE"):
        read_tagged(path, TagScheme.IOB2)
    assert len(read_tagged(path, TagScheme.IOB2, OnError.SKIP).sentences) == 1


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (b"", ConfigError, "no words, expected a word a line"),
        (b" \n\t\n-DOCSTART- -X- O\n\n", ConfigError, "no words"),
        (b"a\nb\n\nc\n", ConfigError, "one column a line"),
        (b"a O\nb \xff\n", CorpusError, "no UTF-8 at byte 6"),
        (b"\xff\xfea\0 \0O\0\n\0", CorpusError, "no UTF-8 at byte 0"),
        (b"a X\n", CorpusError, "the tag 'X'"),
        (gzip.compress(b"a O\n" * 9999, mtime=0)[:-20], CorpusError, "a.conll"),
    ],
)
def test_files_that_are_none_are_refused(content: bytes, error: Any, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(content)
    with pytest.raises(error, match=told):
        read_tagged(path)


def test_a_file_of_which_nothing_is_left_is_refused_with_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("a X\n\nb Y\nc O O\n", "utf-8")
    with pytest.raises(ConfigError, match=r"no sentence is left of it \(tag: 2\)"):
        read_tagged(path, on_error=OnError.SKIP)
    with pytest.raises(ConfigError, match="no such file"):
        read_tagged(tmp_path / "none.conll")


def test_marks_of_documents_tabs_and_compression_change_nothing(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.conll", "B-X O", "O B-X")
    text = plain.read_text("utf-8")
    other = tmp_path / "b.conll"
    other.write_bytes(gzip.compress(("-DOCSTART- O\n\n" + text.replace(" ", "\tNN\t")).replace("\n", "\r\n").encode()))
    found = [[(one.words, one.tags) for one in read_tagged(path).sentences] for path in (plain, other)]
    assert found[0] == found[1]


# --- The floor


def test_each_word_has_its_most_frequent_tag_of_training(tmp_path: Path) -> None:
    """w0 is B-X twice of three; of w1's two tags, once each, the first counts; w2 is not in training."""
    train = read_tagged(write(tmp_path / "train.conll", "B-X I-X", "O O", "B-X"))
    dev = read_tagged(write(tmp_path / "dev.conll", "O O O", "B-X"))
    guessed = most_frequent_tags(train.sentences, dev.sentences)
    assert guessed == [["B-X", "I-X", "O"], ["B-X"]]
    assert span_scores([one.tags for one in dev.sentences], guessed)["precision"] == 0.5


# --- Real files


@pytest.mark.data
@needs_spans
@pytest.mark.parametrize(
    ("name", "scheme", "sentences"),
    [
        # 145 documents with a -DOCSTART- line; and lines of a tab alone between sentences.
        ("wikigold.conll.txt", TagScheme.IOB1, 1696),
        ("wnut17_wnut17train.conll", TagScheme.IOB2, 3394),
        ("wnut17_emerging.dev.conll", TagScheme.IOB2, 1009),
        ("wnut17_emerging.test.annotated", TagScheme.IOB2, 1287),
    ],
)
def test_real_files_are_read_whole(name: str, scheme: TagScheme, sentences: int) -> None:
    read = read_tagged(SPANS / name)
    assert (read.scheme, read.irregular, len(read.sentences), read.left_out) == (scheme, 0, sentences, {})
    assert all(word and not set(word) & {" ", "\t", "\r"} for one in read.sentences for word in one.words)


@pytest.mark.data
@needs_spans
def test_the_floor_of_wnut_is_low_for_its_names_are_new() -> None:
    train, dev = (
        read_tagged(SPANS / name).sentences for name in ("wnut17_wnut17train.conll", "wnut17_emerging.dev.conll")
    )
    figures = span_scores([one.tags for one in dev], most_frequent_tags(train, dev))
    assert 0.05 < figures["f1"] < 0.15
    assert span_scores([one.tags for one in dev], [["O"] * len(one.tags) for one in dev])["f1"] == 0
