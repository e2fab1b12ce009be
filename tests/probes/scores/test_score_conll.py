"""Files of CoNLL-2012: read as the official scorer reads them, refused where they break the format, and written."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import plant
from strategies import partitions

from spanmask.errors import ConfigError, CorpusError, SpanmaskError
from spanmask.probes.scores import conll, coref
from spanmask.probes.scores.conll import read_conll, write_conll

Mentions = list[list[tuple[int, int]]]

#: The last column of a document's tokens, and its entities: in the order of what opens first on a line, single tokens before others.
READ: dict[str, tuple[str, Mentions]] = {
    "none": ("- _ * -", []),
    "one token": ("- (1) - -", [[(1, 1)]]),
    "several tokens": ("(1 - 1) (2)", [[(0, 2)], [(3, 3)]]),
    "one within another": ("(1 (2 2) 1)", [[(0, 3)], [(1, 2)]]),
    "crossing": ("(1 (2 1) 2)", [[(0, 2)], [(1, 3)]]),
    "several on a line": ("(1|(2 - 2)|1) -", [[(0, 2)], [(0, 2)]]),
    "without anything between": ("(1(2 - 2)1)(3) -", [[(0, 2)], [(0, 2)], [(2, 2)]]),
    "a single token before what opens beside it": ("(2|(1) 2) - -", [[(0, 0)], [(0, 1)]]),
    "an entity within itself": ("(1 (1 1) 1)", [[(1, 2), (0, 3)]]),
    "what closes is the newest": ("(1 (1 - 1)|1)", [[(1, 3), (0, 3)]]),
    "what opens is opened before the line closes": ("(1 1)|(1 1) -", [[(1, 1), (0, 2)]]),
    "names are not numbers": ("(01 (1 1) 01)", [[(0, 3)], [(1, 2)]]),
    "a mention again": ("(1|(2 - 2)|1) -", [[(0, 2)], [(0, 2)]]),
}


def document(cells: str, name: str = "(d); part 000") -> str:
    lines = (f"d\t0\t{number}\tword\t{cell}" for number, cell in enumerate(cells.split()))
    return "\n".join([f"#begin document {name}", *lines, "", "#end document", ""])


def read(text: str | bytes, *, on_error: str = "fail") -> dict[str, conll.Document]:
    data = text if isinstance(text, bytes) else text.encode()
    return dict(conll._documents(data, "x.conll", skip=on_error == "skip"))


def check(cells: str, expected: Mentions) -> None:
    found = read(document(cells))["(d); part 000"]
    assert (found.tokens, found.entities) == (len(cells.split()), expected)


@pytest.mark.parametrize(("cells", "expected"), READ.values(), ids=READ)
def test_brackets_are_paired_as_the_official_scorer_does(cells: str, expected: Mentions) -> None:
    check(cells, expected)


def _check_all() -> None:
    for cells, expected in READ.values():
        check(cells, expected)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.open[name].pop()[0]", "self.open[name].pop(0)[0]"),
        ("return 0 if opens and closes else 1 if opens else 2", "return 0"),
        ("return 0 if opens and closes else 1 if opens else 2", "return 0 if opens and closes else 1 if closes else 2"),
        ("return 0 if opens and closes else 1 if opens else 2", "return 2 if opens and closes else 0 if opens else 1"),
        ("self.entities.setdefault(name, [])\n", "pass\n"),
        ("tokens += 1", "tokens += bool(brackets.entities)"),
    ],
)
def test_the_cases_catch_a_planted_wrong(old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, conll, old, new)
    with pytest.raises((AssertionError, CorpusError, KeyError)):
        _check_all()


LINES = """#begin document (d); part 000\nd\t0\t0\tone\t(1)\nd\t0\t1\ttwo\t-\n\nd\t0\t2\t(7)\t(1)\n#end document\n"""
AS_LINES = [[(0, 0), (2, 2)]]


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        LINES.replace("\n", "\r\n"),
        "\ufeff" + LINES,
        "\n \t\n" + LINES,
        LINES.replace("\t", "   "),
        LINES.replace("\t-\n", "\t\n"),
        LINES.replace("\t-\n", "\t_\t\n"),
        LINES.replace("\t(1)\n", "\t(1)\t\n"),
        LINES.replace("\n\n", "\n# a comment (1)\n\n"),
        "# made by hand\n" + LINES,
        LINES.replace("two", "#").replace("d\t0\t1\t", ""),
        LINES.replace("#begin", "# begin").replace("#end document", "# end document "),
        LINES.replace("d\t0\t", "").replace("one", "ﬁ\u00a0ne"),
        LINES.removesuffix("\n"),
    ],
)
def test_layouts_of_one_document_are_read_alike(text: str) -> None:
    found = read(text)["(d); part 000"]
    assert (found.tokens, found.entities, found.unpaired) == (3, AS_LINES, 0)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        (document("(1 -"), 2, r"\(1 is not closed in its document"),
        (document("(1 (1 1)"), 2, r"\(1 is not closed"),
        (document("- 1)"), 3, r"1\) closes what nothing opened; .*--on-error skip"),
        (document("(1 2)"), 3, r"2\) closes what nothing opened"),
        (document("(1 01)"), 3, r"01\) closes what nothing opened"),
        (
            document("- (1-person"),
            3,
            r"found '\(1-person' in the last column, expected mentions as in \(3, 3\) and \(3\)",
        ),
        (document("one"), 2, "found 'one' in the last column"),
        (document("(1)||(2)"), 2, "in the last column"),
        (document("(1)|"), 2, "in the last column"),
        (document("()"), 2, "in the last column"),
        (document("(१)"), 2, "in the last column"),
        (document("(1)" + "x" * 90), 2, "found '.{40}' in the last column"),
        ("d\t0\t0\tone\t-\n" + LINES, 1, r"'d\\t0.*' stands in no document, expected '#begin document NAME' before it"),
        (LINES + "d\t0\t0\tone\t-\n", 7, "stands in no document"),
        (LINES + "#end document\n", 7, "stands in no document"),
        (LINES.replace("#end document\n", ""), 1, "has no '#end document'; the file may be cut off"),
        (
            LINES.replace("#end document\n", LINES),
            6,
            "a document begins in another, expected '#end document' before it",
        ),
    ],
)
def test_what_breaks_the_format_is_told_by_its_line(text: str | bytes, line: int, told: str) -> None:
    with pytest.raises(CorpusError, match=told) as error:
        read(text)
    assert (error.value.path, error.value.line) == ("x.conll", line)


def test_brackets_without_their_other_half_are_left_out_where_asked() -> None:
    found = read(document("(1 2)|(3) 1)|1) (4"), on_error="skip")["(d); part 000"]
    assert (found.entities, found.unpaired) == ([[(0, 2)], [(1, 1)]], 3)


# --- Where files lie


def _packed(folder: Path, way: str, files: dict[str, str]) -> Path:
    """Lay files out in a way; return what to read."""
    folder.mkdir(exist_ok=True)
    if way == "tar.gz":
        with tarfile.open(folder / "all.tar.gz", "w:gz") as archive:
            for name, text in files.items():
                member = tarfile.TarInfo(f"./top/{name}")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        return folder / "all.tar.gz"
    for name, text in files.items():
        path = folder / "below" / (f"{name}.gz" if way == "gz" else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if way == "gz" else text.encode())
    return folder / "below"


@pytest.mark.parametrize("way", ["plain", "gz", "tar.gz"])
def test_folders_and_archives_hold_the_same_documents(tmp_path: Path, way: str) -> None:
    """Documents without a name, as OntoGUM's, are called as their files are."""
    unnamed = document("(1)").replace("#begin document (d); part 000", "# begin document ")
    named = {"b/x.v4_gold_conll": document("(1)"), "b/y.conll": unnamed, "a/y.conll": unnamed}
    found = read_conll(_packed(tmp_path, way, {**named, "README": "nothing", "b/._y.conll": "left by a Mac"}))
    assert list(found) == ["a/y.conll", "(d); part 000", "b/y.conll"]
    assert read_conll(_packed(tmp_path / "two", way, {"a/y.conll": unnamed})).keys() == {"y.conll"}


def test_an_archive_is_read_once_in_whatever_order_its_files_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compressed one that goes back is unpacked again from its beginning."""
    back: list[int] = []

    class Forward(gzip.GzipFile):
        def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
            back.extend([offset] * (whence == io.SEEK_SET and offset < super().seek(0, io.SEEK_CUR)))
            return super().seek(offset, whence)

    texts = {f"{name}.conll": document("(1)").replace("part 000", f"part {name}") for name in "dbac"}
    path = _packed(tmp_path, "tar.gz", texts)
    monkeypatch.setattr(gzip, "GzipFile", Forward)
    assert list(read_conll(path)) == [f"(d); part {name}" for name in "abcd"]
    assert back == []


def test_a_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(LINES)
    (tmp_path / "key.gz").write_bytes(gzip.compress(LINES.encode()))
    assert read_conll(tmp_path / "key")["(d); part 000"].entities == AS_LINES
    assert read_conll(str(tmp_path / "key.gz"))["(d); part 000"].entities == AS_LINES


def test_a_document_that_stands_twice_is_told_with_both_places(tmp_path: Path) -> None:
    folder = _packed(tmp_path, "plain", {"a.conll": document("-"), "b.conll": "\n" + document("-")})
    with pytest.raises(
        CorpusError,
        match=r"b\.conll:2: the document '\(d\); part 000' stands twice, first in .*a\.conll, line 1; leave",
    ):
        read_conll(folder)


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda folder: folder / "none.conll", ConfigError, "none.conll: no such file or directory"),
        (lambda folder: "https://example.org/x.conll", ConfigError, "a URL"),
        (lambda folder: folder, ConfigError, "no file in it has a name that ends in conll or conll.gz; give files of other names"),
        (lambda folder: _bytes(folder / "x.conll", b""), ConfigError, "x.conll: no document, expected lines from '#begin document"),
        (lambda folder: _bytes(folder / "x", b'{"data": []}'), ConfigError, "x: no document"),
        (lambda folder: _bytes(folder / "x", LINES.encode("utf-16")), ConfigError, "x: no document"),
        (lambda folder: _two(folder, b"\n"), ConfigError, "empty.conll: no document"),
        (lambda folder: _bytes(folder / "x.gz", b"plain"), CorpusError, r"x\.gz: cannot be unpacked \(Not a gzipped file"),
        (lambda folder: _bytes(folder / "x.gz", gzip.compress(b"x" * 99)[:-9]), CorpusError, r"x\.gz: cannot be unpacked"),
        (lambda folder: _bytes(folder / "x.tar.gz", b"plain"), CorpusError, r"x\.tar\.gz: cannot be unpacked .*copy it again"),
        (lambda folder: _bytes(folder / "deep" / "x.conll.gz", b"plain").parent, CorpusError, r"x\.conll\.gz: cannot be unpacked"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read_are_told(
    tmp_path: Path, make: Callable[[Path], Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        read_conll(make(tmp_path))


def _two(folder: Path, other: bytes) -> Path:
    _bytes(folder / "a.conll", LINES.encode())
    return _bytes(folder / "empty.conll", other).parent


def _bytes(path: Path, data: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


# --- Written


@settings(max_examples=25, deadline=None)
@given(partitions(), st.lists(st.integers(1, 3), min_size=3), st.randoms(use_true_random=False))
def test_what_is_written_is_read_again(
    tmp_path_factory: Any, partition: list[list[str]], lengths: list[int], random: Any
) -> None:
    """Mentions of all lengths, nested and crossing those of other entities, but not those of their own."""
    starts = {letter: random.randrange(len(lengths)) for letter in "abcdefghi"}
    entities: Mentions = []
    for names in partition:
        mentions: list[tuple[int, int]] = []
        for name in names:
            start = starts[name]
            end = min(start + random.randrange(3), len(lengths) - 1)
            if all(end < other or start > last for other, last in mentions):
                mentions.append((start, end))
        entities.append(mentions)
    path = tmp_path_factory.mktemp("written") / "x.conll"
    write_conll(path, {"(a b); part 001": ([["w"] for _ in lengths], entities), "": ([["w", "é"]], [])})
    found = read_conll(path)
    assert [*found] == ["(a b); part 001", ""]
    assert {frozenset(mentions) for mentions in found["(a b); part 001"].entities} == {frozenset(m) for m in entities}
    assert (found[""].tokens, found[""].entities) == (2, [])


def test_five_columns_are_written(tmp_path: Path) -> None:
    write_conll(tmp_path / "x.conll", {"(bc/x); part 012": ([["He", "saw"], ["him"]], [[(0, 0), (2, 2)], [(0, 1)]])})
    assert (tmp_path / "x.conll").read_text().splitlines() == [
        "#begin document (bc/x); part 012",
        "bc/x\t12\t0\tHe\t(0)|(1",
        "bc/x\t12\t1\tsaw\t1)",
        "",
        "bc/x\t12\t0\thim\t(0)",
        "",
        "#end document",
    ]


@pytest.mark.parametrize(
    ("words", "entities", "told"),
    [
        ("abcd", [[(0, 2), (1, 3)]], "entity 0 has mentions that cross or repeat"),
        ("abcd", [[(0, 1), (1, 2)]], "entity 0 has mentions that cross or repeat"),
        ("abcd", [[], [(0, 1), (0, 1)]], "entity 1 has mentions that cross or repeat"),
        ("abcd", [[(3, 4)]], "a mention from token 3 to 4, and it has 4 tokens"),
        ("abcd", [[(2, 1)]], "a mention from token 2 to 1"),
        ("a\tcd", [], r"the word '\\t' is empty or holds white space"),
        (["a", ""], [], "the word '' is empty"),
    ],
)
def test_what_the_format_cannot_tell_is_not_written(tmp_path: Path, words: Any, entities: Mentions, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        write_conll(tmp_path / "x.conll", {"d": ([[*words]], entities)})
    assert not list(tmp_path.iterdir())


def test_damaged_files_end_in_a_score_or_an_error_of_ours(tmp_path: Path) -> None:
    gold, path = tmp_path / "gold.conll", tmp_path / "damaged.conll"
    texts = [document(cells, name) for name, (cells, _) in READ.items()]
    gold.write_text("".join(texts))
    ended = {"scored": 0, "refused": 0}
    for seed in range(200):
        draw = random.Random(seed)
        data = bytearray("".join(texts).encode())
        for _ in range(draw.randint(1, 4)):
            start = draw.randrange(len(data))
            stop = start + draw.choice((0, 1, 1, 1, 40))
            data[start:stop] = draw.choice(
                (b"", b"(", b")", b"1", b"\t", b"\n", b"\0", b"\xff", b"#end document", bytes(data[:50]))
            )
        path.write_bytes(data[: draw.choice((len(data), len(data), draw.randrange(len(data))))])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = coref.score(gold, path, on_error=draw.choice(("fail", "skip")))
            except SpanmaskError:
                ended["refused"] += 1
            else:
                ended["scored"] += 1
                assert all(0 <= value <= 1 for name in ("muc", "blanc", "lea") for value in found[name].values())
    assert min(ended.values()) > 20, ended
