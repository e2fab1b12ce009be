"""The word rule (FORMAT.md §6.7): what settles words of segments equals its literal twin, and rows give the same words again."""

from __future__ import annotations

import io
import json
import unicodedata
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import trained
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from spanmask import MaskingConfig, Tokenizer
from spanmask.blocks import offsets_of, part, read_only, restore, row_of, word_positions
from spanmask.config import SequenceConfig
from spanmask.kernels import words as kernels
from spanmask.masking import Masker, mask
from spanmask.pieces import LONGEST_WORD, MARK, SPACELESS, WHITE_SPACE, character_classes
from spanmask.records import SequenceBlock, TokenizedBlock
from spanmask.sequencing import sequence
from spanmask.vocab import Vocabulary, vocabulary_from_tokenizer
from spanmask.words import LINES, SUPPLIED, settle_words

#: The scripts written without spaces, and how Unicode names their characters.
SCRIPTS = {
    "Han": (
        "CJK UNIFIED",
        "CJK COMPATIBILITY",
        "CJK RADICAL",
        "CJK STROKE",
        "KANGXI",
        "IDEOGRAPHIC",
        "HANGZHOU",
        "VERTICAL",
        "OLD CHINESE",
    ),
    "Hiragana": ("HIRAGANA", "HENTAIGANA", "SQUARE HIRAGANA"),
    "Katakana": ("KATAKANA", "HALFWIDTH KATAKANA", "CIRCLED KATAKANA", "SQUARE"),
    "Bopomofo": ("BOPOMOFO", "MODIFIER LETTER"),
    "Yi": ("YI ",),
    "Nushu": ("NUSHU",),
    "Tangut": ("TANGUT",),
    "Khitan_Small_Script": ("KHITAN SMALL SCRIPT",),
    "Thai": ("THAI",),
    "Lao": ("LAO",),
    "Khmer": ("KHMER",),
    "Myanmar": ("MYANMAR",),
    "Tai_Le": ("TAI LE",),
    "New_Tai_Lue": ("NEW TAI LUE",),
    "Tai_Tham": ("TAI THAM",),
    "Tai_Viet": ("TAI VIET",),
    "Tibetan": ("TIBETAN",),
    "Javanese": ("JAVANESE",),
    "Balinese": ("BALINESE",),
}
KINDS = {WHITE_SPACE: "white", MARK: "mark", SPACELESS: "spaceless"}
POINTS = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]


def kind_of(character: str) -> str:
    return KINDS.get(int(character_classes()[ord(character)]), "")


@pytest.fixture(scope="module")
def wikipedia() -> list[str]:
    path = Path(__file__).parents[2] / "shared/data/prose/enwiki2018.000.jsonl.zst"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with path.open("rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
        return [json.loads(line)["text"] for line in islice(lines, 200)]


# --- The table of characters


def test_the_table_has_unicodes_marks_and_white_space() -> None:
    classes = character_classes()
    known = [point for point in POINTS if unicodedata.category(chr(point)) != "Cn"]
    marks = [point for point in known if unicodedata.category(chr(point)).startswith("M")]
    assert {point for point in known if classes[point] == MARK} == set(marks)
    white = {point for point in known if chr(point).isspace() and not 0x1C <= point <= 0x1F}
    assert set(np.flatnonzero(classes == WHITE_SPACE).tolist()) == white | {ord("▁")}


def test_the_table_has_the_letters_of_scripts_without_spaces() -> None:
    prefixes = tuple(name for names in SCRIPTS.values() for name in names)
    classes = character_classes()
    for point in np.flatnonzero(classes == SPACELESS).tolist():
        name = unicodedata.name(chr(point), "")
        assert name == "" or name.startswith(prefixes), f"U+{point:04X} {name}"
    whole = (
        "CJK UNIFIED",
        "CJK COMPATIBILITY IDEOGRAPH",
        "HIRAGANA LETTER",
        "KATAKANA LETTER",
        "BOPOMOFO LETTER",
        "YI SYLLABLE",
    )
    whole += tuple(
        f"{name} LETTER"
        for name in ("LAO", "KHMER", "MYANMAR", "TAI LE", "NEW TAI LUE", "TAI THAM", "TIBETAN", "BALINESE")
    )
    whole += ("THAI CHARACTER", "TANGUT IDEOGRAPH", "NUSHU CHARACTER")
    for point in POINTS:
        name = unicodedata.name(chr(point), "")
        if name.startswith(whole) and not unicodedata.category(chr(point)).startswith("M"):
            assert classes[point] == SPACELESS, f"U+{point:04X} {name}"


def test_another_implementation_of_unicode_knows_no_more_of_these_scripts() -> None:
    """RE2's tables, of some version: what they call a character of a script is one here; marks are left out."""
    known = pa.array([chr(point) for point in POINTS])
    found = pc.match_substring_regex(known, "^[" + "".join(f"\\p{{{script}}}" for script in SCRIPTS) + "]$")
    points = np.array(POINTS)[found.to_numpy(zero_copy_only=False)]
    assert set(character_classes()[points].tolist()) == {SPACELESS, MARK}
    assert len(points) > 100_000


def test_neither_korean_nor_a_script_with_spaces_is_in_the_table() -> None:
    for character in "한ㄱᄀaяΩעعनক,。、「1 ฿":
        assert kind_of(character) in ("", "white")


# --- What entries stand for


def spelled_by(vocabulary: Vocabulary) -> list[bytes]:
    """Return the bytes of text that each entry stands for."""
    flat, ends = vocabulary.spelled
    return [flat[start:end].tobytes() for start, end in pairwise(ends.tolist())]


@pytest.mark.parametrize("kind", trained.KINDS)
def test_pieces_spell_the_text_they_were_made_of(kind: str) -> None:
    text = trained.KINDS[kind][0]()
    vocabulary = vocabulary_from_tokenizer(kind, text)
    spelled = spelled_by(vocabulary)
    said = "the and of in"
    ids = Tokenizer(vocabulary).encode([said]).token_ids.tolist()
    made = b"".join(spelled[number] for number in ids).decode().replace("▁", " ")
    assert made.replace(" ", "") == said.replace(" ", "")
    assert {number for number, said in enumerate(spelled) if not said} == set(vocabulary.special.as_dict().values())


# --- Segments


def segments_of(tokens: TokenizedBlock, cuts: list[int] | None = None) -> SequenceBlock:
    bounds = np.array(sorted({0, len(tokens.token_ids), *(cuts or [])}), np.int64)
    count = len(bounds) - 1
    return SequenceBlock(
        token_ids=tokens.token_ids,
        word_starts=tokens.word_starts,
        starts=bounds[:-1],
        ends=bounds[1:],
        document_index=np.zeros(count, np.int64),
        document_ids=np.arange(count, dtype=np.uint64),
        segments=np.zeros(count, np.uint32),
        dropped={},
    )


@cache
def spelling(kind: str) -> tuple[Vocabulary, list[bytes]]:
    if kind in ("cased", "uncased"):
        vocabulary = Tokenizer(kind).vocabulary
        special = vocabulary.special_tokens
        return vocabulary, [b"" if e in special else e.removeprefix("##").encode() for e in vocabulary.entries]
    text = trained.KINDS[kind][0]()
    vocabulary = vocabulary_from_tokenizer(kind, text)
    return vocabulary, spelled_by(vocabulary)


@cache
def tokenizer(kind: str) -> Tokenizer:
    return Tokenizer(spelling(kind)[0])


def assert_settled(block: SequenceBlock, kind: str) -> SequenceBlock:
    """Hold settled words against the literal rule, segment by segment."""
    vocabulary, spelled = spelling(kind)
    settled = settle_words(block, vocabulary)
    acted = dict.fromkeys(LINES, 0)
    for start, end in zip(block.starts.tolist(), block.ends.tolist(), strict=True):
        pieces = [spelled[number] for number in block.token_ids[start:end].tolist()]
        wanted, lines = oracle.words_by_rule(pieces, block.word_starts[start:end].tolist(), kind_of)
        assert settled.word_starts[start:end].tolist() == wanted
        acted = {line: acted[line] + lines[line] for line in LINES}
    assert settled.word_rule == {SUPPLIED: 0, **acted}
    return settled


#: What the lines act on: scripts without spaces, marks behind spaces, runs of white space, long words, and characters of many bytes.
BITS = (
    *(
        "the cat sat",
        "naïve",
        " ",
        "  ",
        "\n\n",
        "\t",
        "\u3000",
        "\u00a0",
        "\u0301",
        "e\u0301",
        " \u0301a",
        "\u0e31",
        "\u093f",
    ),
    *(
        "今日は天気",
        "散歩しましょう",
        "コンピューター",
        "ฉันชอบกินข้าว",
        "ภาษาไทย",
        "ລາວ",
        "ខ្មែរ",
        "မြန်မာ",
        "བོད་ཡིག",
        "𠮷野家",
        "ｶﾀｶﾅ",
    ),
    *(
        "오늘은날씨가좋아서",
        "ACGTTGCAACGTTGCAACGTTGCAACGT",
        "https://example.org/a-b_c?d=e&f=1",
        "x" * 40,
        "1234567890" * 3,
    ),
    *("😀👩\u200d🚀", "。", "「", "ー", "々", "Ωmega", "हिन्दी में", "▁", "##", "<0xE4>"),
)
TEXTS = st.lists(st.sampled_from(BITS), min_size=1, max_size=12).map("".join)


@pytest.mark.parametrize("kind", ["cased", "uncased", *trained.KINDS])
@settings(max_examples=40, deadline=None)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 200), max_size=3))
def test_settled_words_are_those_of_the_literal_rule(kind: str, text: str, cuts: list[int]) -> None:
    tokens = tokenizer(kind).encode([text])
    if len(tokens.token_ids):
        assert_settled(segments_of(tokens, [min(cut, len(tokens.token_ids)) for cut in cuts]), kind)


@settings(max_examples=150, deadline=None)
@given(flags=st.lists(st.sampled_from([False] * 12 + [True]), min_size=1, max_size=120))
def test_long_words_are_split_and_no_other_is(flags: list[bool]) -> None:
    found = np.array([True, *flags[1:]])
    count = kernels.split_long(found, 0, len(found), LONGEST_WORD)
    wanted, acted = oracle.words_by_rule([b"x"] * len(flags), flags, lambda character: "")
    assert (found.tolist(), count) == (wanted, acted["long_words"])
    assert oracle.LONGEST_WORD == LONGEST_WORD


@settings(max_examples=100, deadline=None)
@given(segments=st.lists(st.lists(st.booleans(), min_size=1, max_size=9), max_size=6), gap=st.integers(0, 2))
def test_places_of_words_are_those_of_the_literal_twin(segments: list[list[bool]], gap: int) -> None:
    flags = np.array([flag for segment in segments for flag in [*segment, *[True] * gap]], np.bool_)
    ends = np.cumsum([len(segment) + gap for segment in segments], dtype=np.int64) - gap
    starts = ends - np.array(list(map(len, segments)), np.int64)
    places, offsets = np.empty(int((ends - starts).sum()) + 1, np.uint16), np.empty(len(segments) + 1, np.int64)
    kernels.word_places(read_only(starts), read_only(ends), read_only(flags), places, offsets)
    wanted = [[1 + first for first, _ in oracle.words_of(segment)] for segment in segments]
    assert [places[start:end].tolist() for start, end in pairwise(offsets.tolist())] == wanted
    rows = offsets_of(ends - starts + 2)
    found = np.ones(rows[-1], np.bool_)
    kernels.flag_places(read_only(rows), read_only(places), read_only(offsets), found)
    assert found.tolist() == [flag for segment in segments for flag in (False, True, *segment[1:], False)]


def test_classes_are_the_lines_that_go_by_them() -> None:
    lines = (kernels.WHITE_SPACE, kernels.MARK, kernels.SPACELESS)
    assert lines == (WHITE_SPACE, MARK, SPACELESS)
    assert [LINES[line] for line in lines] == ["white_space", "combining_marks", "scripts_without_spaces"]


def words_in(kind: str, text: str) -> list[str]:
    """A text's words under the rule, as their pieces spell them."""
    tokens = tokenizer(kind).encode([text])
    settled = assert_settled(segments_of(tokens), kind)
    starts = [*np.flatnonzero(settled.word_starts).tolist(), len(tokens.token_ids)]
    spelled = [spelling(kind)[1][number] for number in tokens.token_ids.tolist()]
    return [b"".join(spelled[start:end]).decode().replace("▁", " ") for start, end in pairwise(starts)]


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("byte level", "not 今日は天気", ["not", " ", "今", "日", "は", "天", "気"]),
        ("byte level", "a \n\n b", ["a \n\n", " b"]),
        ("byte level", "กี่คน", ["กี่", "ค", "น"]),
        ("byte level", "हिन्दी", ["हि", "न्", "दी"]),
        ("byte level with added tokens", "a     b", ["a     ", "b"]),
        ("uncased", "がった 12", ["か", "っ", "た", "12"]),
        ("without words", "the cat 今日", [" the", " cat", " ", "今", "日"]),
    ],
)
def test_words_of_texts_written_down(kind: str, text: str, words: list[str]) -> None:
    assert words_in(kind, text) == words


def test_supplied_words_are_left_as_they_are() -> None:
    tokens = tokenizer("byte level").encode(["今日は天気がいい" * 8])
    block = segments_of(tokens)
    settled = settle_words(block, spelling("byte level")[0], supplied=np.array([True]))
    assert settled.word_starts.tolist() == block.word_starts.tolist()
    assert settled.word_rule == {**dict.fromkeys(LINES, 0), SUPPLIED: int(block.word_starts.sum())}


# --- Rows


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), scheme=st.sampled_from(["span", "word", "token"]))
def test_rows_restore_the_words_they_were_masked_by(texts: list[str], scheme: str) -> None:
    vocabulary = spelling("uncased")[0]
    tokens = tokenizer("uncased").encode(texts)
    cuts = [cut for cut in tokens.document_offsets.tolist() if cut]
    if len(tokens.token_ids) == 0:
        return
    settled = assert_settled(segments_of(tokens, cuts), "uncased")
    config = MaskingConfig.of(seed=1, scheme=scheme)
    block, _ = Masker(config, vocabulary).mask(settled)
    originals, flags = restore(block, vocabulary)
    for number, (start, end) in enumerate(zip(settled.starts.tolist(), settled.ends.tolist(), strict=True)):
        inner = slice(int(block.input_ids.offsets[number]) + 1, int(block.input_ids.offsets[number + 1]) - 1)
        assert flags[inner].tolist() == settled.word_starts[start:end].tolist()
        assert originals[inner].tolist() == tokens.token_ids[start:end].tolist()
        row = row_of(part(block, number, number + 1), 0)
        assert word_positions(row, vocabulary).tolist() == (np.flatnonzero(flags[inner]) + 1).tolist()
    again = mask(tokens.token_ids, np.append(settled.starts, settled.ends[-1]), config, vocabulary)
    assert again.input_ids.values.tolist() == block.input_ids.values.tolist()


def test_a_vocabulary_of_marks_joins_them_to_the_word_before() -> None:
    specials = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = Vocabulary(name="marks", entries=(*specials, "a", "\u0301", "##\u0301", "か", "##か"), cased=True)
    ids: Any = np.array([5, 6, 5, 7, 8, 9, 9], np.uint16)
    block = segments_of(
        TokenizedBlock(token_ids=ids, word_starts=vocabulary.base_word_table[ids], document_offsets=np.array([0, 7]))
    )
    settled = settle_words(block, vocabulary)
    assert settled.word_starts.tolist() == [True, False, True, False, True, True, True]
    assert (settled.word_rule["combining_marks"], settled.word_rule["scripts_without_spaces"]) == (1, 2)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("casing", ["cased", "uncased"])
def test_english_is_masked_as_by_its_base_words_but_where_a_line_acted(casing: str, wikipedia: list[str]) -> None:
    vocabulary = spelling(casing)[0]
    tokens = tokenizer(casing).encode(wikipedia)
    block = sequence(tokens, np.arange(len(wikipedia), dtype=np.uint64), SequenceConfig())
    settled = settle_words(block, vocabulary)
    masker = Masker(MaskingConfig.of(seed=1), vocabulary)
    (before, _), (after, _) = masker.mask(block), masker.mask(settled)
    moved, acted = 0, 0
    for row, (start, end) in enumerate(zip(block.starts.tolist(), block.ends.tolist(), strict=True)):
        pieces = [spelling(casing)[1][number] for number in block.token_ids[start:end].tolist()]
        lines = oracle.words_by_rule(pieces, block.word_starts[start:end].tolist(), kind_of)[1]
        same = np.array_equal(before.input_ids[row], after.input_ids[row])
        changes = any(count for line, count in lines.items() if line != "base_words")
        assert same or changes
        moved, acted = moved + (not same), acted + changes
    assert moved <= acted < 0.02 * len(block)
    assert sum(settled.word_rule.values()) - settled.word_rule["base_words"] < 1e-4 * len(tokens.token_ids)
