"""Files of relations: three layouts, known by what is in them, and what is wrong with them told by place and name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from probes.related import opennre, rows, semeval, tacred

from spanmask.config import OnError
from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.relation import read_relations
from spanmask.probes.relation.relations import Fault, Layout, Relations, joined

RELATION = Path(__file__).resolve().parents[3] / "shared" / "data" / "relation"
needs_relation = pytest.mark.skipif(
    not RELATION.is_dir(), reason=f"needs the relations in {RELATION}, which are not there"
)
#: Of shared/data/MANIFEST.tsv, and how each is written.
REAL = {
    "tacred_sample/train.json": (Layout.TACRED, 20, 2),
    "tacred_sample/dev.json": (Layout.TACRED, 20, 5),
    "tacred_sample/test.json": (Layout.TACRED, 20, 5),
    "semeval2010_tokenized/train.txt": (Layout.OPENNRE, 6507, 18),
    "semeval2010_tokenized/val.txt": (Layout.OPENNRE, 1493, 19),
    "semeval2010_tokenized/test.txt": (Layout.OPENNRE, 2717, 19),
    "wiki80/train_0.1.txt": (Layout.OPENNRE, 3920, 80),
    "wiki80/dev.txt": (Layout.OPENNRE, 5600, 80),
}
#: A pair of TACRED's layout, with words that the Penn Treebank spells otherwise and an object of three.
TACRED = {
    "id": "e7",
    "relation": "per:title",
    "token": ["He", "-LRB-", "chief", "of", "staff", "-rrb-", "said", "[", "so"],
    "subj_start": 0,
    "subj_end": 0,
    "obj_start": 2,
    "obj_end": 4,
    "subj_type": "PERSON",
    "obj_type": "TITLE",
}
OPENNRE = {
    "token": ["of", "the", "Ruhr", "in", "Essen"],
    "h": {"name": "essen", "pos": [4, 5], "type": "GPE"},
    "t": {"name": "ruhr", "pos": [1, 3]},
    "relation": "part of",
}
SEMEVAL = """8001\t"The most common <e1>audits</e1> were about <e2>waste</e2> and "recycling"."
Message-Topic(e1,e2)
Comment: Assuming an audit = an audit document.

8002\t"Of <e2>chairs</e2>the <e1>plastic company</e1>."
Other
Comment:

"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(content: Any, name: str = "file") -> Path:
        path = tmp_path / name
        path.write_bytes(
            content
            if isinstance(content, bytes)
            else (content if isinstance(content, str) else json.dumps(content)).encode()
        )
        return path

    return written


def entities(relations: Relations) -> list[tuple[str, ...]]:
    """Of each pair the sentence's two parts that spans name."""
    spans = zip(relations.sentences, relations.spans.tolist(), strict=True)
    return [tuple(text[start:end] for start, end in pair) for text, pair in spans]


def test_each_layout_says_the_same_of_the_same_pairs(write: Callable[..., Path]) -> None:
    made = rows(12, 1)
    files = {
        Layout.TACRED: write([tacred(row) for row in made], "a"),
        Layout.OPENNRE: write("".join(json.dumps(opennre(row)) + "\n" for row in made), "b"),
        Layout.SEMEVAL: write("".join(semeval(row, number) for number, row in enumerate(made, 8001)), "c"),
    }
    found = {layout: read_relations(path) for layout, path in files.items()}
    assert {layout: one.layout for layout, one in found.items()} == dict(zip(Layout, Layout, strict=True))
    told = [(row["words"][row["person"]], row["words"][row["place"]]) for row in made]
    for one in found.values():
        assert entities(one) == told
        assert one.sentences == tuple(" ".join(row["words"]) for row in made)
        assert [label in ("per:place", "before") or label.endswith("(e1,e2)") for label in one.labels] == [
            row["person"] < row["place"] for row in made
        ]
    assert found[Layout.TACRED].types == (("PERSON", "LOCATION"),) * 12
    assert found[Layout.OPENNRE].types == (("", ""),) * 12
    assert (found[Layout.TACRED].ids[:2], found[Layout.SEMEVAL].ids[:2]) == (("1-0", "1-1"), ("8001", "8002"))
    assert found[Layout.OPENNRE].ids[:2] == ("1", "2")


def test_brackets_are_undone_and_ends_are_inclusive_in_tacred_alone(write: Callable[..., Path]) -> None:
    one, two = read_relations(write([TACRED])), read_relations(write(OPENNRE))
    assert one.sentences == ("He ( chief of staff ) said [ so",)
    assert (entities(one), one.types) == ([("He", "chief of staff")], (("PERSON", "TITLE"),))
    assert (entities(two), two.types, two.labels) == ([("Essen", "the Ruhr")], (("GPE", ""),), ("part of",))


def test_pairs_without_ids_keep_the_number_that_they_have_in_their_file(write: Callable[..., Path]) -> None:
    faulty = {**OPENNRE, "h": {"pos": [4, 6]}}
    path = write("\n\n".join(map(json.dumps, (OPENNRE, faulty, OPENNRE))))
    assert read_relations(path, OnError.SKIP).ids == ("1", "3")


def test_tags_of_semeval_are_taken_off_wherever_they_stand(write: Callable[..., Path]) -> None:
    for text in (SEMEVAL, SEMEVAL.replace("\n", "\r\n"), SEMEVAL.rstrip("\n"), "\n" + SEMEVAL):
        found = read_relations(write(text))
        assert found.sentences == (
            'The most common audits were about waste and "recycling".',
            "Of chairsthe plastic company.",
        )
        assert entities(found) == [("audits", "waste"), ("plastic company", "chairs")]
        assert (found.labels, found.ids) == (("Message-Topic(e1,e2)", "Other"), ("8001", "8002"))


def test_pairs_of_semeval_without_an_empty_line_between_are_all_read(write: Callable[..., Path]) -> None:
    closed = SEMEVAL.replace("\n\n", "\n")
    for text in (
        closed,
        closed.replace("Comment:\n", "").replace("Comment: Assuming an audit = an audit document.\n", ""),
    ):
        found = read_relations(write(text))
        assert (found.ids, found.labels) == (("8001", "8002"), ("Message-Topic(e1,e2)", "Other"))


@pytest.mark.parametrize(
    ("line", "fault", "told"),
    [
        ('8003\t"A <e1>b</e1> <e2>c</e2>.', Fault.FIELD, "expected a number, a tab and a sentence"),
        ('8003\t"A <e1>b</e1> <e2>c</e2>."', Fault.LABEL, "nothing behind the sentence"),
        ("8003\tA <e1>b</e1>", Fault.FIELD, "expected a number, a tab and a sentence"),
    ],
)
def test_what_looks_like_a_pair_behind_another_is_told_by_its_own_line(
    write: Callable[..., Path], line: str, fault: Fault, told: str
) -> None:
    path = write(f"{SEMEVAL.rstrip()}\n{line}\n")
    with pytest.raises(CorpusError, match=rf"file:8: .*{told}.* \({fault}\); mend"):
        read_relations(path)
    left = read_relations(path, OnError.SKIP)
    assert (len(left), left.left_out) == (2, {fault: 1})


def test_characters_of_a_text_are_places_too_and_files_may_be_compressed(write: Callable[..., Path]) -> None:
    content = {"text": "Zoë left Köln.", "h": {"pos": [0, 3]}, "t": {"pos": [9, 13]}, "relation": "from"}
    found = read_relations(write(gzip.compress(json.dumps(content).encode())))
    assert entities(found) == [("Zoë", "Köln")]
    lines = write(json.dumps(TACRED) + "\n\n" + json.dumps({**TACRED, "id": "e8"}) + "\n")
    assert (read_relations(lines).layout, read_relations(lines).ids) == (Layout.TACRED, ("e7", "e8"))


def wrong(layout: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**layout, **changes}


def without(layout: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in layout.items() if name != key}


FAULTS: list[tuple[Any, Fault, str]] = [
    (without(TACRED, "id"), Fault.FIELD, "'id' is missing, expected a string"),
    (wrong(TACRED, id=7), Fault.FIELD, "'id' is a number, expected a string"),
    (wrong(TACRED, relation=""), Fault.FIELD, "'relation' is '', expected a name"),
    (wrong(TACRED, relation="a\nb"), Fault.FIELD, "expected a name in a line"),
    (wrong(TACRED, token="He said"), Fault.FIELD, "'token' is a string, expected an array"),
    (wrong(TACRED, token=["He", 3]), Fault.FIELD, "a word of 'token' is a number"),
    (wrong(TACRED, token=["\ud800"] * 9), Fault.FIELD, "half of a surrogate pair"),
    (wrong(TACRED, subj_start=True), Fault.FIELD, "'subj_start' is a boolean, expected a whole number"),
    (wrong(TACRED, subj_start=-1), Fault.OUTSIDE, r"the words -1 to 1 \(exclusive\) of 9"),
    (wrong(TACRED, obj_end=9), Fault.OUTSIDE, r"the words 2 to 10 \(exclusive\) of 9"),
    (wrong(TACRED, obj_end=1), Fault.OUTSIDE, r"the words 2 to 2 \(exclusive\)"),
    (wrong(TACRED, token=[" "] * 9), Fault.BLANK, "empty or white space only"),
    (wrong(TACRED, obj_type=None), Fault.FIELD, "'obj_type' is null"),
    (wrong(TACRED, id="e7"), Fault.ID_TWICE, "another pair has the same id"),
    ([TACRED], Fault.FIELD, "an array, expected an object"),
    (wrong(OPENNRE, h="essen"), Fault.FIELD, "'h' is a string, expected an object"),
    (wrong(OPENNRE, h={"pos": [1]}), Fault.FIELD, r"'pos' is \[1\], expected two whole numbers"),
    (wrong(OPENNRE, h={"pos": [1, 2.0]}), Fault.FIELD, "expected two whole numbers"),
    (wrong(OPENNRE, h={"pos": [4, 6]}), Fault.OUTSIDE, r"the words 4 to 6 \(exclusive\) of 5"),
    (wrong(OPENNRE, h={"pos": [3, 3]}), Fault.OUTSIDE, r"the words 3 to 3"),
    (wrong(OPENNRE, h={"pos": [1, 2], "type": 3}), Fault.FIELD, "'type' is a number"),
    (without(OPENNRE, "relation"), Fault.FIELD, "'relation' is missing"),
    (without(OPENNRE, "token"), Fault.FIELD, "'text' is missing"),
    ({**without(OPENNRE, "token"), "text": "ab c"}, Fault.OUTSIDE, "an entity at 4 to 5 of a sentence of 4 characters"),
]


@pytest.mark.parametrize(
    ("entry", "fault", "told"), FAULTS, ids=[f"{fault}-{n}" for n, (_, fault, _) in enumerate(FAULTS)]
)
def test_a_pair_that_is_not_usable_is_told_by_its_place_or_left_out_and_counted(
    write: Callable[..., Path], entry: Any, fault: Fault, told: str
) -> None:
    good = OPENNRE if isinstance(entry, dict) and "h" in entry else TACRED
    array, by_line = write([good, entry], "array"), write("\n".join(map(json.dumps, (good, entry))), "lines")
    for path, place in ((array, r"array: ('e\d'|\[1\]): "), (by_line, "lines:2: ")):
        with pytest.raises(CorpusError, match=rf"{place}.*{told}.* \({fault}\); mend the file"):
            read_relations(path)
        left = read_relations(path, OnError.SKIP)
        assert (len(left), left.left_out) == (1, {fault: 1})


@pytest.mark.parametrize(
    ("block", "fault", "told"),
    [
        ('3\t"A <e1>b</e1> c."\nOther\n', Fault.TAGS, "its tags are <e1> </e1>, expected"),
        (
            '3\t"A <e1>b <e2>c</e2></e1>."\nOther\n',
            Fault.TAGS,
            "expected <e1>…</e1> and <e2>…</e2>, once each and apart",
        ),
        ('3\t"A <e1>b</e1> <e1>c</e1>."\nOther\n', Fault.TAGS, "once each"),
        ('3\t"A b."\nOther\n', Fault.TAGS, "its tags are none"),
        ('3\t"A <e1></e1> <e2>c</e2>."\nOther\n', Fault.BLANK, "the entity at 2 is empty"),
        ('3\t"A <e1>b</e1> <e2>c</e2>."\n', Fault.LABEL, "nothing behind the sentence"),
        ('3\t"A <e1>b</e1> <e2>c</e2>."\nNone\n', Fault.LABEL, "'None' behind the sentence, expected Other"),
        ('8001\t"A <e1>b</e1> <e2>c</e2>."\nOther\n', Fault.ID_TWICE, "another pair has the same id"),
        ("A b.\nOther\n", Fault.FIELD, "expected a number, a tab and a sentence"),
    ],
)
def test_blocks_of_semeval_that_are_not_usable_are_told_by_their_line(
    write: Callable[..., Path], block: str, fault: Fault, told: str
) -> None:
    path = write(SEMEVAL + block)
    with pytest.raises(CorpusError, match=rf"file:9: .*{told}.* \({fault}\); mend"):
        read_relations(path)
    left = read_relations(path, OnError.SKIP)
    assert (len(left), left.left_out) == (2, {fault: 1})


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (b"", ConfigError, "it begins with ''; expected TACRED's JSON"),
        (b"[]", ConfigError, "it begins with nothing"),
        (b"[3]", ConfigError, "it begins with 3"),
        (b'{"P177": []}', ConfigError, "P177"),
        (b'{"h": 3, "t": 4}', ConfigError, "it begins with"),
        (b"word\n", ConfigError, "it begins with 'word'"),
        (b"[{", CorpusError, "file:1: no JSON at column 3"),
        (b'{"h": {}}\n{', CorpusError, "file:2: no JSON"),
        (b"[\n\xff", CorpusError, r"file:2: no UTF-8 at byte 2"),
        (gzip.compress(b"[]" * 100, mtime=0)[:30], CorpusError, "file"),
        (json.dumps([{**TACRED, "id": 3}]).encode(), ConfigError, r"no pair is left of it \(field: 1\)"),
    ],
)
def test_files_of_another_layout_or_damaged_are_refused(
    write: Callable[..., Path], content: bytes, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        read_relations(write(content), OnError.SKIP)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none"):
        read_relations(tmp_path / "none")


def test_files_joined_keep_their_pairs_and_tell_ids_apart(write: Callable[..., Path]) -> None:
    one, two = read_relations(write([TACRED])), read_relations(write(SEMEVAL))
    both = joined([one, two])
    assert (len(both), both.ids) == (3, ("0:e7", "1:8001", "1:8002"))
    assert entities(both) == entities(one) + entities(two)
    last = both.take(both.spans[:, 0, 0].argsort()[::-1][:1])
    assert (last.ids, entities(last)) == (("1:8001",), entities(two)[:1])


@pytest.mark.slow
@needs_relation
@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_whole(name: str) -> None:
    layout, count, labels = REAL[name]
    found = read_relations(RELATION / name)
    assert (found.layout, len(found), len(set(found.labels)), found.left_out) == (layout, count, labels, {})
    assert all(part.strip() for pair in entities(found) for part in pair)
    if layout is Layout.TACRED:
        assert not any("-LRB-" in text or "-RRB-" in text for text in found.sentences)
    if name.startswith("semeval"):
        lines = (RELATION / name).read_text("utf-8").splitlines()
        told = [tuple(json.loads(line)[role]["name"] for role in ("h", "t")) for line in lines]
        assert sum(one == two for one, two in zip(told, entities(found), strict=True)) > 0.99 * count
