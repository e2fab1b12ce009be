"""Spans in columns, scored: worked cases, a literal twin of the rules, wrongs planted, and what cannot be scored."""

from __future__ import annotations

from itertools import combinations_with_replacement
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import plant
from scored import DATA, write

from spanmask.errors import ConfigError, CorpusError
from spanmask.probes.scores import ner
from spanmask.probes.scores.columns import part_columns

SPANS = DATA / "spans"
needs_spans = pytest.mark.skipif(not SPANS.is_dir(), reason=f"needs the tagged texts in {SPANS}, which are not there")

GOLD = """\
-DOCSTART- -X- O O

Ada NNP I-PER
Lovelace NNP I-PER
met VBD O
Bell NNP I-ORG
Labs NNP I-ORG

in IN O
New NNP B-LOC
York NNP I-LOC
Paris NNP B-LOC
"""
#: PER right. ORG one word too long to the left, so wrong. LOC: "New York" right; "Paris" of another type.
GUESSED = """\
Ada O B-PER
Lovelace O I-PER
met O B-ORG
Bell O I-ORG
Labs O I-ORG

in O O
New O I-LOC
York O I-LOC
Paris O I-PER
"""
TAGS = st.sampled_from(["O", *(f"{prefix}{kind}" for prefix in "BIES" for kind in ("-A", "-B-c", ""))])


def check_worked(folder: Path) -> None:
    """Of 4 spans 2 are found by 4 predictions: 1/2 each. PER: 1 of 1, by 2. ORG: none of 1, by 1. LOC: 1 of 2, by 1."""
    figures = ner.score(*write(folder, GOLD, GUESSED))
    assert figures == {
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "types": {
            "LOC": {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
            "ORG": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
            "PER": {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
        },
    }
    # A span at a sentence's end and one at the next's beginning are two, though their tags would make them one.
    apart = "a I-X\n\nb I-X\n"
    assert ner.score(*write(folder, apart, apart.replace("\n\n", "\n \t\n")))["types"]["X"]["support"] == 2
    # Behind O: I begins a span; of another type: it does too; B parts two of one type; E and S end one, of whatever comes next.
    assert ner.spans_of(["O", "I-X", "I-Y", "B-Y", "I-Y"]) == [("X", 1, 1), ("Y", 2, 2), ("Y", 3, 4)]
    assert ner.spans_of(["B-X", "E-X", "I-X", "E-X", "E-X"]) == [("X", 0, 1), ("X", 2, 3), ("X", 4, 4)]
    assert ner.spans_of(["S-X", "S-X", "I-X", "S-X"]) == [("X", 0, 0), ("X", 1, 1), ("X", 2, 2), ("X", 3, 3)]
    assert ner.spans_of(["B", "I", "B-creative-work", "I-creative-work"]) == [("_", 0, 1), ("creative-work", 2, 3)]
    nothing = ner.score(*write(folder, "a B-X\n", "a O\n"))
    assert nothing["types"] == {"X": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}}


def test_spans_worked_by_hand_score_as_derived(tmp_path: Path) -> None:
    check_worked(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('prefix in ("B", "S") or ', 'prefix == "B" or '),
        ('prefix in ("B", "S") or ', 'prefix == "S" or '),
        ('prefix_before in (OUTSIDE, "E", "S") or ', ""),
        (" or kind != kind_before", ""),
        ("spans.pop()[1]", "spans[-1][1]"),
        ("set(spans) & set(guessed)", "set(spans) | set(guessed)"),
        ("for count in (found, wanted)", "for count in (wanted, found)"),
        ("wanted.keys() | found.keys()", "found.keys()"),
        ("if right else 0.0", "if True else 0.0"),
    ],
)
def test_a_wrong_planted_in_the_count_is_seen(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, ner, old, new)
    with pytest.raises((AssertionError, ZeroDivisionError, UserWarning)):
        check_worked(tmp_path)


def literal_spans(tags: list[str]) -> list[tuple[str, int, int]]:
    """Return each stretch of words that nothing parts and that is parted from its neighbours, by a table of what goes on."""
    going_on = {"BI", "BE", "II", "IE"}

    def joined(place: int) -> bool:
        if not 0 < place < len(tags):
            return False
        before, tag = tags[place - 1], tags[place]
        return before[0] + tag[0] in going_on and before[1:] == tag[1:]

    return [
        (tags[first].partition("-")[2] or "_", first, last)
        for first, last in combinations_with_replacement(range(len(tags)), 2)
        if "O" not in tags[first : last + 1]
        and not joined(first)
        and all(joined(place) for place in range(first + 1, last + 1))
        and not joined(last + 1)
    ]


@given(st.lists(TAGS, max_size=12))
def test_spans_are_those_of_a_literal_twin(tags: list[str]) -> None:
    assert sorted(ner.spans_of(tags)) == sorted(literal_spans(tags))


@given(st.lists(st.lists(st.tuples(TAGS, TAGS), max_size=8), max_size=4))
def test_figures_are_those_of_spans_counted_one_by_one(pairs: list[list[tuple[str, str]]]) -> None:
    gold, guessed = ([[pair[which] for pair in held] for held in pairs] for which in (0, 1))
    wanted, found = (
        {(n, *span) for n, tags in enumerate(side) for span in literal_spans(tags)} for side in (gold, guessed)
    )
    figures = ner.span_scores(gold, guessed)
    right = len(wanted & found)
    assert figures["precision"] == (right / len(found) if found else 0)
    assert figures["recall"] == (right / len(wanted) if wanted else 0)
    assert figures["f1"] == pytest.approx(2 * right / (len(wanted) + len(found)) if wanted or found else 0)


@pytest.mark.parametrize(
    "tags",
    [
        "I-X I-X O I-Y B-Y I-X",
        "B-X I-X O B-Y B-Y B-X",
        "B-X E-X O S-Y S-Y S-X",
    ],
)
def test_the_same_spans_in_iob1_iob2_and_iobes_are_the_same(tags: str) -> None:
    assert ner.spans_of(tags.split()) == [("X", 0, 1), ("Y", 3, 3), ("Y", 4, 4), ("X", 5, 5)]


def test_files_are_read_with_blanks_tabs_marks_and_line_ends_of_any_kind(tmp_path: Path) -> None:
    plain = "a B-X\nb O\n\nc S-Y\n"
    same = "\ufeff\n-DOCSTART- O\r\na  \t x B-X \r\nb\tx\tO\n \t\n\n-DOCSTART-\nc x S-Y"
    gold, predictions = write(tmp_path, plain, "")
    predictions.write_bytes(same.encode())
    assert ner.score(gold, predictions)["f1"] == 1.0
    (only,) = part_columns("\u00a0 O\n\u2028 O\n# O\n").rows
    assert [row[0] for row in only[1]] == ["\u00a0", "\u2028", "#"]


@pytest.mark.parametrize(
    ("gold", "predictions", "told"),
    [
        ("", "a O\n", r"gold: no words, expected a word a line and its tag in the last column"),
        ("\n\n-DOCSTART- O\n", "a O\n", "gold: no words"),
        ("a\nb\n", "a O\nb O\n", "gold: one column a line"),
        ("a O\n", "a O\n\na O\n", "predictions: 2 sentences, .*gold has 1; give one for each"),
    ],
)
def test_files_that_are_no_columns_or_have_other_sentences_are_refused(
    gold: str, predictions: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        ner.score(*write(tmp_path, gold, predictions))


@pytest.mark.parametrize(
    ("predictions", "line", "told"),
    [
        ("a O\nb x O\n\nc O\n", 2, "3 columns in 'b x O', where most lines have 2; mend the file"),
        ("a O\nb\n\nc O\n", 2, "1 columns in 'b'"),
        ("a O\nb X\n\nc O\n", 2, "the tag 'X', expected O or one of B-TYPE, I-TYPE, E-TYPE, S-TYPE"),
        ("a O\nb BX\n\nc O\n", 2, "the tag 'BX'"),
        ("a O\nb o\n\nc O\n", 2, "the tag 'o'"),
        ("a O\nc O\n\nc O\n", 2, r"the sentence has 'c', where .*gold has 'b' \(line 2\); give tags of the same words"),
        ("a O\n\nc O\n", 2, r"the sentence has its end, where .*gold has 'b' \(line 2\)"),
        ("a O\nb O\n\nc O\nd O\n", 5, r"the sentence has 'd', where .*gold has its end \(line 5\)"),
    ],
)
def test_a_line_that_cannot_be_scored_is_named(predictions: str, line: int, told: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=told) as caught:
        ner.score(*write(tmp_path, "a O\nb B-X\n\nc O\n", predictions))
    assert caught.value.line == line


def test_what_is_no_text_is_named_with_its_line(tmp_path: Path) -> None:
    gold, predictions = write(tmp_path, "a O\nb B-X\n", "")
    predictions.write_bytes(b"a O\nb \xff\n")
    with pytest.raises(CorpusError, match="no UTF-8"):
        ner.score(gold, predictions)


def test_a_file_without_spans_is_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="gold: no span to be found in it; recall and F1 are 0 for that reason"):
        figures = ner.score(*write(tmp_path, "a O\nb O\n", "a O\nb B-X\n"))
    assert figures["recall"] == figures["f1"] == 0


def test_the_card_has_a_line_for_all_and_one_a_type(tmp_path: Path) -> None:
    assert ner.scorecard(ner.score(*write(tmp_path, GOLD, GUESSED))).splitlines() == [
        "all  precision 0.5000  recall 0.5000  f1 0.5000",
        "LOC  precision 1.0000  recall 0.5000  f1 0.6667  support 2",
        "ORG  precision 0.0000  recall 0.0000  f1 0.0000  support 1",
        "PER  precision 0.5000  recall 1.0000  f1 0.6667  support 1",
    ]


@pytest.mark.data
@needs_spans
@pytest.mark.parametrize(
    ("name", "support"),
    [
        # The figures of Balasuriya et al. 2009 and of Derczynski et al. 2017.
        ("wikigold.conll.txt", {"LOC": 1014, "MISC": 712, "ORG": 898, "PER": 934}),
        ("wnut17_wnut17train.conll", 1975),
        ("wnut17_emerging.test.annotated", 1079),
    ],
)
def test_real_files_have_the_spans_that_their_authors_counted(name: str, support: object) -> None:
    figures = ner.score(SPANS / name, SPANS / name)
    found = {kind: own["support"] for kind, own in figures["types"].items()}
    assert figures["f1"] == 1.0
    assert (found if isinstance(support, dict) else sum(found.values())) == support
