"""Tokenizers through the library: ids, words and offsets held against the library on whole texts, and against literal twins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import trained
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenization.reference import block_of, whole_documents
from tokenization.unicode_texts import CODE_POINTS, TEXTS
from tokenizers import Tokenizer as Library
from tokenizers import normalizers

from spanmask.errors import ConfigError
from spanmask.records import Ragged, Ranges, TokenizedBlock
from spanmask.tokenization import Tokenizer, hugging_face, unit_table, units
from spanmask.tokenization.library import load_library
from spanmask.tokenization.units import CachedUnits, Kind, kind_of
from spanmask.tokenization.whole_documents import WholeDocuments
from spanmask.vocab import Vocabulary, vocabulary_from_tokenizer
from spanmask.words import settle_words

#: Unicode's White_Space.
WHITE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
WORDS = [
    "the",
    "  ",
    " ",
    " ",
    "\n",
    "\t",
    "don't",
    "'s",
    "Raven",
    "éte",
    "été",
    "a\u0301",
    "1849",
    ",",
    "...",
    "--",
    "“",
    "▁",
    "Ġ",
]
WORDS += ["|||PHONE|||", "<b>", " <lead>", "   ", "\u3000", "\xa0", "İ", "漢字", "😀", "\u200b", "\0"]
PROSE_TEXTS = st.lists(st.sampled_from(WORDS), max_size=20).map("".join) | TEXTS
PROSE = Path(__file__).resolve().parents[3] / "shared" / "data" / "prose"

each_kind = pytest.mark.parametrize("kind", trained.KINDS)


@cache
def vocabulary_of(kind: str) -> Vocabulary:
    return vocabulary_from_tokenizer(kind, trained.KINDS[kind][0]())


@cache
def tokenizer_of(kind: str) -> Tokenizer:
    return Tokenizer(vocabulary_of(kind))


@cache
def library_of(kind: str) -> Any:
    """The library as a user would load it, for texts that name no special token."""
    library = Library.from_str(trained.KINDS[kind][0]())
    library.post_processor = None
    return library


def names_no_special(text: str) -> bool:
    """Whether a text names no special token: Hypothesis takes strings that modules hold, their names among them."""
    return not re.search(r"</?\w+>", text)


def words_by_library(encoding: Any, text: str, kind: str) -> list[bool]:
    """Whether each token starts a word: of the pre-tokenizer, or, where it makes none, of what white space sets apart."""
    if kind not in ("without words", "unsplit"):
        return [k == 0 or word != encoding.word_ids[k - 1] for k, word in enumerate(encoding.word_ids)]
    numbers = []
    for start, end in trimmed(encoding, text):
        is_white = not text[start:end].strip(WHITE)
        before = re.findall(f"[^{WHITE}]+", text[:start] if is_white else text[: start + 1])
        numbers.append(len(before) + is_white)
    return [k == 0 or number != numbers[k - 1] for k, number in enumerate(numbers)]


def trimmed(encoding: Any, text: str) -> list[tuple[int, int]]:
    """Code points of each token without the white space around it, unless it is all white."""
    spots = []
    for start, end in encoding.offsets:
        left, right = text[start:end].lstrip(WHITE), text[start:end].rstrip(WHITE)
        spots.append((end - len(left), start + len(right)) if left else (start, end))
    return spots


def in_bytes(text: str, spot: tuple[int, int]) -> list[int]:
    """A token's code points as bytes; none, at its end, where they are all white."""
    start, end = spot
    return [len(text[:point].encode()) for point in (start if text[start:end].strip(WHITE) else end, end)]


def assert_as_library(found: TokenizedBlock, texts: list[str], kind: str) -> None:
    encodings = library_of(kind).encode_batch(texts, add_special_tokens=False)
    assert found.token_ids.tolist() == [number for encoding in encodings for number in encoding.ids]
    assert np.diff(found.document_offsets).tolist() == [len(encoding.ids) for encoding in encodings]
    pairs = list(zip(encodings, texts, strict=True))
    assert found.word_starts.tolist() == [flag for one, text in pairs for flag in words_by_library(one, text, kind)]
    if found.byte_offsets is not None:
        spots = [[in_bytes(text, spot) for spot in trimmed(one, text)] for one, text in pairs]
        assert found.byte_offsets.tolist() == [spot for inner in spots for spot in inner]


@each_kind
@settings(max_examples=50, deadline=None)
@given(texts=st.lists(PROSE_TEXTS.filter(names_no_special), max_size=4), offsets=st.booleans())
def test_tokens_words_and_offsets_are_the_librarys(kind: str, texts: list[str], offsets: bool) -> None:
    assert_as_library(tokenizer_of(kind).encode(texts, offsets=offsets), texts, kind)


@each_kind
def test_stories_are_tokenized_as_by_the_library(kind: str) -> None:
    texts = [trained.stories()[70_000:75_000], *trained.stories()[90_000:96_000].split("\n")]
    assert_as_library(tokenizer_of(kind).encode(texts, offsets=True), texts, kind)


def through_library(kind: str) -> Tokenizer:
    """A tokenizer that is not compiled, whether or not it is known."""
    with mock.patch.object(hugging_face, "compiled_of", return_value="not here"):
        return Tokenizer(vocabulary_of(kind))


@each_kind
def test_units_are_looked_up_where_they_may_be(kind: str) -> None:
    tokenizer = through_library(kind)
    backend: Any = tokenizer._backend
    assert isinstance(backend._encoder, CachedUnits) is trained.KINDS[kind][1]
    assert tokenizer.through_library == "not here"
    texts = [trained.stories()[70_000:75_000], *trained.stories()[90_000:96_000].split("\n")]
    assert_as_library(tokenizer.encode(texts, offsets=True), texts, kind)


# --- Units


def test_units_that_a_tokenizer_does_not_take_are_found_out_at_start() -> None:
    vocabulary = vocabulary_of("unsplit")
    content = json.loads(vocabulary.tokenizer or "")
    whole = WholeDocuments(load_library(vocabulary, parse=False), vocabulary)
    assert kind_of(content) is None
    assert not CachedUnits(content, Kind(at_marks=False, normalizes_first=False), vocabulary, whole).agrees()
    content["pre_tokenizer"]["split"] = True
    assert kind_of(content) is not None


def test_units_cut_at_marks_by_a_tokenizer_that_joins_them_are_found_out_at_start() -> None:
    vocabulary = vocabulary_of("unigram as it stands")
    whole = WholeDocuments(load_library(vocabulary, parse=False), vocabulary)
    content = json.loads(vocabulary.tokenizer or "")
    assert CachedUnits(content, Kind(at_marks=False, normalizes_first=False), vocabulary, whole).agrees()
    assert not CachedUnits(content, Kind(at_marks=True, normalizes_first=False), vocabulary, whole).agrees()


@pytest.mark.parametrize("name", sorted(units.LOCAL_NORMALIZERS))
def test_a_normalizer_given_units_makes_no_character_white_space_at_its_end_or_nothing(name: str) -> None:
    normalizer = getattr(normalizers, name)()
    characters = [chr(point) for point in CODE_POINTS if chr(point) not in WHITE]
    parts = normalizer.normalize_str("\n".join(characters)).split("\n")
    assert len(parts) == len(characters) > 1_000_000
    assert [char for char, made in zip(characters, parts, strict=True) if not made or made[-1] in WHITE] == []


_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("byte level", {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}}),
        ("byte level", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [_SPLIT]}}),
        ("whole words", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits"}]}}),
        ("metaspace first", {"normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}}),
        ("byte level with added tokens", {"normalizer": {"type": "Nmt"}}),
    ],
)
def test_a_kind_that_is_not_known_to_take_units_is_given_whole_texts(kind: str, changes: dict[str, Any]) -> None:
    content = json.loads(trained.KINDS[kind][0]())
    assert kind_of(content) is not None
    assert kind_of({**content, **changes}) is None


@pytest.mark.parametrize("flags", [{"rstrip": True}, {"single_word": True}, {"content": "a b"}])
def test_an_added_token_that_looks_beyond_its_unit_needs_whole_texts(flags: dict[str, Any]) -> None:
    content = json.loads(trained.byte_level_with_added_tokens())
    content["added_tokens"][-1].update(flags)
    assert kind_of(content) is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["byte level", "unigram"])
def test_a_table_that_is_full_forgets_and_goes_on(kind: str) -> None:
    texts = [trained.stories()[start : start + 3_000] for start in range(0, 90_000, 3_000)]
    tokenizer = through_library(kind)
    backend: Any = tokenizer._backend
    sizes = []
    with mock.patch.object(unit_table, "UNIT_LIMIT", 500):
        for text in texts:
            assert_as_library(tokenizer.encode([text]), [text], kind)
            sizes.append(len(backend._encoder._table._numbers))
    assert max(sizes) < 500 + 3_000 / 2
    drops = [after for before, after in pairwise(sizes) if after < before]
    assert len(drops) > 5
    assert sizes[-1] < len(set(" ".join(texts).split(" ")))


def test_what_was_found_again_outlives_forgetting() -> None:
    vocabulary = vocabulary_of("byte level")
    table = unit_table.UnitTable(load_library(vocabulary, parse=False), vocabulary, separator="\n")

    def look_up(words: str) -> None:
        text = np.frombuffer(words.encode(), np.uint8)
        bounds = np.array([0, *np.flatnonzero(text == 32), len(text)])
        table.look_up(text, bounds, spots=False)

    with mock.patch.object(unit_table, "UNIT_LIMIT", 6):
        look_up("the raven and the cat")
        look_up("the raven never sat down here")
        look_up("x")
    assert set(table._numbers) == {"the", " raven", "x"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["byte level", "unigram", "accented wordpiece"])
def test_a_word_of_a_megabyte_and_a_text_of_spaces_are_tokenized(name: str) -> None:
    texts = ["a" * (1 << 20 if name == "accented wordpiece" else 1 << 12), " " * 10_000, "\n" * 1000, ""]
    assert_as_library(tokenizer_of(name).encode(texts), texts, name)


# --- Special tokens


@each_kind
def test_the_name_of_a_special_token_is_text(kind: str) -> None:
    names = " ".join(trained.SPECIAL)
    texts = [names, f"a{names}b", "<mask>", "</s></s>"]
    found = tokenizer_of(kind).encode(texts)
    roles = vocabulary_of(kind).special
    assert not set(found.token_ids.tolist()) & {roles.pad, roles.cls, roles.sep, roles.mask}
    assert np.diff(found.document_offsets).min() > 0


@each_kind
def test_the_name_of_a_special_token_can_be_parsed(kind: str) -> None:
    text = "the <mask> and</s> the"
    found = tokenizer_of(kind).encode([text], specials="parse", offsets=True)
    expected = library_of(kind).encode(text, add_special_tokens=False)
    roles = vocabulary_of(kind).special
    assert found.token_ids.tolist() == expected.ids
    assert [found.token_ids.tolist().count(number) for number in (roles.mask, roles.sep)] == [1, 1]
    assert found.byte_offsets is not None
    start, end = found.byte_offsets[found.token_ids.tolist().index(roles.mask)]
    assert text[start:end] == "<mask>"


# --- Lines, documents, what users supply


@each_kind
@settings(max_examples=25, deadline=None)
@given(texts=st.lists(PROSE_TEXTS, min_size=1, max_size=3))
def test_a_line_starts_at_the_first_token_whose_characters_are_on_it(kind: str, texts: list[str]) -> None:
    bodies = [text.rstrip(WHITE) for text in texts]
    found = tokenizer_of(kind).tokenize(block_of(texts), lines=True)
    expected = []
    for body in bodies:
        encoding = library_of(kind).encode(body, add_special_tokens=False)
        lines = [body[:start].count("\n") for start, _ in trimmed(encoding, body)]
        expected += [k == 0 or line != lines[k - 1] for k, line in enumerate(lines)]
    assert found.line_starts is not None
    assert found.line_starts.tolist() == expected


@each_kind
def test_white_space_behind_a_document_is_not_part_of_it(kind: str) -> None:
    texts = ["the raven\n\n", "\n ", " sat\t \u3000\n\n \u2028", "never"]
    found = tokenizer_of(kind).tokenize(block_of(texts))
    expected = tokenizer_of(kind).encode([text.rstrip(WHITE) for text in texts])
    for name in ("token_ids", "word_starts", "document_offsets"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()


@pytest.mark.parametrize("kind", ["byte level", "unigram as it stands", "without words"])
def test_supplied_words_and_ranges_leave_out_the_space_that_a_token_begins_with(kind: str) -> None:
    text = "the old raven sat, né there\n"
    words = Ragged(offsets=np.array([0, 4]), values=np.array([0, 8, 14, 19]))
    ranges = Ranges(offsets=np.array([0, 2]), starts=np.array([4, 22]), ends=np.array([8, 23]))
    found = tokenizer_of(kind).tokenize(block_of([text], words=words, annotations=ranges))
    pieces = tokenizer_of(kind).encode([text.rstrip()], offsets=True)
    assert pieces.byte_offsets is not None
    starts = [text.encode()[start:].decode(errors="ignore") for start in pieces.byte_offsets[found.word_starts, 0]]
    assert [start.lstrip().split()[0] for start in starts] == ["the", "raven", "sat,", "né"]
    grown = settle_words(whole_documents(found), tokenizer_of(kind).vocabulary, found.supplied).annotations
    assert grown is not None
    spots = pieces.byte_offsets
    touched = [
        text.encode()[spots[a, 0] : spots[b - 1, 1]].decode() for a, b in zip(grown.starts, grown.ends, strict=True)
    ]
    assert touched == ["the old", "né there"]


# --- Refused


def test_what_the_library_cannot_read_is_refused() -> None:
    broken = trained.changed(trained.byte_level(), lambda content: content["model"]["merges"].append(["no", "such"]))
    with pytest.raises(
        ConfigError, match=r"vocabulary x: the tokenizers library cannot read it \(.*no.*\); save it with"
    ):
        Tokenizer(vocabulary_from_tokenizer("x", broken))


def test_ids_that_the_library_gives_otherwise_are_refused() -> None:
    def exchange(content: dict[str, Any]) -> None:
        content["added_tokens"] += [
            {**content["added_tokens"][0], "id": 600 + k, "content": f"<{1 - k}>"} for k in range(2)
        ]
        content["added_tokens"][-2:] = reversed(content["added_tokens"][-2:])

    with pytest.raises(ConfigError, match=r"'<0>' has id 601, the tokenizers library gives it 600; save it"):
        Tokenizer(vocabulary_from_tokenizer("x", trained.changed(trained.byte_level(), exchange)))


# --- Real prose


def prose() -> Iterator[str]:
    import pyarrow as pa

    for name in ("enwiki2018.000", "nltk_misc", "tech_docs"):
        raw = pa.input_stream(PROSE / f"{name}.jsonl.zst", compression="zstd").read(3 << 17)
        yield from (json.loads(line)["text"] for line in raw[: raw.rfind(b"\n")].split(b"\n"))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not PROSE.is_dir(), reason=f"{PROSE} is absent")
@pytest.mark.parametrize("kind", ["byte level", "unigram", "metaspace first", "accented wordpiece"])
def test_real_prose_is_tokenized_as_by_the_library(kind: str) -> None:
    texts = list(prose())
    assert len(texts) > 50
    found = tokenizer_of(kind).encode(texts)
    whole = WholeDocuments(load_library(vocabulary_of(kind), parse=False), vocabulary_of(kind))
    data = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, data)])
    expected = whole.encode(np.frombuffer(b"".join(data), np.uint8), offsets, spots=False)
    assert np.array_equal(found.token_ids, expected.token_ids)
    assert np.array_equal(found.word_starts, expected.word_starts)


@pytest.mark.parametrize("kind", ["byte_level", "unigram"])
def test_a_file_is_parsed_twice_for_its_vocabulary_and_once_for_its_tokenizer(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Megabytes of JSON are a good part of what starting takes."""
    text, parsed, loads = getattr(trained, kind)(), list[bool](), json.loads

    def counted(found: Any, **options: Any) -> Any:
        parsed.append(found == text)
        return loads(found, **options)

    monkeypatch.setattr(json, "loads", counted)
    vocabulary = vocabulary_from_tokenizer("x", text)
    vocabulary.spelled  # noqa: B018
    assert parsed.count(True) <= 2
    parsed.clear()
    Tokenizer(vocabulary)
    assert parsed.count(True) == 1
