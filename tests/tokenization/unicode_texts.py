"""Texts that a BERT tokenizer may get wrong: strategies of a few hand-picked atoms, and random strings by the million.

Code points are sorted into classes by `unicodedata`, of whatever version; they only say where to look, never what is right.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from spanmask.config import VocabularyConfig
from spanmask.tokenizer_json import ROLES
from spanmask.vocab import Vocabulary, load_vocabulary

SURROGATES = range(0xD800, 0xE000)
CODE_POINTS = [point for point in range(0x110000) if point not in SURROGATES]
#: All but most of planes 3, behind its ideographs, to 16, where hardly anything is assigned: of those one in 61, so some of every 128.
NEAR_POINTS = [point for point in CODE_POINTS if point < 0x33480 or 0xE0000 <= point < 0xE0200 or point % 61 == 0]

#: Every character that Python or Unicode calls a space, a control or a format, as far as BERT may tell them apart.
SPACES = [" ", "\n", *map(chr, [9, 11, 12, 13, 28, 29, 30, 31, 0x85, 0xA0, 0x1680, 0x180E])]
SPACES += [*map(chr, [*range(0x2000, 0x200C), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000])]
CONTROLS = [*"\0\x07\x7f\x9f\xad\u200b\u200d\u200e\u2060\ufeff\ufffd\uffff\ue000\U000e0001\U000f0000\U0010ffff"]
MARKS = [*"\u0301\u0338\u0345\u0307\u0344\u20dd\u093f\u302e\U0001d165", "e\u0301\u0323", "\u0323\u0301"]
LETTERS = [*"éΣςİıßẞﬀKǆ각𝔘😀", "ΟΔΟΣ", "\u1100\u1161\u11a8", "नि", "👩\u200d🚀", "\u212b\u1e9b\u0323"]
IDEOGRAPHS = ["漢", "字", "𠀀", "豈", "㐀", "々", "かな", "\U0002f800"]
WORDS = [
    "a,b;c",
    "(x)[y]{z}",
    "<\u0338=\u0338>",
    "the",
    "unbelievable",
    "Spanish",
    "1984",
    "don't",
    "a-b",
    "...",
    *"$^|’",
]
WORDS += ["x" * 100, "x" * 101, "é" * 100]
LITERALS = ["[MASK]", "[SEP]", "[CLS]", "[PAD]", "[UNK]", "##s", "[unused1]", "[ MASK ]", "[mask]", "[[MASK]]", "[MASK"]
ATOMS = [SPACES, [" ", "\n"], CONTROLS, MARKS, LETTERS, IDEOGRAPHS, WORDS, LITERALS]

ODD_TEXTS = st.lists(st.one_of([st.sampled_from(atoms) for atoms in ATOMS]), max_size=24).map("".join)
TEXTS = ODD_TEXTS | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def alphabet(*, cased: bool) -> Vocabulary:
    """Return a vocabulary of single characters, in which most of what normalizing does to a character can be seen.

    BERT's own know a few thousand characters, and every other one is [UNK] whatever becomes of it. These are planes 0 and 1 but for
    private ones, as a word and inside one, and ideographs as words: V is about 260,000, and ids are uint32.
    """
    ideographs = {*_spans((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0x20000, 0x2A6DF))}
    private = {*_spans((0xE000, 0xF8FF))}
    inner = [chr(p) for p in CODE_POINTS if 0x20 < p < 0x20000 and p not in private and p not in ideographs]
    entries = [*ROLES.values(), *inner, *map(chr, sorted(ideographs)), *(f"##{char}" for char in inner)]
    return Vocabulary(name="alphabet", entries=tuple(entries), cased=cased)


# --- Random strings, made by NumPy

#: Characters in a run: mostly few, with those around the sizes that registers, cache lines and BERT's limit on words have.
_SHORT = (1, 1, 1, 1, 1, 2, 2, 3)
_WORD = (1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 17, 31, 32, 33, 64, 100)
_LONG = (1, 7, 8, 15, 16, 31, 32, 33, 48, 49, 50, 51, 63, 64, 65, 98, 99, 100, 101, 130)
_TABLE = 640


class RunClass(NamedTuple):
    """A weight, how many characters a run has, and the code points it draws from."""

    weight: int
    lengths: tuple[int, ...]
    points: list[int]


@cache
def _in_categories(*categories: str) -> list[int]:
    return [point for point in CODE_POINTS if unicodedata.category(chr(point)) in categories]


def _spans(*ranges: tuple[int, int]) -> list[int]:
    return [point for first, last in ranges for point in range(first, last + 1)]


@cache
def run_classes() -> list[RunClass]:
    letters = _in_categories("Lu", "Ll", "Lt")
    reordered = [p for p in _in_categories("Mc") if unicodedata.combining(chr(p))] + [0x302E, 0x302F, 0x16FF0, 0x16FF1]
    reordered += _spans((0x1D165, 0x1D166), (0x1D16D, 0x1D172), (0x1B44, 0x1B44))
    decomposed = [p for p in CODE_POINTS if unicodedata.decomposition(chr(p)) and not 0xAC00 <= p <= 0xD7A3]
    cased = [p for p in CODE_POINTS if p not in SURROGATES and chr(p).lower() != chr(p)]
    spaces, controls = [ord(space) for space in SPACES], [ord(control) for control in CONTROLS]
    return [
        RunClass(30, (1,), [0x20]),
        RunClass(6, _SHORT, spaces),
        RunClass(4, _SHORT, controls + _in_categories("Cc", "Cf")),
        RunClass(10, _WORD, _spans((0x61, 0x7A))),
        RunClass(2, _LONG, _spans((0x61, 0x7A), (0x41, 0x5A), (0x30, 0x39))),
        RunClass(3, _SHORT, _spans((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E))),
        RunClass(8, _WORD, _spans((0x61, 0x7A), (0xC0, 0x24F), (0x1E00, 0x1EFF))),
        RunClass(6, _WORD, _spans((0x370, 0x52F))),
        RunClass(4, _WORD, letters),
        RunClass(3, _SHORT, cased),
        RunClass(8, _SHORT, _spans((0x300, 0x36F))),
        RunClass(4, _SHORT, _in_categories("Mn")),
        RunClass(5, _SHORT, [*reordered, 0x301, 0x323, 0x345]),
        RunClass(3, _SHORT, _in_categories("Mc", "Me")),
        RunClass(5, _SHORT, decomposed),
        RunClass(4, _WORD, _spans((0xAC00, 0xD7A3))),
        RunClass(1, _LONG, _spans((0xAC00, 0xD7A3), (0x61, 0x7A))),
        RunClass(3, _SHORT, _spans((0x1100, 0x11FF), (0xA960, 0xA97C), (0xD7B0, 0xD7FB))),
        RunClass(6, _WORD, _spans((0x4E00, 0x9FFF))),
        RunClass(2, _SHORT, _spans((0x3400, 0x4DBF), (0x20000, 0x2FA1F), (0x3040, 0x30FF))),
        RunClass(2, _SHORT, _spans((0xF900, 0xFAFF), (0x2F800, 0x2FA1F))),
        RunClass(4, _SHORT, _in_categories("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po")),
        RunClass(3, _SHORT, _in_categories("Sm", "Sc", "Sk", "So")),
        RunClass(5, _WORD, _spans((0x590, 0x6FF), (0x900, 0xEFF), (0xF00, 0xFFF))),
        RunClass(3, _SHORT, _spans((0x1F300, 0x1FAFF), (0x200D, 0x200D), (0xFE0E, 0xFE0F))),
        RunClass(2, _WORD, _spans((0x10000, 0x1FFFF))),
        RunClass(3, _SHORT, CODE_POINTS),
    ]


@cache
def _words() -> list[str]:
    """Entries of both vocabularies, in other cases and taken apart too, so that random texts hold words that are found."""
    words = set()
    for casing in ("cased", "uncased"):
        words |= {entry.removeprefix("##") for entry in load_vocabulary(VocabularyConfig(vocab=casing)).entries}
    known = sorted(words)
    return (
        known
        + [word.upper() for word in known]
        + [word.title() for word in known]
        + [unicodedata.normalize(form, word) for word in known for form in ("NFD", "NFKD") if not word.isascii()]
    )


class _Pools(NamedTuple):
    """Code points of all classes one behind the other, those of the words last; where each begins, how many; lengths of runs."""

    points: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    lengths: np.ndarray
    weights: np.ndarray
    word_starts: np.ndarray
    word_lengths: np.ndarray


@cache
def _pools() -> _Pools:
    classes, words = run_classes(), _words()
    text = "".join(words)
    sizes = np.array([*(len(item.points) for item in classes), len(text)])
    starts = np.cumsum(sizes) - sizes
    lengths = np.array([len(word) for word in words])
    weights = np.array([*(item.weight for item in classes), 50], np.float64)
    return _Pools(
        points=np.concatenate([*(np.array(item.points) for item in classes), [ord(char) for char in text]]),
        starts=starts,
        sizes=sizes,
        lengths=np.array([item.lengths * (_TABLE // len(item.lengths)) for item in classes]),
        weights=weights / weights.sum(),
        word_starts=starts[-1] + np.cumsum(lengths) - lengths,
        word_lengths=lengths,
    )


def random_texts(count: int, seed: int) -> list[str]:
    """Return random strings of up to eight runs, each of one class of characters or a word of a vocabulary."""
    pools = _pools()
    rng: Any = np.random.default_rng(seed)
    runs = rng.integers(0, 9, count)
    kinds = rng.choice(len(pools.weights), runs.sum(), p=pools.weights)
    picks = rng.integers(0, len(pools.word_starts), len(kinds))
    is_word = kinds == len(pools.weights) - 1
    table = pools.lengths[np.where(is_word, 0, kinds), rng.integers(0, _TABLE, len(kinds))]
    lengths = np.where(is_word, pools.word_lengths[picks], table)
    owners = np.repeat(np.arange(len(kinds)), lengths)
    within = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    drawn = pools.starts[kinds[owners]] + rng.integers(0, pools.sizes[kinds[owners]])
    places = np.where(is_word[owners], pools.word_starts[picks[owners]] + within, drawn)
    text = pools.points[places].astype("<u4").tobytes().decode("utf-32-le")
    bounds = np.concatenate(([0], np.cumsum(lengths)))[np.concatenate(([0], np.cumsum(runs)))].tolist()
    return [text[start:end] for start, end in pairwise(bounds)]
