"""What `Tokenizer.encode` takes, refuses and leaves as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from figures import figure
from tokenization.reference import CASINGS, assert_as_library, block_of, ids_of, reference_of, same, tokenizer_of
from tokenization.unicode_texts import random_texts

from spanmask.errors import ConfigError
from spanmask.tokenization import Tokenizer

each_casing = pytest.mark.parametrize("casing", CASINGS)

TEXTS = ["the cat", "", "漢字 \u0301x", "sat down\nagain", "Café ΟΔΟΣ 😀", "[MASK]"]
_PADDED = ["first", *TEXTS, "last"]
_HALF = pa.array(_PADDED[:4]).slice(1), pa.array(_PADDED[3:]).slice(1, 3)

LAYOUTS: dict[str, Sequence[str] | pa.Array | pa.ChunkedArray] = {
    "tuple": tuple(TEXTS),
    "string": pa.array(TEXTS),
    "large_string": pa.array(TEXTS, pa.large_string()),
    "string_view": pa.array(TEXTS, pa.string_view()),
    "dictionary": pa.array(TEXTS).dictionary_encode(),
    "sliced string": pa.array(_PADDED).slice(1, len(TEXTS)),
    "sliced large_string": pa.array(_PADDED, pa.large_string()).slice(1, len(TEXTS)),
    "slice of a slice": pa.array(["", *_PADDED, "x"], pa.large_string()).slice(1).slice(1, len(TEXTS)),
    "chunks": pa.chunked_array([TEXTS[:1], [], TEXTS[1:]], pa.string()),
    "one chunk": pa.chunked_array([TEXTS], pa.large_string()),
    "sliced chunks": pa.chunked_array(_HALF),
    "sliced chunked array": pa.chunked_array([_PADDED[:2], _PADDED[2:]]).slice(1, len(TEXTS)),
    "of nothing null, with a bitmap": pa.Array.from_buffers(
        pa.string(), len(TEXTS), [pa.py_buffer(b"\xff"), *pa.array(TEXTS).buffers()[1:]]
    ),
}

EMPTY: list[Any] = [[], pa.array([], pa.string()), pa.array([], pa.large_string()), pa.chunked_array([], pa.string())]
EMPTY += [pa.array(["a"]).slice(1), pa.array([], pa.string_view())]


@each_casing
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_tokens_of_a_list(casing: str, layout: str) -> None:
    for offsets in (False, True):
        found = tokenizer_of(casing).encode(LAYOUTS[layout], offsets=offsets)
        assert same(found, reference_of(casing).encode(TEXTS))


@pytest.mark.parametrize("texts", EMPTY, ids=lambda texts: f"{type(texts).__name__} {getattr(texts, 'type', '')}")
def test_no_texts_give_no_tokens(texts: Any) -> None:
    block = tokenizer_of("cased").encode(texts, offsets=True)
    assert block.byte_offsets is not None
    assert (len(block.token_ids), len(block.word_starts), block.document_offsets.tolist()) == (0, 0, [0])
    assert (block.byte_offsets.shape, block.token_ids.dtype) == ((0, 2), np.uint16)


@each_casing
def test_a_text_without_tokens_has_an_empty_place(casing: str) -> None:
    texts = ["a", "", " \u200b\0", "b", "\n\n\n", "\0", "\0a\0", "\u0301" * 3 if casing == "uncased" else "", "\ufffd"]
    block = tokenizer_of(casing).encode(texts)
    assert np.diff(block.document_offsets).tolist() == [1, 0, 0, 1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    "texts",
    [[None], ["a", None], pa.array(["a", None]), pa.chunked_array([["a"], [None]]), pa.array([None, "b"]).slice(0, 1)],
    ids=str,
)
def test_a_null_is_refused(texts: Any) -> None:
    with pytest.raises(ConfigError, match=r"1 of \d texts are null; leave them out, or give empty strings"):
        tokenizer_of("cased").encode(texts)


@pytest.mark.parametrize("texts", [[1], ["a", 2.0], [["a"]], [{"text": "a"}], pa.array([[1]]), 7, pa.array([{"a": 1}])])
def test_what_is_no_string_is_refused(texts: Any) -> None:
    with pytest.raises(ConfigError, match="give a list of str or an Arrow array of strings"):
        tokenizer_of("cased").encode(texts)


@pytest.mark.parametrize("texts", [pa.array([1, 2]), pa.array([True]), "the cat"], ids=str)
def test_what_could_be_taken_for_strings_is_refused_too(texts: Any) -> None:
    """One text is no list of texts, although Python can go through its characters; numbers are no text, though Arrow would write them."""
    with pytest.raises(ConfigError, match="give a list of str or an Arrow array of strings"):
        tokenizer_of("cased").encode(texts)


# --- What is not UTF-8

MALFORMED = {
    "a lone continuation": b"\x80",
    "a character cut short": b"\xe6\xbc",
    "four bytes cut short": b"\xf0\x9f\x98",
    "overlong, two bytes": b"\xc0\xaf",
    "overlong, three bytes": b"\xe0\x80\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "above the last code point": b"\xf4\x90\x80\x80",
    "a byte that is never there": b"\xff",
    "a first byte and no other": b"\xc3",
    "too many continuations": b"\xc3\xa9\xa9",
    "Latin-1": "café".encode("latin-1"),
}


def of_bytes(parts: list[bytes], kind: Any) -> pa.Array:
    width = np.int32 if kind == pa.string() else np.int64
    bounds = np.cumsum([0, *map(len, parts)]).astype(width)
    return pa.Array.from_buffers(
        kind, len(parts), [None, pa.py_buffer(bounds.tobytes()), pa.py_buffer(b"".join(parts))]
    )


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
@pytest.mark.parametrize("name", MALFORMED)
def test_bytes_that_are_not_utf8_are_refused_at_every_place(name: str, kind: Any) -> None:
    bad = MALFORMED[name]
    for before in (b"", b"abc", b" " * 15, b"x" * 31, b"a cat sat " * 7, "漢é".encode() * 9):
        for after in (b"", b" ", b"abc", b"x" * 40, "é".encode() * 20):
            with pytest.raises(ConfigError, match=r"UTF-?8"):
                tokenizer_of("uncased").encode(of_bytes([b"well formed", before + bad + after, b"again"], kind))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
@pytest.mark.parametrize("text", ["é", "漢", "😀"])
def test_a_character_cut_in_two_by_the_end_of_a_text_is_refused(text: str, kind: Any) -> None:
    """Together the texts are UTF-8, and none of the two is."""
    data = text.encode()
    for cut in range(1, len(data)):
        with pytest.raises(ConfigError, match=r"UTF-?8"):
            tokenizer_of("cased").encode(of_bytes([b"ab " + data[:cut], data[cut:] + b" c"], kind))


def test_what_lies_outside_a_slice_may_be_anything() -> None:
    array = of_bytes([b"\xff\xfe", b"the cat", b"\xc3"], pa.large_string()).slice(1, 1)
    assert same(tokenizer_of("cased").encode(array), reference_of("cased").encode(["the cat"]))


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d\ude00"])
def test_lone_surrogates_in_a_str_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="surrogates not allowed"):
        tokenizer_of("cased").encode(["fine", text])


# --- What becomes of the texts


def test_texts_are_read_in_place_and_never_written() -> None:
    """Bytes of Python's and read-only pages cannot be written; equal bytes afterwards say that nothing went around that."""
    parts = [text.encode() for text in random_texts(200, seed=200)]
    array = of_bytes(parts, pa.large_string())
    assert not any(buffer.is_mutable for buffer in array.buffers()[1:])
    for casing in CASINGS:
        found = tokenizer_of(casing).encode(array, offsets=True)
        assert same(found, reference_of(casing).encode([part.decode() for part in parts]))
    assert array.buffers()[2].to_pybytes() == b"".join(parts)


def arrow_peak(work: Callable[[], object]) -> int:
    """Return the most bytes that Arrow held at once for a work."""
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        work()
    finally:
        pa.set_memory_pool(usual)
    return int(pool.max_memory())


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
def test_arrow_does_not_copy_the_texts(kind: Any) -> None:
    array = pa.array(["the cat sat on the mat " * 400] * 50, kind)
    assert arrow_peak(lambda: tokenizer_of("cased").encode(array)) < array.nbytes / 100
    assert arrow_peak(lambda: tokenizer_of("cased").encode(pa.chunked_array([array.slice(7)]))) < array.nbytes / 100
    assert arrow_peak(lambda: pa.concat_arrays([array, array])) > array.nbytes


def test_results_are_apart_from_the_texts_and_from_one_another() -> None:
    tokenizer = tokenizer_of("cased")
    first = tokenizer.encode(["the cat"], offsets=True)
    kept = ids_of(first), first.word_starts.tolist()
    tokenizer.encode(["an unbelievable dog, and another"] * 50, offsets=True)
    assert (ids_of(first), first.word_starts.tolist()) == kept


@each_casing
def test_a_block_of_documents_gives_the_tokens_of_its_texts(casing: str) -> None:
    texts = random_texts(300, seed=201)
    assert same(tokenizer_of(casing).tokenize(block_of(texts)), reference_of(casing).encode(texts))


# --- Remembered words, and threads


def distinct_words(count: int) -> list[str]:
    """Return texts of words that nobody has seen, a thousand in each."""
    letters = "etaoinshrdlucmfw"
    return [
        " ".join(
            "".join(letters[number >> shift & 15] for shift in range(0, 24, 4)) for number in range(first, first + 1000)
        )
        for first in range(0, count, 1000)
    ]


@pytest.mark.slow
def test_more_words_than_are_remembered_are_tokenized_all_the_same() -> None:
    tokenizer = Tokenizer("uncased")
    texts = distinct_words(200_000)
    assert_as_library(tokenizer, reference_of("uncased"), texts)


@pytest.mark.slow
def test_more_words_than_the_largest_table_holds_are_tokenized_all_the_same() -> None:
    tokenizer = Tokenizer("cased")
    texts = distinct_words(figure(1_000_000, 4_000_000))
    for first in range(0, len(texts), 200):
        assert_as_library(tokenizer, reference_of("cased"), texts[first : first + 200])
    assert_as_library(tokenizer, reference_of("cased"), texts[:200])


def run_at_once(works: Sequence[Callable[[], None]]) -> None:
    """Run works in threads that begin together; the first error of any is raised."""
    errors: list[BaseException] = []
    begin = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        begin.wait()
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


@pytest.mark.parametrize("shared", [True, False])
def test_threads_at_once_give_the_tokens_of_one(shared: bool) -> None:
    """Four threads have more words than are remembered, so that each replaces what another is about to find."""
    one = Tokenizer("uncased")
    words = distinct_words(160_000)
    texts = [random_texts(200, 300 + number) + words[number::4] for number in range(4)]
    expected = [reference_of("uncased").encode(part) for part in texts]

    def work(number: int) -> Callable[[], None]:
        tokenizer = one if shared else Tokenizer("uncased")

        def encode() -> None:
            for turn in range(24):
                chosen = (number + turn) % len(texts)
                assert same(tokenizer.encode(texts[chosen], offsets=turn % 8 == 7), expected[chosen])

        return encode

    run_at_once([work(number) for number in range(len(texts))])
