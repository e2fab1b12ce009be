"""What stands for two entities, and what of a long sentence a model reads."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from probes.ordering import vocabulary
from probes.related import rows, tacred, write_tacred
from probes.test_relation_reading import RELATION, TACRED, needs_relation

from spanmask import Tokenizer
from spanmask.errors import ConfigError
from spanmask.probes.relation import Marking, encode, mark, read_relations
from spanmask.probes.relation.config import Entities, Marks, RelationConfig
from spanmask.probes.relation.encoding import Cut, Encoded
from spanmask.probes.relation.relations import Layout, Relations
from spanmask.vocab import Vocabulary

TYPES = [("PERSON", "TITLE"), ("ORGANIZATION", "PERSON"), ("PERSON", "DATE")]
#: One token a word, and unused entries that are not at its start.
PLAIN = Vocabulary(
    name="plain",
    entries=(
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[unused7]",
        *map(str, range(10)),
        *(f"[unused{n}]" for n in range(6)),
        *"abc",
    ),
    cased=True,
)


def relations(*given: tuple[str, list[list[int]]], types: tuple[str, str] = ("X", "Y"), label: str = "r") -> Relations:
    return Relations(
        layout=Layout.OPENNRE,
        sentences=tuple(text for text, _ in given),
        spans=np.array([spans for _, spans in given], np.int64),
        types=(types,) * len(given),
        labels=(label,) * len(given),
        ids=tuple(map(str, range(len(given)))),
        left_out={},
    )


def pieces(encoded: Encoded, words: Vocabulary, number: int = 0) -> str:
    return " ".join(words.entries[one] for one in encoded.examples.input_ids[number].tolist())


def plain(
    text: str, first: list[int], second: list[int], *, entities: str = "markers", window: int = 30
) -> tuple[str, dict[Cut, int]]:
    """Encode a text of digits, each a word of one character, and spell what comes of it."""
    tokenizer = Tokenizer(PLAIN)
    marking = mark([("X", "Y")], Entities(entities), Marks.UNUSED, tokenizer)
    places = [[2 * start, 2 * end - 1] for start, end in (first, second)]
    encoded = encode(relations((" ".join(text), places)), tokenizer, marking, ("r",), window)
    names = {PLAIN.entries[ids[0]]: name for name, ids in marking.tokens.items()}
    shown = " ".join(names.get(entry, entry) for entry in pieces(encoded, PLAIN).split())
    return shown, encoded.cut


# --- What stands for what


def test_types_get_unused_entries_sorted_by_name_behind_those_of_any_type() -> None:
    tokenizer = Tokenizer("cased")
    wanted = {
        "SUBJ": "[unused1]",
        "OBJ": "[unused2]",
        "OBJ-DATE": "[unused3]",
        "OBJ-PERSON": "[unused4]",
        "OBJ-TITLE": "[unused5]",
        "SUBJ-ORGANIZATION": "[unused6]",
        "SUBJ-PERSON": "[unused7]",
    }
    for types in (TYPES, TYPES[::-1], TYPES * 3, [*TYPES, ("PERSON", "")]):
        marking = mark(types, Entities.TYPES, Marks.UNUSED, tokenizer)
        told = marking.to_json(tokenizer.vocabulary)
        assert told == {"entities": "types", "tokens": {name: [entry] for name, entry in wanted.items()}}
        assert Marking.from_json(json.loads(json.dumps(told)), tokenizer.vocabulary) == marking
    assert marking.of_type(0, "PERSON") == (7,)
    assert (marking.of_type(1, "CITY"), marking.of_type(0, "")) == ((2,), (1,))
    markers = mark([], Entities.MARKERS, Marks.UNUSED, Tokenizer("uncased"))
    assert markers.tokens == {"SUBJ-START": (1,), "SUBJ-END": (2,), "OBJ-START": (3,), "OBJ-END": (4,)}


def test_unused_entries_are_found_wherever_they_lie_and_no_text_becomes_one() -> None:
    assert [PLAIN.entries[number] for number in PLAIN.unused_ids] == ["[unused7]", *(f"[unused{n}]" for n in range(6))]
    for name, count in (("cased", 99), ("uncased", 994)):
        tokenizer = Tokenizer(name)
        unused = tokenizer.vocabulary.unused_ids
        assert len(unused) >= count
        assert not set(tokenizer.encode([" ".join(tokenizer.vocabulary.entries)]).token_ids.tolist()) & set(
            unused.tolist()
        )


def test_a_vocabulary_without_unused_entries_is_refused_unless_words_may_stand_for_types() -> None:
    tokenizer = Tokenizer(vocabulary())
    with pytest.raises(
        ConfigError, match=r"0 unused entries .*, and 7 are wanted, .*SUBJ, OBJ, OBJ-DATE, .*--marks words"
    ):
        mark(TYPES, Entities.TYPES, Marks.UNUSED, tokenizer)
    with pytest.raises(ConfigError, match="and 4 are wanted, one each for SUBJ-START, SUBJ-END, OBJ-START, OBJ-END;"):
        mark(TYPES, Entities.MARKERS, Marks.UNUSED, tokenizer)
    entries = tokenizer.vocabulary.entries
    told = mark(TYPES, Entities.MARKERS, Marks.WORDS, tokenizer)
    assert {name: [entries[one] for one in ids] for name, ids in told.tokens.items()} == {
        "SUBJ-START": ["@"],
        "SUBJ-END": ["@"],
        "OBJ-START": ["#"],
        "OBJ-END": ["#"],
    }
    cased = Tokenizer("cased")
    words = mark([("PERSON", "STATE_OR_PROVINCE")], Entities.TYPES, Marks.WORDS, cased)
    told = {name: [cased.vocabulary.entries[one] for one in ids] for name, ids in words.tokens.items()}
    assert told["OBJ-STATE_OR_PROVINCE"] == ["object", "state", "or", "province"]
    assert (told["SUBJ"], told["SUBJ-PERSON"]) == (["subject"], ["subject", "person"])
    with pytest.raises(ConfigError, match="it has no pieces for '@'"):
        mark(TYPES, Entities.MARKERS, Marks.WORDS, Tokenizer(PLAIN))


def test_a_mapping_of_another_vocabulary_or_none_is_refused() -> None:
    marking = mark(TYPES, Entities.TYPES, Marks.UNUSED, Tokenizer("cased"))
    told = marking.to_json(Tokenizer("cased").vocabulary)
    for content in (told, {}, {**told, "entities": "all"}, {**told, "tokens": ["a"]}):
        with pytest.raises(ConfigError, match="it does not fit what stands for entities"):
            Marking.from_json(content, vocabulary())


# --- Sentences


def test_types_take_the_place_of_entities_and_markers_stand_around_them(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps([TACRED]))
    found, tokenizer = read_relations(path), Tokenizer("cased")
    marking = mark(found.types, Entities.TYPES, Marks.UNUSED, tokenizer)
    encoded = encode(found, tokenizer, marking, ("no_relation", "per:title"), 128)
    assert pieces(encoded, tokenizer.vocabulary) == "[CLS] [unused4] ( [unused3] ) said [ so [SEP]"
    assert encoded.examples.targets["label"].tolist() == [1]
    assert (encoded.cut, encoded.unknown_types, encoded.unknown_labels) == ({}, 0, 0)
    markers = mark(found.types, Entities.MARKERS, Marks.UNUSED, tokenizer)
    encoded = encode(found, tokenizer, markers, ("no_relation",), 128)
    told = "[CLS] [unused1] He [unused2] ( [unused3] chief of staff [unused4] ) said [ so [SEP]"
    assert pieces(encoded, tokenizer.vocabulary) == told
    assert (encoded.examples.targets["label"].tolist(), encoded.unknown_labels) == ([-1], 1)
    assert encoded.examples.second_starts.tolist() == [len(told.split())]


def test_a_type_that_training_lacks_is_any_type_and_counted() -> None:
    tokenizer = Tokenizer("cased")
    marking = mark([("X", "Y")], Entities.TYPES, Marks.UNUSED, tokenizer)
    for types, told, count in (
        (("X", "Y"), "[CLS] [unused4] to [unused3] [SEP]", 0),
        (("X", "Z"), "[CLS] [unused4] to [unused2] [SEP]", 1),
        (("", "Y"), "[CLS] [unused1] to [unused3] [SEP]", 1),
    ):
        encoded = encode(relations(("we to you", [[0, 2], [6, 9]]), types=types), tokenizer, marking, ("r",), 20)
        assert (pieces(encoded, tokenizer.vocabulary), encoded.unknown_types) == (told, count)


@pytest.mark.parametrize(
    ("first", "second", "types", "markers"),
    [
        ([1, 2], [3, 4], "0 SUBJ-X 2 OBJ-Y 4", "0 SUBJ-START 1 SUBJ-END 2 OBJ-START 3 OBJ-END 4"),
        ([3, 4], [1, 2], "0 OBJ-Y 2 SUBJ-X 4", "0 OBJ-START 1 OBJ-END 2 SUBJ-START 3 SUBJ-END 4"),
        ([1, 2], [2, 4], "0 SUBJ-X OBJ-Y 4", "0 SUBJ-START 1 SUBJ-END OBJ-START 2 3 OBJ-END 4"),
        ([1, 4], [2, 3], "0 SUBJ-X OBJ-Y 4", "0 SUBJ-START 1 OBJ-START 2 OBJ-END 3 SUBJ-END 4"),
        ([1, 2], [1, 4], "0 OBJ-Y SUBJ-X 4", "0 OBJ-START SUBJ-START 1 SUBJ-END 2 3 OBJ-END 4"),
        ([1, 3], [2, 4], "0 SUBJ-X OBJ-Y 4", "0 SUBJ-START 1 OBJ-START 2 SUBJ-END 3 OBJ-END 4"),
        ([1, 3], [1, 3], "0 SUBJ-X OBJ-Y 3 4", "0 SUBJ-START OBJ-START 1 2 OBJ-END SUBJ-END 3 4"),
        ([0, 1], [4, 5], "SUBJ-X 1 2 3 OBJ-Y", "SUBJ-START 0 SUBJ-END 1 2 3 OBJ-START 4 OBJ-END"),
    ],
)
def test_entities_may_stand_in_any_order_and_overlap(
    first: list[int], second: list[int], types: str, markers: str
) -> None:
    assert plain("01234", first, second, entities="types") == (f"[CLS] {types} [SEP]", {})
    assert plain("01234", first, second) == (f"[CLS] {markers} [SEP]", {})


def test_words_that_a_tokenizer_drops_leave_markers_around_nothing() -> None:
    tokenizer = Tokenizer("cased")
    marking = mark([], Entities.MARKERS, Marks.UNUSED, tokenizer)
    encoded = encode(relations(("we \x00 you", [[3, 4], [5, 8]])), tokenizer, marking, ("r",), 20)
    assert pieces(encoded, tokenizer.vocabulary) == "[CLS] we [unused1] [unused2] [unused3] you [unused4] [SEP]"


# --- Sentences longer than the window


@pytest.mark.parametrize(
    ("first", "second", "window", "told", "cut"),
    [
        ([0, 1], [2, 3], 12, "SUBJ-X 1 OBJ-Y 3 4 5 6 7 8 9", None),
        ([0, 1], [2, 3], 11, "SUBJ-X 1 OBJ-Y 3 4 5 6 7 8", Cut.END),
        ([0, 1], [8, 9], 11, "SUBJ-X 1 2 3 4 5 6 7 OBJ-Y", Cut.END),
        ([1, 2], [9, 10], 11, "SUBJ-X 2 3 4 5 6 7 8 OBJ-Y", Cut.MOVED),
        ([3, 4], [9, 10], 10, "2 SUBJ-X 4 5 6 7 8 OBJ-Y", Cut.MOVED),
        ([0, 1], [9, 10], 11, "SUBJ-X 1 2 3 4 6 7 8 OBJ-Y", Cut.MIDDLE),
        ([0, 1], [9, 10], 10, "SUBJ-X 1 2 3 6 7 8 OBJ-Y", Cut.MIDDLE),
        ([9, 10], [0, 1], 10, "OBJ-Y 1 2 3 6 7 8 SUBJ-X", Cut.MIDDLE),
    ],
)
def test_a_window_of_types_keeps_both_entities(
    first: list[int], second: list[int], window: int, told: str, cut: Cut | None
) -> None:
    found = plain("0123456789", first, second, entities="types", window=window)
    assert found == (f"[CLS] {told} [SEP]", {cut: 1} if cut else {})


@pytest.mark.parametrize(
    ("first", "second", "told", "cut"),
    [
        ([0, 1], [2, 3], "SUBJ-START 0 SUBJ-END 1 OBJ-START 2 OBJ-END 3", Cut.END),
        ([8, 9], [9, 10], "6 7 SUBJ-START 8 SUBJ-END OBJ-START 9 OBJ-END", Cut.MOVED),
        ([0, 1], [9, 10], "SUBJ-START 0 SUBJ-END 1 8 OBJ-START 9 OBJ-END", Cut.MIDDLE),
        ([0, 8], [9, 10], "SUBJ-START 0 1 SUBJ-END 8 OBJ-START 9 OBJ-END", Cut.MIDDLE),
        ([0, 10], [0, 10], "SUBJ-START OBJ-START 0 1 8 9 OBJ-END SUBJ-END", Cut.MIDDLE),
    ],
)
def test_a_window_of_markers_keeps_all_of_them(first: list[int], second: list[int], told: str, cut: Cut) -> None:
    assert plain("0123456789", first, second, window=10)[0].split()[1:-1] == told.split()
    assert plain("0123456789", first, second, window=10)[1] == {cut: 1}


def test_a_window_without_room_for_what_stands_for_entities_is_refused() -> None:
    with pytest.raises(ConfigError, match="window is 9: give 10 to 16384 tokens"):
        RelationConfig(window=9)
    tokenizer = Tokenizer("cased")
    long = "a_rather_long_name_of_a_type_that_nobody_has"
    marking = mark([(long, long)], Entities.TYPES, Marks.WORDS, tokenizer)
    text = "we " + "and so on " * 20 + "you"
    with pytest.raises(
        ConfigError, match="tokens stand for two entities, and a window has room for 10; give a wider one"
    ):
        encode(
            relations((text, [[0, 2], [len(text) - 3, len(text)]]), types=(long, long)), tokenizer, marking, ("r",), 12
        )


def literal(row: dict[str, Any], tokenizer: Tokenizer, marking: Marking, room: int) -> list[str]:
    """Word by word, what `encode` makes of a pair that does not overlap: the sentence as pieces, and of a long one its window."""
    entries, found = tokenizer.vocabulary.entries, list[tuple[str, bool]]()
    for place, word in enumerate(row["token"]):
        told = [(entries[one], False) for one in tokenizer.encode([word]).token_ids.tolist()]
        for role, key in enumerate(("subj", "obj")):
            if not row[f"{key}_start"] <= place <= row[f"{key}_end"]:
                continue
            if marking.entities is Entities.TYPES:
                standing = [(entries[one], True) for one in marking.of_type(role, row[f"{key}_type"])]
                told = standing if place == row[f"{key}_start"] else []
                continue
            begins, ends = ([(entries[one], True) for one in ids] for ids in marking.markers(role))
            told = (
                (begins if place == row[f"{key}_start"] else []) + told + (ends if place == row[f"{key}_end"] else [])
            )
        found += told
    if len(found) > room:
        standing = [place for place, (_, stands) in enumerate(found) if stands]
        first, last = standing[0], standing[-1] + 1
        if last <= room:
            found = found[:room]
        elif last - first <= room:
            found = found[last - room : last]
        else:
            found = found[first:last]
            while len(found) > room:
                others = [place for place, (_, stands) in enumerate(found) if not stands]
                del found[others[len(others) // 2]]
    return [entry for entry, _ in found]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(10, 60), st.sampled_from(["types", "markers"]))
def test_examples_are_those_of_a_literal_twin(seed: int, window: int, entities: str) -> None:
    rng, tokenizer = random.Random(seed), Tokenizer(vocabulary())
    made = [tacred(row) for row in rows(3, seed, longest=80)]
    for row in made:
        free = sorted(rng.sample(range(len(row["token"]) + 1), 4)) if len(row["token"]) > 4 else [0, 1, 2, 3]
        keys = ("subj", "obj") if rng.random() < 0.5 else ("obj", "subj")
        for key, start, end in zip(keys, free[::2], free[1::2], strict=True):
            row |= {f"{key}_start": start, f"{key}_end": end - 1}
    marking = mark([("PERSON", "LOCATION")], Entities(entities), Marks.WORDS, tokenizer)
    found = _read(made)
    encoded = encode(found, tokenizer, marking, ("r",), window)
    for number, row in enumerate(made):
        assert pieces(encoded, tokenizer.vocabulary, number).split()[1:-1] == literal(
            row, tokenizer, marking, window - 2
        )
    assert max(encoded.examples.input_ids.lengths) <= window


def _read(made: list[dict[str, Any]]) -> Relations:
    from spanmask.probes.relation.parsing import tacred_pair

    read = [tacred_pair(row) for row in made]
    return Relations(
        layout=Layout.TACRED,
        sentences=tuple(pair.sentence for pair in read),
        spans=np.array([pair.spans for pair in read], np.int64),
        types=tuple(pair.types for pair in read),
        labels=tuple(pair.label for pair in read),
        ids=tuple(map(str, range(len(read)))),
        left_out={},
    )


def test_files_in_another_order_give_the_same_mapping(tmp_path: Path) -> None:
    one, two = write_tacred(tmp_path / "a.json", 3, 1), write_tacred(tmp_path / "b.json", 3, 2)
    told = json.loads(two.read_text())
    two.write_text(json.dumps([{**row, "subj_type": "ANIMAL"} for row in told]))
    tokenizer = Tokenizer("cased")
    found = [
        mark((pair for path in paths for pair in read_relations(path).types), Entities.TYPES, Marks.UNUSED, tokenizer)
        for paths in ((one, two), (two, one))
    ]
    assert found[0] == found[1]
    assert [*found[0].tokens] == ["SUBJ", "OBJ", "OBJ-LOCATION", "SUBJ-ANIMAL", "SUBJ-PERSON"]


@pytest.mark.slow
@needs_relation
@pytest.mark.data
@pytest.mark.parametrize("name", ["semeval2010_tokenized/test.txt", "wiki80/dev.txt", "tacred_sample/test.json"])
def test_real_sentences_keep_both_entities_in_whatever_window(name: str) -> None:
    found, tokenizer = read_relations(RELATION / name), Tokenizer("uncased")
    marking = mark(found.types, Entities.MARKERS, Marks.UNUSED, tokenizer)
    labels = tuple(sorted(set(found.labels)))
    for window in (128, 24):
        encoded = encode(found, tokenizer, marking, labels, window)
        for number in range(len(found)):
            ids = encoded.examples.input_ids[number].tolist()
            assert sum(one in {1, 2, 3, 4} for one in ids) == 4
            assert (ids[0], ids[-1], len(ids) <= window) == (101, 102, True)
        assert bool(encoded.cut) == (window == 24)
