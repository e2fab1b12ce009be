"""Texts of a size that nobody writes: as the library has them, in memory that their bytes bound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from children import run_child
from figures import figure
from memory import RESET_PEAK, with_peak
from tokenization.reference import CASINGS, assert_as_library, reference_of, tokenizer_of

#: What a text is made of over and over.
UNITS = {
    "one word": "x",
    "one number": "7",
    "a word of accents": "é",
    "marks upon marks": "\u0301",
    # Combining classes 224, 216, 9 and 6, none of them removed: NFD sorts all of the text at once.
    "marks to be sorted": "\u302e\U0001d165\u1b44\U00016ff0",
    "syllables": "각",
    "ideographs": "漢字",
    "emoji": "😀",
    "an unknown word": "𓀀",
    "unknown words": "𓀀 ꙮ ",
    "spaces": " ",
    "odd spaces": "\u3000\u2003\xa0",
    "newlines": "\n",
    "zeros": "\0",
    "replacement characters": "\ufffd",
    "controls": "\u200b\x07\xad",
    "punctuation": "-",
    "brackets": "[[MASK]",
    "words of a hundred": "y" * 100 + " " + "y" * 101 + " ",
    "capitals": "İSTANBUL ",
}

each_casing = pytest.mark.parametrize("casing", CASINGS)
each_unit = pytest.mark.parametrize("unit", UNITS)


def text_of(unit: str, size: int) -> str:
    """Return about `size` bytes of a unit behind one letter, so that marks have something to stand on."""
    return "a" + UNITS[unit] * (size // len(UNITS[unit].encode()))


@each_casing
@each_unit
def test_long_monotonous_texts_give_the_librarys_tokens(casing: str, unit: str) -> None:
    texts = [text_of(unit, size) for size in (1000, 30_000)]
    assert_as_library(tokenizer_of(casing), reference_of(casing), texts)


@pytest.mark.slow
@pytest.mark.timeout(600)
@each_casing
@each_unit
def test_long_texts_of_anything_give_the_librarys_tokens(casing: str, unit: str) -> None:
    text = text_of(unit, figure(500_000, 10_000_000))
    assert_as_library(tokenizer_of(casing), reference_of(casing), [text])


# --- 200 MB

MIB = 1 << 20

needs_peaks = pytest.mark.skipif(not RESET_PEAK.exists(), reason=f"needs {RESET_PEAK} to measure memory")


def encode_in_child(casing: str, kind: str, size: int) -> dict[str, Any]:
    """Encode a document of about `size` bytes in a process of its own; say whether its tokens are right, and the memory it took."""
    result = run_child(Path(__file__).with_name("large_texts.py"), casing, kind, str(size))
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@needs_peaks
def test_the_peak_of_a_work_is_seen_by_a_process_that_was_larger_before() -> None:
    before = b"x" * (300 * MIB)
    assert len(before) == 300 * MIB
    del before
    for size in (0, 100):
        found, used = with_peak(lambda size=size: len(b"x" * (size * MIB)))
        assert found == size * MIB
        assert size * MIB - 1 * MIB < used < (size + 8) * MIB


@needs_peaks
@pytest.mark.slow
@pytest.mark.timeout(1200)
@each_casing
@pytest.mark.parametrize("kind", ["english", "words"])
def test_a_document_of_200_mb_takes_the_memory_of_its_tokens(casing: str, kind: str) -> None:
    """Ids and flags take three bytes a token; they may be there twice, and the text may not."""
    found = encode_in_child(casing, kind, 200_000_000)
    assert found["same"]
    assert found["tokens"] > 15_000_000
    assert found["used"] < 2 * 3 * found["tokens"] + 64 * MIB


@needs_peaks
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_200_mb_of_spaces_take_hardly_any_memory() -> None:
    """So nothing of the text is copied."""
    found = encode_in_child("cased", "spaces", 200_000_000)
    assert (found["same"], found["tokens"]) == (True, 0)
    assert found["used"] < 8 * MIB
