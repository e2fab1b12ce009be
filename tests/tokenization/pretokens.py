"""Pre-tokens three ways: the library's, those of the compiled patterns, and those of the oracle; and texts that tell patterns apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import oracle
from numba import njit
from tokenizers import Tokenizer

from spanmask.kernels.patterns import CAPITAL, LETTER, NUMBER, SMALL, WHITE, Splitter, pretoken_end, spaced_end
from spanmask.kernels.wide import BLOCK, trailing_zeros
from spanmask.kernels.windows import window_starts
from spanmask.tokenization.patterns import DIGIT, MARK, table_of_classes

#: What stands between texts that the library is asked about at once; no text holds it.
APART = "\U0010fffe"
#: Bits that a class has, and those it lacks. The patterns know letters with capitals' and small letters' bits only together.
_BITS = {
    "L": (LETTER, 0),
    "N": (NUMBER, 0),
    "s": (WHITE, 0),
    "M": (MARK, 0),
    "Digit": (DIGIT, 0),
    **dict.fromkeys(("Lu", "Lt"), (LETTER | CAPITAL, SMALL)),
    "Ll": (LETTER | SMALL, CAPITAL),
    **dict.fromkeys(("Lm", "Lo"), (LETTER | CAPITAL | SMALL, 0)),
}

#: Characters in which patterns differ, and some that look like them.
TELLING = [
    *"  '\n\r\t\x0b\x1c\x85\xa0\u2028\u3000\u200b/_-.,\"",
    *"aestvmlrdSTREVLMDzZ",
    *"0129²Ⅷ٣½",
    *"ſKéÉßǅʰªøж中あ각𝐀",
]
TELLING += [*"\u0301\u0345\u093e\u20dd\u200d\ufe0f😀\U0001f1e9€+<\0\x7f\xad\ufeff\ufffd", "\U00011de0", "\U0010ffff"]
CONTEXTS = ["{}", "{}{}", "a{}a", "'{}", " {}", "'{}s", " {}a", "A{}A", "  {}", "{}\n", "1{}1", "!{}'s"]


@cache
def classes_of_points() -> np.ndarray:
    """Return (0x110000,) the class of every code point."""
    table = table_of_classes()
    return table["classes"].reshape(-1, 128)[table["blocks"]].reshape(-1)


@cache
def ranges_of_classes() -> dict[str, str]:
    """Return the characters of each class as the inside of a class of Python's regular expressions."""
    found = {}
    for name, (bits, lacks) in _BITS.items():
        inside = (classes_of_points() & (bits | lacks)) == bits
        edges = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0))
        found[name] = "".join(f"\\U{first:08x}-\\U{stop - 1:08x}" for first, stop in edges.reshape(-1, 2))
    return found


def edges_of_classes() -> list[str]:
    """Return the characters on both sides of each place where the class changes."""
    edges = np.flatnonzero(np.diff(classes_of_points()))
    points = sorted({0, *edges.tolist(), *(edges + 1).tolist(), 0x10FFFF})
    return [chr(point) for point in points if not 0xD800 <= point < 0xE000]


def random_texts(count: int, seed: int, characters: Sequence[str] = TELLING) -> list[str]:
    """Return strings of up to a dozen characters, of which one is often the one before again."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 13, count)
    drawn = rng.integers(0, len(characters), lengths.sum())
    again = rng.random(len(drawn)) < 0.3
    again[0] = False
    drawn = drawn[np.maximum.accumulate(np.where(again, 0, np.arange(len(drawn))))]
    text = np.array(characters)[drawn].tolist()
    return ["".join(text[start:end]) for start, end in pairwise([0, *np.cumsum(lengths).tolist()])]


def library_ends(steps: list[dict[str, Any]], texts: Sequence[str]) -> np.ndarray:
    """Return where the library's pre-tokens end, if texts stood one behind the other, with the spaces that it puts before them."""
    apart = {"type": "Split", "pattern": {"String": APART}, "behavior": "Removed", "invert": False}
    content = {"model": {"type": "BPE", "vocab": {}, "merges": []}, "pre_tokenizer": {"type": "Sequence"}}
    content["pre_tokenizer"]["pretokenizers"] = [apart, *steps]
    found = Tokenizer.from_str(json.dumps(content)).pre_tokenizer.pre_tokenize_str(APART.join(texts))
    return np.cumsum([len(text) for text, _ in found])


@njit(nogil=True)
def _ends(text, bounds, splitter, out):  # type: ignore[no-untyped-def]
    count = spaces = 0
    for document in range(len(bounds) - 1):
        start, end = bounds[document], bounds[document + 1]
        at = start
        if splitter.adds_space and at < end and text[at] != 0x20:
            at = spaced_end(text, start, end, splitter)
            spaces += 1
            out[count] = at + spaces
            count += 1
        while at < end:
            at = pretoken_end(text, at, start, end, splitter)
            out[count] = at + spaces
            count += 1
    return count


def compiled_ends(splitter: Splitter, texts: Sequence[str]) -> np.ndarray:
    """Return the same of the compiled pattern."""
    encoded = [text.encode() for text in texts]
    bounds = np.cumsum([0, *map(len, encoded)])
    out = np.empty(bounds[-1] + len(texts), np.int64)
    return out[: _ends(np.frombuffer(b"".join(encoded), np.uint8), bounds, splitter, out)].copy()


@njit(nogil=True)
def _ends_by_windows(text, bounds, splitter, out):  # type: ignore[no-untyped-def]
    count = windows = 0
    for document in range(len(bounds) - 1):
        start, end = bounds[document], bounds[document + 1]
        at = start
        while at < end:
            mask = 1
            if at + BLOCK <= len(text):
                mask = window_starts(text, at, end, splitter)
                windows += 1
            first = at
            mask &= mask - 1
            while mask:
                at = first + trailing_zeros(np.uint64(mask))
                out[count] = at
                count += 1
                mask &= mask - 1
            if at == first:
                at = pretoken_end(text, at, start, end, splitter)
                out[count] = at
                count += 1
    return count, windows


def windowed_ends(splitter: Splitter, texts: Sequence[str]) -> tuple[np.ndarray, int]:
    """Return where pre-tokens end by windows, with no space put before them, and how many windows were looked at."""
    encoded = [text.encode() for text in texts]
    bounds = np.cumsum([0, *map(len, encoded)])
    out = np.empty(bounds[-1] + 1, np.int64)
    count, windows = _ends_by_windows(np.frombuffer(b"".join(encoded), np.uint8), bounds, splitter, out)
    return out[:count].copy(), windows


def oracle_ends(patterns: Sequence[str], adds_space: bool, texts: Sequence[str]) -> np.ndarray:
    """Return the same of the oracle: the published patterns, each for what the one before made."""
    parts: Iterator[str] = (" " + text if adds_space and text and text[0] != " " else text for text in texts)
    return np.cumsum(
        [len(part.encode()) for text in parts for part in oracle.pretokens(text, patterns, ranges_of_classes())]
    )


def assert_same_ends(steps: list[dict[str, Any]], splitter: Splitter, texts: Sequence[str]) -> None:
    """Require the library's pre-tokens of every text; where they differ, say in which text first."""
    found, expected = compiled_ends(splitter, texts), library_ends(steps, texts)
    if not np.array_equal(found, expected):
        wrong = next(
            text for text in texts if not np.array_equal(compiled_ends(splitter, [text]), library_ends(steps, [text]))
        )
        raise AssertionError(
            f"{wrong!r}: {compiled_ends(splitter, [wrong])} rather than {library_ends(steps, [wrong])}"
        )
