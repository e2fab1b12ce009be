"""Text to tokens: held against the `tokenizers` library run on whole texts, and against literal twins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers

from spanmask.config import VocabularyConfig
from spanmask.records import DocumentBlock, Points, Ranges, TokenizedBlock
from spanmask.tokenization import Tokenizer, library
from spanmask.vocab import Vocabulary, load_vocabulary

PROSE = Path(__file__).resolve().parents[2] / "shared" / "data" / "prose"
CASINGS = ("cased", "uncased")

#: Every character that Python or Unicode calls a space, a control or a format, as far as BERT may tell them apart.
SPACES = [
    " ",
    " ",
    "\n",
    "\n",
    *map(chr, [9, 11, 12, 13, 28, 29, 30, 31, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]),
]
SPACES += [chr(point) for point in range(0x2000, 0x200B)]
CONTROLS = [
    "\0",
    "\x07",
    "\x7f",
    "\x9f",
    "\xad",
    "\u200b",
    "\u200d",
    "\u200e",
    "\u2060",
    "\ufeff",
    "\ufffd",
    "\ue000",
    "\U000e0001",
]
MARKS = ["\u0301", "\u0338", "\u0345", "\u0307", "\u20dd", "\u093f", "\U0001d165", "e\u0301\u0323", "\u0323\u0301"]
LETTERS = [
    "é",
    "Σ",
    "ΟΔΟΣ",
    "ς",
    "İ",
    "ı",
    "ß",
    "ẞ",
    "ﬀ",
    "K",
    "ǆ",
    "각",
    "\u1100\u1161\u11a8",
    "नि",
    "𝔘",
    "😀",
    "👩\u200d🚀",
]
IDEOGRAPHS = ["漢", "字", "𠀀", "豈", "㐀", "々", "かな"]
WORDS = [
    "a,b;c",
    "(x)[y]{z}",
    "<\u0338=\u0338>",
    "the",
    "unbelievable",
    "Spanish",
    "x" * 100,
    "x" * 101,
    "é" * 100,
    "1984",
    "don't",
    "a-b",
    "...",
    "$",
    "^",
    "|",
    "’",
]
LITERALS = ["[MASK]", "[SEP]", "[CLS]", "[PAD]", "[UNK]", "##s", "[unused1]", "[ MASK ]"]
ATOMS = [SPACES, CONTROLS, MARKS, LETTERS, IDEOGRAPHS, WORDS, LITERALS]

ODD_TEXTS = st.lists(st.one_of([st.sampled_from(atoms) for atoms in ATOMS]), max_size=24).map("".join)
TEXTS = ODD_TEXTS | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
PIECES = st.integers(1, 24)


@cache
def vocabulary_of(casing: str) -> Vocabulary:
    return load_vocabulary(VocabularyConfig(vocab=casing))


@cache
def tokenizer_of(casing: str) -> Tokenizer:
    return Tokenizer(vocabulary_of(casing))


@cache
def library_of(casing: str) -> Any:
    """Return BERT's tokenizer as the library has it, without added tokens."""
    uncased = casing == "uncased"
    library: Any = Library(
        models.WordPiece(dict(vocabulary_of(casing).ids), unk_token="[UNK]", max_input_chars_per_word=100)
    )
    library.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=uncased, lowercase=uncased
    )
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return library


def whole(casing: str, text: str) -> Any:
    return library_of(casing).encode(text, add_special_tokens=False)


@contextlib.contextmanager
def pieces_of(size: int) -> Iterator[None]:
    with mock.patch.object(library, "PIECE_BYTES", size):
        yield


def block_of(texts: list[str], **fields: Any) -> DocumentBlock:
    encoded = [text.encode() for text in texts]
    return DocumentBlock(
        text=np.frombuffer(b"".join(encoded), np.uint8),
        document_offsets=np.cumsum([0, *map(len, encoded)]),
        document_ids=np.arange(len(texts), dtype=np.uint64),
        **fields,
    )


def ids_of(block: TokenizedBlock) -> list[list[int]]:
    return [block.token_ids[start:end].tolist() for start, end in pairwise(block.document_offsets.tolist())]


def ragged(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum([0, *map(len, lists)]), np.array([value for values in lists for value in values], np.int64)


# --- Pieces against wholes


@pytest.mark.parametrize("casing", CASINGS)
@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=3), size=PIECES)
def test_pieces_give_the_tokens_of_the_whole_text(casing: str, texts: list[str], size: int) -> None:
    with pieces_of(size):
        block = tokenizer_of(casing).encode(texts)
    assert ids_of(block) == [whole(casing, text).ids for text in texts]
    starts = [not vocabulary_of(casing).entries[i].startswith("##") for i in block.token_ids.tolist()]
    assert block.word_starts.tolist() == starts
    assert block.token_ids.dtype == np.uint16


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4), size=PIECES, lines=st.booleans())
def test_pieces_cover_every_document_in_order_and_end_at_a_border(texts: list[str], size: int, lines: bool) -> None:
    block = block_of(texts)
    with pieces_of(size):
        pieces = list(library._cut(block.text, block.document_offsets, lines=lines))
    for document, text in enumerate(texts):
        start = int(block.document_offsets[document])
        mine = [piece for piece in pieces if piece.document == document]
        data = text.encode()
        parts = [data[piece.start - start : piece.end - start] for piece in mine]
        assert b"".join(parts) == data
        for part in parts:
            characters = part.decode()
            assert characters
            if part is not parts[-1]:
                assert is_border(characters[-1])
            if len(part) > size:
                assert not any(is_border(char) for char in part[:size].decode(errors="ignore"))
                assert not any(is_border(char) for char in part[size:].decode(errors="ignore")[:-1])


def is_border(char: str) -> bool:
    ascii_punctuation = char.isascii() and char.isprintable() and not char.isalnum()
    return ascii_punctuation or char in " \n" or "\u5000" <= char <= "\u9fff"


@pytest.mark.parametrize("casing", CASINGS)
def test_text_without_spaces_is_cut_too_and_keeps_its_tokens(casing: str) -> None:
    text = "漢字かな、混じり。Σ,ΟΔΟΣ.\u0301e漢\u0301<\u0338" * 3000
    block = block_of([text])
    pieces = list(library._cut(block.text, block.document_offsets, lines=False))
    assert max(piece.end - piece.start for piece in pieces) <= library.PIECE_BYTES
    assert ids_of(tokenizer_of(casing).tokenize(block)) == [whole(casing, text).ids]


@pytest.mark.parametrize("casing", CASINGS)
def test_a_combining_mark_behind_a_cut_stays_its_own(casing: str) -> None:
    text = "ab \u0301cd e\u0301 \u0323\u0301 x"
    for size in range(1, 12):
        with pieces_of(size):
            assert ids_of(tokenizer_of(casing).encode([text])) == [whole(casing, text).ids]


def test_a_literal_special_token_is_text() -> None:
    block = tokenizer_of("cased").encode(["[MASK] [SEP][CLS]"])
    special = set(vocabulary_of("cased").special.as_dict().values())
    assert not special & set(block.token_ids.tolist())


def test_a_word_of_more_than_a_hundred_characters_is_one_unknown() -> None:
    unknown = vocabulary_of("cased").special.unk
    assert ids_of(tokenizer_of("cased").encode(["x" * 101, "é" * 101])) == [[unknown], [unknown]]
    assert unknown not in ids_of(tokenizer_of("cased").encode(["x" * 100]))[0]


def test_a_document_without_tokens_has_an_empty_place() -> None:
    block = tokenizer_of("cased").encode(["a", "", " \u200b\0", "b"])
    assert np.diff(block.document_offsets).tolist() == [1, 0, 0, 1]


def test_no_documents_give_no_tokens() -> None:
    block = tokenizer_of("cased").encode([])
    assert (len(block.token_ids), block.document_offsets.tolist()) == (0, [0])


@pytest.mark.data
@pytest.mark.skipif(not PROSE.is_dir(), reason=f"needs the prose in {PROSE}, which is not there")
@pytest.mark.parametrize("casing", CASINGS)
@pytest.mark.parametrize("size", [4096, 1000, 256 << 10])
def test_real_prose_in_pieces_gives_the_tokens_of_the_whole(casing: str, size: int) -> None:
    text = (PROSE / "wikitext-2" / "valid.txt").read_text("utf-8")[: 256 << 10]
    with pieces_of(size):
        block = tokenizer_of(casing).encode([text])
    assert ids_of(block) == [whole(casing, text).ids]


# --- Lines


@settings(max_examples=80, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=3), size=PIECES)
def test_a_line_starts_at_the_first_token_behind_each_newline(texts: list[str], size: int) -> None:
    with pieces_of(size):
        block = tokenizer_of("cased").tokenize(block_of(texts), lines=True)
    ids, flags = [], []
    for text in texts:
        for line in text.split("\n"):
            tokens = whole("cased", line).ids
            ids += tokens
            flags += [place == 0 for place in range(len(tokens))]
    assert block.token_ids.tolist() == ids
    assert block.line_starts is not None
    assert block.line_starts.tolist() == flags


# --- Annotations and words: literal twins, in code points


def words_twin(spots: list[tuple[int, int]], supplied: list[int]) -> list[bool]:
    """A token starts a word where a supplied start lies behind the first code point of the token before it, up to its own."""
    return [
        token == 0 or any(spots[token - 1][0] < start <= spots[token][0] for start in supplied)
        for token in range(len(spots))
    ]


def ranges_twin(
    spots: list[tuple[int, int]], is_start: list[bool], ranges: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Mark the tokens that each range touches, then the whole words of those; join ranges that share a token."""
    n = len(spots)
    grown: list[tuple[int, int]] = []
    for a, b in ranges:
        touched = [t for t, (start, end) in enumerate(spots) if end > a and start < b]
        if not touched:
            continue
        first, last = touched[0], touched[-1] + 1
        while first > 0 and not is_start[first]:
            first -= 1
        while last < n and not is_start[last]:
            last += 1
        if grown and first < grown[-1][1]:
            first, last = grown[-1][0], max(last, grown.pop()[1])
        grown.append((first, last))
    return grown


@st.composite
def annotated_texts(draw: Any) -> tuple[str, list[tuple[int, int]], list[int]]:
    text = draw(ODD_TEXTS.filter(bool))
    places = st.integers(0, len(text))
    pairs = draw(st.lists(st.tuples(places, places).filter(lambda pair: pair[0] < pair[1]), max_size=5))
    return text, sorted(pairs), sorted(set(draw(st.lists(places, max_size=6))))


@pytest.mark.parametrize("casing", CASINGS)
@settings(max_examples=60, deadline=None)
@given(cases=st.lists(annotated_texts(), min_size=1, max_size=3), size=PIECES, supply_words=st.booleans())
def test_annotations_and_word_starts_in_code_points_become_tokens(
    casing: str, cases: list[tuple[str, list[tuple[int, int]], list[int]]], size: int, supply_words: bool
) -> None:
    offsets, starts = ragged([[a for a, _ in ranges] for _, ranges, _ in cases])
    _, ends = ragged([[b for _, b in ranges] for _, ranges, _ in cases])
    word_offsets, word_values = ragged([words for _, _, words in cases])
    block = block_of(
        [text for text, _, _ in cases],
        annotations=Ranges(offsets=offsets, starts=starts, ends=ends),
        words=Points(offsets=word_offsets, values=word_values) if supply_words else None,
    )
    with pieces_of(size):
        found = tokenizer_of(casing).tokenize(block)
    assert found.annotations is not None
    for i, (text, ranges, words) in enumerate(cases):
        encoding = whole(casing, text)
        tokens = slice(found.document_offsets[i], found.document_offsets[i + 1])
        by_table = [not vocabulary_of(casing).entries[t].startswith("##") for t in encoding.ids]
        is_start = words_twin(encoding.offsets, words) if supply_words and words else by_table
        assert found.token_ids[tokens].tolist() == encoding.ids
        assert found.word_starts[tokens].tolist() == is_start
        mine = slice(found.annotations.offsets[i], found.annotations.offsets[i + 1])
        pairs = list(zip(found.annotations.starts[mine].tolist(), found.annotations.ends[mine].tolist(), strict=True))
        assert pairs == ranges_twin(encoding.offsets, is_start, ranges)


# --- What `encode` takes


def test_strings_and_every_arrow_layout_give_the_same_tokens() -> None:
    texts = ["the cat", "", "漢字 \u0301x", "sat down\nagain"]
    expected = tokenizer_of("uncased").encode(texts)
    padded = ["first", *texts, "last"]
    arrays = [
        pa.array(texts),
        pa.array(texts, pa.large_string()),
        pa.array(padded).slice(1, 4),
        pa.array(padded, pa.large_string()).slice(1, 4),
        pa.chunked_array([texts[:1], texts[1:]]),
        pa.chunked_array([pa.array(padded[:3]).slice(1), pa.array(padded[2:]).slice(1, 2)]),
    ]
    for array in arrays:
        found = tokenizer_of("uncased").encode(array)
        assert found.token_ids.tolist() == expected.token_ids.tolist()
        assert found.document_offsets.tolist() == expected.document_offsets.tolist()
        assert found.word_starts.tolist() == expected.word_starts.tolist()


@pytest.mark.parametrize("name", ["cased", "uncased"])
def test_a_vocabulary_may_be_named(name: str) -> None:
    assert Tokenizer(name).encode(["Café"]).token_ids.tolist() == whole(name, "Café").ids
